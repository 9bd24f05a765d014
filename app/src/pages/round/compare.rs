//! The round beside another one of the project: in what their specs and data differ.

use crate::{
    api,
    components::field::{Field, select_field},
    format,
    load::{Loaded, living},
    pages::round_new::differences::{self, Difference},
    words::t,
};
use laurel_protocol::{ProjectId, Round, RoundId};
use leptos::prelude::*;

const WITH: Field = Field {
    name: "compare_with",
    label: "Compare with",
    help: "Only what differs is shown.",
    hook: "compare-with",
};

pub fn view(round: Round, project: ProjectId) -> AnyView {
    let others = Loaded::new(move || api::round::list(project));
    let chosen = RwSignal::new(String::new());
    let body = others.view(move |rounds| {
        let round = round.clone();
        let own = round.id;
        let mut options = vec![(String::new(), t("Choose a round").to_owned())];
        let rest = rounds.iter().filter(|other| other.id != own);
        options.extend(rest.map(|other| (other.id.to_string(), other.name.clone())));
        let table = living(move || {
            let id = chosen.with(|text| text.parse().ok().map(RoundId));
            match rounds.iter().find(|other| Some(other.id) == id) {
                Some(other) => {
                    differences::table(between(&round, other), round.name.clone(), other.name.clone())
                }
                None => ().into_any(),
            }
        });
        view! { {select_field(WITH, options, chosen, RwSignal::new(Vec::new()))} {table} }.into_any()
    });
    view! {
        <details class="card fold" data-test="compare">
            <summary><h2>{t("Compare with another round")}</h2></summary>
            {body}
        </details>
    }
    .into_any()
}

/// The specs, and what the rounds started from and trained on.
fn between(left: &Round, right: &Round) -> Vec<Difference> {
    let facts = |round: &Round| {
        let adapter =
            |id: Option<laurel_protocol::AdapterId>| id.map_or_else(|| "–".to_owned(), |id| id.to_string());
        [
            ("starting_adapter", adapter(round.starting_adapter)),
            ("reward_adapter", adapter(round.reward_adapter)),
            ("snapshot.n_rows", format::count(round.snapshot.n_rows)),
            ("snapshot.hash", format::short_hash(&round.snapshot.hash)),
        ]
    };
    let mut all = differences::between(&left.spec, &right.spec);
    let rest = facts(left).into_iter().zip(facts(right));
    all.extend(
        rest.filter(|((_, left), (_, right))| left != right)
            .map(|((field, left), (_, right))| Difference {
                field: field.to_owned(),
                left,
                right,
            }),
    );
    all
}
