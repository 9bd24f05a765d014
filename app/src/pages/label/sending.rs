//! Brings verdicts to the server, one after the other in the order in which they were given, until each is
//! acknowledged or refused.

use super::{
    desk::{Desk, Link, N_HELD},
    outbox::{self, Fate, Unsent, Verdict},
};
use crate::{api, error::AppError};
use laurel_protocol::Held;
use leptos::{prelude::*, task::spawn_local};
use std::time::Duration;

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
        let (n_waiting, n_refused) = self.outbox.with(|outbox| {
            let n_refused = outbox.iter().filter(|unsent| unsent.refused.is_some()).count();
            (outbox.len() - n_refused, n_refused)
        });
        match self.link.get() {
            Link::Offline if n_waiting > 0 => SaveState::Offline,
            Link::Failing(_) if n_waiting > 0 => SaveState::Error,
            _ if n_refused > 0 => SaveState::Error,
            _ if n_waiting > 0 => SaveState::Saving,
            _ => SaveState::Saved,
        }
    }

    /// Whether leaving the page now would lose something.
    pub fn would_lose(self) -> bool {
        self.work.with_value(|work| !work.is_all_stored)
            && self
                .outbox
                .with_untracked(|outbox| outbox.iter().any(|unsent| unsent.refused.is_none()))
    }

    /// Sends the next verdict, unless one is on its way.
    pub fn send(self) {
        if self.is_gone() || self.work.with_value(|work| work.is_sending) {
            return;
        }
        let next = self
            .outbox
            .with_untracked(|outbox| outbox.iter().find(|unsent| unsent.refused.is_none()).cloned());
        let Some(next) = next else { return self.all_sent() };
        self.work.update_value(|work| work.is_sending = true);
        spawn_local(async move {
            let answer = match &next.verdict {
                Verdict::Answer(answer) => api::label::submit(next.assignment, answer).await,
                Verdict::Skip(skip) => api::label::skip(next.assignment, skip).await,
            };
            // Before anything else: the person may have left the page meanwhile.
            if answer.is_ok() {
                outbox::erase(self.user, &next);
            }
            if self.is_gone() {
                return;
            }
            self.work.update_value(|work| work.is_sending = false);
            match answer {
                Ok(held) => self.acknowledged(&next, held),
                Err(error) => self.undelivered(next, error),
            }
        });
    }

    fn acknowledged(self, sent: &Unsent, held: Held) {
        self.work.update_value(|work| work.n_tries = 0);
        self.outbox
            .update(|outbox| outbox.retain(|unsent| !unsent.is_for(sent.assignment, sent.revision)));
        self.link.set(Link::Fine);
        self.take(held);
        self.said.set(match self.on_screen() {
            Some(_) => format!("Saved. Task {}.", untrack(|| self.task_number())),
            None => "Saved.".to_owned(),
        });
        self.send();
        // The server tops up to what was held before; after a long break that may have been nothing.
        let n_in_hand = self.hand.with_untracked(Vec::len) as u64;
        let n_left = self
            .progress
            .with_untracked(|progress| progress.map_or(0, |progress| progress.n_left_for_me));
        if n_in_hand < u64::from(N_HELD)
            && n_left > n_in_hand
            && !self.work.with_value(|work| work.is_sending)
        {
            self.hold();
        }
    }

    fn undelivered(self, unsent: Unsent, error: AppError) {
        match outbox::fate(error.code(), error.is_passing()) {
            Fate::Refused => self.refused(unsent, &error),
            Fate::Wait => self.link.set(Link::Failing(error.sentence())),
            Fate::Retry => {
                self.link.set(match error {
                    AppError::Offline => Link::Offline,
                    error => Link::Failing(error.sentence()),
                });
                let n_tries = self.work.with_value(|work| work.n_tries);
                self.work.update_value(|work| work.n_tries += 1);
                set_timeout(
                    move || self.send(),
                    Duration::from_millis(outbox::delay_ms(n_tries)),
                );
            }
        }
    }

    /// Keeps the verdict for the person to copy, and goes on with the others.
    fn refused(self, unsent: Unsent, error: &AppError) {
        let kept = Unsent {
            refused: Some(error.sentence()),
            ..unsent.clone()
        };
        outbox::store(self.user, &kept);
        self.outbox.update(|outbox| {
            for other in outbox.iter_mut().filter(|other| **other == unsent) {
                *other = kept.clone();
            }
        });
        // If it is still this person's task, it comes back and can be answered anew.
        self.work.update_value(|work| {
            work.done
                .retain(|done| *done != (unsent.assignment, unsent.revision))
        });
        self.hold();
        self.send();
    }

    fn all_sent(self) {
        let wants_undo = self.work.with_value(|work| work.wants_undo);
        self.work.update_value(|work| {
            work.is_all_stored = true;
            work.wants_undo = false;
        });
        if wants_undo {
            self.undo();
        }
    }
}
