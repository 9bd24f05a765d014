//! How much each annotator's comparisons count in a round that weighs its rows by reliability.

use super::{Db, Result, comparisons::ComparedRow, judgements, new_rounds};
use crate::quality;
use laurel_protocol::{Period, ProjectId, RoundSpec, RowWeights, UserId};
use std::collections::BTreeMap;

pub(super) struct Weights {
    of: BTreeMap<UserId, f64>,
    /// Of whom too little is known: the median of the others.
    unknown: f64,
}

impl Weights {
    /// What the comparison's line is to say; a reviewer's decision is taken to be right.
    pub fn of(&self, compared: &ComparedRow) -> f64 {
        match compared.decided {
            true => 1.0,
            false => self.of.get(&compared.annotator).copied().unwrap_or(self.unknown),
        }
    }

    /// 2η − 1 of each reliability η, to four digits, and 0 of those who say the opposite more often than not. That is the
    /// slope of the Crowd-BT likelihood log(η σ(m) + (1 − η) σ(−m)) at m = 0, as a share of the slope of log σ(m).
    fn from(reliabilities: &BTreeMap<UserId, f64>) -> Option<Self> {
        let weight = |eta: f64| ((2.0 * eta - 1.0).max(0.0) * 1e4).round() / 1e4;
        let of: BTreeMap<UserId, f64> = reliabilities
            .iter()
            .map(|(user, eta)| (*user, weight(*eta)))
            .collect();
        let mut sorted: Vec<f64> = of.values().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let unknown = *sorted.get(sorted.len() / 2)?;
        (sorted.last() > Some(&0.0)).then_some(Self { of, unknown })
    }
}

/// The weights of a project's annotators as it stands, where the spec asks for them.
pub(super) async fn weights(db: &Db, project: ProjectId, spec: &RoundSpec) -> Result<Option<Weights>> {
    match spec.hyper.row_weights {
        RowWeights::None => return Ok(None),
        RowWeights::Column => {
            let reason = "must be \"none\" or \"reliability\": a project's rows have no weights of their own";
            return Err(new_rounds::refused("hyper.row_weights", reason));
        }
        RowWeights::Reliability => {}
    }
    let judgements = judgements::standing(db, project, Period::default()).await?;
    // Many passes over all answers: not on the threads that answer everybody.
    let known = tokio::task::spawn_blocking(move || quality::reliabilities(&judgements));
    let known = known.await.map_err(std::io::Error::other)?;
    Weights::from(&known).map(Some).ok_or_else(|| {
        let reason = "works once somebody has given ten strict choices on pairs that others judged too, and agrees \
                      with them: raise the overlap, or weigh all alike";
        new_rounds::refused("hyper.row_weights", reason)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coin_counts_nothing_a_sure_hand_fully_and_a_stranger_as_the_median() {
        let known = [(1, 1.0), (2, 0.75), (3, 0.5), (4, 0.2), (5, 0.9)];
        let known = known.map(|(user, eta)| (UserId(user), eta)).into();
        let weights = Weights::from(&known).unwrap();
        assert_eq!(
            weights.of.values().copied().collect::<Vec<_>>(),
            [1.0, 0.5, 0.0, 0.0, 0.8]
        );
        assert_eq!(weights.unknown, 0.5);
    }

    #[test]
    fn nobody_known_or_nobody_reliable_gives_none() {
        assert!(Weights::from(&BTreeMap::new()).is_none());
        assert!(Weights::from(&[(UserId(1), 0.5)].into()).is_none());
    }
}
