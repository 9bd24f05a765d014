//! When the round begins: at once, or once something has come.

use super::ground::{Source, value_of, wait_for};
use crate::{
    components::field::{Errors, Field, number, select_field, text_field},
    format,
    words::{later, t},
};
use laurel_protocol::{FieldError, Timestamp, WaitFor, When};
use leptos::prelude::*;

const AFTER: Field = Field {
    name: "when.after",
    label: "After this round",
    help: "Once it has ended well.",
    hook: "round-after",
};
const COMPARISONS: Field = Field {
    name: "when.new_comparisons",
    label: "After so many new comparisons",
    help: "More than there are now; 0 waits for none.",
    hook: "round-new-comparisons",
};
const NOT_BEFORE: Field = Field {
    name: "when.not_before",
    label: "Not before",
    help: "Day and time of this browser's clock; empty for any.",
    hook: "round-not-before",
};

/// What is in this part of the form, as text.
#[derive(Clone, Copy)]
pub struct LaterDraft {
    after: RwSignal<String>,
    /// More of them, which scripts may have given.
    more_after: StoredValue<Vec<WaitFor>>,
    comparisons: RwSignal<String>,
    not_before: RwSignal<String>,
}

impl Default for LaterDraft {
    fn default() -> Self {
        Self {
            after: RwSignal::new(String::new()),
            more_after: StoredValue::new(Vec::new()),
            comparisons: RwSignal::new("0".to_owned()),
            not_before: RwSignal::new(String::new()),
        }
    }
}

impl LaterDraft {
    pub fn put(self, when: &When) {
        let mut after = when.after.iter().copied();
        let first = after.next().map(|one| match one {
            WaitFor::Round { id } => format!("round:{id}"),
            WaitFor::Planned { id } => format!("planned:{id}"),
        });
        self.after.set(first.unwrap_or_default());
        self.more_after.set_value(after.collect());
        self.comparisons.set(when.new_comparisons.to_string());
        let local = |at| format!("{}T{}", format::day(at), format::short_clock(at));
        self.not_before
            .set(when.not_before.map(local).unwrap_or_default());
    }

    pub fn read(self, reasons: &mut Vec<FieldError>) -> When {
        let mut take = |result: Result<u64, FieldError>| {
            result.map_err(|reason| reasons.push(reason)).unwrap_or_default()
        };
        let new_comparisons = take(number(self.comparisons, COMPARISONS.name));
        let time = self.not_before.get_untracked();
        let not_before = match time.trim() {
            "" => None,
            time => {
                let at = js_sys::Date::parse(time);
                if at.is_nan() {
                    let reason = later("must be a day and a time");
                    reasons.push(FieldError::new(NOT_BEFORE.name, reason));
                }
                (!at.is_nan()).then_some(Timestamp(at as i64))
            }
        };
        let mut after: Vec<WaitFor> = wait_for(&self.after.get_untracked()).into_iter().collect();
        after.extend(self.more_after.get_value());
        When {
            after,
            new_comparisons,
            not_before,
        }
    }

    /// Whether something is waited for, as far as the form tells.
    pub fn waits(self) -> bool {
        self.after.with(|text| !text.is_empty())
            || self.comparisons.with(|text| !matches!(text.trim(), "0" | ""))
            || self.not_before.with(|text| !text.is_empty())
    }
}

pub fn view(draft: LaterDraft, sources: &[Source], errors: Errors) -> AnyView {
    let mut options = vec![(String::new(), t("None").to_owned())];
    let pending = sources
        .iter()
        .filter(|source| source.origin.waits_for().is_some());
    options.extend(pending.map(|source| (value_of(source.origin), source.name.clone())));
    view! {
        <details class="fold" data-test="round-later" open=draft.waits()>
            <summary>{t("Start later")}</summary>
            <p class="fine">
                {t("The server starts the round by itself once all of this has come, on the data of that moment.")}
            </p>
            <div class="field-grid">
                {select_field(AFTER, options, draft.after, errors)}
                {text_field(COMPARISONS, "number", draft.comparisons, errors)}
                {text_field(NOT_BEFORE, "datetime-local", draft.not_before, errors)}
            </div>
        </details>
    }
    .into_any()
}
