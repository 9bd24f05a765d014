//! How the answers of a chat are sampled.

use crate::components::field::{Errors, Field, number, text_field};
use laurel_protocol::{FieldError, Sampling};
use leptos::prelude::*;

const MAX_TOKENS: Field = Field {
    name: "max_tokens",
    label: "Longest answer",
    help: "In tokens, 1 to 1024.",
    hook: "chat-max-tokens",
};
const TEMPERATURE: Field = Field {
    name: "temperature",
    label: "Temperature",
    help: "0 always takes the likeliest token; 2 is wild.",
    hook: "chat-temperature",
};
const TOP_P: Field = Field {
    name: "top_p",
    label: "Top-p",
    help: "Keeps the likeliest tokens up to this share.",
    hook: "chat-top-p",
};
const SEED: Field = Field {
    name: "seed",
    label: "Seed",
    help: "The same seed draws the same answer to the same words.",
    hook: "chat-seed",
};

#[derive(Clone, Copy)]
pub struct Draft {
    max_tokens: RwSignal<String>,
    temperature: RwSignal<String>,
    top_p: RwSignal<String>,
    seed: RwSignal<String>,
}

impl Draft {
    pub fn new() -> Self {
        let defaults = Sampling::default();
        Self {
            max_tokens: RwSignal::new("256".to_owned()),
            temperature: RwSignal::new(defaults.temperature.to_string()),
            top_p: RwSignal::new(defaults.top_p.to_string()),
            seed: RwSignal::new(defaults.seed.to_string()),
        }
    }

    pub fn read(self) -> Result<Sampling, Vec<FieldError>> {
        let one = |error| vec![error];
        Ok(Sampling {
            max_tokens: number(self.max_tokens, MAX_TOKENS.name).map_err(one)?,
            temperature: number(self.temperature, TEMPERATURE.name).map_err(one)?,
            top_p: number(self.top_p, TOP_P.name).map_err(one)?,
            seed: number(self.seed, SEED.name).map_err(one)?,
            ..Sampling::default()
        })
    }
}

pub fn fields(draft: Draft, errors: Errors) -> AnyView {
    view! {
        {text_field(MAX_TOKENS, "number", draft.max_tokens, errors)}
        {text_field(TEMPERATURE, "number", draft.temperature, errors)}
        {text_field(TOP_P, "number", draft.top_p, errors)}
        {text_field(SEED, "number", draft.seed, errors)}
    }
    .into_any()
}
