//! The review of a project: tasks that annotators see differently side by side, decisions on them, and what was
//! flagged.

mod flagged;
mod lineage;
mod own;
mod task;

use crate::{
    api,
    components::action::Action,
    load::Loaded,
    words::{later, t},
};
use laurel_protocol::{ProjectId, ReviewFilter, ReviewPage};
use leptos::prelude::*;
use leptos_router::components::A;

/// What the page lists.
#[derive(Clone, Copy, PartialEq)]
enum Tab {
    Tasks(ReviewFilter),
    Flagged,
}

const TABS: [(Tab, &str, &str); 4] = [
    (
        Tab::Tasks(ReviewFilter::Disagreements),
        "disagreements",
        later("Disagreements"),
    ),
    (Tab::Tasks(ReviewFilter::Decided), "decided", later("Decided")),
    (Tab::Tasks(ReviewFilter::All), "all", later("All answered")),
    (Tab::Flagged, "flagged", later("Flagged")),
];

pub fn page(id: ProjectId) -> AnyView {
    let tab = RwSignal::new(TABS[0].0);
    let tabs = TABS
        .into_iter()
        .map(|(own, hook, text)| {
            view! {
                <button
                    type="button"
                    class="button"
                    data-test=format!("review-{hook}")
                    aria-pressed=move || (tab.get() == own).to_string()
                    on:click=move |_| tab.set(own)
                >
                    {t(text)}
                </button>
            }
        })
        .collect_view();
    let list = move || match tab.get() {
        Tab::Tasks(filter) => untrack(|| tasks(id, filter)),
        Tab::Flagged => untrack(|| flagged::list(id)),
    };
    view! {
        <div class="page">
            <p class="crumbs">
                <A href="/">{t("Projects")}</A>
                <A href=format!("/projects/{id}/label")>{t("Label")}</A>
            </p>
            <h1>{t("Review")}</h1>
            <div class="actions" role="group" aria-label=t("What is listed")>{tabs}</div>
            {list}
        </div>
    }
    .into_any()
}

fn tasks(id: ProjectId, filter: ReviewFilter) -> AnyView {
    let page = Loaded::new(move || api::review::page(id, filter, None));
    page.view(move |now| listing(id, filter, page, now))
}

fn listing(id: ProjectId, filter: ReviewFilter, loaded: Loaded<ReviewPage>, page: ReviewPage) -> AnyView {
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            action.run(api::review::page(id, filter, Some(next)), move |page| {
                loaded.update(|known| {
                    known.tasks.extend(page.tasks);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" data-test="more-tasks" disabled=move || action.busy() on:click=ask>
                {t("Look on")}
            </button>
        }
    });
    let nothing = page.tasks.is_empty().then(|| {
        let text = match filter {
            ReviewFilter::Disagreements => t("Nobody contradicts anybody in what has been answered so far."),
            ReviewFilter::Decided => t("Nothing has been decided yet."),
            ReviewFilter::All => t("No task has all its answers yet."),
        };
        view! { <p class="fine" data-test="nothing-to-review">{text}</p> }
    });
    let rows = page.tasks.into_iter().map(task::card).collect_view();
    view! {
        {nothing}
        <ul class="prompts">{rows}</ul>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}
