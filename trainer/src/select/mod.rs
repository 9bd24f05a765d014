//! Active selection: which open tasks would teach a reward model most. Comparisons and tasks come in as features of
//! their completions ([`features`]), a reward head and how sure it is follow from the comparisons ([`posterior`]), and the
//! tasks are ordered by how much of what is left open their labels would settle together ([`design`]).

pub mod cache;
mod cholesky;
pub mod design;
pub mod features;
mod matrix;
mod newton;
pub mod posterior;
pub mod space;

pub use cache::Cache;
pub use design::worth;
pub use features::{Sequence, features};
pub use posterior::{Comparison, Posterior};
pub use space::Space;
