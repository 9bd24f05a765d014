//! Brings verdicts to the server, one after the other in the order in which they were given, until each is
//! acknowledged or refused.

use super::{Link, News, Outbox, Unsent, Verdict, stored};
use crate::{api, error::AppError};
use laurel_protocol::{ErrorCode, Held, Skip, UserId};
use leptos::{prelude::*, task::spawn_local};
use std::time::Duration;

/// What to do after a verdict could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Try again after a while.
    Retry,
    /// Wait until the person has signed in again.
    Wait,
    /// The server will never take it.
    Refused,
}

impl Outbox {
    /// Sends the next verdict, unless one is on its way.
    pub(super) fn send(self) {
        let Some((user, next)) = self.next() else { return };
        // Noted before it leaves: whether the server has it is unknown from here on.
        let next = Unsent {
            was_tried: true,
            ..next
        };
        self.work.update_value(|work| {
            work.is_sending = true;
            if let Some(retry) = work.retry.take() {
                retry.clear();
            }
        });
        self.all.update_untracked(|all| replace(all, &next));
        stored::store(user, &next);
        spawn_local(async move {
            let answer = deliver(&next).await;
            // Before anything else: someone else may have signed in meanwhile.
            if answer.is_ok() {
                stored::erase(user, &next);
            }
            if self.work.with_value(|work| work.user != Some(user)) {
                return;
            }
            self.work.update_value(|work| work.is_sending = false);
            match answer {
                Ok(held) => self.acknowledged(&next, held),
                Err(error) => self.undelivered(user, next, error),
            }
        });
    }

    /// The oldest that waits; those of a project whose last one failed come after all others.
    fn next(self) -> Option<(UserId, Unsent)> {
        let (user, stuck) = self.work.with_value(|work| {
            let may_send = !work.is_paused && !work.is_sending;
            (work.user.filter(|_| may_send), work.stuck)
        });
        let next = self.all.with_untracked(|all| {
            let waiting = all.iter().filter(|unsent| unsent.is_waiting());
            waiting
                .min_by_key(|unsent| Some(unsent.project) == stuck)
                .cloned()
        });
        user.zip(next)
    }

    fn acknowledged(self, sent: &Unsent, held: Held) {
        self.work.update_value(|work| work.n_tries = 0);
        self.forget(sent.assignment, sent.revision);
        self.link.set(Link::Fine);
        self.tell(sent.project, News::Stored(held));
        self.send();
    }

    fn undelivered(self, user: UserId, unsent: Unsent, error: AppError) {
        match fate(error.code(), error.is_passing()) {
            Fate::Refused => self.refused(user, unsent, &error),
            Fate::Wait => self.link.set(Link::Failing(error.sentence())),
            Fate::Retry => {
                self.link.set(match error {
                    AppError::Offline => Link::Offline,
                    error => Link::Failing(error.sentence()),
                });
                let n_tries = self.work.with_value(|work| work.n_tries);
                let delay = Duration::from_millis(delay_ms(n_tries));
                let retry = set_timeout_with_handle(move || self.send(), delay).ok();
                self.work.update_value(|work| {
                    work.n_tries += 1;
                    work.stuck = Some(unsent.project);
                    work.retry = retry;
                });
            }
        }
    }

    /// Keeps the verdict for the person to copy, and goes on with the others.
    fn refused(self, user: UserId, unsent: Unsent, error: &AppError) {
        let kept = Unsent {
            refused: Some(error.sentence()),
            ..unsent
        };
        let is_here = |all: &Vec<Unsent>| {
            let is_it = |other: &Unsent| other.is_for(kept.assignment, kept.revision);
            all.iter().any(is_it)
        };
        // Another tab may have seen to it meanwhile.
        if self.all.with_untracked(is_here) {
            stored::store(user, &kept);
            self.all.update(|all| replace(all, &kept));
            self.tell(kept.project, News::Refused(kept));
        }
        self.send();
    }
}

async fn deliver(unsent: &Unsent) -> Result<Held, AppError> {
    match &unsent.verdict {
        Verdict::Answer(answer) => api::label::submit(unsent.assignment, answer).await,
        Verdict::Skip(skip) => {
            let skip = Skip {
                revision: unsent.revision,
                ..skip.clone()
            };
            api::label::skip(unsent.assignment, &skip).await
        }
    }
}

fn replace(all: &mut [Unsent], by: &Unsent) {
    for unsent in all {
        if unsent.is_for(by.assignment, by.revision) {
            unsent.clone_from(by);
        }
    }
}

/// `code` is the server's code, if it answered with one; `is_passing` says that it may work later.
fn fate(code: Option<ErrorCode>, is_passing: bool) -> Fate {
    match code {
        Some(ErrorCode::NotSignedIn) => Fate::Wait,
        Some(_) if !is_passing => Fate::Refused,
        // An answer that cannot be read proves nothing: the verdict may be stored or not. Sending it again
        // is harmless.
        _ => Fate::Retry,
    }
}

/// 1, 2, 4 … 30 seconds.
fn delay_ms(n_tries: u32) -> u64 {
    (1000 << n_tries.min(5)).min(30_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_lease_or_a_bad_answer_is_refused_and_an_outage_is_not() {
        assert_eq!(fate(Some(ErrorCode::LeaseLost), false), Fate::Refused);
        assert_eq!(fate(Some(ErrorCode::Invalid), false), Fate::Refused);
        assert_eq!(fate(Some(ErrorCode::Unavailable), true), Fate::Retry);
        assert_eq!(fate(None, true), Fate::Retry);
        assert_eq!(fate(None, false), Fate::Retry);
        assert_eq!(fate(Some(ErrorCode::NotSignedIn), false), Fate::Wait);
    }

    #[test]
    fn retries_slow_down_to_half_a_minute() {
        let delays: Vec<_> = [0, 1, 2, 9].into_iter().map(delay_ms).collect();
        assert_eq!(delays, [1000, 2000, 4000, 30_000]);
    }
}
