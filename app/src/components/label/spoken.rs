//! Judgements in words.

use super::prompt::letter;
use crate::words::{fill, t};
use laurel_protocol::{Choice, Judgement};
use std::collections::BTreeMap;

/// A judgement in words, with the letters that the person saw.
pub fn spoken(judgement: &Judgement, ratings: &BTreeMap<String, Vec<u8>>) -> String {
    match judgement {
        Judgement::Pick { choice, strength } => {
            let said = match choice {
                Choice::First => t("A is better"),
                Choice::Second => t("B is better"),
                Choice::Tie => t("Tie"),
                Choice::BothBad => t("Both bad"),
            };
            match strength {
                Some(strength) => fill("{0}, {1} of 4", &[&said, strength]),
                None => said.to_owned(),
            }
        }
        Judgement::Rank { ranks } => {
            let mut order: Vec<usize> = (0..ranks.len()).collect();
            order.sort_by_key(|&at| ranks[at]);
            let mut said = String::new();
            let mut above = None;
            for at in order {
                said += match above {
                    None => "",
                    Some(rank) if rank == ranks[at] => " = ",
                    Some(_) => " > ",
                };
                said.push(letter(at));
                above = Some(ranks[at]);
            }
            said
        }
        Judgement::BestWorst { best, worst } => fill(
            "Best {0}, worst {1}",
            &[&letter((*best).into()), &letter((*worst).into())],
        ),
        Judgement::Rate => {
            let ratings = ratings.iter().map(|(name, ratings)| {
                let ratings: Vec<String> = ratings.iter().map(u8::to_string).collect();
                format!("{name} {}", ratings.join(" "))
            });
            ratings.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ranking_reads_from_the_best_to_the_worst() {
        let none = BTreeMap::new();
        let ranks = vec![2, 1, 2, 3];
        assert_eq!(spoken(&Judgement::Rank { ranks }, &none), "B > A = C > D");
        let pick = Judgement::Pick {
            choice: Choice::Second,
            strength: Some(3),
        };
        assert_eq!(spoken(&pick, &none), "B is better, 3 of 4");
    }
}
