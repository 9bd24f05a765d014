//! The prompts that were found, each with a box to choose it and with its completions.

use crate::{
    api,
    components::action::Action,
    error::AppError,
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{Completion, FinishReason, ProjectId, Prompt, PromptId, PromptPage, Speaker};
use leptos::prelude::*;
use std::{collections::BTreeSet, future::Future};

const PAGE_SIZE: u32 = 50;

/// What the parts of the page share.
#[derive(Clone, Copy)]
pub struct Shelf {
    pub project: ProjectId,
    pub prompts: Loaded<PromptPage>,
    /// Only prompts with this text in them are shown.
    pub search: RwSignal<String>,
    pub chosen: RwSignal<BTreeSet<PromptId>>,
}

impl Shelf {
    pub fn of(project: ProjectId) -> Self {
        let search = RwSignal::new(String::new());
        let first = move || {
            let search = search.get_untracked();
            async move { api::project::prompts(project, &search, None, PAGE_SIZE).await }
        };
        Self {
            project,
            prompts: Loaded::new(first),
            search,
            chosen: RwSignal::new(BTreeSet::new()),
        }
    }

    /// The next page.
    fn ask(self, after: Option<PromptId>) -> impl Future<Output = Result<PromptPage, AppError>> {
        let search = self.search.get_untracked();
        async move { api::project::prompts(self.project, &search, after, PAGE_SIZE).await }
    }
}

pub fn view(shelf: Shelf, page: PromptPage) -> AnyView {
    if page.prompts.is_empty() && shelf.search.with_untracked(|search| !search.is_empty()) {
        return view! { <p class="empty" data-test="no-prompt-found">{t("No prompt has this text in it.")}</p> }.into_any();
    }
    if page.prompts.is_empty() {
        return view! {
            <div class="empty">
                <h2>{t("No prompts yet")}</h2>
                <p>{t("Import a file above, or paste a few lines to try.")}</p>
            </div>
        }
        .into_any();
    }
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            action.run(shelf.ask(Some(next)), move |page| {
                shelf.prompts.update(|known| {
                    known.prompts.extend(page.prompts);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" data-test="more-prompts" disabled=move || action.busy() on:click=ask>
                {t("Show more")}
            </button>
        }
    });
    let rows = page
        .prompts
        .into_iter()
        .map(|prompt| row(shelf, prompt))
        .collect_view();
    view! {
        <ul class="prompts">{rows}</ul>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}

fn role_name(role: Speaker) -> &'static str {
    match role {
        Speaker::System => t("system"),
        Speaker::User => t("user"),
        Speaker::Assistant => t("assistant"),
    }
}

fn row(shelf: Shelf, prompt: Prompt) -> AnyView {
    let open = RwSignal::new(false);
    let id = prompt.id;
    let choose = move |event| {
        let is_chosen = event_target_checked(&event);
        shelf.chosen.update(|chosen| {
            match is_chosen {
                true => chosen.insert(id),
                false => chosen.remove(&id),
            };
        });
    };
    let urgency = (prompt.priority != 0).then(|| {
        let words = match prompt.priority > 0 {
            true => t("comes first"),
            false => t("comes last"),
        };
        view! { <span class="badge" data-test="prompt-priority">{words}" ("{prompt.priority}")"</span> }
    });
    let messages = prompt.messages.into_iter().map(|message| {
        view! { <p class="turn"><span class="turn-role">{role_name(message.role)}</span>{message.content}</p> }
    });
    let messages = messages.collect_view();
    let count = format::counted(prompt.n_completions, "{0} completion", "{0} completions");
    let completions = move || {
        open.get()
            .then(|| Loaded::new(move || api::project::completions(id)).view(completions))
    };
    let fold = (prompt.n_completions > 0).then(|| {
        view! {
            <button
                type="button"
                class="button button-quiet"
                data-test="show-completions"
                aria-expanded=move || if open.get() { "true" } else { "false" }
                on:click=move |_| open.update(|open| *open = !*open)
            >
                {count}
            </button>
        }
    });
    view! {
        <li class="card prompt" data-test="prompt-row">
            <div class="row-head">
                <label class="choice-line">
                    <input
                        type="checkbox"
                        data-test="choose-prompt"
                        prop:checked=move || shelf.chosen.with(|chosen| chosen.contains(&id))
                        on:change=choose
                    />
                    {fill("Prompt {0}", &[&id])}
                </label>
                {urgency}
            </div>
            {messages}
            {fold}
            {completions}
        </li>
    }
    .into_any()
}

fn completions(completions: Vec<Completion>) -> AnyView {
    let rows = completions.into_iter().map(|completion| {
        let Some(origin) = completion.origin else {
            let author = completion.author.unwrap_or_default();
            let origin = match completion.imported {
                true => fill("imported by {0}", &[&author]),
                false => fill("written by {0}", &[&author]),
            };
            return view! {
                <li class="row" data-test="completion-row">
                    <div class="prose" inner_html=completion.html></div>
                    <p class="fine">{origin}</p>
                </li>
            }
            .into_any();
        };
        let generator = match &origin.adapter_hash {
            Some(hash) => fill("{0} + adapter {1}", &[&origin.model, &format::short_hash(hash)]),
            None => origin.model,
        };
        let cut = match origin.finish_reason {
            FinishReason::Stop => "",
            FinishReason::Length => t(" · cut off"),
        };
        let sampling = fill(
            "{0} · temperature {1} · top-p {2} · seed {3} · number {4} · {5}{6}",
            &[
                &generator,
                &origin.sampling.temperature,
                &origin.sampling.top_p,
                &origin.sampling.seed,
                &origin.index,
                &format::counted(completion.n_tokens.into(), "{0} token", "{0} tokens"),
                &cut,
            ],
        );
        view! {
            <li class="row" data-test="completion-row">
                <div class="prose" inner_html=completion.html></div>
                <p class="fine">{sampling}</p>
            </li>
        }
        .into_any()
    });
    let rows = rows.collect_view();
    view! { <ul class="rows">{rows}</ul> }.into_any()
}
