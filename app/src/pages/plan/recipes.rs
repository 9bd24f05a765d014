//! Recipes: several rounds planned with one click.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        field::{Field, select_field},
    },
    pages::round_new::presets,
    words::t,
};
use laurel_protocol::{NewRecipe, Preset, Recipe};
use leptos::prelude::*;

const PRESET: Field = Field {
    name: "preset",
    label: "Preset",
    help: "For all rounds of the recipe. Each can be changed while it waits.",
    hook: "recipe-preset",
};

pub fn view(live: Live) -> AnyView {
    let action = Action::default();
    let preset = RwSignal::new("1".to_owned());
    let options = (0..)
        .zip(Preset::ALL)
        .map(|(at, one): (usize, _)| (at.to_string(), presets::name(one).to_owned()));
    let add = move |recipe| {
        let preset = preset.with_untracked(|text| text.parse::<usize>().ok());
        let preset = preset
            .and_then(|at| Preset::ALL.get(at).copied())
            .unwrap_or_default();
        let new = NewRecipe { recipe, preset };
        action.run(
            async move { api::planned::recipe(live.id, &new).await },
            move |_| live.reload(),
        );
    };
    let button = move |recipe: Recipe, words: &'static str, hook: &'static str| {
        view! {
            <button
                type="button"
                class="button"
                data-test=hook
                disabled=move || action.busy()
                on:click=move |_| add(recipe)
            >
                {words}
            </button>
        }
    };
    view! {
        <section class="card" aria-labelledby="recipes-title">
            <h2 id="recipes-title">{t("Recipes")}</h2>
            <p class="fine">
                {t("All rounds of the way, each on what the one before makes. The first begins at once; the others start by \
                    themselves.")}
            </p>
            {select_field(PRESET, options.collect(), preset, RwSignal::new(Vec::new()))}
            <div class="actions">
                {button(Recipe::SftDpo, "SFT → DPO", "recipe-sft-dpo")}
                {button(Recipe::SftRewardPpo, t("SFT → reward model → PPO"), "recipe-sft-reward-ppo")}
            </div>
            {action.error_line()}
        </section>
    }
    .into_any()
}
