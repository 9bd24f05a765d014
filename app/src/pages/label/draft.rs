//! The unfinished answer to a task, kept in the browser's storage until the answer is given.

use crate::{
    components::label::{best_worst::BestWorst, ranking::Ranking},
    outbox::stored::{entries, storage},
};
use laurel_protocol::{Answer, Assignment, AssignmentId, Choice, Extras, Judgement};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "laurel-draft-";
/// Drafts of tasks that never came back are thrown away after a week.
const KEPT_MS: f64 = 7.0 * 24.0 * 3600.0 * 1000.0;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    pub ranking: Ranking,
    /// A choice that waits for its strength, or the one that stands.
    #[serde(default)]
    pub choice: Option<Choice>,
    #[serde(default)]
    pub strength: Option<u8>,
    #[serde(default)]
    pub best_worst: BestWorst,
    #[serde(default)]
    pub extras: Extras,
    #[serde(default)]
    pub comment: String,
    #[serde(default)]
    pub seconds: f64,
    #[serde(default)]
    pub at: f64,
}

impl Draft {
    /// What the boards start from: the draft of an earlier visit, else the answer that stands, else nothing.
    pub fn open(assignment: &Assignment) -> Self {
        let n = assignment.completions.len();
        let stored = storage()
            .and_then(|storage| {
                storage
                    .get_item(&key(assignment.id, assignment.revision))
                    .ok()
                    .flatten()
            })
            .and_then(|text| serde_json::from_str::<Self>(&text).ok())
            .map(|mut draft| {
                if !draft.ranking.fits(n) {
                    draft.ranking = Ranking::new(n);
                }
                draft
            });
        stored.unwrap_or_else(|| Self::from_answer(assignment.previous.as_ref(), n))
    }

    pub fn from_answer(answer: Option<&Answer>, n: usize) -> Self {
        let mut draft = Self {
            ranking: Ranking::new(n),
            choice: None,
            strength: None,
            best_worst: BestWorst::default(),
            extras: Extras::default(),
            comment: String::new(),
            seconds: 0.0,
            at: 0.0,
        };
        let Some(answer) = answer else { return draft };
        draft.comment.clone_from(&answer.comment);
        draft.extras.clone_from(&answer.extras);
        draft.seconds = answer.seconds;
        match &answer.judgement {
            Judgement::Pick { choice, strength } => {
                draft.choice = Some(*choice);
                draft.strength = *strength;
            }
            Judgement::Rank { ranks } => {
                let ranking = Ranking::from_answer(ranks);
                if ranking.fits(n) {
                    draft.ranking = ranking;
                }
            }
            Judgement::BestWorst { best, worst } => {
                draft.best_worst = BestWorst {
                    best: Some(*best),
                    worst: Some(*worst),
                };
            }
            Judgement::Rate => {}
        }
        draft
    }

    pub fn store(&self, assignment: AssignmentId, revision: u32) {
        if let (Some(storage), Ok(text)) = (storage(), serde_json::to_string(self)) {
            // A draft is a comfort: where storage is full the answer itself still goes out.
            let _ = storage.set_item(&key(assignment, revision), &text);
        }
    }
}

pub fn erase(assignment: &Assignment) {
    if let Some(storage) = storage() {
        let _ = storage.remove_item(&key(assignment.id, assignment.revision));
    }
}

/// Throws away what nobody came back for.
pub fn sweep(now: f64) {
    let Some(storage) = storage() else { return };
    for (key, text) in entries(PREFIX) {
        let is_fresh = serde_json::from_str::<Draft>(&text).is_ok_and(|draft| now - draft.at < KEPT_MS);
        if !is_fresh {
            let _ = storage.remove_item(&key);
        }
    }
}

fn key(assignment: AssignmentId, revision: u32) -> String {
    format!("{PREFIX}{assignment}-{revision}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(judgement: Judgement) -> Answer {
        Answer {
            judgement,
            comment: "why".into(),
            extras: Default::default(),
            seconds: 4.0,
            revision: 0,
        }
    }

    #[test]
    fn an_undone_ranking_comes_back_filled_in() {
        let ranked = answer(Judgement::Rank { ranks: vec![2, 1, 1] });
        let draft = Draft::from_answer(Some(&ranked), 3);
        assert_eq!(draft.ranking.answer(), Some(vec![2, 1, 1]));
        assert_eq!(draft.comment, "why");
    }

    #[test]
    fn an_undone_choice_comes_back_with_its_strength() {
        let picked = answer(Judgement::Pick {
            choice: Choice::Second,
            strength: Some(3),
        });
        let draft = Draft::from_answer(Some(&picked), 2);
        assert_eq!((draft.choice, draft.strength), (Some(Choice::Second), Some(3)));
    }
}
