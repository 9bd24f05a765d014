//! The fields of what annotators are checked by.

use crate::{
    components::field::{Errors, Field, number, switch_field, text_field},
    words::t,
};
use laurel_protocol::{Checks, FieldError};
use leptos::prelude::*;

const GOLD: Field = Field {
    name: "checks.gold_percent",
    label: "Gold items, per cent",
    help: "So many of a hundred tasks have a known right answer, and nobody can tell which: 0 to 50.",
    hook: "gold-percent",
};
const FEEDBACK: Field = Field {
    name: "checks.gold_feedback",
    label: "Tell people after a gold item whether they were right",
    help: "With the explanation. Then their first answer counts, whatever they change.",
    hook: "gold-feedback",
};
const QUALIFICATION: Field = Field {
    name: "checks.qualification",
    label: "Gold items at the start",
    help: "A newcomer answers so many before anything else; 0: none.",
    hook: "qualification",
};
const PASSED: Field = Field {
    name: "checks.qualification_percent",
    label: "Of these right, per cent",
    help: "With fewer the person is given nothing more.",
    hook: "qualification-percent",
};
const REPEATS: Field = Field {
    name: "checks.repeat_percent",
    label: "Repeats, per cent",
    help: "So many of a hundred tasks are a person's own earlier ones in another order: 0 to 30.",
    hook: "repeat-percent",
};
const MAX: Field = Field {
    name: "checks.max_per_annotator",
    label: "Most tasks of one person",
    help: "Empty: no limit.",
    hook: "max-per-annotator",
};

#[derive(Clone, Copy)]
pub(super) struct Fields {
    gold: RwSignal<String>,
    feedback: RwSignal<bool>,
    qualification: RwSignal<String>,
    passed: RwSignal<String>,
    repeats: RwSignal<String>,
    max: RwSignal<String>,
}

impl Fields {
    pub(super) fn new(checks: &Checks) -> Self {
        let max = checks.max_per_annotator.map(|max| max.to_string());
        Self {
            gold: RwSignal::new(checks.gold_percent.to_string()),
            feedback: RwSignal::new(checks.gold_feedback),
            qualification: RwSignal::new(checks.qualification.to_string()),
            passed: RwSignal::new(checks.qualification_percent.to_string()),
            repeats: RwSignal::new(checks.repeat_percent.to_string()),
            max: RwSignal::new(max.unwrap_or_default()),
        }
    }

    pub(super) fn read(self) -> Result<Checks, FieldError> {
        let has_max = self.max.with_untracked(|max| !max.trim().is_empty());
        Ok(Checks {
            gold_percent: number(self.gold, GOLD.name)?,
            gold_feedback: self.feedback.get_untracked(),
            qualification: number(self.qualification, QUALIFICATION.name)?,
            qualification_percent: number(self.passed, PASSED.name)?,
            repeat_percent: number(self.repeats, REPEATS.name)?,
            max_per_annotator: match has_max {
                true => Some(number(self.max, MAX.name)?),
                false => None,
            },
        })
    }
}

pub(super) fn fieldset(fields: Fields, errors: Errors) -> AnyView {
    view! {
        <fieldset class="field-group">
            <legend>{t("Checks of annotators")}</legend>
            <div class="field-row">
                {text_field(GOLD, "number", fields.gold, errors)}
                {text_field(QUALIFICATION, "number", fields.qualification, errors)}
                {text_field(PASSED, "number", fields.passed, errors)}
            </div>
            <div class="field-row">
                {text_field(REPEATS, "number", fields.repeats, errors)}
                {text_field(MAX, "number", fields.max, errors)}
            </div>
            {switch_field(FEEDBACK, fields.feedback)}
        </fieldset>
    }
    .into_any()
}
