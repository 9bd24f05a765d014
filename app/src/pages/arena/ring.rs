//! The battle on the page, and what a person can do with it: say something, stop, skip, go on; `votes.rs` sends the vote.

use crate::{
    api::{self, events::Stream},
    components::{
        action::Action,
        field::Errors,
        toast::{Toasts, use_toasts},
    },
    pages::label::clock::ActiveClock,
    words::{fill, t},
};
use laurel_protocol::{
    Battle, BattleId, BattleStatus, Choice, CloseBattle, NewBattle, ProjectId, SkipReason,
};
use leptos::{prelude::*, task::spawn_local};
use std::time::Duration;

#[derive(Clone, Copy)]
pub struct Ring {
    pub project: ProjectId,
    pub on: bool,
    pub battle: RwSignal<Option<Battle>>,
    /// What the person is about to say.
    pub text: RwSignal<String>,
    pub errors: Errors,
    pub is_live: RwSignal<bool>,
    pub action: Action,
    /// What a screen reader says.
    pub said: RwSignal<String>,
    pub choice: RwSignal<Option<Choice>>,
    /// A winner was chosen and its strength is asked for.
    pub waits: RwSignal<bool>,
    pub differences: RwSignal<bool>,
    pub comment: RwSignal<String>,
    /// The vote is on its way; the page says so where it takes long.
    pub sending: RwSignal<bool>,
    pub is_offline: RwSignal<bool>,
    pub clock: StoredValue<ActiveClock>,
    pub(super) toasts: Toasts,
    stream: StoredValue<Option<Stream>, LocalStorage>,
}

impl Ring {
    pub fn open(project: ProjectId, on: bool) -> Self {
        let ring = Self {
            project,
            on,
            battle: RwSignal::new(None),
            text: RwSignal::new(String::new()),
            errors: RwSignal::new(Vec::new()),
            is_live: RwSignal::new(true),
            action: Action::default(),
            said: RwSignal::new(String::new()),
            choice: RwSignal::new(None),
            waits: RwSignal::new(false),
            differences: RwSignal::new(false),
            comment: RwSignal::new(String::new()),
            sending: RwSignal::new(false),
            is_offline: RwSignal::new(false),
            clock: StoredValue::new(ActiveClock::start(now(), true, 0.0)),
            toasts: use_toasts(),
            stream: StoredValue::new_local(None),
        };
        Effect::new(move || {
            if let Some(error) = ring.action.error() {
                ring.errors.set(error.fields());
            }
        });
        ring
    }

    pub fn status(self) -> Option<BattleStatus> {
        self.battle
            .with(|battle| battle.as_ref().map(|battle| battle.status))
    }

    pub fn status_now(self) -> Option<BattleStatus> {
        untrack(|| self.status())
    }

    pub(super) fn id(self) -> Option<BattleId> {
        self.battle
            .with_untracked(|battle| battle.as_ref().map(|battle| battle.id))
    }

    pub fn is_at_work(self) -> bool {
        self.battle
            .with_untracked(|battle| battle.as_ref().is_some_and(|battle| battle.is_at_work))
    }

    pub fn has_failed(self) -> bool {
        self.battle
            .with_untracked(|battle| battle.as_ref().is_some_and(|battle| battle.error.is_some()))
    }

    /// Whether something may be said now: nothing is open, and the arena or the conversation goes on.
    pub fn may_speak(self) -> bool {
        let is_open = matches!(self.status(), Some(BattleStatus::Asked | BattleStatus::Answered));
        self.on && !is_open
    }

    /// The decided battle that the next words belong to.
    pub fn after(self) -> Option<BattleId> {
        self.battle.with(|battle| {
            let battle = battle.as_ref()?;
            let may_go_on = battle.reveal.as_ref().is_some_and(|reveal| reveal.may_go_on);
            may_go_on.then_some(battle.id)
        })
    }

