//! The gold items of a project: made of one's own answers or imported, with what people said to them.

use crate::{
    api,
    components::{
        action::Action,
        field::{Errors, Field, area_field},
        import::Import,
        label::spoken::spoken,
    },
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{AssignmentId, GoldItem, NewGold, ProjectId};
use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_query_map};

const EXPLANATION: Field = Field {
    name: "explanation",
    label: "Why this is the right answer",
    help: "Shown to people after their answer, where the project tells them.",
    hook: "gold-explanation",
};

const LINES: Field = Field {
    name: "lines",
    label: "Or paste lines",
    help: "JSON objects, one a line: {\"prompt\": \"text\", \"completions\": [\"one\", \"two\"], \"best\": 1, \"explanation\": \"why\"}. Or a table \
           whose first line names its columns: prompt, completion_1, completion_2, best, explanation.",
    hook: "import-text",
};

pub fn page(id: ProjectId) -> AnyView {
    let items = Loaded::new(move || api::label::gold_items(id));
    let from = use_query_map().with_untracked(|query| query.get("from"));
    let from = from.and_then(|from| from.parse().ok()).map(AssignmentId);
    let form = from.map(|from| form(from, items));
    let list = items.view(move |list| listing(id, items, list));
    view! {
        <div class="page">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Gold items")}</h1>
            <p>
                {t("Tasks whose right answer is known. They are handed out among the others, and nobody can tell which they \
                 are; how often is set in the project's settings.")}
            </p>
            {form}
            {list}
            {import(id, items)}
        </div>
    }
    .into_any()
}

fn form(from: AssignmentId, items: Loaded<Vec<GoldItem>>) -> AnyView {
    let explanation = RwSignal::new(String::new());
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    let made = RwSignal::new(false);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let new = NewGold {
            explanation: explanation.get_untracked(),
        };
        if let Err(reasons) = new.validate() {
            errors.set(reasons);
            return;
        }
        action.run(
            async move { api::label::make_gold(from, &new).await },
            move |_| {
                if !made.is_disposed() {
                    made.set(true);
                    items.reload();
                }
            },
        );
    };
    view! {
        <section class="card" aria-labelledby="gold-new-title" hidden=move || made.get()>
            <h2 id="gold-new-title">{t("Make your answer the right one")}</h2>
            <form class="form" on:submit=submit novalidate>
                {area_field(EXPLANATION, 3, explanation, errors)}
                {action.error_line()}
                <div class="actions">
                    <button class="button button-main" data-test="make-gold" disabled=move || action.busy()>
                        {t("Make it a gold item")}
                    </button>
                </div>
            </form>
        </section>
    }
    .into_any()
}

fn import(id: ProjectId, items: Loaded<Vec<GoldItem>>) -> AnyView {
    let import = Import {
        title: t("Import gold items"),
        file_label: t("A JSON Lines or CSV file"),
        accept: ".jsonl,.json,.csv,.txt,application/jsonl,text/csv",
        lines: LINES,
        counted: |n| format::counted(n, t("{0} gold item imported."), t("{0} gold items imported.")),
        send: move |lines, skip| api::project::import_gold(id, lines, skip),
        done: move || items.reload(),
    };
    view! {
        {import.view()}
        <details class="card">
            <summary>{t("How a line says what is right")}</summary>
            <ul>
                <li>{t("Completions have places from 1 in the order of the line; annotators see them in an order of their own.")}</li>
                <li>{t("Pick: \"best\" is 1, 2, \"tie\" or \"both_bad\".")}</li>
                <li>{t("Rank: \"ranks\" has a rank for each completion, 1 is best, equal numbers are ties: [2, 1, 2]. In a table: 2 1 2.")}</li>
                <li>{t("Best-worst: \"best\" and \"worst\" are places.")}</li>
                <li>
                    {t("Rate: \"ratings\" has a number for each completion, by dimension: {\"helpful\": [5, 1]}. In a table the \
                     column rating:helpful has 5 1. Other projects may have them too.")}
                </li>
                <li>{t("A prompt may be a list of messages, as in the import of prompts. Explanations may be left out.")}</li>
            </ul>
        </details>
    }
    .into_any()
}

fn listing(project: ProjectId, loaded: Loaded<Vec<GoldItem>>, items: Vec<GoldItem>) -> AnyView {
    if items.is_empty() {
        return view! {
            <div class="empty">
                <h2>{t("No gold items yet")}</h2>
                <p>
                    {t("Label a few tasks yourself, then choose the clear ones:")} " "
                    <A href=format!("/projects/{project}/mine")>{t("your answers")}</A>
                </p>
            </div>
        }
        .into_any();
    }
    let rows = items.into_iter().map(|item| row(loaded, item)).collect_view();
    view! { <ul class="prompts">{rows}</ul> }.into_any()
}

fn row(loaded: Loaded<Vec<GoldItem>>, item: GoldItem) -> AnyView {
    let action = Action::default();
    let id = item.id;
    let close = move |_| {
        action.run(async move { api::label::close_gold(id).await }, move |()| {
            loaded.reload();
        });
    };
    let answers = match item.n_answers {
        0 => t("nobody has answered it yet").to_owned(),
        n => fill(
            "{0} of {1} right",
            &[&item.n_right, &format::counted(n, "{0} answer", "{0} answers")],
        ),
    };
    let end = match item.open {
        true => view! {
            <button type="button" class="button button-quiet" data-test="close-gold" disabled=move || action.busy() on:click=close>
                {t("Give it to nobody any more")}
            </button>
        }
        .into_any(),
        false => view! { <span class="badge">{t("closed")}</span> }.into_any(),
    };
    let explanation = item.gold.explanation.clone();
    let explanation = (!explanation.is_empty()).then(|| view! { <p class="fine">{explanation}</p> });
    view! {
        <li class="card prompt" data-test="gold-item">
            <p class="turn">{item.prompt}</p>
            <p><b>{spoken(&item.gold.judgement, &item.gold.ratings)}</b> " " {t("(in the order of the completions) ·")} " " {answers}</p>
            {explanation}
            <div class="actions">{end}</div>
            {action.error_line()}
        </li>
    }
    .into_any()
}
