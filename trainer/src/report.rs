//! What a round says while it runs: to a terminal, to files, to the server. The rounds know only the trait.

use laurel_protocol::round::{LogLevel, MetricPoint, Rollout};

/// Whether a round goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    GoOn,
    /// Stop at this step's end, with a checkpoint.
    Stop,
}

/// How far a round is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    pub step: u64,
    pub n_steps: u64,
    pub seconds_left: Option<f64>,
}

/// The answers of a PPO round to one fixed prompt so far.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ShownAnswers {
    /// A project's number of the prompt; offline its place among those shown.
    pub prompt_id: u64,
    /// As the model reads it.
    pub prompt: String,
    pub rollouts: Vec<Rollout>,
}

/// Takes what a round reports.
pub trait Reporter {
    fn log(&mut self, level: LogLevel, text: &str);
    fn metrics(&mut self, point: &MetricPoint);
    /// Called at every step's end, and between passes of longer work; answers whether to go on.
    fn progress(&mut self, progress: Progress) -> Directive;
    /// A PPO round's answers to its fixed prompts, all so far, after each evaluation.
    fn samples(&mut self, _: &[ShownAnswers]) {}
}

/// Reports to nobody.
pub struct Silent;

impl Reporter for Silent {
    fn log(&mut self, _: LogLevel, _: &str) {}
    fn metrics(&mut self, _: &MetricPoint) {}
    fn progress(&mut self, _: Progress) -> Directive {
        Directive::GoOn
    }
}
