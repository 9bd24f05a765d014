//! Undo: the last verdict comes back on screen, filled in. While it still waits in the browser no server is
//! needed; one that is on its way is undone when it has arrived.

use super::{
    desk::{Desk, now},
    draft::Draft,
    outbox::{self, Verdict},
};
use crate::api;
use laurel_protocol::Assignment;
use leptos::{prelude::*, task::spawn_local};
use std::sync::Arc;

impl Desk {
    /// Brings the last verdict back, to be changed.
    pub fn undo(self) {
        if self.take_back_unsent() {
            return;
        }
        if self
            .outbox
            .with_untracked(|outbox| outbox.iter().any(|unsent| unsent.refused.is_none()))
        {
            // It is on its way: undo when it has arrived.
            self.work.update_value(|work| work.wants_undo = true);
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
                Ok(held) => {
                    if let Some(first) = held.assignments.first() {
                        let id = first.id;
                        self.work
                            .update_value(|work| work.done.retain(|(done, _)| *done != id));
                        self.hand.update(Vec::clear);
                    }
                    self.take(held);
                    self.said.set("Back to your last answer.".to_owned());
                }
                Err(error) => self.said.set(error.sentence()),
            }
        });
    }

    /// Undo without the server, while the last verdict still waits in the browser.
    fn take_back_unsent(self) -> bool {
        let is_sending = self.work.with_value(|work| work.is_sending);
        let last = self.outbox.with_untracked(|outbox| {
            // Of those waiting, the first may be in flight; only the later ones can still be taken back.
            let n_in_flight = usize::from(is_sending);
            outbox
                .iter()
                .filter(|unsent| unsent.refused.is_none())
                .skip(n_in_flight)
                .last()
                .cloned()
        });
        let Some(unsent) = last else { return false };
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
            draft.store(&assignment);
        }
        outbox::erase(self.user, &unsent);
        self.outbox
            .update(|outbox| outbox.retain(|other| !other.is_for(unsent.assignment, unsent.revision)));
        self.work.update_value(|work| {
            work.done.retain(|(done, _)| *done != assignment.id);
            work.recent.retain(|other| other.id != assignment.id);
        });
        self.hand.update(|hand| hand.insert(0, assignment));
        self.said.set("Back to your last answer.".to_owned());
        true
    }
}
