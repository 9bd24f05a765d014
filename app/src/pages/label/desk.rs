//! What the labelling page works on: the tasks in hand, the verdicts on their way, and what a person can do.
//!
//! What becomes of a verdict stands in `verdicts.rs`; leases are renewed while the person is there.

use super::{clock::ActiveClock, draft, hand, keys};
use crate::{
    api,
    components::toast::{Toasts, use_toasts},
    error::AppError,
    outbox::{Outbox, use_outbox},
    words::t,
};
use laurel_protocol::{
    Assignment, AssignmentId, ErrorCode, Feedback, Held, Progress, ProjectId, Stopped, UserId,
};
use leptos::{prelude::*, task::spawn_local};
use std::sync::Arc;

/// One on screen, one behind it.
pub(super) const N_HELD: u8 = 2;
/// A person who reads a long answer may not touch anything for a while; their tasks stay theirs.
const LEASE_KEPT_MS: f64 = 10.0 * 60_000.0;
/// How often an idle page asks whether there is work again.
const ASK_AGAIN_MS: f64 = 15_000.0;

/// Whether the first tasks are here.
#[derive(Clone, PartialEq)]
pub enum Stage {
    Loading,
    Failed(AppError),
    Ready,
}

#[derive(Clone, Copy)]
pub struct Desk {
    pub project: ProjectId,
    /// The first is on screen.
    pub hand: RwSignal<Vec<Arc<Assignment>>>,
    pub stage: RwSignal<Stage>,
    pub progress: RwSignal<Option<Progress>>,
    pub can_undo: RwSignal<bool>,
    pub outbox: Outbox,
    pub toasts: Toasts,
    /// What a screen reader says.
    pub said: RwSignal<String>,
    /// What became of a gold item, until the person has read it.
    pub feedback: RwSignal<Option<Feedback>>,
    pub stopped: RwSignal<Option<Stopped>>,
    /// The comment on the task on screen.
    pub comment: RwSignal<String>,
    /// What the keys mean; the board on screen sets it.
    pub mode: RwSignal<keys::Mode>,
    /// Takes the keys of the board on screen.
    pub board: StoredValue<Option<Callback<keys::Command>>>,
    pub(super) work: StoredValue<Work>,
}

/// What the page keeps for itself.
pub(super) struct Work {
    /// Given a verdict here; the server may not know yet.
    pub done: Vec<(AssignmentId, u32)>,
    /// The last tasks that left the screen, so that undo needs no server while they are unsent.
    pub recent: Vec<Arc<Assignment>>,
    /// Undo as soon as everything is sent.
    pub wants_undo: bool,
    pub clock: ActiveClock,
    pub asked_at: f64,
    leases: Vec<Lease>,
}

struct Lease {
    assignment: AssignmentId,
    granted_at: f64,
    until: f64,
}

impl Desk {
    /// `change` is an answer to begin with, given before.
    pub fn open(project: ProjectId, user: UserId, change: Option<AssignmentId>) -> Self {
        draft::sweep(now());
        let outbox = use_outbox();
        outbox.start(user);
        let left = untrack(|| outbox.waiting_in(project));
        let desk = Self {
            project,
            hand: RwSignal::new(Vec::new()),
            stage: RwSignal::new(Stage::Loading),
            progress: RwSignal::new(None),
            can_undo: RwSignal::new(false),
            outbox,
            toasts: use_toasts(),
            said: RwSignal::new(String::new()),
            feedback: RwSignal::new(None),
            stopped: RwSignal::new(None),
            comment: RwSignal::new(String::new()),
            mode: RwSignal::new(keys::Mode::Pick),
            board: StoredValue::new(None),
            work: StoredValue::new(Work {
                // Those that were refused are this person's to answer anew.
                done: left
                    .iter()
                    .map(|unsent| (unsent.assignment, unsent.revision))
                    .collect(),
                recent: Vec::new(),
                wants_undo: false,
                clock: ActiveClock::start(now(), true, 0.0),
                asked_at: now(),
                leases: Vec::new(),
            }),
        };
        outbox.listen(project, move |news| desk.hear(news));
        match change {
            Some(assignment) => desk.reopen(assignment),
            None => desk.hold(),
        }
        desk
    }

    pub fn is_gone(self) -> bool {
        self.hand.is_disposed()
    }

    pub fn on_screen(self) -> Option<Arc<Assignment>> {
        self.hand.with_untracked(|hand| hand.first().cloned())
    }

    /// Number of the task on screen, counted over this person's annotations; those on their way included.
    pub fn task_number(self) -> u64 {
        self.n_mine() + 1
    }

    pub fn n_mine(self) -> u64 {
        let acknowledged = self
            .progress
            .with(|progress| progress.map_or(0, |progress| progress.n_mine));
        let on_their_way = self.outbox.of(self.project);
        acknowledged
            + on_their_way
                .iter()
                .filter(|unsent| unsent.is_new_answer())
                .count() as u64
    }

