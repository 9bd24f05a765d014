//! The live arena: a person types a prompt, two contenders whose names are hidden answer at once, and the person votes.
//! A vote is an annotation like any other; the names are told after it, and the conversation may go on from what was chosen.

use crate::{
    chat::NewChatTurn,
    completion::Sampling,
    error::{Check, Validation},
    ids::{AdapterId, BattleId, ProjectId},
    label::{Choice, ShownCompletion, ShownMessage, SkipReason},
    project::LabelType,
    quality::{Estimate, Interval},
};
use serde::{Deserialize, Serialize};

/// What a project allows in its arena; at first nothing. It may change at any time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Arena {
    pub on: bool,
    /// Turns of one conversation at most, 1 to 10.
    pub max_turns: u8,
    /// Whether the base model without an adapter is a contender.
    pub base_model: bool,
    /// Whether the project's current adapter is one as well, once there is one.
    pub current: bool,
    /// The other contenders: policies of the project. Only admins are told.
    pub adapters: Vec<AdapterId>,
    /// How answers are drawn. The seed is drawn anew for each battle.
    pub sampling: Sampling,
}

impl Default for Arena {
    fn default() -> Self {
        Self {
            on: false,
            max_turns: 3,
            base_model: true,
            current: true,
            adapters: Vec::new(),
            sampling: Sampling {
                max_tokens: 256,
                ..Sampling::default()
            },
        }
    }
}

impl Arena {
    /// Contenders at most.
    pub const MAX_CONTENDERS: usize = 20;

    /// `None` is the base model.
    pub fn contenders(&self) -> Vec<Option<AdapterId>> {
        let base = self.base_model.then_some(None);
        base.into_iter()
            .chain(self.adapters.iter().copied().map(Some))
            .collect()
    }

    /// The same with the project's current adapter, where that is one.
    pub fn contenders_with(&self, current: Option<AdapterId>) -> Vec<Option<AdapterId>> {
        let mut contenders = self.contenders();
        if self.current && current.is_some() && !contenders.contains(&current) {
            contenders.push(current);
        }
        contenders
    }

    pub(crate) fn validate(&self, label_type: LabelType) -> Validation {
        let mut errors = self.sampling.validate().err().unwrap_or_default();
        for error in &mut errors {
            error.field = format!("arena.{}", error.field);
        }
        let mut adapters = self.adapters.clone();
        adapters.sort_unstable();
        adapters.dedup();
        let n = self.contenders().len();
        let own = Check::default()
            .ensure(
                (1..=10).contains(&self.max_turns),
                "arena.max_turns",
                "must be 1 to 10",
            )
            .ensure(
                self.sampling.max_tokens <= NewChatTurn::MAX_TOKENS,
                "arena.max_tokens",
                "must be at most 1024 in a chat",
            )
            .ensure(
                adapters.len() == self.adapters.len(),
                "arena.adapters",
                "must name each adapter once",
            )
            .ensure(
                n <= Self::MAX_CONTENDERS,
                "arena.adapters",
                "must be at most 20 contenders, the base model included",
            )
            .ensure(
                !self.on || n >= 2,
                "arena.adapters",
                "must be at least two contenders, the base model included",
            )
            .ensure(
                !self.on || label_type == LabelType::Pick,
                "arena.on",
                "works with the label type pick only",
            )
            .finish();
        errors.extend(own.err().unwrap_or_default());
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

/// `GET /projects/{id}/arena`: where this person stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArenaState {
    /// Whether a new battle may begin.
    pub on: bool,
    /// The latest battle of this person, if it was not closed: one that waits for answers, for the vote, or is decided.
    pub battle: Option<Battle>,
}

/// `POST /projects/{id}/arena`: what the person says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewBattle {
    pub text: String,
    /// The decided battle that the conversation goes on from; none begins one.
    #[serde(default)]
    pub after: Option<BattleId>,
}

impl NewBattle {
    /// Longest message of a person.
    pub const MAX_TEXT_BYTES: usize = 16 * 1024;

