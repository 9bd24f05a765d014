//! The losses that a round can train with, and which settings go with which: one table for the check of a spec and
//! for the form of a new round.

use crate::round::RoundKind;
use serde::{Deserialize, Serialize};

/// What a round minimises. Each belongs to one kind of round; docs/TRAINING.md has the equations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// SFT: mean negative log-likelihood of the trained tokens.
    CrossEntropy,
    /// DPO (Rafailov et al. 2023); with label smoothing the conservative form.
    Sigmoid,
    /// DPO on log-ratios averaged over the tokens.
    SigmoidNorm,
    /// SLiC's hinge on DPO's margin (Zhao et al. 2023; Liu et al. 2024).
    Hinge,
    /// IPO (Azar et al. 2023), on log-ratios averaged over the tokens.
    Ipo,
    /// DPO without the bias of randomly flipped labels (Chowdhury et al. 2024).
    Robust,
    /// SimPO (Meng et al. 2024): no reference.
    Simpo,
    /// ORPO (Hong et al. 2024): no reference, imitates the chosen answer as well.
    Orpo,
    /// KTO (Ethayarajh et al. 2024): answers judged one by one, measured from an estimate of the KL divergence.
    Kto,
    /// APO-zero (D'Oosterlinck et al. 2024) on answers judged one by one: KTO measured from 0.
    ApoZeroUnpaired,
    /// Reward: Bradley-Terry. Ties are left out.
    BradleyTerry,
    /// Reward: Bradley-Terry with a threshold under which answers tie (Rao and Kupper 1967).
    RaoKupper,
    /// Reward: Bradley-Terry with ties weighed by the geometric mean (Davidson 1970).
    Davidson,
    /// Reward: likelihood of a whole ranking (Plackett 1975; Luce 1959). Ties are left out.
    PlackettLuce,
    /// PPO (Schulman et al. 2017) with a value head and generalised advantage estimation.
    Ppo,
    /// GRPO (Shao et al. 2024): PPO whose advantage is how an answer stands among others to its prompt.
    Grpo,
    /// RLOO (Ahmadian et al. 2024): PPO whose advantage is an answer's lead over the others to its prompt.
    Rloo,
}

