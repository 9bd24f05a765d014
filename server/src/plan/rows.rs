//! The rows that a round's snapshot would have, as `store/snapshots.rs` chooses them, and the steps that they make.

use super::{Answer, Data, distinct};
use laurel_protocol::{BatchBy, CompletionId, PromptId, RoundKind, RoundSpec, UserId};
use std::collections::{BTreeSet, HashSet};

/// One row: a comparison, an answer to imitate, or a prompt alone.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub prompt: PromptId,
    pub chosen: Option<CompletionId>,
    pub rejected: Option<CompletionId>,
    pub user: Option<UserId>,
    pub tie: bool,
}

pub struct Rows {
    pub list: Vec<Row>,
    pub prompts: BTreeSet<PromptId>,
    pub n_ties_left_out: u64,
    /// Elements of batches: rows, rankings, or single answers.
    n_elements: u64,
}

impl Rows {
    pub fn of(data: &Data, spec: &RoundSpec) -> Self {
        let imitates = spec.hyper.ppo.as_ref().is_some_and(|ppo| ppo.sft_weight > 0.0);
        let takes_ties = spec.hyper.loss.trains_ties();
        let mut list = Vec::new();
        if spec.kind != RoundKind::Ppo || imitates {
            let alone = spec.kind == RoundKind::Sft || imitates;
            let mut taught = HashSet::new();
            let taken = data.comparisons.iter().filter(|compared| {
                let usable = takes_ties || !compared.tie;
                usable && (!alone || compared.is_best && taught.insert((compared.prompt, compared.chosen)))
            });
            list.extend(taken.map(|compared| Row {
                prompt: compared.prompt,
                chosen: Some(compared.chosen),
                rejected: (!alone).then_some(compared.rejected),
                user: Some(compared.user),
                tie: compared.tie,
            }));
            if alone {
                list.extend(data.demonstrations.iter().map(|shown| Row {
                    prompt: shown.prompt,
                    chosen: Some(shown.completion),
                    rejected: None,
                    user: Some(shown.user),
                    tie: false,
                }));
            }
        }
        if spec.kind == RoundKind::Ppo {
            let seen = distinct(list.iter().map(|row| row.prompt));
            let others = data.to_answer.iter().filter(|prompt| !seen.contains(prompt));
            list.extend(others.map(|prompt| Row {
                prompt: *prompt,
                chosen: None,
                rejected: None,
                user: None,
                tie: false,
            }));
        }
        let n_ties = data.comparisons.iter().filter(|compared| compared.tie).count() as u64;
        let prompts = distinct(list.iter().map(|row| row.prompt));
        let n_elements = match spec.kind {
            RoundKind::Ppo => prompts.len() as u64,
            _ if spec.hyper.batch_by == BatchBy::Ranking => n_rankings(data, takes_ties),
            _ if spec.hyper.loss.is_unpaired() => 2 * list.len() as u64,
            _ => list.len() as u64,
        };
        Self {
            list,
            prompts,
            n_ties_left_out: match takes_ties || spec.kind == RoundKind::Ppo {
                true => 0,
                false => n_ties,
            },
            n_elements,
        }
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// As the trainer's sampler draws them: whole prompts, one at least staying in training.
    pub fn n_held_out(&self, spec: &RoundSpec) -> u64 {
        let n = self.prompts.len() as u64;
        let share = (n as f64 * spec.hyper.held_out).round() as u64;
        share.min(n.saturating_sub(1))
    }

    /// The part of the prompts that is trained on.
    pub fn trained_share(&self, spec: &RoundSpec) -> f64 {
        let n = self.prompts.len().max(1) as f64;
        1.0 - self.n_held_out(spec) as f64 / n
    }

    pub fn n_steps(&self, spec: &RoundSpec) -> u64 {
        let trained = (self.n_elements as f64 * self.trained_share(spec)).round() as u64;
        let all = trained.div_ceil(u64::from(spec.hyper.batch_size).max(1)) * u64::from(spec.hyper.epochs);
        match spec.hyper.max_steps {
            0 => all,
            limit => all.min(u64::from(limit)),
        }
    }

    /// How often the round goes through its rows: its epochs, or less where it is cut short.
    pub fn n_passes(&self, spec: &RoundSpec) -> f64 {
        let trained = self.n_elements as f64 * self.trained_share(spec);
        let seen = (self.n_steps(spec) * u64::from(spec.hyper.batch_size)) as f64;
        match trained > 0.0 {
            true => (seen / trained).min(f64::from(spec.hyper.epochs)),
            false => 0.0,
        }
    }

    /// The answers that a row has.
    pub fn answers<'a>(row: &Row, data: &'a Data) -> impl Iterator<Item = &'a Answer> {
        let ids = [row.chosen, row.rejected];
        ids.into_iter().flatten().filter_map(|id| data.answers.get(&id))
    }
}

/// Annotations that give a row at least.
fn n_rankings(data: &Data, takes_ties: bool) -> u64 {
    let usable = data
        .comparisons
        .iter()
        .filter(|compared| takes_ties || !compared.tie);
    let annotations: HashSet<_> = usable.map(|compared| compared.annotation).collect();
    annotations.len() as u64
}
