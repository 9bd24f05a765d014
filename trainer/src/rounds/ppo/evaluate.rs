//! How a PPO round stands: the held-out prompts measured, and answers to a few fixed prompts shown, both drawn from the
//! same streams every time.

use super::{
    Environment,
    advantage::{Known, figures},
    forward::of_tokens,
    penalised,
    rollout::sample,
    score::scores,
};
use crate::{
    adapters::Adapter,
    checkpoint,
    report::ShownAnswers,
    rng::Rng,
    rounds::{Session, by_prompt::elements_by_prompt, tally::Tally},
};
use anyhow::{Context, Result};
use laurel_protocol::{
    Ppo,
    round::{Rollout, Split},
};
use std::fs;

/// A prompt whose answers are shown at every evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPrompt {
    pub id: u64,
    pub ids: Vec<u32>,
}

/// The answers shown so far, kept beside the checkpoints.
pub struct Shown {
    prompts: Vec<ShownPrompt>,
    answers: Vec<ShownAnswers>,
}

/// One JSON line a prompt.
const FILE: &str = "samples.jsonl";

impl Shown {
    /// Those that were shown up to the step that the round goes on from.
    pub fn restore(session: &mut Session<'_>, environment: &Environment<'_>, ppo: &Ppo) -> Result<Self> {
        let prompts = match environment.samples.as_slice() {
            [] => some_prompts(session, ppo.n_samples as usize),
            given => given.to_vec(),
        };
        let mut answers = Vec::with_capacity(prompts.len());
        for prompt in &prompts {
            answers.push(ShownAnswers {
                prompt_id: prompt.id,
                prompt: environment.tokenizer.decode_all(&prompt.ids)?,
                rollouts: Vec::new(),
            });
        }
        if session.step() > 0
            && let Ok(text) = fs::read_to_string(session.out().join(FILE))
        {
            for line in text.lines() {
                let saved: ShownAnswers =
                    serde_json::from_str(line).with_context(|| format!("read {FILE}"))?;
                let before = saved.rollouts.into_iter().filter(|it| it.step <= session.step());
                let same = answers.iter_mut().find(|it| it.prompt_id == saved.prompt_id);
                if let Some(answers) = same {
                    answers.rollouts = before.collect();
                }
            }
            session.show(&answers);
        }
        Ok(Self { prompts, answers })
    }

    fn write(&self, session: &mut Session<'_>) -> Result<()> {
        let mut text = String::new();
        for answers in &self.answers {
            text += &serde_json::to_string(answers)?;
            text.push('\n');
        }
        checkpoint::write_file(&session.out().join(FILE), text.as_bytes())?;
        session.show(&self.answers);
        Ok(())
    }
}

/// The first held-out prompts; where none are held out, the first of all.
fn some_prompts(session: &Session<'_>, n: usize) -> Vec<ShownPrompt> {
    let mut prompts = held_out_prompts(session);
    if prompts.is_empty() {
        let rows = session.trained();
        let elements = elements_by_prompt(rows);
        prompts = elements
            .iter()
            .map(|element| rows[element[0]].prompt.clone())
            .collect();
    }
    let shown = prompts.into_iter().take(n).enumerate();
    shown
        .map(|(at, ids)| ShownPrompt { id: at as u64, ids })
        .collect()
}

fn held_out_prompts(session: &Session<'_>) -> Vec<Vec<u32>> {
    let rows: Vec<_> = session.held_out().into_iter().cloned().collect();
    let elements = elements_by_prompt(&rows);
    elements
        .iter()
        .map(|element| rows[element[0]].prompt.clone())
        .collect()
}

/// Measures and shows; false when the round was asked to stop meanwhile.
pub fn evaluate(
    session: &mut Session<'_>,
    environment: &Environment<'_>,
    ppo: &Ppo,
    reference: Option<&Adapter>,
    shown: &mut Shown,
) -> Result<bool> {
    let (model, rng) = (session.model, Rng::new(session.spec.seed));
    let prompts = held_out_prompts(session);
    if !prompts.is_empty() {
        let prompts = (0..).zip(prompts).collect();
        let draw = (1, rng.stream("held-out answers", 0).next_u64());
        let Some(rollouts) = sample(model, &session.adapter, environment, ppo, prompts, draw)? else {
            return Ok(false);
        };
        let raw = penalised(ppo, &rollouts, scores(model, environment, &rollouts)?);
        let policy = of_tokens(model, Some(&session.adapter), &rollouts, ppo.temperature)?;
        let reference = of_tokens(model, reference, &rollouts, ppo.temperature)?;
        let known = Known {
            answers: &rollouts.answers,
            scores: &raw,
            logps: &policy.logps,
            ref_logps: &reference.logps,
            values: &policy.values,
        };
        let mut tally = Tally::default();
        for (name, value) in figures(&known, &raw, ppo.kl_coefficient) {
            tally.add(name, value, 1);
        }
        session.report(Split::Eval, &tally)?;
    }
    if !shown.prompts.is_empty() {
        let prompts = (0..).zip(shown.prompts.iter().map(|it| it.ids.clone())).collect();
        let draw = (1, rng.stream("samples", 0).next_u64());
        let Some(rollouts) = sample(model, &session.adapter, environment, ppo, prompts, draw)? else {
            return Ok(false);
        };
        let raw = penalised(ppo, &rollouts, scores(model, environment, &rollouts)?);
        for ((answers, answer), score) in shown.answers.iter_mut().zip(&rollouts.answers).zip(raw) {
            answers.rollouts.push(Rollout {
                step: session.step(),
                text: environment.tokenizer.decode(&answer.tokens)?,
                score,
            });
        }
        shown.write(session)?;
    }
    Ok(true)
}
