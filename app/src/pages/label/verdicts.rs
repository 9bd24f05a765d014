//! From a person's verdict to the server: it leaves the screen at once, goes out by the app's outbox, and what
//! became of it comes back here.

use super::{
    desk::{Desk, N_HELD, mark, now},
    draft,
};
use crate::{
    outbox::{Link, News, Unsent, Verdict},
    words::{fill, t},
};
use leptos::prelude::*;

/// What the page says about the person's work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SaveState {
    Saved,
    Saving,
    Offline,
    Error,
}

impl SaveState {
    pub fn name(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Saving => "saving",
            Self::Offline => "offline",
            Self::Error => "error",
        }
    }
}

impl Desk {
    pub fn save_state(self) -> SaveState {
        let all = self.outbox.of(self.project);
        let n_waiting = all.iter().filter(|unsent| unsent.is_waiting()).count();
        match self.outbox.link() {
            Link::Offline if n_waiting > 0 => SaveState::Offline,
            Link::Failing(_) if n_waiting > 0 => SaveState::Error,
            _ if all.len() > n_waiting => SaveState::Error,
            _ if n_waiting > 0 => SaveState::Saving,
            _ => SaveState::Saved,
        }
    }

    /// Gives the verdict on the task on screen: the next one is there at once, the server hears of it after.
    pub fn decide(self, verdict: Verdict) {
        let Some(assignment) = self.on_screen() else {
            return;
        };
        mark("label:press");
        let unsent = Unsent {
            project: self.project,
            assignment: assignment.id,
            revision: assignment.revision,
            verdict,
            at: now(),
            was_tried: false,
            refused: None,
        };
        draft::erase(&assignment);
        self.work.update_value(|work| {
            // Whoever goes on does not want to go back any more.
            work.wants_undo = false;
            work.done.push((assignment.id, assignment.revision));
            work.recent.push(assignment);
            if work.recent.len() > 8 {
                work.recent.remove(0);
            }
        });
        self.hand.update(|hand| drop(hand.remove(0)));
        self.can_undo.set(true);
        self.outbox.push(unsent);
    }

    pub(super) fn has_unsent(self) -> bool {
        !untrack(|| self.outbox.waiting_in(self.project)).is_empty()
    }

    /// What became of a verdict that was given here.
    pub(super) fn hear(self, news: News) {
        if self.is_gone() {
            return;
        }
        let is_elsewhere = matches!(news, News::Gone);
        match news {
            News::Stored(held) => {
                self.take(held);
                self.said.set(match self.on_screen() {
                    Some(_) => fill("Saved. Task {0}.", &[&untrack(|| self.task_number())]),
                    None => t("Saved.").to_owned(),
                });
            }
            News::Refused(unsent) => {
                // What they said is not lost: it stands there again, as it was.
                if let Verdict::Answer(answer) = &unsent.verdict {
                    let mut draft = draft::Draft::from_answer(Some(answer), answer.judgement.n_ranked());
                    draft.at = now();
                    draft.store(unsent.assignment, unsent.revision);
                }
                // If it is still this person's task, it comes back and can be answered anew.
                let refused = (unsent.assignment, unsent.revision);
                self.work.update_value(|work| {
                    work.done.retain(|done| *done != refused);
                    work.wants_undo = false;
                });
                self.hold();
            }
            News::Gone => {}
        }
        if self.has_unsent() {
            return;
        }
        if self.work.with_value(|work| work.wants_undo) {
            self.work.update_value(|work| work.wants_undo = false);
            self.undo();
            return;
        }
        // The server tops up to what was held before; after a long break that may have been nothing. What another
        // tab sent, it was told of alone.
        let n_in_hand = self.hand.with_untracked(Vec::len) as u64;
        let n_left = self
            .progress
            .with_untracked(|progress| progress.map_or(0, |progress| progress.n_left_for_me));
        if is_elsewhere || n_in_hand < u64::from(N_HELD) && n_left > n_in_hand {
            self.hold();
        }
    }
}
