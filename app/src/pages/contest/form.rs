//! The form that begins a contest. The address may name who meets: `?first=ADAPTER&second=ADAPTER&round=ROUND`.

use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, area_field, number, select_field, text_field},
    },
    load::Loaded,
    words::t,
};
use laurel_protocol::{
    Adapter, AdapterId, FieldError, NewContest, ProjectId, PromptText, RoundId, Sampling, talkers,
};
use leptos::prelude::*;
use leptos_router::hooks::{use_navigate, use_query_map};

const FIRST: Field = Field {
    name: "first",
    label: "First contender",
    help: "",
    hook: "contest-first",
};
const SECOND: Field = Field {
    name: "second",
    label: "Second contender",
    help: "",
    hook: "contest-second",
};
const N_PROMPTS: Field = Field {
    name: "n_prompts",
    label: "Prompts of the project",
    help: "So many are drawn with the seed; 0 for your own alone.",
    hook: "contest-prompts",
};
const N_PEOPLE: Field = Field {
    name: "n_people",
    label: "People per prompt",
    help: "1 to 10. More prompts say more than more people.",
    hook: "contest-people",
};
const ALPHA: Field = Field {
    name: "alpha",
    label: "Chance of a false verdict",
    help: "If both are equally good: 0.001 to 0.3",
    hook: "contest-alpha",
};
const OWN: Field = Field {
    name: "prompts",
    label: "Your own prompts",
    help: "One a line. The project has them from then on.",
    hook: "contest-own",
};
const MAX_TOKENS: Field = Field {
    name: "max_tokens",
    label: "Longest answer",
    help: "In tokens, 1 to 2048",
    hook: "contest-max-tokens",
};
const TEMPERATURE: Field = Field {
    name: "temperature",
    label: "Temperature",
    help: "0 always takes the likeliest token; 2 is wild",
    hook: "contest-temperature",
};
const SEED: Field = Field {
    name: "seed",
    label: "Seed",
    help: "Draws the prompts and the answers",
    hook: "contest-seed",
};

#[derive(Clone, Copy)]
struct Draft {
    first: RwSignal<String>,
    second: RwSignal<String>,
    /// What the round named in the address made, and the round.
    gate_of: StoredValue<Option<(String, RoundId)>>,
    n_prompts: RwSignal<String>,
    n_people: RwSignal<String>,
    alpha: RwSignal<String>,
    own: RwSignal<String>,
    max_tokens: RwSignal<String>,
    temperature: RwSignal<String>,
    seed: RwSignal<String>,
}

impl Draft {
    fn new(adapters: &[Adapter]) -> Self {
        let asked = |name: &str| use_query_map().with_untracked(|query| query.get(name));
        let newest = talkers(adapters).next().map(|adapter| adapter.id.to_string());
        let first = asked("first").or(newest).unwrap_or_default();
        let round = asked("round").and_then(|round| round.parse().ok()).map(RoundId);
        let text = |value: String| RwSignal::new(value);
        let sampling = Sampling::default();
        Self {
            gate_of: StoredValue::new(round.map(|round| (first.clone(), round))),
            first: text(first),
            second: text(asked("second").unwrap_or_default()),
            n_prompts: text(NewContest::DEFAULT_PROMPTS.to_string()),
            n_people: text("1".to_owned()),
            alpha: text("0.05".to_owned()),
            own: text(String::new()),
            max_tokens: text(sampling.max_tokens.to_string()),
            temperature: text(sampling.temperature.to_string()),
            seed: text("0".to_owned()),
        }
    }

    fn read(self) -> Result<NewContest, Vec<FieldError>> {
        let one = |error| vec![error];
        let first = self.first.get_untracked();
        let own = self.own.get_untracked();
        let lines = own.lines().map(str::trim).filter(|line| !line.is_empty());
        let new = NewContest {
            round: self
                .gate_of
                .get_value()
                .filter(|(made, _)| *made == first)
                .map(|(_, round)| round),
            first: first.parse::<AdapterId>().ok(),
            second: self.second.get_untracked().parse::<AdapterId>().ok(),
            n_prompts: number(self.n_prompts, N_PROMPTS.name).map_err(one)?,
            prompts: lines.map(|line| PromptText::Text(line.to_owned())).collect(),
            n_people: number(self.n_people, N_PEOPLE.name).map_err(one)?,
            alpha: number(self.alpha, ALPHA.name).map_err(one)?,
            sampling: Sampling {
                max_tokens: number(self.max_tokens, MAX_TOKENS.name).map_err(one)?,
                temperature: number(self.temperature, TEMPERATURE.name).map_err(one)?,
                seed: number(self.seed, SEED.name).map_err(one)?,
                ..Sampling::default()
            },
        };
        new.validate()?;
        Ok(new)
    }
}

pub fn view(project: ProjectId) -> AnyView {
    let adapters = Loaded::new(move || api::adapter::list(project));
    adapters.view(move |adapters| fields(project, &adapters))
}

fn fields(project: ProjectId, adapters: &[Adapter]) -> AnyView {
    let draft = Draft::new(adapters);
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    Effect::new(move || {
        if let Some(error) = action.error() {
            errors.set(error.fields());
        }
    });
    let navigate = use_navigate();
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        match draft.read() {
            Err(reasons) => errors.set(reasons),
            Ok(new) => {
                errors.set(Vec::new());
                let navigate = navigate.clone();
                action.run(
                    async move { api::contest::begin(project, &new).await },
                    move |contest| navigate(&format!("/contests/{}", contest.id), Default::default()),
                );
            }
        }
    };
    let mut contenders = vec![(String::new(), t("Base model").to_owned())];
    contenders.extend(talkers(adapters).map(|adapter| (adapter.id.to_string(), adapter.name.clone())));
    view! {
        <form class="form" on:submit=submit novalidate>
            <div class="field-row">
                {select_field(FIRST, contenders.clone(), draft.first, errors)}
                {select_field(SECOND, contenders, draft.second, errors)}
            </div>
            <div class="field-row">
                {text_field(N_PROMPTS, "number", draft.n_prompts, errors)}
                {text_field(N_PEOPLE, "number", draft.n_people, errors)}
                {text_field(ALPHA, "number", draft.alpha, errors)}
            </div>
            {area_field(OWN, 3, draft.own, errors)}
            <div class="field-row">
                {text_field(MAX_TOKENS, "number", draft.max_tokens, errors)}
                {text_field(TEMPERATURE, "number", draft.temperature, errors)}
                {text_field(SEED, "number", draft.seed, errors)}
            </div>
            {action.error_line()}
            <div class="actions">
                <button class="button button-main" data-test="begin-contest" disabled=move || action.busy()>
                    {t("Begin the contest")}
                </button>
            </div>
        </form>
    }
    .into_any()
}
