//! Active selection: which open tasks would teach a reward model most. Comparisons and tasks come in as features of
//! their completions ([`features`]), a small ensemble of reward heads learns from the comparisons ([`heads`]), and how far
//! the heads disagree about a task ([`disagreement`]) goes out as its uncertainty.

pub mod cache;
pub mod disagreement;
pub mod features;
pub mod heads;
mod newton;

pub use cache::Cache;
pub use disagreement::{spread_over_prompts, uncertainty};
pub use features::{Sequence, features};
pub use heads::{Comparison, Ensemble, Scale};
