//! The completion jobs of a project with their live progress.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        badge::{status_badge, status_name},
        progress::{Amount, progress_bar},
    },
};
use laurel_protocol::{CompletionJob, ProjectEvent, TaskPlan};
use leptos::prelude::*;

pub fn view(live: Live) -> AnyView {
    live.jobs.view(move |jobs| {
        if jobs.is_empty() {
            return view! { <p class="fine">"No completion job yet."</p> }.into_any();
        }
        let rows = jobs.into_iter().map(|job| row(live, job)).collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    })
}

fn row(live: Live, job: CompletionJob) -> AnyView {
    let id = job.id;
    let action = Action::default();
    let abort = move |_| {
        action.run(api::completion::abort(id), move |job| {
            live.take(ProjectEvent::CompletionJob { job: Box::new(job) });
        });
    };
    let under_way = !job.status.is_over();
    let button = under_way.then(|| {
        view! {
            <button
                type="button"
                class="button button-quiet"
                data-test="abort-job"
                disabled=move || action.busy()
                on:click=abort
            >
                "Stop"
            </button>
        }
    });
    let sampling = &job.request.sampling;
    let plan = match job.request.task_plan {
        TaskPlan::Together => "",
        TaskPlan::AgainstEarlier => " · against earlier ones",
    };
    let what = format!(
        "{} per prompt · temperature {} · up to {} tokens{plan}",
        job.request.completions_per_prompt, sampling.temperature, sampling.max_tokens
    );
    let amount = Amount {
        n_done: job.n_done,
        n_total: job.n_total,
        seconds_left: job.seconds_left.filter(|_| under_way),
    };
    view! {
        <li class="row" data-test="completion-job" data-status=status_name(job.status)>
            <div class="row-head">
                <strong>{job.generator}</strong>
                {status_badge(job.status)}
                {button}
            </div>
            {progress_bar(amount, "completions")}
            <p class="fine">{what}</p>
            {job.error.map(|error| view! { <p class="form-error">{error}</p> })}
            {action.error_line()}
        </li>
    }
    .into_any()
}
