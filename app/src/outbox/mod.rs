//! Verdicts that the server has not acknowledged yet, of every project of the person who is signed in. Each is
//! written to the browser's storage before it is sent and erased when the server has it, so that neither a lost
//! connection nor a closed tab loses one.
//!
//! One for the whole app: `sending.rs` brings them to the server whatever page is open, from sign-in on. The
//! labelling page puts them in and hears what became of those of its project.

mod sending;
pub mod stored;

use crate::session::{Who, use_session};
use laurel_protocol::{Answer, AssignmentId, Held, ProjectId, Skip, UserId};
use leptos::{ev, leptos_dom::helpers::TimeoutHandle, prelude::*};
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use wasm_bindgen::JsCast;

/// What a person said about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Answer(Answer),
    Skip(Skip),
}

/// A verdict on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unsent {
    pub project: ProjectId,
    pub assignment: AssignmentId,
    pub revision: u32,
    pub verdict: Verdict,
    /// When it was given, in milliseconds: verdicts are sent in the order in which they were given.
    pub at: f64,
    /// It was sent at least once: the server may have it, even where its answer was lost.
    #[serde(default)]
    pub was_tried: bool,
    /// The server's sentence, if it will not take this verdict.
    #[serde(default)]
    pub refused: Option<String>,
}

impl Unsent {
    pub fn is_for(&self, assignment: AssignmentId, revision: u32) -> bool {
        self.assignment == assignment && self.revision == revision
    }

    /// Whether it is still to be sent.
    pub fn is_waiting(&self) -> bool {
        self.refused.is_none()
    }

    /// Whether it will be one more annotation of this person (and not a replaced one, or a skip).
    pub fn is_new_answer(&self) -> bool {
        self.is_waiting() && self.revision == 0 && matches!(self.verdict, Verdict::Answer(_))
    }

    /// For the clipboard, when the server refused it.
    pub fn as_text(&self) -> String {
        serde_json::to_string_pretty(&self.verdict).unwrap_or_default()
    }
}

/// How sending goes.
#[derive(Clone, PartialEq)]
pub enum Link {
    Fine,
    Offline,
    /// The server answers, but not with what we need.
    Failing(String),
}

/// What became of a verdict.
pub enum News {
    /// The server has it; with what the person holds now.
    Stored(Held),
    /// The server will never take it.
    Refused(Unsent),
    /// Another tab has seen to it.
    Gone,
}

type Listener = Rc<dyn Fn(News)>;

#[derive(Clone, Copy)]
pub struct Outbox {
    /// Oldest first; those that were refused stay until they are dismissed.
    all: RwSignal<Vec<Unsent>>,
    link: RwSignal<Link>,
    work: StoredValue<Work, LocalStorage>,
}

/// What the outbox keeps for itself.
struct Work {
    user: Option<UserId>,
    /// Nobody is signed in at the moment.
    is_paused: bool,
    is_sending: bool,
    n_tries: u32,
    /// The next try, while one is waited for.
    retry: Option<TimeoutHandle>,
    /// The project whose verdict could not be delivered last: those of others go first.
    stuck: Option<ProjectId>,
    /// Those that the browser's storage did not take.
    only_here: Vec<(AssignmentId, u32)>,
    n_listeners: u32,
    listener: Option<(u32, ProjectId, Listener)>,
}

/// Makes the outbox known to all pages, and lets it follow who is signed in. Called once, by the app.
pub fn provide() {
    let outbox = Outbox {
        all: RwSignal::new(Vec::new()),
        link: RwSignal::new(Link::Fine),
        work: StoredValue::new_local(Work {
            user: None,
            is_paused: true,
            is_sending: false,
            n_tries: 0,
            retry: None,
            stuck: None,
            only_here: Vec::new(),
            n_listeners: 0,
            listener: None,
        }),
    };
    provide_context(outbox);
    let session = use_session();
    Effect::new(move |_| match session.get() {
        Who::User(user) => outbox.start(user.id),
        Who::Nobody => outbox.work.update_value(|work| work.is_paused = true),
        Who::Unknown | Who::Failed(_) => {}
    });
    // These last as long as the app.
    window_event_listener(ev::online, move |_| outbox.wake());
    window_event_listener_untyped("visibilitychange", move |_| outbox.wake());
    window_event_listener_untyped("storage", move |event| {
        if let Some(event) = event.dyn_ref::<web_sys::StorageEvent>() {
            outbox.note_other_tab(event);
        }
    });
    window_event_listener_untyped("beforeunload", move |event| {
        if outbox.would_lose() {
            event.prevent_default();
        }
    });
}

pub fn use_outbox() -> Outbox {
    use_context::<Outbox>().expect("the app provides the outbox before any page")
}

impl Outbox {
    /// The verdicts of a project, oldest first, the refused ones included.
    pub fn of(self, project: ProjectId) -> Vec<Unsent> {
        self.all.with(|all| {
            let own = all.iter().filter(|unsent| unsent.project == project);
            own.cloned().collect()
        })
    }

    /// Those of a project that are still to be sent.
    pub fn waiting_in(self, project: ProjectId) -> Vec<Unsent> {
        let mut own = self.of(project);
        own.retain(Unsent::is_waiting);
        own
    }