    pub fn validate(&self) -> Validation {
        Check::default()
            .ensure(!self.text.trim().is_empty(), "text", "is empty")
            .ensure(
                self.text.len() <= Self::MAX_TEXT_BYTES,
                "text",
                "is longer than 16 KiB",
            )
            .finish()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum BattleStatus {
    /// Not both answers are complete.
    Asked,
    /// Both are, and kept: the vote is awaited.
    Answered,
    Judged,
    /// Stopped, or skipped with a reason: nothing that was said is kept.
    Closed,
}

/// Two hidden contenders and what they answer, as the person sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Battle {
    pub id: BattleId,
    pub project_id: ProjectId,
    pub status: BattleStatus,
    /// Of the conversation, from 1.
    pub turn: u8,
    pub max_turns: u8,
    pub ask_strength: bool,
    /// The conversation so far; the last word is the person's.
    pub prompt: Vec<ShownMessage>,
    /// A, then B; as far as they are.
    pub answers: Vec<ShownCompletion>,
    /// Whether a trainer is asked: follow the events. An asked battle of which none is can be asked again.
    pub is_at_work: bool,
    /// While no trainer has taken it.
    pub waiting: Option<Waiting>,
    /// Why the last try failed: one sentence.
    pub error: Option<String>,
    /// Both answers are the same: a tie, or skip it.
    pub same: bool,
    /// After the vote.
    pub reveal: Option<Reveal>,
}

/// What a battle waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// Turns of chats and battles that are to be answered before it.
    pub n_ahead: u32,
    /// The trainers are at other work, and answer at their next chance.
    pub is_busy: bool,
    /// Whether a trainer of this base model has been heard of lately.
    pub has_trainer: bool,
    pub base_model: String,
}

/// What `GET /battles/{id}/events` streams (server-sent events named `update`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BattleEvent {
    pub battle: Battle,
}

/// `POST /battles/{id}/vote`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BattleVote {
    pub choice: Choice,
    /// 1 slightly to 4 far better: goes with a strict choice, where the project asks for it.
    #[serde(default)]
    pub strength: Option<u8>,
    #[serde(default)]
    pub comment: String,
    /// Active seconds since both answers were complete.
    pub seconds: f64,
    /// Drawn by the sender, 8 to 64 characters. The same vote sent again counts once.
    pub key: String,
}

impl BattleVote {
    pub fn validate(&self, ask_strength: bool, same: bool) -> Validation {
        let is_strict = matches!(self.choice, Choice::First | Choice::Second);
        Check::default()
            .ensure(self.comment.len() <= 8 * 1024, "comment", "is longer than 8 KiB")
            .ensure(
                self.seconds.is_finite() && self.seconds >= 0.0,
                "seconds",
                "must be 0 or more",
            )
            .ensure(
                (8..=64).contains(&self.key.len()),
                "key",
                "must have 8 to 64 characters",
            )
            .ensure(
                self.strength.is_none_or(|strength| (1..=4).contains(&strength)),
                "strength",
                "must be 1 to 4",
            )
            .ensure(
                self.strength.is_none() || (is_strict && ask_strength),
                "strength",
                "goes only with a strict choice, where the project asks for it",
            )
            .ensure(
                !same || self.choice == Choice::Tie,
                "choice",
                "must be a tie: both answers are the same",
            )
            .finish()
    }
}

/// `POST /battles/{id}/close`: stops the answers, or skips the vote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CloseBattle {
    /// Wanted once both answers are there.
    #[serde(default)]
    pub reason: Option<SkipReason>,
}

/// What was hidden.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Reveal {
    /// Who answered as A, and who as B.
    pub contenders: Vec<Contender>,
    pub choice: Choice,
    /// 0 or 1: the answer that the conversation goes on from, after a tie a drawn one. Null where none was good, or the
    /// answer is empty.
    pub goes_on_from: Option<u8>,
    /// Whether another message may follow: the next turn, or after "both bad" other words for this one.
    pub may_go_on: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Contender {
    /// Null is the base model.
    pub adapter: Option<AdapterId>,
    pub name: String,
}

