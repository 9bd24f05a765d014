//! What annotators skipped with a reason, and taking such tasks out of the queue.

use crate::{
    api,
    components::{
        action::Action,
        label::{prompt::letter, skipped::reason_text},
    },
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{Flag, FlaggedPage, ProjectId};
use leptos::prelude::*;

pub fn list(id: ProjectId) -> AnyView {
    let page = Loaded::new(move || api::review::flagged(id, None));
    page.view(move |now| listing(id, page, now))
}

fn listing(id: ProjectId, loaded: Loaded<FlaggedPage>, page: FlaggedPage) -> AnyView {
    if page.flags.is_empty() {
        return view! { <p class="fine" data-test="nothing-flagged">{t("Nobody has skipped a task here.")}</p> }
            .into_any();
    }
    let action = Action::default();
    let more = page.next.map(|next| {
        let ask = move |_| {
            action.run(api::review::flagged(id, Some(next)), move |page| {
                loaded.update(|known| {
                    known.flags.extend(page.flags);
                    known.next = page.next;
                });
            });
        };
        view! {
            <button type="button" class="button" disabled=move || action.busy() on:click=ask>{t("Show more")}</button>
        }
    });
    let rows = page.flags.into_iter().map(row).collect_view();
    view! {
        <ul class="prompts">{rows}</ul>
        <div class="actions">{more}</div>
        {action.error_line()}
    }
    .into_any()
}

fn row(flag: Flag) -> AnyView {
    let action = Action::default();
    let task = flag.task_id;
    let retired = RwSignal::new(flag.retired);
    let turn = move |_| {
        let to = !retired.get_untracked();
        action.run(api::review::retire(task, to), move |()| {
            if !retired.is_disposed() {
                retired.set(to);
            }
        });
    };
    let comment = (!flag.comment.is_empty()).then(|| view! { <p>{flag.comment}</p> });
    let prompt = flag
        .prompt
        .into_iter()
        .map(|message| view! { <div class="prose" inner_html=message.html></div> })
        .collect_view();
    let completions = flag
        .completions
        .into_iter()
        .enumerate()
        .map(|(at, completion)| {
            view! {
                <article class="completion" aria-label=fill("Answer {0}", &[&letter(at)])>
                    <div class="prose" inner_html=completion.html></div>
                </article>
            }
        })
        .collect_view();
    view! {
        <li class="card review" data-test="flag">
            <h2>{fill("Task {0}: {1}", &[&task, &reason_text(flag.reason)])}</h2>
            <p class="fine">{flag.name} ", " {format::moment(flag.at)}</p>
            {comment}
            {prompt}
            <div class="sheet-cards">{completions}</div>
            <div class="actions">
                <button
                    type="button"
                    class="button"
                    data-test="retire"
                    aria-pressed=move || retired.get().to_string()
                    disabled=move || action.busy()
                    on:click=turn
                >
                    {move || if retired.get() { t("Put it back into the queue") } else { t("Take it out of the queue") }}
                </button>
            </div>
            {action.error_line()}
        </li>
    }
    .into_any()
}
