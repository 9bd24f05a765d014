//! What a round says while it runs: figures, how far it is, and sentences.

use super::Session;
use crate::{
    report::{Directive, Progress, ShownAnswers},
    rounds::{
        by_prompt::elements_by_prompt,
        tally::{Tally, check_finite},
    },
};
use anyhow::{Context, Result};
use laurel_protocol::{
    Keep,
    round::{LogLevel, MetricPoint, RoundKind, Split},
};
use std::{collections::BTreeMap, io::Write};

impl Session<'_> {
    pub(super) fn introduce(&mut self) {
        let (n_train, n_eval, n_ties) = (self.train.len(), self.eval.len(), self.n_ties());
        let n_steps = self.sampler.n_steps;
        let text = match self.spec.kind {
            RoundKind::Ppo => format!(
                "{} prompts to train on, {} held out, {n_steps} steps",
                self.elements.len(),
                elements_by_prompt(&self.eval).len()
            ),
            _ => format!(
                "{n_train} rows to train on, {n_eval} held out, {n_ties} of all are ties, {n_steps} steps"
            ),
        };
        self.info(&text);
        let hyper = &self.spec.hyper;
        if n_eval == 0 && (hyper.patience > 0 || hyper.keep == Keep::Best) {
            let text = "No prompt could be held out: the round runs to its end and keeps the last weights";
            self.reporter.log(LogLevel::Warning, text);
        }
    }

    pub(super) fn n_ties(&self) -> usize {
        let rows = self.train.iter().chain(&self.eval);
        rows.filter(|row| row.label.tie).count()
    }

    /// Reports where the round stands; false when it was asked to stop.
    pub fn heartbeat(&mut self) -> bool {
        let (step, n_steps) = (self.step(), self.sampler.n_steps);
        let done = step - self.first_step;
        let seconds_left =
            (done > 0).then(|| self.started.elapsed().as_secs_f64() / done as f64 * (n_steps - step) as f64);
        if self.reporter.progress(Progress {
            step,
            n_steps,
            seconds_left,
        }) == Directive::Stop
        {
            self.stopped = true;
        }
        !self.stopped
    }

    pub fn report(&mut self, split: Split, tally: &Tally) -> Result<()> {
        let values = tally.means();
        let what = match split {
            Split::Train => "",
            Split::Eval => "held-out ",
        };
        check_finite(&values, &format!("after step {}: {what}", self.step()))?;
        if let (Split::Eval, Some(loss)) = (split, watched(&values)) {
            self.watch.see(self.step, loss, &self.adapter, &self.spec.hyper)?;
        }
        self.write_metrics(split, values)
    }

    pub(super) fn write_metrics(&mut self, split: Split, values: BTreeMap<String, f64>) -> Result<()> {
        let point = MetricPoint {
            step: self.step(),
            split,
            values,
        };
        remember(&mut self.last, &point);
        self.history.push(point.clone());
        let line = serde_json::to_string(&point)? + "\n";
        self.metrics
            .write_all(line.as_bytes())
            .context("write metrics.jsonl")?;
        self.reporter.metrics(&point);
        Ok(())
    }

    pub fn info(&mut self, text: &str) {
        self.reporter.log(LogLevel::Info, text);
    }

    pub fn warn(&mut self, text: &str) {
        self.reporter.log(LogLevel::Warning, text);
    }

    pub fn show(&mut self, samples: &[ShownAnswers]) {
        self.reporter.samples(samples);
    }
}

/// What early stopping and the best weights go by: the held-out loss, and of a PPO round minus what it maximises.
fn watched(values: &BTreeMap<String, f64>) -> Option<f64> {
    let reward = values.get("rlhf_reward").map(|reward| -reward);
    values.get("loss").copied().or(reward)
}

/// Keeps the last of each figure for the report.
pub(super) fn remember(last: &mut BTreeMap<String, f64>, point: &MetricPoint) {
    let prefix = match point.split {
        Split::Train => "",
        Split::Eval => "eval_",
    };
    let values = point.values.iter();
    last.extend(values.map(|(name, value)| (format!("{prefix}{name}"), *value)));
}
