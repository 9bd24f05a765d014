//! Presets: sets of hyper-parameters for a purpose. docs/TRAINING.md has them in a table.

use crate::{
    hyper::Hyper,
    loss::{Keep, Loss},
    round::RoundKind,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A few steps, to see in minutes that data and settings work.
    Quick,
    /// The defaults of the loss.
    #[default]
    Standard,
    /// Slower steps, watched on more held-out prompts; the best evaluation's weights are kept.
    Careful,
}

impl Preset {
    pub const ALL: [Self; 3] = [Self::Quick, Self::Standard, Self::Careful];

    pub fn hyper(self, loss: Loss) -> Hyper {
        let defaults = Hyper::for_loss(loss);
        let is_ppo = loss.kind() == RoundKind::Ppo;
        match self {
            Self::Standard => defaults,
            Self::Quick => Hyper {
                max_steps: if is_ppo { 4 } else { 20 },
                eval_every: if is_ppo { 2 } else { 10 },
                ..defaults
            },
            Self::Careful => Hyper {
                learning_rate: defaults.learning_rate / 2.0,
                epochs: if is_ppo { 1 } else { 3 },
                held_out: 0.2,
                eval_every: 5,
                patience: 4,
                keep: Keep::Best,
                ..defaults
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_for_every_loss() {
        for loss in Loss::ALL {
            for preset in Preset::ALL {
                assert_eq!(preset.hyper(loss).validate(), Ok(()), "{preset:?} {loss:?}");
            }
        }
    }

    #[test]
    fn a_quick_round_is_short_and_a_careful_one_keeps_the_best_weights() {
        let loss = Loss::default_of(RoundKind::Dpo);
        assert_eq!(Preset::Quick.hyper(loss).max_steps, 20);
        let (careful, standard) = (Preset::Careful.hyper(loss), Preset::Standard.hyper(loss));
        assert_eq!((careful.keep, standard.keep), (Keep::Best, Keep::Last));
        assert!(careful.learning_rate < standard.learning_rate);
    }
}
