//! What a page loads from the server: its states, and the view of each.
//!
//! A page makes one [`Loaded`] with the call that fetches its data; `view` shows the waiting, the error with
//! "Try again", or the data.

use crate::{components::notice::notice, error::AppError, words::t};
use leptos::{prelude::*, task::spawn_local};
use std::{future::Future, pin::Pin, rc::Rc};

#[derive(Clone, PartialEq)]
pub enum State<T> {
    Loading,
    Failed(AppError),
    Ready(T),
}

type Fetch<T> = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, AppError>>>>>;

/// Data that comes from the server and can be asked for again.
pub struct Loaded<T: Send + Sync + 'static> {
    pub state: RwSignal<State<T>>,
    fetch: StoredValue<Fetch<T>, LocalStorage>,
}

impl<T: Send + Sync + 'static> Clone for Loaded<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Loaded<T> {}

impl<T: Clone + Send + Sync + 'static> Loaded<T> {
    /// Asks at once.
    pub fn new<F: Future<Output = Result<T, AppError>> + 'static>(fetch: impl Fn() -> F + 'static) -> Self {
        let loaded = Self {
            state: RwSignal::new(State::Loading),
            fetch: StoredValue::new_local(Rc::new(move || Box::pin(fetch()))),
        };
        loaded.reload();
        loaded
    }

    /// Asks again; what is shown stays until the answer is there.
    pub fn reload(self) {
        let Some(fetch) = self.fetch.try_get_value() else {
            return;
        };
        let state = self.state;
        let answer = fetch();
        spawn_local(async move {
            let answer = answer.await;
            // The page may be gone by now, and its signals with it.
            let had_data = state.try_with_untracked(|state| matches!(state, State::Ready(_)));
            match answer {
                Ok(data) => drop(state.try_set(State::Ready(data))),
                Err(error) if had_data == Some(false) => drop(state.try_set(State::Failed(error))),
                Err(_) => {}
            }
        });
    }

    /// Asks again for what is already here: something may have been missed. What is still on its way stays so.
    pub fn refresh(self) {
        if self
            .state
            .with_untracked(|state| matches!(state, State::Ready(_)))
        {
            self.reload();
        }
    }

    /// The data, once there.
    pub fn get(self) -> Option<T> {
        self.state.with(|state| match state {
            State::Ready(data) => Some(data.clone()),
            State::Loading | State::Failed(_) => None,
        })
    }

    /// What `read` takes from the data, once there.
    pub fn with_ready<R>(self, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.state.with(|state| match state {
            State::Ready(data) => Some(read(data)),
            State::Loading | State::Failed(_) => None,
        })
    }

    pub fn set(self, data: T) {
        self.state.set(State::Ready(data));
    }

    /// Changes the data in place, if it is there.
    pub fn update(self, change: impl FnOnce(&mut T)) {
        self.state.update(|state| {
            if let State::Ready(data) = state {
                change(data);
            }
        });
    }

    /// The waiting, the error or `ready`, built anew whenever the data changes, and only then.
    pub fn view(self, ready: impl Fn(T) -> AnyView + Send + 'static) -> AnyView {
        living(move || match self.state.get() {
            State::Loading => waiting(),
            State::Failed(error) => notice(&error, Some(Callback::new(move |()| self.retry()))),
            State::Ready(data) => untrack(|| ready(data)),
        })
    }

    /// Like [`Self::view`], but `ready` is built once and follows the data by itself: whatever it reads while it
    /// is built does not build it again, which would wipe what a person is typing in it.
    pub fn view_once(self, ready: impl Fn() -> AnyView + Send + 'static) -> AnyView {
        let stage = Memo::new(move |_| {
            self.state.with(|state| match state {
                State::Loading => State::Loading,
                State::Failed(error) => State::Failed(error.clone()),
                State::Ready(_) => State::Ready(()),
            })
        });
        living(move || match stage.get() {
            State::Loading => waiting(),
            State::Failed(error) => notice(&error, Some(Callback::new(move |()| self.retry()))),
            State::Ready(()) => untrack(&ready),
        })
    }

    /// Asks again after a failure; until the answer comes, the waiting is shown.
    pub fn retry(self) {
        self.state.set(State::Loading);
        self.reload();
    }
}

/// A view that is built anew whenever what it reads changes. The same as the closure itself, but the machinery
/// around it comes into the wasm once, and not once for each closure.
pub fn living(view: impl Fn() -> AnyView + Send + 'static) -> AnyView {
    fn once(view: Box<dyn Fn() -> AnyView + Send>) -> AnyView {
        (move || view()).into_any()
    }
    once(Box::new(view))
}

/// Bars in the place of what is on its way. They fade in late, so that a quick answer shows none.
pub fn waiting() -> AnyView {
    view! {
        <div class="waiting" role="status">
            <span class="visually-hidden">{t("Loading")}</span>
            <div class="waiting-bar"></div>
            <div class="waiting-bar"></div>
            <div class="waiting-bar"></div>
        </div>
    }
    .into_any()
}