    /// Says what stands in the field, in the conversation that is there.
    pub fn send(self) {
        if !untrack(|| self.may_speak()) || untrack(|| self.action.busy()) {
            return;
        }
        let new = NewBattle {
            text: self.text.get_untracked().trim().to_owned(),
            after: untrack(|| self.after()),
        };
        if new.text.is_empty() {
            return;
        }
        if let Err(reasons) = new.validate() {
            return self.errors.set(reasons);
        }
        self.errors.set(Vec::new());
        let project = self.project;
        self.action.run(
            async move { api::arena::begin(project, &new).await },
            move |battle| {
                // Whoever has left the page finds the battle when they come back.
                if !self.battle.is_disposed() {
                    self.text.set(String::new());
                    self.take(battle);
                }
            },
        );
    }

    pub fn ask_again(self) {
        let Some(id) = self.id() else { return };
        self.action
            .run(async move { api::arena::ask_again(id).await }, move |battle| {
                if !self.battle.is_disposed() {
                    self.take(battle);
                }
            });
    }

    /// Shows the battle as it stands, and follows it while a trainer is asked.
    pub fn take(self, battle: Battle) {
        let before = self.status_now().filter(|_| self.id() == Some(battle.id));
        let is_at_work = battle.is_at_work;
        let (id, status) = (battle.id, battle.status);
        if before != Some(status) {
            self.enter(&battle);
        }
        self.battle
            .set((status != BattleStatus::Closed).then_some(battle));
        if is_at_work && self.stream.with_value(Option::is_none) {
            self.follow(id);
        } else if !is_at_work {
            // Not from within its own call.
            set_timeout(move || self.unfollow(), Duration::ZERO);
        }
    }

    /// What changes with the status.
    fn enter(self, battle: &Battle) {
        match battle.status {
            BattleStatus::Asked => self.said.set(t("Both models are asked.").to_owned()),
            BattleStatus::Answered => {
                self.choice.set(None);
                self.waits.set(false);
                self.differences.set(false);
                self.comment.set(String::new());
                self.clock.set_value(ActiveClock::start(now(), true, 0.0));
                self.said
                    .set(t("Both answers are here: which one is better?").to_owned());
            }
            BattleStatus::Judged => {
                if let Some(reveal) = &battle.reveal {
                    let name = |at: usize| reveal.contenders.get(at).map_or(String::new(), super::view::name);
                    self.said.set(fill(
                        "Your vote is kept. A was {0}, B was {1}.",
                        &[&name(0), &name(1)],
                    ));
                }
            }
            BattleStatus::Closed => self
                .said
                .set(t("The battle is closed; nothing of it is kept.").to_owned()),
        }
    }

    fn follow(self, id: BattleId) {
        let on_battle = move |battle| {
            if !self.battle.is_disposed() {
                self.take(battle);
            }
        };
        let on_live = move |on| {
            let _ = self.is_live.try_set(on);
        };
        let stream = api::events::follow_battle(id, on_battle, on_live);
        self.stream.set_value(Some(stream));
    }

    fn unfollow(self) {
        drop(self.stream.try_update_value(Option::take));
        // That the server has closed it, too, is no interruption.
        let _ = self.is_live.try_set(true);
    }

    /// Shows what another tab made of it.
    pub(super) fn look(self) {
        let project = self.project;
        spawn_local(async move {
            let state = api::arena::state(project).await;
            if let (false, Ok(state)) = (self.battle.is_disposed(), state) {
                match state.battle {
                    Some(battle) => self.take(battle),
                    None => self.battle.set(None),
                }
            }
        });
    }

    /// Stops the answers, or skips the vote with a reason.
    pub fn close(self, reason: Option<SkipReason>) {
        let Some(id) = self.id() else { return };
        let close = CloseBattle { reason };
        self.action.run(
            async move { api::arena::close(id, &close).await },
            move |battle| {
                if !self.battle.is_disposed() {
                    self.take(battle);
                }
            },
        );
    }

    /// Leaves the conversation that is on the page.
    pub fn begin_anew(self) {
        self.battle.set(None);
        self.errors.set(Vec::new());
    }
}

/// Milliseconds since 1970.
pub fn now() -> f64 {
    js_sys::Date::now()
}
