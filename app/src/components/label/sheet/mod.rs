//! What is said about the answers of a task beside the judgement: the fields below each completion and below all of
//! them, for what the project asks.

pub mod diff;
mod ratings;
mod spans;
mod write;

pub use ratings::focus_unrated;
pub use write::{demonstration, focus_demonstration, spoken};

use laurel_protocol::{Assignment, Extras, Questions, ShownCompletion};
use leptos::prelude::*;

/// The questions of the task on screen and what has been said so far.
#[derive(Clone, Copy)]
pub struct Sheet {
    pub questions: StoredValue<Questions>,
    /// A rating of 0 is one that has not been given.
    pub extras: RwSignal<Extras>,
    /// Of the completions, as they were written.
    texts: StoredValue<Vec<String>>,
    /// Called after each change, to keep the draft.
    changed: Callback<()>,
}

impl Sheet {
    pub fn new(assignment: &Assignment, mut extras: Extras, changed: Callback<()>) -> Self {
        let n = assignment.completions.len();
        let questions = assignment.questions.clone();
        // What is asked may have changed since the draft was kept.
        extras
            .ratings
            .retain(|name, _| questions.dimensions.contains(name));
        for name in &questions.dimensions {
            extras.ratings.entry(name.clone()).or_default().resize(n, 0);
        }
        extras
            .spans
            .retain(|span| questions.span_labels.contains(&span.label));
        let texts = assignment.texts().into_iter().map(str::to_owned).collect();
        Self {
            questions: StoredValue::new(questions),
            extras: RwSignal::new(extras),
            texts: StoredValue::new(texts),
            changed,
        }
    }

    /// Of answers about which nothing is asked but the judgement.
    pub fn without_questions(completions: &[ShownCompletion]) -> Self {
        let texts = completions.iter().map(|completion| completion.text.clone());
        Self {
            questions: StoredValue::new(Questions::default()),
            extras: RwSignal::new(Extras::default()),
            texts: StoredValue::new(texts.collect()),
            changed: Callback::new(|()| {}),
        }
    }

    /// Whether an answer is more than the judgement, and so waits to be submitted.
    pub fn any(self) -> bool {
        self.questions.with_value(Questions::any)
    }

    /// Whether every rating that is asked for has been given.
    pub fn is_rated(self) -> bool {
        self.extras
            .with(|extras| !extras.ratings.values().flatten().any(|rating| *rating == 0))
    }

    /// The last acceptable rank; nothing while all are.
    pub fn acceptable(self) -> Option<u8> {
        self.extras.with(|extras| extras.acceptable)
    }

    pub fn set_acceptable(self, line: Option<u8>) {
        self.change(|extras| extras.acceptable = line);
    }

    fn change(self, change: impl FnOnce(&mut Extras)) {
        self.extras.update(change);
        self.changed.run(());
    }
}

/// The fields of one completion.
pub fn of_card(sheet: Sheet, position: usize) -> AnyView {
    if !sheet.any() {
        return ().into_any();
    }
    view! {
        <div class="sheet">
            {ratings::ratings(sheet, position)}
            {spans::spans(sheet, position)}
            {write::edit(sheet, position)}
        </div>
    }
    .into_any()
}

/// The button that hands the answer in, for boards that do not do so with the judgement.
pub fn submit_button(
    text: impl Fn() -> String + Send + 'static,
    disabled: impl Fn() -> bool + Send + 'static,
    submit: Callback<()>,
) -> AnyView {
    view! {
        <button
            type="button"
            class="choice choice-main"
            data-test="submit"
            disabled=disabled
            on:click=move |_| submit.run(())
        >
            <span>{text}</span>
            <kbd aria-hidden="true">"Enter"</kbd>
        </button>
    }
    .into_any()
}
