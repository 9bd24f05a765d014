//! Undo: the last verdict comes back on screen, filled in. One that never left the browser needs no server; one
//! that was sent is undone at the server, once it is known to have arrived.

use super::{
    desk::{Desk, N_HELD, now},
    draft::Draft,
};
use crate::{api, outbox::Verdict, words::t};
use laurel_protocol::{Assignment, AssignmentId, Held};
use leptos::{prelude::*, task::spawn_local};
use std::sync::Arc;

impl Desk {
    /// Brings the last verdict back, to be changed.
    pub fn undo(self) {
        if self.take_back_unsent() {
            return;
        }
        if self.has_unsent() {
            // It is on its way: undo when it has arrived.
            self.work.update_value(|work| work.wants_undo = true);
            self.said.set(
                t("Your last answer is on its way. It comes back as soon as it has arrived.").to_owned(),
            );
            return;
        }
        if !self.can_undo.get_untracked() {
            return;
        }
        spawn_local(async move {
            let held = api::label::undo(self.project).await;
            if self.is_gone() {
                return;
            }
            match held {
                Ok(held) => self.go_back(held),
                Err(error) => self.said.set(error.sentence()),
            }
        });
    }

    /// Begins with an answer that was given before, and what is held behind it.
    pub(super) fn reopen(self, assignment: AssignmentId) {
        spawn_local(async move {
            // Holding ends a walk back, so it comes first; what it says comes again with the answer.
            let held = match api::label::hold(self.project, N_HELD).await {
                Ok(_) => api::label::reopen(assignment).await,
                Err(error) => Err(error),
            };
            if self.is_gone() {
                return;
            }
            match held {
                Ok(held) => self.go_back(held),
                Err(error) => {
                    self.toasts.bad(error.sentence());
                    self.hold();
                }
            }
        });
    }

    /// Puts the first of these on screen, whatever is there.
    fn go_back(self, held: Held) {
        if let Some(first) = held.assignments.first() {
            let id = first.id;
            self.work
                .update_value(|work| work.done.retain(|(done, _)| *done != id));
            self.hand.update(Vec::clear);
        }
        self.take(held);
        self.said.set(t("Back to your answer.").to_owned());
    }

    /// Undo without the server, of a verdict that was never sent.
    fn take_back_unsent(self) -> bool {
        let Some(unsent) = untrack(|| self.outbox.waiting_in(self.project)).pop() else {
            return false;
        };
        // The server may have one that was sent even if its answer was lost, and would refuse another.
        if self.outbox.was_tried(&unsent) {
            return false;
        }
        let same = |assignment: &&Arc<Assignment>| unsent.is_for(assignment.id, assignment.revision);
        let Some(assignment) = self
            .work
            .with_value(|work| work.recent.iter().rev().find(same).cloned())
        else {
            return false;
        };
        if let Verdict::Answer(answer) = &unsent.verdict {
            let mut draft = Draft::from_answer(Some(answer), assignment.completions.len());
            draft.at = now();
            draft.store(assignment.id, assignment.revision);
        }
        self.outbox.remove(&unsent);
        self.work.update_value(|work| {
            work.done.retain(|(done, _)| *done != assignment.id);
            work.recent.retain(|other| other.id != assignment.id);
        });
        self.hand.update(|hand| hand.insert(0, assignment));
        self.said.set(t("Back to your last answer.").to_owned());
        true
    }
}
