//! Presets: buttons that fill the form's numbers for a purpose.

use super::draft::Draft;
use crate::words::t;
use laurel_protocol::Preset;
use leptos::prelude::*;

pub fn name(preset: Preset) -> &'static str {
    match preset {
        Preset::Quick => t("Fast try-out"),
        Preset::Standard => t("Standard"),
        Preset::Careful => t("Careful"),
    }
}

pub fn help(preset: Preset) -> &'static str {
    match preset {
        Preset::Quick => {
            t("At most 20 steps (4 of PPO): does all of it work? The adapter has hardly learnt.")
        }
        Preset::Standard => t("The defaults of the loss: once through the data."),
        Preset::Careful => t(
            "Half the learning rate, up to three times through the data, a fifth of the prompts held out; stops when these no longer get better, and keeps the best weights.",
        ),
    }
}

/// `put` follows a choice.
pub fn view(draft: Draft, put: Callback<()>) -> AnyView {
    let chosen = RwSignal::new(None::<Preset>);
    let button = move |preset: Preset| {
        let choose = move |_| {
            draft.put_preset(preset);
            chosen.set(Some(preset));
            put.run(());
        };
        view! {
            <button
                type="button"
                class="button"
                data-test=format!("preset-{}", hook(preset))
                aria-pressed=move || (chosen.get() == Some(preset)).to_string()
                on:click=choose
            >
                {name(preset)}
            </button>
        }
    };
    view! {
        <div class="field" role="group" aria-label=t("Presets")>
            <div class="actions">{Preset::ALL.map(button).collect_view()}</div>
            <p class="fine" role="status">
                {move || chosen.get().map_or(t("A preset fills in the numbers below."), help)}
            </p>
        </div>
    }
    .into_any()
}

fn hook(preset: Preset) -> &'static str {
    match preset {
        Preset::Quick => "quick",
        Preset::Standard => "standard",
        Preset::Careful => "careful",
    }
}
