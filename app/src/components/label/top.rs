//! The line above a task: how far one is, whether the work is saved, and the tools. And what stands in the
//! place of a task when there is none.

use super::{dialogs::Panel, letters::use_letters};
use crate::words::{fill, t};
use laurel_protocol::Progress;
use leptos::prelude::*;

#[derive(Clone, Copy)]
pub struct Top {
    pub n_mine: Signal<u64>,
    pub progress: Signal<Option<Progress>>,
    /// Name of the save state, and what a person reads.
    pub saved: Signal<(&'static str, String)>,
    pub can_undo: Signal<bool>,
    pub has_task: Signal<bool>,
    pub open: RwSignal<Option<Panel>>,
    pub undo: Callback<()>,
}

/// Where a person may go from here.
pub struct Ways {
    pub mine: String,
    /// Where the project has one.
    pub arena: Option<String>,
}

pub fn top(name: String, ways: Ways, top: Top) -> AnyView {
    let letters = use_letters();
    let share = move || {
        let n_left = top.progress.get().map_or(0, |progress| progress.n_left_for_me);
        let all = top.n_mine.get() + n_left;
        (top.n_mine.get() * 100).checked_div(all).unwrap_or(0)
    };
    let left = move || {
        top.progress.get().map(|progress| {
            let project = (progress.n_tasks_done * 100)
                .checked_div(progress.n_tasks)
                .unwrap_or(0);
            fill(
                "{0} left for you · project {1} %",
                &[&progress.n_left_for_me, &project],
            )
        })
    };
    let tool = move |hook: &'static str, panel: Panel, text: &'static str, key: char| {
        view! {
            <button
                type="button"
                class="label-tool"
                data-test=hook
                disabled=move || panel == Panel::Skip && !top.has_task.get()
                aria-keyshortcuts=move || letters.shown(key).to_string()
                on:click=move |_| top.open.set(Some(panel))
            >
                {text}
            </button>
        }
    };
    view! {
        <header class="label-top">
            <div class="label-where">
                <p class="label-project">{name}</p>
                <div
                    class="label-progress"
                    role="progressbar"
                    aria-label=t("Your progress")
                    aria-valuemin="0"
                    aria-valuemax="100"
                    aria-valuenow=move || share().to_string()
                >
                    <div class="label-progress-bar" style:width=move || format!("{}%", share())></div>
                </div>
                <p class="label-progress-text" data-test="progress">
                    <b>{move || top.n_mine.get()}</b>
                    " " {t("done ·")} " "
                    {left}
                </p>
            </div>
            <p class="save-state" data-test="save-state" data-state=move || top.saved.get().0>
                {move || top.saved.get().1}
            </p>
            <div class="label-tools">
                <button
                    type="button"
                    class="label-tool"
                    data-test="undo"
                    aria-keyshortcuts=move || letters.shown('u').to_string()
                    disabled=move || !top.can_undo.get()
                    on:click=move |_| top.undo.run(())
                >
                    {t("Undo")}
                </button>
                <a class="label-tool" data-test="own-answers" href=ways.mine>{t("Your answers")}</a>
                {ways.arena.map(|arena| view! { <a class="label-tool" data-test="arena-link" href=arena>{t("Arena")}</a> })}
                {tool("skip", Panel::Skip, t("Skip"), 's')}
                {tool("guidelines", Panel::Guidelines, t("Guidelines"), 'g')}
                {tool("shortcuts", Panel::Shortcuts, t("Keys"), '?')}
            </div>
        </header>
    }
    .into_any()
}

/// A calm page with a sentence and the way back.
pub fn resting(hook: &'static str, title: &'static str, text: String) -> AnyView {
    view! {
        <section class="label-rest" data-test=hook>
            <h1>{title}</h1>
            <p>{text}</p>
            <a class="label-link" href="/">{t("Back to the projects")}</a>
        </section>
    }
    .into_any()
}
