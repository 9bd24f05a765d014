//! The vote: chosen, perhaps with its strength, and sent until the server has answered.

use super::ring::{Ring, now};
use crate::{
    api,
    error::{AppError, said},
    words::t,
};
use laurel_protocol::{BattleId, BattleStatus, BattleVote, Choice, ErrorCode};
use leptos::{prelude::*, task::spawn_local};
use std::time::Duration;

/// A vote that did not reach the server goes out again after this.
const SEND_AGAIN: Duration = Duration::from_secs(3);

impl Ring {
    /// Takes a choice; where its strength is asked for, that comes next.
    pub fn choose(self, choice: Choice) {
        let asks = self.battle.with_untracked(|battle| {
            battle
                .as_ref()
                .filter(|battle| battle.status == BattleStatus::Answered)
                .map(|battle| (battle.ask_strength, battle.same))
        });
        let Some((asks_strength, same)) = asks.filter(|_| !self.sending.get_untracked()) else {
            return;
        };
        if same && choice != Choice::Tie {
            let words = t("Both answers are the same: call it a tie, or skip it.");
            self.said.set(words.to_owned());
            return self.toasts.bad(words);
        }
        self.choice.set(Some(choice));
        match asks_strength && matches!(choice, Choice::First | Choice::Second) {
            true => self.waits.set(true),
            false => self.vote(choice, None),
        }
    }

    pub fn choose_strength(self, strength: u8) {
        if let Some(choice) = self.choice.get_untracked() {
            self.vote(choice, Some(strength));
        }
    }

    pub fn take_back(self) {
        if self.waits.get_untracked() {
            self.waits.set(false);
            self.choice.set(None);
        }
    }

    fn vote(self, choice: Choice, strength: Option<u8>) {
        let Some(id) = self.id().filter(|_| !self.sending.get_untracked()) else {
            return;
        };
        let vote = BattleVote {
            choice,
            strength,
            comment: self.comment.get_untracked().trim().to_owned(),
            seconds: self.clock.with_value(|clock| clock.seconds(now())),
            key: key(),
        };
        let asks = self
            .battle
            .with_untracked(|battle| battle.as_ref().map(|battle| (battle.ask_strength, battle.same)));
        let (asks_strength, same) = asks.unwrap_or_default();
        if let Err(reasons) = vote.validate(asks_strength, same) {
            return self.toasts.bad(said(&reasons));
        }
        self.action.set_error(None);
        self.sending.set(true);
        self.send_vote(id, vote);
    }

    /// Again and again until it is answered: the same key counts once.
    fn send_vote(self, id: BattleId, vote: BattleVote) {
        spawn_local(async move {
            let answer = api::arena::vote(id, &vote).await;
            if self.battle.is_disposed() {
                return;
            }
            match answer {
                Ok(battle) => {
                    self.rest();
                    self.take(battle);
                }
                Err(error) if error.is_passing() => {
                    self.is_offline.set(error == AppError::Offline);
                    set_timeout(
                        move || {
                            if !self.battle.is_disposed() {
                                self.send_vote(id, vote);
                            }
                        },
                        SEND_AGAIN,
                    );
                }
                Err(error) => {
                    self.rest();
                    let was_decided_elsewhere = error.code() == Some(ErrorCode::Conflict);
                    self.action.set_error(Some(error));
                    if was_decided_elsewhere {
                        self.look();
                    }
                }
            }
        });
    }

    fn rest(self) {
        self.sending.set(false);
        self.is_offline.set(false);
        self.waits.set(false);
    }
}

/// Names a vote: no two of a person's are the same.
fn key() -> String {
    let random = (js_sys::Math::random() * 1e15) as u64;
    format!("{:x}-{random:x}", now() as u64)
}
