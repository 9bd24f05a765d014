//! Which prompts come first: found by a text, chosen one by one or all that are shown.

use super::list::Shelf;
use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, text_field},
    },
    format,
    words::{fill, t},
};
use laurel_protocol::{PriorityReport, PromptId, PromptPriority};
use leptos::prelude::*;
use std::collections::BTreeSet;

const SEARCH: Field = Field {
    name: "prompt_search",
    label: "With this text in them",
    help: "Nothing shows all prompts.",
    hook: "prompt-search",
};
/// What the three buttons mean.
const FIRST: i32 = 50;
const LAST: i32 = -50;

pub fn view(shelf: Shelf) -> AnyView {
    let text = RwSignal::new(String::new());
    let errors: Errors = RwSignal::new(Vec::new());
    let find = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        shelf.search.set(text.get_untracked().trim().to_owned());
        shelf.chosen.set(BTreeSet::new());
        shelf.prompts.reload();
    };
    view! {
        <section class="card" aria-labelledby="order-title">
            <h2 id="order-title">{t("What comes first")}</h2>
            <form class="form" on:submit=find novalidate>
                {text_field(SEARCH, "text", text, errors)}
                <div class="actions">
                    <button class="button" data-test="prompt-find">{t("Find")}</button>
                </div>
            </form>
            {chosen(shelf)}
        </section>
    }
    .into_any()
}

fn chosen(shelf: Shelf) -> AnyView {
    let action = Action::default();
    let report = RwSignal::new(None::<(PriorityReport, i32)>);
    let shown = move || -> Vec<PromptId> {
        let ids = |page: &laurel_protocol::PromptPage| page.prompts.iter().map(|prompt| prompt.id).collect();
        shelf.prompts.with_ready(ids).unwrap_or_default()
    };
    let all = move |_| shelf.chosen.set(untrack(shown).into_iter().collect());
    let none = move |_| shelf.chosen.set(BTreeSet::new());
    let set = move |priority: i32| {
        let prompts: Vec<PromptId> = shelf
            .chosen
            .with_untracked(|chosen| chosen.iter().copied().collect());
        let wanted = PromptPriority {
            prompts: prompts.clone(),
            priority,
        };
        let work = async move { api::project::set_priority(shelf.project, &wanted).await };
        action.run(work, move |done| {
            report.set(Some((done, priority)));
            shelf.chosen.set(BTreeSet::new());
            shelf.prompts.update(|page| {
                for prompt in page
                    .prompts
                    .iter_mut()
                    .filter(|prompt| prompts.contains(&prompt.id))
                {
                    prompt.priority = priority;
                }
            });
        });
    };
    let n_chosen = move || shelf.chosen.with(|chosen| chosen.len() as u64);
    let buttons = [
        (FIRST, "priority-first", t("These first")),
        (0, "priority-normal", t("In the usual order")),
        (LAST, "priority-last", t("These last")),
    ];
    let buttons = buttons.map(|(priority, hook, words)| {
        view! {
            <button
                type="button"
                class="button"
                data-test=hook
                disabled=move || action.busy() || n_chosen() == 0
                on:click=move |_| set(priority)
            >
                {words}
            </button>
        }
    });
    view! {
        <p data-test="n-chosen">{move || format::counted(n_chosen(), "{0} prompt chosen", "{0} prompts chosen")}</p>
        <div class="actions">
            <button type="button" class="button button-quiet" data-test="choose-shown" on:click=all>
                {t("Choose all that are shown")}
            </button>
            <button type="button" class="button button-quiet" disabled=move || n_chosen() == 0 on:click=none>
                {t("Choose none")}
            </button>
            {buttons}
        </div>
        <p role="status" data-test="priority-report">{move || report.get().map(said)}</p>
        {action.error_line()}
        <p class="fine">
            {t("The tasks of these prompts, those to come as well, are handed out before or after all others. A number from -100 \
             to 100 for finer steps can be given in an import, or by the API.")}
        </p>
    }
    .into_any()
}

fn said((report, priority): (PriorityReport, i32)) -> String {
    let prompts = format::counted(report.n_prompts, "{0} prompt", "{0} prompts");
    let tasks = format::counted(report.n_open_tasks, "{0} open task", "{0} open tasks");
    match priority {
        FIRST => fill("{0} with {1} come first now.", &[&prompts, &tasks]),
        LAST => fill("{0} with {1} come last now.", &[&prompts, &tasks]),
        _ => fill("{0} with {1} come in the usual order now.", &[&prompts, &tasks]),
    }
}