    /// Asks for tasks: at the start, and whenever the hand may be short.
    pub fn hold(self) {
        self.work.update_value(|work| work.asked_at = now());
        spawn_local(async move {
            let held = api::label::hold(self.project, N_HELD).await;
            if self.is_gone() {
                return;
            }
            match held {
                Ok(held) => self.take(held),
                Err(error) if self.stage.with_untracked(|stage| *stage != Stage::Ready) => {
                    self.stage.set(Stage::Failed(error));
                }
                Err(_) => {}
            }
        });
    }

    /// Takes over what the server says this person holds.
    pub(super) fn take(self, held: Held) {
        let now = now();
        self.work.update_value(|work| {
            work.leases = held
                .assignments
                .iter()
                // A reopened answer stands; its task is not held and cannot be lost.
                .filter(|assignment| assignment.previous.is_none())
                .map(|assignment| Lease::of(assignment, now))
                .collect();
        });
        // Whoever was taken out of the project holds nothing, and would be refused what stands there.
        let may_work = held.stopped != Some(Stopped::NotAssigned);
        let on_screen = self.on_screen().filter(|_| may_work);
        self.set_hand(on_screen, held.assignments);
        self.progress.set(Some(held.progress));
        self.stopped.set(held.stopped);
        if held.feedback.is_some() {
            self.feedback.set(held.feedback);
        }
        self.can_undo.set(held.can_undo || self.has_unsent());
        self.stage.set(Stage::Ready);
    }

    pub fn start_clock(self, seconds_before: f64) {
        let is_visible = is_visible();
        self.work
            .update_value(|work| work.clock = ActiveClock::start(now(), is_visible, seconds_before));
    }

    pub fn seconds(self) -> f64 {
        self.work.with_value(|work| work.clock.seconds(now()))
    }

    pub fn note_input(self) {
        let _ = self.work.try_update_value(|work| work.clock.input(now()));
    }

    /// The page came into view or went out of it.
    pub fn note_visibility(self) {
        let is_visible = is_visible();
        self.work
            .update_value(|work| work.clock.set_visible(now(), is_visible));
        if is_visible {
            self.tick();
        }
    }

    /// Every few seconds: renews leases, and asks for work where there was none.
    pub fn tick(self) {
        if self.is_gone() || !is_visible() {
            return;
        }
        let now = now();
        let is_waiting = self.hand.with_untracked(Vec::is_empty)
            && self.stage.with_untracked(|stage| *stage == Stage::Ready)
            && self.work.with_value(|work| now - work.asked_at >= ASK_AGAIN_MS);
        if is_waiting {
            self.hold();
        }
        if !self
            .work
            .with_value(|work| work.clock.is_active(now, LEASE_KEPT_MS))
        {
            return;
        }
        let in_hand: Vec<_> = self
            .hand
            .with_untracked(|hand| hand.iter().map(|assignment| assignment.id).collect());
        let mut due = Vec::new();
        self.work.update_value(|work| {
            for lease in &mut work.leases {
                if in_hand.contains(&lease.assignment) && lease.is_half_over(now) {
                    due.push(lease.assignment);
                    // Not again while this request runs.
                    lease.granted_at = now;
                }
            }
        });
        for assignment in due {
            self.renew(assignment);
        }
    }

    fn renew(self, assignment: AssignmentId) {
        spawn_local(async move {
            let renewed = api::label::renew(assignment).await;
            if self.is_gone() {
                return;
            }
            match renewed {
                Ok(renewed) => self.work.update_value(|work| {
                    work.leases.retain(|lease| lease.assignment != assignment);
                    work.leases.push(Lease::of(&renewed, now()));
                }),
                Err(error) if error.code() == Some(ErrorCode::LeaseLost) => {
                    if self.on_screen().is_some_and(|shown| shown.id == assignment) {
                        self.said
                            .set(t("This task went to someone else while you were away.").to_owned());
                    }
                    self.hand.update(|hand| hand.retain(|held| held.id != assignment));
                    self.hold();
                }
                Err(error) if error.code() == Some(ErrorCode::NotAssigned) => {
                    self.hand.set(Vec::new());
                    self.hold();
                }
                Err(_) => {}
            }
        });
    }

    fn set_hand(self, on_screen: Option<Arc<Assignment>>, held: Vec<Assignment>) {
        let merged = self.work.with_value(|work| {
            hand::merge(on_screen, held, |id, revision| {
                work.done.contains(&(id, revision))
            })
        });
        self.hand.set(merged);
    }
}

impl Lease {
    fn of(assignment: &Assignment, now: f64) -> Self {
        Self {
            assignment: assignment.id,
            granted_at: now,
            until: assignment.lease_until.0 as f64,
        }
    }

    /// A browser whose clock is wrong sees odd ends; it renews every minute.
    fn is_half_over(&self, now: f64) -> bool {
        let length = self.until - self.granted_at;
        let wait = if length > 0.0 {
            (length / 2.0).min(120_000.0)
        } else {
            60_000.0
        };
        now >= self.granted_at + wait
    }
}

/// Milliseconds since 1970.
pub fn now() -> f64 {
    js_sys::Date::now()
}

fn is_visible() -> bool {
    document().visibility_state() == web_sys::VisibilityState::Visible
}

/// Leaves a mark on the browser's timeline, for the bench.
pub fn mark(name: &str) {
    if let Some(performance) = window().performance() {
        let _ = performance.mark(name);
    }
}