/// `GET /projects/{id}/arena/results`: who wins how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArenaResults {
    /// Of battles.
    pub live: Standings,
    /// Of tasks from completion jobs.
    pub offline: Standings,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Standings {
    /// Comparisons of two contenders, ties included.
    pub n_comparisons: u64,
    /// Picks that called both bad: they compare nothing.
    pub n_both_bad: u64,
    /// Highest score first.
    pub contenders: Vec<Standing>,
    pub pairs: Vec<PairStanding>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Standing {
    pub contender: Contender,
    pub record: Record,
    /// Bradley-Terry, in points: 1000 is the mean of the contenders, 400 points more are odds of ten to one.
    pub score: Estimate,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PairStanding {
    pub first: Contender,
    pub second: Contender,
    /// As the first sees it.
    pub record: Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Record {
    pub wins: u64,
    pub ties: u64,
    pub losses: u64,
    /// Of all, a tie as half a win …
    pub win_rate: f64,
    /// … with Wilson's interval.
    pub interval: Interval,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arena: &Arena) -> Vec<String> {
        let errors = arena.validate(LabelType::Pick).err().unwrap_or_default();
        errors.into_iter().map(|error| error.field).collect()
    }

    #[test]
    fn the_current_adapter_is_a_contender_once_unless_it_is_left_out() {
        let arena = open(&[3]);
        let current = |id| arena.contenders_with(Some(AdapterId(id)));
        assert_eq!(current(4), [None, Some(AdapterId(3)), Some(AdapterId(4))]);
        assert_eq!(current(3), arena.contenders_with(None));
        let without = Arena {
            current: false,
            ..arena
        };
        assert_eq!(without.contenders_with(Some(AdapterId(4))).len(), 2);
    }

    fn open(adapters: &[i64]) -> Arena {
        Arena {
            on: true,
            adapters: adapters.iter().copied().map(AdapterId).collect(),
            ..Arena::default()
        }
    }

    #[test]
    fn an_open_arena_has_two_contenders_at_least_and_none_twice() {
        assert_eq!(refused(&Arena::default()), [""; 0]);
        assert_eq!(refused(&open(&[4])), [""; 0]);
        assert_eq!(refused(&open(&[])), ["arena.adapters"]);
        assert_eq!(refused(&open(&[4, 4])), ["arena.adapters"]);
        let without_base = Arena {
            base_model: false,
            ..open(&[4])
        };
        assert_eq!(refused(&without_base), ["arena.adapters"]);
        let many: Vec<i64> = (0..20).collect();
        assert_eq!(refused(&open(&many)), ["arena.adapters"]);
        assert!(open(&[4]).validate(LabelType::Rank).is_err());
    }

    #[test]
    fn its_numbers_have_bounds_that_are_named() {
        let mut arena = open(&[4]);
        arena.max_turns = 11;
        arena.sampling.max_tokens = 1025;
        arena.sampling.temperature = 3.0;
        assert_eq!(
            refused(&arena),
            ["arena.temperature", "arena.max_turns", "arena.max_tokens"]
        );
    }

    #[test]
    fn the_same_answers_are_a_tie_and_strength_goes_with_a_winner() {
        let vote = |choice, strength| BattleVote {
            choice,
            strength,
            comment: String::new(),
            seconds: 1.0,
            key: "12345678".into(),
        };
        assert!(vote(Choice::First, Some(2)).validate(true, false).is_ok());
        assert!(vote(Choice::First, Some(2)).validate(false, false).is_err());
        assert!(vote(Choice::Tie, Some(2)).validate(true, false).is_err());
        assert!(vote(Choice::Tie, None).validate(true, true).is_ok());
        assert!(vote(Choice::First, None).validate(true, true).is_err());
    }
}