    /// Whether anything of any project is still to be sent.
    pub fn is_waiting(self) -> bool {
        self.all.with(|all| all.iter().any(Unsent::is_waiting))
    }

    pub fn link(self) -> Link {
        self.link.get()
    }

    /// Takes over the verdicts of whoever signed in, those of earlier visits included, and sends them.
    pub fn start(self, user: UserId) {
        let is_new = self.work.with_value(|work| work.user != Some(user));
        self.work.update_value(|work| {
            work.user = Some(user);
            work.is_paused = false;
            if is_new {
                work.is_sending = false;
                work.only_here.clear();
            }
        });
        if is_new {
            self.all.set(Vec::new());
        }
        self.wake();
    }

    /// Looks into the storage again, and goes on with sending.
    pub fn wake(self) {
        let (user, is_paused) = self.work.with_value(|work| (work.user, work.is_paused));
        let Some(user) = user.filter(|_| !is_paused) else {
            return;
        };
        let mut fresh = stored::load(user);
        self.all.with_untracked(|all| {
            fresh.retain(|unsent| {
                let known = |other: &Unsent| other.is_for(unsent.assignment, unsent.revision);
                !all.iter().any(known)
            })
        });
        if !fresh.is_empty() {
            self.all.update(|all| {
                all.append(&mut fresh);
                all.sort_by(|a, b| a.at.total_cmp(&b.at));
            });
        }
        self.send();
    }

    /// Puts a verdict in and sends it.
    pub fn push(self, unsent: Unsent) {
        let user = self.work.with_value(|work| work.user);
        if !user.is_some_and(|user| stored::store(user, &unsent)) {
            let key = (unsent.assignment, unsent.revision);
            self.work.update_value(|work| work.only_here.push(key));
        }
        self.all.update(|all| {
            // A task that was refused and came back is answered anew under the same number.
            all.retain(|other| !other.is_for(unsent.assignment, unsent.revision));
            all.push(unsent);
        });
        self.send();
    }

    /// Lets go of a verdict for good.
    pub fn remove(self, unsent: &Unsent) {
        if let Some(user) = self.work.with_value(|work| work.user) {
            stored::erase(user, unsent);
        }
        self.forget(unsent.assignment, unsent.revision);
    }

    /// Whether a page, this one or another, has sent it already: then it can only be undone at the server.
    pub fn was_tried(self, unsent: &Unsent) -> bool {
        let user = self.work.with_value(|work| work.user);
        unsent.was_tried || user.is_some_and(|user| stored::was_tried(user, unsent))
    }

    /// Calls `listener` with what becomes of a project's verdicts, until the page that asks is gone.
    pub fn listen(self, project: ProjectId, listener: impl Fn(News) + 'static) {
        let number = self.work.with_value(|work| work.n_listeners) + 1;
        self.work.update_value(|work| {
            work.n_listeners = number;
            work.listener = Some((number, project, Rc::new(listener)));
        });
        on_cleanup(move || {
            // The next page may have come before this one went.
            self.work.update_value(|work| {
                work.listener = work.listener.take().filter(|(other, ..)| *other != number);
            });
        });
    }

    /// Whether closing the browser's tab now would lose something.
    fn would_lose(self) -> bool {
        let only_here = self.work.with_value(|work| work.only_here.clone());
        self.all.with_untracked(|all| {
            let mut waiting = all.iter().filter(|unsent| unsent.is_waiting());
            waiting.any(|unsent| only_here.contains(&(unsent.assignment, unsent.revision)))
        })
    }

    /// Another tab erases what the server has, and what its person took back.
    fn note_other_tab(self, event: &web_sys::StorageEvent) {
        let Some(user) = self.work.with_value(|work| work.user) else {
            return;
        };
        // No key at all: somebody cleared the whole storage, and what waits here is still to be sent.
        let (Some(key), None) = (event.key(), event.new_value()) else {
            return;
        };
        let gone = self.all.with_untracked(|all| {
            let is_it = |unsent: &&Unsent| stored::key(user, unsent.assignment, unsent.revision) == key;
            all.iter().find(is_it).cloned()
        });
        if let Some(gone) = gone {
            self.forget(gone.assignment, gone.revision);
            self.tell(gone.project, News::Gone);
        }
    }

    fn forget(self, assignment: AssignmentId, revision: u32) {
        self.work
            .update_value(|work| work.only_here.retain(|key| *key != (assignment, revision)));
        self.all
            .update(|all| all.retain(|unsent| !unsent.is_for(assignment, revision)));
    }

    fn tell(self, about: ProjectId, news: News) {
        let listener = self.work.with_value(|work| work.listener.clone());
        if let Some((_, project, listener)) = listener
            && project == about
        {
            listener(news);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::SkipReason;

    #[test]
    fn a_stored_verdict_reads_back_the_same() {
        let unsent = Unsent {
            project: ProjectId(1),
            assignment: AssignmentId(7),
            revision: 2,
            verdict: Verdict::Skip(Skip {
                reason: SkipReason::Broken,
                comment: "half a sentence".into(),
                revision: 2,
            }),
            at: 5.0,
            was_tried: true,
            refused: None,
        };
        let text = serde_json::to_string(&unsent).unwrap();
        assert_eq!(serde_json::from_str::<Unsent>(&text).unwrap(), unsent);
    }
}
