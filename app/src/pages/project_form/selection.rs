//! The fields of which open tasks come first.

use crate::{
    components::field::{Errors, Field, number, switch_field, text_field},
    words::t,
};
use laurel_protocol::{FieldError, Selection};
use leptos::prelude::*;

const ACTIVE: Field = Field {
    name: "selection.active",
    label: "Hand out first what the reward model is least sure about",
    help: "Among tasks of one priority. A trainer looks at the open tasks when labels or a reward model are new.",
    hook: "selection-active",
};
const EXPLORE: Field = Field {
    name: "selection.explore_percent",
    label: "In the usual order all the same, per cent",
    help: "So many of a hundred tasks that a person is given do not follow the model: 0 to 100.",
    hook: "explore-percent",
};

#[derive(Clone, Copy)]
pub(super) struct Fields {
    pub(super) active: RwSignal<bool>,
    explore: RwSignal<String>,
}

impl Fields {
    pub(super) fn new(selection: &Selection) -> Self {
        Self {
            active: RwSignal::new(selection.active),
            explore: RwSignal::new(selection.explore_percent.to_string()),
        }
    }

    pub(super) fn read(self) -> Result<Selection, FieldError> {
        Ok(Selection {
            active: self.active.get_untracked(),
            explore_percent: number(self.explore, EXPLORE.name)?,
        })
    }
}

pub(super) fn fieldset(fields: Fields, errors: Errors) -> AnyView {
    view! {
        <fieldset class="field-group">
            <legend>{t("Active selection")}</legend>
            {switch_field(ACTIVE, fields.active)}
            <div hidden=move || !fields.active.get()>{text_field(EXPLORE, "number", fields.explore, errors)}</div>
        </fieldset>
    }
    .into_any()
}
