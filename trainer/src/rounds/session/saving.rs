//! How a round is written down, goes on from what was written, and ends.

use super::{Session, reporting::remember};
use crate::{
    adapters::TaskType,
    checkpoint::{self, State},
    rounds::outcome::{RoundOutcome, write_adapter},
};
use anyhow::{Context, Result, ensure};
use laurel_protocol::round::{MetricPoint, RoundKind};
use std::{
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::{Path, PathBuf},
};

impl<'a> Session<'a> {
    pub(super) fn resume(&mut self) -> Result<()> {
        let saved = checkpoint::newest(&self.checkpoints(), &self.model.device)?;
        let Some(saved) = saved else {
            return Ok(self.metrics.set_len(0)?);
        };
        ensure!(
            saved.state.fingerprint == self.fingerprint,
            "{:?} holds a round with another spec, data or model: choose another folder",
            self.out
        );
        for (name, var) in self.adapter.variables() {
            let weight = saved
                .weights
                .get(&name)
                .with_context(|| format!("the checkpoint has no {name:?}"))?;
            var.set(weight)?;
        }
        self.step = saved.state.step;
        self.saved_step = Some(self.step);
        let n_updates = saved.state.n_updates.unwrap_or(self.step);
        self.optimiser.restore(saved.moments, n_updates)?;
        if let Some(carried) = saved.state.carried {
            self.carried = carried;
        }
        self.watch.restore(saved.state.seen, saved.best);
        // Figures written after the checkpoint will be written again.
        self.metrics.set_len(saved.state.metrics_bytes)?;
        self.metrics.seek(SeekFrom::Start(0))?;
        // Those before it may not have reached the server when the earlier attempt was killed.
        for line in BufReader::new(&self.metrics).lines() {
            let point: MetricPoint = serde_json::from_str(&line?).context("read metrics.jsonl")?;
            remember(&mut self.last, &point);
            self.reporter.metrics(&point);
            self.history.push(point);
        }
        self.metrics.seek(SeekFrom::End(0))?;
        self.first_step = saved.state.step;
        self.info(&format!(
            "Going on from the checkpoint at step {}",
            saved.state.step
        ));
        Ok(())
    }

    pub(super) fn save_due_checkpoint(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.checkpoint_due) {
            return Ok(());
        }
        let state = State {
            fingerprint: self.fingerprint.clone(),
            step: self.step,
            n_updates: Some(self.optimiser.n_steps),
            metrics_bytes: self.metrics.stream_position()?,
            seen: self.watch.seen,
            carried: (self.spec.kind == RoundKind::Ppo).then(|| self.carried.clone()),
        };
        self.metrics.sync_data()?;
        let weights = self
            .adapter
            .weights()
            .into_iter()
            .map(|(name, w)| (name, w.tensor().detach()))
            .collect();
        let (moments, best) = (self.optimiser.state(), self.watch.weights());
        self.saved_step = Some(self.step);
        checkpoint::save(&self.checkpoints(), &state, &weights, &moments, best)
    }

    /// Stops in the middle of a step, which is thrown away; what is done before it is written down.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.checkpoint_due = self.step > 0 && self.saved_step != Some(self.step);
    }

    /// Stops in the middle of an evaluation: what is resumed from has to be before it.
    pub fn abandon(&mut self) {
        self.stopped = true;
        self.checkpoint_due = false;
    }

    /// Notes that a rule ends the round at this step.
    pub fn end_by(&mut self, reason: String) {
        self.info(&format!("The round ends early: {reason}"));
        self.ended_by = Some(reason);
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.out.join("checkpoints")
    }

    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    pub fn out(&self) -> &'a Path {
        self.out
    }

    /// Writes the adapter and the report, unless the round was stopped.
    pub fn finish(mut self, task_type: TaskType) -> Result<RoundOutcome> {
        if self.stopped {
            return Ok(RoundOutcome::Stopped);
        }
        let over = self.watch.is_over(&self.spec.hyper);
        let stopped_early = over || self.ended_by.is_some();
        if over {
            self.info("Stopped early: the held-out loss falls no more");
        }
        let kept_step = self.watch.put_best(&self.adapter)?.unwrap_or(self.step());
        write_adapter(&self.adapter, self.out, self.base_model, task_type)?;
        let report = serde_json::json!({
            "fingerprint": self.fingerprint,
            "kind": self.spec.kind,
            "spec": self.spec,
            "steps": self.step(),
            "stopped_early": stopped_early,
            "ended_by": self.ended_by,
            "best_evaluation": self.watch.seen.best,
            "kept_step": kept_step,
            "n_train_rows": self.train.len(),
            "n_held_out_rows": self.eval.len(),
            "n_left_out_rows": self.n_left_out,
            "n_ties": self.n_ties(),
            "seconds": self.started.elapsed().as_secs_f64(),
            "last_metrics": self.last,
        });
        checkpoint::write_file(
            &self.out.join("report.json"),
            &serde_json::to_vec_pretty(&report)?,
        )?;
        self.info("The round is done");
        Ok(RoundOutcome::Done)
    }
}
