//! A button's work: what is under way, so that the button waits and nothing is sent twice.

use crate::error::AppError;
use leptos::{prelude::*, task::spawn_local};
use std::{future::Future, pin::Pin};

/// Whether one kind of work is under way, and how the last try failed.
#[derive(Clone, Copy)]
pub struct Action {
    busy: RwSignal<bool>,
    error: RwSignal<Option<AppError>>,
}

/// What is to be done with the outcome of the work.
type Outcome = Result<Box<dyn FnOnce()>, AppError>;

impl Default for Action {
    fn default() -> Self {
        Self {
            busy: RwSignal::new(false),
            error: RwSignal::new(None),
        }
    }
}

impl Action {
    pub fn busy(self) -> bool {
        self.busy.get()
    }

    pub fn error(self) -> Option<AppError> {
        self.error.get()
    }

    /// Notes a failure that was found before anything was sent, or forgets the last one.
    pub fn set_error(self, error: Option<AppError>) {
        self.error.set(error);
    }

    /// Does `work`, then calls `done` with its outcome. Does nothing while earlier work is under way.
    pub fn run<T: 'static>(
        self,
        work: impl Future<Output = Result<T, AppError>> + 'static,
        done: impl FnOnce(T) + 'static,
    ) {
        let work = async move {
            let value = work.await?;
            Ok(Box::new(move || done(value)) as Box<dyn FnOnce()>)
        };
        self.run_boxed(Box::pin(work));
    }

    /// Boxed, so that it comes into the wasm once and not once for each kind of work.
    fn run_boxed(self, work: Pin<Box<dyn Future<Output = Outcome>>>) {
        if self.busy.get_untracked() {
            return;
        }
        self.busy.set(true);
        self.error.set(None);
        spawn_local(async move {
            let outcome = work.await;
            // The page may be gone by now, and its signals with it.
            let _ = self.busy.try_set(false);
            match outcome {
                Ok(done) => done(),
                Err(error) => drop(self.error.try_set(Some(error))),
            }
        });
    }

    /// The error as a line under the button; nothing while all is well.
    pub fn error_line(self) -> AnyView {
        (move || {
            self.error
                .get()
                .map(|error| view! { <p class="form-error" role="alert">{error.sentence()}</p> })
        })
        .into_any()
    }
}
