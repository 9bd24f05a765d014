//! Short messages at the foot of the page that go away by themselves.

use crate::words::t;
use leptos::prelude::*;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
}

#[derive(Clone, PartialEq)]
struct Message {
    number: u32,
    tone: Tone,
    text: String,
}

#[derive(Clone, Copy)]
pub struct Toasts(RwSignal<Vec<Message>>);

/// Long enough to read two lines twice.
const SHOWN_FOR: Duration = Duration::from_secs(7);

/// Makes the messages known to all pages. Called once, by the app.
pub fn provide() {
    provide_context(Toasts(RwSignal::new(Vec::new())));
}

pub fn use_toasts() -> Toasts {
    use_context::<Toasts>().expect("the app provides the toasts before any page")
}

impl Toasts {
    pub fn good(self, text: impl Into<String>) {
        self.show(Tone::Good, text.into());
    }

    pub fn bad(self, text: impl Into<String>) {
        self.show(Tone::Bad, text.into());
    }

    fn show(self, tone: Tone, text: String) {
        let number = self
            .0
            .with_untracked(|shown| shown.last().map_or(0, |last| last.number + 1));
        self.0.update(|shown| shown.push(Message { number, tone, text }));
        set_timeout(move || self.close(number), SHOWN_FOR);
    }

    fn close(self, number: u32) {
        self.0
            .update(|shown| shown.retain(|message| message.number != number));
    }
}

/// The place where the messages appear; the shell holds it once.
pub fn toast_area() -> AnyView {
    let toasts = use_toasts();
    let shown = move || {
        toasts
            .0
            .get()
            .into_iter()
            .map(|message| {
                let class = match message.tone {
                    Tone::Good => "toast",
                    Tone::Bad => "toast toast-bad",
                };
                view! {
                    <div class=class>
                        <span>{message.text}</span>
                        <button
                            type="button"
                            class="toast-close"
                            aria-label=t("Close")
                            on:click=move |_| toasts.close(message.number)
                        >
                            "×"
                        </button>
                    </div>
                }
            })
            .collect_view()
    };
    view! { <div class="toasts" role="status" aria-live="polite">{shown}</div> }.into_any()
}
