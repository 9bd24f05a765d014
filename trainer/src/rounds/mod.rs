//! Rounds: one training run each, from token ids and a starting adapter to a new adapter.
//!
//! [`run`] picks the kind; `sft.rs`, `reward.rs`, `dpo.rs`, `kto.rs` and `ppo/` each read like the algorithm in the paper, and
//! lean on [`Session`] for what all rounds share: the order of the data, the optimiser's step, evaluation's
//! rhythm, metrics, checkpoints and resuming.

mod accept;
mod announce;
mod by_prompt;
mod check;
mod data_file;
mod dpo;
mod kto;
mod logps;
mod made_with;
mod outcome;
mod ppo;
mod rankings;
mod references;
mod reward;
mod sampler;
mod session;
mod sft;
mod tally;
mod watch;

pub mod cli;
pub mod preview;

pub use accept::{base_weights_hash, has_room};
pub use announce::{announce, size};
pub use check::check;
pub use data_file::pair;
pub use logps::{completion_logps, scores};
pub use outcome::RoundOutcome;
pub use ppo::{Carried, Endpoint, Environment, Scorer, ShownPrompt, prompts};
pub use reward::Probes;
pub use session::Session;
pub use watch::{Best, Seen};

use crate::{
    adapters::{Adapter, TaskType},
    data::PreferencePair,
    model::Model,
    report::Reporter,
};
use anyhow::{Context, Result};
use laurel_protocol::round::{RoundKind, RoundSpec};
use std::path::Path;

/// Tokens of one pass through the model: bounds the memory that activations take. A batch is split into so
/// many passes as it needs; their gradients add up to the batch's.
pub(crate) const PASS_TOKENS: usize = 768;

/// All that a round works on.
pub struct Input<'a> {
    pub spec: &'a RoundSpec,
    pub model: &'a Model,
    /// Name of the base model, for the adapter's files.
    pub base_model: &'a str,
    pub starting_adapter: Option<&'a Adapter>,
    pub rows: Vec<PreferencePair>,
    /// Gets `adapter/`, `metrics.jsonl`, `report.json` and `checkpoints/`.
    pub out: &'a Path,
    /// What a PPO round acts in; other kinds need none.
    pub environment: Option<&'a Environment<'a>>,
    /// What a reward round asks its model besides, at each evaluation.
    pub probes: Option<Probes>,
    /// A folder that keeps the reference's log-probabilities of a DPO or KTO round, for later ones that start from the same
    /// adapter with the same rows; without one they are kept for this round alone.
    pub references: Option<&'a Path>,
}

/// Runs a round, or goes on with the one whose checkpoint lies in `out`.
pub fn run(input: Input<'_>, reporter: &mut dyn Reporter) -> Result<RoundOutcome> {
    let (kind, environment) = (input.spec.kind, input.environment);
    let Some(mut session) = Session::start(input, reporter)? else {
        return Ok(RoundOutcome::Done);
    };
    match kind {
        RoundKind::Sft => sft::run(&mut session)?,
        RoundKind::Reward => reward::run(&mut session)?,
        RoundKind::Dpo if session.spec.hyper.loss.is_unpaired() => kto::run(&mut session)?,
        RoundKind::Dpo => dpo::run(&mut session)?,
        RoundKind::Ppo => {
            let environment = environment.context("a PPO round needs a reward and a tokenizer")?;
            ppo::run(&mut session, environment)?;
        }
    }
    session.finish(match kind {
        RoundKind::Reward => TaskType::SeqCls,
        RoundKind::Sft | RoundKind::Dpo | RoundKind::Ppo => TaskType::CausalLm,
    })
}

#[cfg(test)]
mod tests;
