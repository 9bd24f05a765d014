//! The fields of the arena: whether it is open, for how long, who meets in it and how they answer.

use crate::{
    components::field::{Errors, Field, number, switch_field, text_field},
    words::{t, t_owned},
};
use laurel_protocol::{Adapter, AdapterId, Arena, FieldError, Sampling, talkers};
use leptos::prelude::*;

const ON: Field = Field {
    name: "arena.on",
    label: "Open the arena",
    help: "People type prompts; two hidden models answer, and the vote is kept as a label. Works with the label type pick.",
    hook: "arena-on",
};
const MAX_TURNS: Field = Field {
    name: "arena.max_turns",
    label: "Turns of a conversation",
    help: "The chosen answer becomes the context of the next turn: 1 to 10.",
    hook: "arena-max-turns",
};
const BASE: Field = Field {
    name: "arena.base_model",
    label: "The base model is a contender",
    help: "Two contenders at least are needed.",
    hook: "arena-base-model",
};
const CURRENT: Field = Field {
    name: "arena.current",
    label: "The current adapter is a contender",
    help: "Once one has been promoted.",
    hook: "arena-current",
};
const MAX_TOKENS: Field = Field {
    name: "arena.max_tokens",
    label: "Longest answer",
    help: "In tokens, 1 to 1024.",
    hook: "arena-max-tokens",
};
const TEMPERATURE: Field = Field {
    name: "arena.temperature",
    label: "Temperature",
    help: "0 always takes the likeliest token; 2 is wild.",
    hook: "arena-temperature",
};
const TOP_P: Field = Field {
    name: "arena.top_p",
    label: "Top-p",
    help: "Keeps the likeliest tokens up to this share.",
    hook: "arena-top-p",
};

#[derive(Clone, Copy)]
pub(super) struct Fields {
    on: RwSignal<bool>,
    max_turns: RwSignal<String>,
    base: RwSignal<bool>,
    current: RwSignal<bool>,
    adapters: RwSignal<Vec<AdapterId>>,
    max_tokens: RwSignal<String>,
    temperature: RwSignal<String>,
    top_p: RwSignal<String>,
    /// What has no field stays as it is.
    sampling: StoredValue<Sampling>,
}

impl Fields {
    pub(super) fn new(arena: &Arena) -> Self {
        Self {
            on: RwSignal::new(arena.on),
            max_turns: RwSignal::new(arena.max_turns.to_string()),
            base: RwSignal::new(arena.base_model),
            current: RwSignal::new(arena.current),
            adapters: RwSignal::new(arena.adapters.clone()),
            max_tokens: RwSignal::new(arena.sampling.max_tokens.to_string()),
            temperature: RwSignal::new(arena.sampling.temperature.to_string()),
            top_p: RwSignal::new(arena.sampling.top_p.to_string()),
            sampling: StoredValue::new(arena.sampling.clone()),
        }
    }

    pub(super) fn read(self) -> Result<Arena, FieldError> {
        Ok(Arena {
            on: self.on.get_untracked(),
            max_turns: number(self.max_turns, MAX_TURNS.name)?,
            base_model: self.base.get_untracked(),
            current: self.current.get_untracked(),
            adapters: self.adapters.get_untracked(),
            sampling: Sampling {
                max_tokens: number(self.max_tokens, MAX_TOKENS.name)?,
                temperature: number(self.temperature, TEMPERATURE.name)?,
                top_p: number(self.top_p, TOP_P.name)?,
                ..self.sampling.get_value()
            },
        })
    }
}

pub(super) fn fieldset(fields: Fields, adapters: Signal<Vec<Adapter>>, errors: Errors) -> AnyView {
    let contenders = move || {
        adapters.with(|adapters| {
            talkers(adapters)
                .map(|adapter| contender(fields, adapter))
                .collect_view()
        })
    };
    // Reasons that belong to no single field of these.
    let reason = move || {
        errors.with(|errors| {
            let own = errors
                .iter()
                .find(|error| matches!(error.field.as_str(), "arena.adapters" | "arena.on"));
            own.map(|error| view! { <p class="form-error" role="alert">{t("The contenders")} " " {t_owned(&error.reason)}</p> })
        })
    };
    view! {
        <fieldset class="field-group">
            <legend>{t("Arena")}</legend>
            {switch_field(ON, fields.on)}
            {switch_field(BASE, fields.base)}
            {switch_field(CURRENT, fields.current)}
            {contenders}
            {reason}
            <div class="field-row">
                {text_field(MAX_TURNS, "number", fields.max_turns, errors)}
                {text_field(MAX_TOKENS, "number", fields.max_tokens, errors)}
                {text_field(TEMPERATURE, "number", fields.temperature, errors)}
                {text_field(TOP_P, "number", fields.top_p, errors)}
            </div>
        </fieldset>
    }
    .into_any()
}

/// A policy of the project, which may be one of the contenders.
fn contender(fields: Fields, adapter: &Adapter) -> AnyView {
    let own = adapter.id;
    let name = format!("arena-adapter-{own}");
    let change = move |event| {
        let on = event_target_checked(&event);
        fields.adapters.update(|chosen| {
            chosen.retain(|id| *id != own);
            if on {
                chosen.push(own);
            }
        });
    };
    view! {
        <div class="field field-switch">
            <input
                id=name.clone()
                type="checkbox"
                data-test=name.clone()
                prop:checked=move || fields.adapters.with(|chosen| chosen.contains(&own))
                on:change=change
            />
            <label for=name>{adapter.name.clone()}</label>
        </div>
    }
    .into_any()
}
