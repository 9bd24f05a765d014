//! The completion jobs of a project with their live progress.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        badge::{status_badge, status_name},
        progress::{Amount, progress_bar},
    },
    format::counted,
    load::living,
    words::{fill, t, t_owned},
};
use laurel_protocol::{CompletionJob, CompletionJobId, ProjectEvent, TaskPlan};
use leptos::prelude::*;

pub fn view(live: Live) -> AnyView {
    live.jobs.view_once(move || {
        // A row is built once and follows its job by itself: progress must not take the focus from its button.
        let ids = Memo::new(move |_| {
            live.jobs
                .with_ready(|jobs| jobs.iter().map(|job| job.id).collect::<Vec<_>>())
        });
        living(move || match ids.get() {
            Some(ids) if !ids.is_empty() => {
                let rows = ids.into_iter().map(|id| row(live, id)).collect_view();
                view! { <ul class="rows">{rows}</ul> }.into_any()
            }
            _ => view! { <p class="fine">{t("No completion job yet.")}</p> }.into_any(),
        })
    })
}

fn row(live: Live, id: CompletionJobId) -> AnyView {
    let find = move |jobs: &Vec<CompletionJob>| jobs.iter().find(|job| job.id == id).cloned();
    let job = Memo::new(move |_| live.jobs.with_ready(find).flatten());
    // What was asked for never changes.
    let Some(first) = job.get_untracked() else {
        return ().into_any();
    };
    let action = Action::default();
    let abort = move |_| {
        action.run(api::completion::abort(id), move |job| {
            live.take(ProjectEvent::CompletionJob { job: Box::new(job) });
        });
    };
    let under_way = Memo::new(move |_| job.get().is_some_and(|job| !job.status.is_over()));
    let sampling = &first.request.sampling;
    let plan = match first.request.task_plan {
        TaskPlan::Together => "",
        TaskPlan::AgainstEarlier => t(" · against earlier ones"),
    };
    let what = fill(
        "{0} per prompt · temperature {1} · up to {2} tokens · seed {3}{4}",
        &[
            &first.request.completions_per_prompt,
            &sampling.temperature,
            &sampling.max_tokens,
            &sampling.seed,
            &plan,
        ],
    );
    // An adapter's name stays as its people wrote it.
    let generator = match first.generator.as_str() {
        "base model" => t("base model").to_owned(),
        _ => first.generator,
    };
    let badge = living(move || job.get().map(|job| status_badge(job.status)).into_any());
    let standing = living(move || {
        let Some(job) = job.get() else {
            return ().into_any();
        };
        let amount = Amount {
            n_done: job.n_done,
            n_total: job.n_total,
            seconds_left: job.seconds_left.filter(|_| !job.status.is_over()),
        };
        let tasks = tasks_made(&job);
        let failure = job
            .error
            .map(|error| view! { <p class="form-error">{t_owned(&error)}</p> });
        view! { {progress_bar(amount, t("completions"))} {tasks} {failure} }.into_any()
    });
    view! {
        <li
            class="row"
            data-test="completion-job"
            data-status=move || job.get().map(|job| status_name(job.status))
        >
            <div class="row-head">
                <strong>{generator}</strong>
                {badge}
                <button
                    type="button"
                    class="button button-quiet"
                    data-test="abort-job"
                    hidden=move || !under_way.get()
                    disabled=move || action.busy()
                    on:click=abort
                >
                    {t("Stop")}
                </button>
            </div>
            {standing}
            <p class="fine">{what}</p>
            {action.error_line()}
        </li>
    }
    .into_any()
}

/// What came of the completions so far. A prompt can give no task, and an admin should not have to guess why.
fn tasks_made(job: &CompletionJob) -> Option<AnyView> {
    if job.n_tasks + job.n_prompts_without_task == 0 {
        return None;
    }
    let without = (job.n_prompts_without_task > 0).then(|| {
        let prompts = counted(job.n_prompts_without_task, "{0} prompt", "{0} prompts");
        fill(
            " · {0} without: the completions were alike, cut off, or too few",
            &[&prompts],
        )
    });
    let view = view! {
        <p class="fine" data-test="job-tasks">{counted(job.n_tasks, t("{0} task made"), t("{0} tasks made"))} {without}</p>
    };
    Some(view.into_any())
}