impl Loss {
    /// Every loss, the default of each kind first.
    pub const ALL: [Self; 17] = [
        Self::CrossEntropy,
        Self::Sigmoid,
        Self::SigmoidNorm,
        Self::Hinge,
        Self::Ipo,
        Self::Robust,
        Self::Simpo,
        Self::Orpo,
        Self::Kto,
        Self::ApoZeroUnpaired,
        Self::BradleyTerry,
        Self::RaoKupper,
        Self::Davidson,
        Self::PlackettLuce,
        Self::Ppo,
        Self::Grpo,
        Self::Rloo,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Sigmoid => "sigmoid",
            Self::SigmoidNorm => "sigmoid_norm",
            Self::Hinge => "hinge",
            Self::Ipo => "ipo",
            Self::Robust => "robust",
            Self::Simpo => "simpo",
            Self::Orpo => "orpo",
            Self::Kto => "kto",
            Self::ApoZeroUnpaired => "apo_zero_unpaired",
            Self::BradleyTerry => "bradley_terry",
            Self::RaoKupper => "rao_kupper",
            Self::Davidson => "davidson",
            Self::PlackettLuce => "plackett_luce",
            Self::Ppo => "ppo",
            Self::Grpo => "grpo",
            Self::Rloo => "rloo",
        }
    }

    /// The kind of round that trains with it.
    pub fn kind(self) -> RoundKind {
        match self {
            Self::CrossEntropy => RoundKind::Sft,
            Self::Sigmoid
            | Self::SigmoidNorm
            | Self::Hinge
            | Self::Ipo
            | Self::Robust
            | Self::Simpo
            | Self::Orpo
            | Self::Kto
            | Self::ApoZeroUnpaired => RoundKind::Dpo,
            Self::BradleyTerry | Self::RaoKupper | Self::Davidson | Self::PlackettLuce => RoundKind::Reward,
            Self::Ppo | Self::Grpo | Self::Rloo => RoundKind::Ppo,
        }
    }

    pub fn default_of(kind: RoundKind) -> Self {
        match kind {
            RoundKind::Sft => Self::CrossEntropy,
            RoundKind::Reward => Self::BradleyTerry,
            RoundKind::Dpo => Self::Sigmoid,
            RoundKind::Ppo => Self::Ppo,
        }
    }

    /// Whether it measures given answers from a reference. (A PPO round measures its own answers.)
    pub fn needs_reference(self) -> bool {
        self.kind() == RoundKind::Dpo && !matches!(self, Self::Simpo | Self::Orpo)
    }

    /// Whether it learns from answers that are judged one by one, and takes a comparison as two such judgements.
    pub fn is_unpaired(self) -> bool {
        matches!(self, Self::Kto | Self::ApoZeroUnpaired)
    }

    /// Whether ties are trained as ties. All others leave them out.
    pub fn trains_ties(self) -> bool {
        matches!(self, Self::RaoKupper | Self::Davidson)
    }

    /// Whether it reads a setting; one that it does not read must keep its default.
    pub fn uses(self, setting: Setting) -> bool {
        let reward = self.kind() == RoundKind::Reward;
        match setting {
            Setting::Beta => self.kind() == RoundKind::Dpo,
            Setting::LabelSmoothing => matches!(
                self,
                Self::Sigmoid | Self::SigmoidNorm | Self::Robust | Self::Simpo | Self::BradleyTerry
            ),
            Setting::Gamma => self == Self::Simpo,
            Setting::NllWeight => self.kind() == RoundKind::Dpo && self != Self::Orpo && !self.is_unpaired(),
            Setting::SideWeights => self.is_unpaired(),
            Setting::Margin => reward && self != Self::PlackettLuce,
            Setting::CenterRewards => reward,
            Setting::TieShare => self.trains_ties(),
            // A Plackett-Luce element is a ranking by itself.
            Setting::BatchBy => reward && self != Self::PlackettLuce,
            Setting::RowWeights => reward || self.kind() == RoundKind::Dpo,
        }
    }
}

/// A setting that only some losses read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Beta,
    LabelSmoothing,
    Gamma,
    NllWeight,
    /// `desirable_weight` and `undesirable_weight`.
    SideWeights,
    /// `margin` and `margin_scale`.
    Margin,
    CenterRewards,
    TieShare,
    BatchBy,
    RowWeights,
}

/// How much better a reward round asks the chosen answer to score, row by row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Margin {
    /// No margin.
    #[default]
    None,
    /// The rows' column `margin`, as in TRL.
    Column,
    /// The annotator's strength less one: 0 for "slightly better" up to 3 for "far better".
    Strength,
}

/// How much a row of a reward or DPO round counts in the loss, relative to the mean of the rows that are trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RowWeights {
    /// All alike.
    #[default]
    None,
    /// The rows' column `weight`: numbers from 0.
    Column,
    /// The same column, which the server fills when it freezes the rows: 2η − 1 of the annotator's reliability η, and 1
    /// for a reviewer's decision. Offline it is read like `column`.
    Reliability,
}

/// What a reward round's batch is counted in, and weighs the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BatchBy {
    /// Pairs: a ranking of four weighs as much as six picks.
    #[default]
    Pair,
    /// Whole rankings, each the mean over its pairs (Ouyang et al. 2022).
    Ranking,
}

/// Which weights become the adapter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those after the last step.
    #[default]
    Last,
    /// Those of the evaluation with the lowest held-out loss.
    Best,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_is_listed_under_its_json_name_and_each_kind_has_its_default() {
        for loss in Loss::ALL {
            assert_eq!(serde_json::to_value(loss).unwrap(), loss.as_str());
        }
        for kind in RoundKind::ALL {
            assert_eq!(Loss::default_of(kind).kind(), kind);
            let first = Loss::ALL.into_iter().find(|loss| loss.kind() == kind);
            assert_eq!(first, Some(Loss::default_of(kind)));
        }
    }
}
