//! Scripted annotators with a clear rule.

use laurel_protocol::{Answer, Assignment, Choice, Judgement, LabelType};

/// The answer of someone for whom the shorter completion wins, equal lengths tie.
pub fn shorter_wins(assignment: &Assignment) -> Answer {
    let lengths: Vec<usize> = assignment
        .completions
        .iter()
        .map(|c| c.text.chars().count())
        .collect();
    let judgement = match assignment.label_type {
        LabelType::Pick => Judgement::Pick {
            choice: match lengths[0].cmp(&lengths[1]) {
                std::cmp::Ordering::Less => Choice::First,
                std::cmp::Ordering::Greater => Choice::Second,
                std::cmp::Ordering::Equal => Choice::Tie,
            },
            strength: None,
        },
        LabelType::Rank => {
            let mut distinct = lengths.clone();
            distinct.sort_unstable();
            distinct.dedup();
            let rank = |length| 1 + distinct.partition_point(|shorter| shorter < length) as u8;
            Judgement::Rank {
                ranks: lengths.iter().map(rank).collect(),
            }
        }
        LabelType::BestWorst => {
            let by = |at: &usize| lengths[*at];
            let last = lengths.len() - 1;
            Judgement::BestWorst {
                best: (0..last).min_by_key(by).unwrap_or(0) as u8,
                worst: last as u8,
            }
        }
        LabelType::Rate => Judgement::Rate,
    };
    Answer {
        judgement,
        comment: String::new(),
        extras: Default::default(),
        seconds: 1.0,
        revision: assignment.revision,
    }
}
