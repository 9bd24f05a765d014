//! The fields of what is asked beside the judgement.

use crate::{
    components::field::{Errors, Field, number, switch_field, text_field},
    words::t,
};
use laurel_protocol::{FieldError, LabelType, Questions};
use leptos::prelude::*;

const DIMENSIONS: Field = Field {
    name: "questions.dimensions",
    label: "Rate each completion on",
    help: "Names with commas between them, such as helpful, harmless, honest. Empty: no ratings.",
    hook: "dimensions",
};
const STEPS: Field = Field {
    name: "questions.rating_steps",
    label: "Highest rating",
    help: "Ratings go from 1, worst, to this: 2 to 10.",
    hook: "rating-steps",
};
const SPANS: Field = Field {
    name: "questions.span_labels",
    label: "Passages to mark as",
    help: "Names with commas between them, such as wrong, unsafe. Empty: none are marked.",
    hook: "span-labels",
};
const EDIT: Field = Field {
    name: "questions.edit",
    label: "Let people edit a completion into a better one",
    help: "Gives a pair, edited over original, and an answer for SFT rounds.",
    hook: "ask-edit",
};
const DEMONSTRATION: Field = Field {
    name: "questions.demonstration",
    label: "Let people write an answer of their own",
    help: "SFT rounds imitate it.",
    hook: "ask-demonstration",
};
const LINE: Field = Field {
    name: "questions.acceptable_line",
    label: "Ask which ranks are acceptable",
    help: "SFT rounds imitate no answer below the line.",
    hook: "acceptable-line",
};
/// The fields of what is asked beside the judgement.
#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) dimensions: RwSignal<String>,
    steps: RwSignal<String>,
    spans: RwSignal<String>,
    edit: RwSignal<bool>,
    demonstration: RwSignal<bool>,
    pub(super) line: RwSignal<bool>,
}

impl Fields {
    pub(super) fn new(questions: &Questions) -> Self {
        Self {
            dimensions: RwSignal::new(questions.dimensions.join(", ")),
            steps: RwSignal::new(questions.rating_steps.to_string()),
            spans: RwSignal::new(questions.span_labels.join(", ")),
            edit: RwSignal::new(questions.edit),
            demonstration: RwSignal::new(questions.demonstration),
            line: RwSignal::new(questions.acceptable_line),
        }
    }

    pub(super) fn read(self) -> Result<Questions, FieldError> {
        let names = |text: RwSignal<String>| {
            let text = text.get_untracked();
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
            names.map(str::to_owned).collect()
        };
        Ok(Questions {
            dimensions: names(self.dimensions),
            rating_steps: number(self.steps, STEPS.name)?,
            span_labels: names(self.spans),
            edit: self.edit.get_untracked(),
            demonstration: self.demonstration.get_untracked(),
            acceptable_line: self.line.get_untracked(),
        })
    }
}

pub(super) fn fieldset(fields: Fields, label_type: Signal<LabelType>, errors: Errors) -> AnyView {
    view! {
        <fieldset class="field-group">
            <legend>{t("Asked beside the judgement")}</legend>
            <div class="field-row">
                {text_field(DIMENSIONS, "text", fields.dimensions, errors)}
                {text_field(STEPS, "number", fields.steps, errors)}
                {text_field(SPANS, "text", fields.spans, errors)}
            </div>
            {switch_field(EDIT, fields.edit)}
            {switch_field(DEMONSTRATION, fields.demonstration)}
            <div hidden=move || label_type.get() != LabelType::Rank>{switch_field(LINE, fields.line)}</div>
        </fieldset>
    }
    .into_any()
}
