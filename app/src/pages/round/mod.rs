//! A round, live: its state, charts, log, and what it changed.

mod alarms;
mod charts;
mod compare;
mod facts;
mod gate;
mod health;
mod preview;
mod record;
mod rollouts;

use super::overview::{fresh_seed, kind_name};
use crate::{
    api,
    components::{
        action::Action,
        badge::{status_badge, status_name},
        dialog::{Question, confirm_button},
        progress::{Amount, progress_bar},
    },
    format,
    load::Loaded,
    notify,
    words::{t, t_owned},
};
use laurel_protocol::{
    Asked, CompletionJob, JobStatus, LabelType, LogLevel, LogLine, MetricPoint, NewCompletionJob, Preview,
    Project, ProjectId, Round, RoundEvent, RoundId, RoundKind, Sample, Split, TaskPlan, Timestamp,
};
use leptos::prelude::*;
use leptos_router::{components::A, hooks::use_navigate};
use std::collections::BTreeMap;

const ABORT: Question = Question {
    title: "Abort this round?",
    text: "It stops at the next step, leaves no adapter and cannot be resumed. The annotations stay as they are.",
    yes: "Abort the round",
    no: "Let it run",
};

/// The figures by split and step: a repeated step replaces itself.
pub type Points = BTreeMap<(Split, u64), BTreeMap<String, f64>>;

/// What the parts of the page share.
#[derive(Clone, Copy)]
pub struct Live {
    pub round: Loaded<Round>,
    pub points: RwSignal<Points>,
    pub log: RwSignal<Vec<LogLine>>,
    pub samples: Loaded<Vec<Sample>>,
    pub preview: Loaded<Option<Preview>>,
    opened: Timestamp,
}

impl Live {
    fn take(self, event: RoundEvent) {
        match event {
            RoundEvent::Round { round } => {
                notify::see(&round);
                self.round.set(*round);
            }
            RoundEvent::Metrics { points } => self.add_points(points),
            RoundEvent::Log { lines } => self.log.update(|known| {
                // A new connection sends the last lines again.
                let mut fresh: Vec<_> = lines.into_iter().filter(|line| !known.contains(line)).collect();
                self.notify_of(&fresh);
                known.append(&mut fresh);
            }),
            RoundEvent::Samples { samples } => self.samples.set(samples),
            RoundEvent::Preview { preview } => self.preview.set(Some(preview)),
        }
    }

    /// Of warnings since the page was opened.
    fn notify_of(self, lines: &[LogLine]) {
        let warns = |line: &&LogLine| line.level == LogLevel::Warning && line.at > self.opened;
        for line in lines.iter().filter(warns) {
            self.round.with_ready(|round| notify::warn(round, &line.text));
        }
    }

    fn add_points(self, points: Vec<MetricPoint>) {
        self.points.update(|known| {
            known.extend(
                points
                    .into_iter()
                    .map(|point| ((point.split, point.step), point.values)),
            );
        });
    }
}

pub fn page(id: RoundId) -> AnyView {
    let live = Live {
        round: Loaded::new(move || api::round::load(id)),
        points: RwSignal::new(Points::new()),
        log: RwSignal::new(Vec::new()),
        samples: Loaded::new(move || api::round::samples(id)),
        preview: Loaded::new(move || api::round::preview(id)),
        opened: Timestamp(js_sys::Date::now() as i64),
    };
    let connected = RwSignal::new(true);
    let stream = api::events::follow_round(id, move |event| live.take(event), move |on| connected.set(on));
    // Held by the page: leaving it closes the stream.
    let _stream = StoredValue::new_local(stream);
    let body = live.round.view_once(move || body(live));
    view! {
        <div class="page page-wide">
            <p class="notice" role="status" hidden=move || connected.get()>
                {t("The live connection is interrupted; trying again.")}
            </p>
            {body}
        </div>
    }
    .into_any()
}

fn body(live: Live) -> AnyView {
    // `view_once` builds this only once the round is there.
    let Some(first) = untrack(|| live.round.get()) else {
        return ().into_any();
    };
    let project = first.project_id;
    let state = Memo::new(move |_| live.round.get());
    let status = move || state.get().map(|round| status_name(round.status));
    let badge = move || state.get().map(|round| status_badge(round.status));
    let action = Action::default();
    view! {
        <div class="page-head">
            <div>
                <p class="crumbs">
                    <A href="/">{t("Projects")}</A><A href=format!("/projects/{project}")>{t("Overview")}</A>
                </p>
                <h1>{first.name.clone()}</h1>
                <p class="row-head">
                    <span data-test="round-status" data-status=status>{badge}</span>
                    <span class="muted">{kind_name(first.spec.kind)}</span>
                </p>
            </div>
            <div class="actions">
                <A href=format!("/projects/{project}/rounds/new?from={}", first.id) attr:class="button" attr:data-test="clone-round">
                    {t("Copy")}
                </A>
                {orders(live, first.id, action)}
            </div>
        </div>
        {action.error_line()}
        {move || state.get().map(standing)}
        {alarms::view(live)}
        {after(live, first.spec.kind)}
        {gate::view(live, first.spec.kind)}
        {charts::view(live, first.spec.kind)}
        {charts::files(first.id)}
        {health::view(live, first.id, first.spec.kind)}
        {preview::view(live, first.spec.kind)}
        {record::samples(live, first.spec.kind)}
        <div class="columns">
            {record::log(live)}
            {facts::view(live, project)}
        </div>
        {compare::view(first, project)}
    }
    .into_any()
}

/// The buttons that stop the round, for a while or for good, and let it go on.
fn orders(live: Live, id: RoundId, action: Action) -> AnyView {
    let standing = Memo::new(move |_| live.round.with_ready(|round| (round.status, round.asked)));
    let over = move || standing.get().is_none_or(|(status, _)| status.is_over());
    let is_paused = move || {
        standing
            .get()
            .is_some_and(|(status, asked)| status == JobStatus::Paused || asked == Some(Asked::Pause))
    };
    let is_aborting = move || {
        standing
            .get()
            .is_some_and(|(_, asked)| asked == Some(Asked::Abort))
    };
    let done = move |round| live.round.set(round);
    // One button, so that the keyboard's focus stays on it when its word changes.
    let pause_or_resume = move |_| {
        if untrack(is_paused) {
            action.run(api::round::resume(id), done);
        } else {
            action.run(api::round::pause(id), done);
        }
    };
    let abort = Callback::new(move |()| action.run(api::round::abort(id), done));
    view! {
        <div class="actions" hidden=over>
            <button
                type="button"
                class="button"
                data-test=move || if is_paused() { "resume-round" } else { "pause-round" }
                hidden=is_aborting
                on:click=pause_or_resume
            >
                {move || if is_paused() { t("Resume") } else { t("Pause") }}
            </button>
            {confirm_button(t("Abort"), "abort-round", ABORT, abort)}
        </div>
    }
    .into_any()
}

/// Progress while it runs, the reason when it failed.
fn standing(round: Round) -> AnyView {
    let resumed = (round.n_attempts > 1).then(|| {
        let words = format::counted(
            u64::from(round.n_attempts) - 1,
            t("Taken up again {0} time, after a pause or a lost trainer."),
            t("Taken up again {0} times, after a pause or a lost trainer."),
        );
        view! { <p class="fine">{words}</p> }
    });
    let asked = round.asked.map(|asked| {
        let text = match asked {
            Asked::Pause => t("Pauses at the end of this step."),
            Asked::Abort => t("Ends at this step."),
        };
        view! { <p class="notice" role="status" data-test="round-asked">{text}</p> }
    });
    let amount = Amount {
        n_done: round.step,
        n_total: round.n_steps.unwrap_or(0),
        seconds_left: round.seconds_left,
    };
    let main = match round.status {
        JobStatus::Queued => {
            view! { <p class="notice" role="status">{t("Waits for a trainer. It starts as soon as one is free.")}</p> }.into_any()
        }
        JobStatus::Running => progress_bar(amount, t("steps")),
        JobStatus::Paused => {
            let text = t("Paused. Its checkpoint lies with the trainer that had it: that one goes on where it stopped, \
                        another one starts over and comes to the same weights.");
            view! { {progress_bar(amount, t("steps"))} <p class="notice" role="status">{text}</p> }.into_any()
        }
        JobStatus::Failed => {
            let error = match round.error {
                Some(error) => t_owned(&error),
                None => t("The trainer gave no reason; see the log.").to_owned(),
            };
            view! { <p class="notice notice-error" role="alert">{error}</p> }.into_any()
        }
        JobStatus::Done | JobStatus::Aborted => ().into_any(),
    };
    view! { {asked} {main} {resumed} }.into_any()
}

/// The one click after a round: new completions, to be judged against the earlier ones.
fn after(live: Live, kind: RoundKind) -> AnyView {
    if kind == RoundKind::Reward {
        return ().into_any();
    }
    let ready = Memo::new(move |_| live.round.with_ready(|round| round.adapter.is_some()));
    // What the request needs is fetched before the button shows: the click then sends one request.
    (move || {
        let is_ready = ready.get() == Some(true);
        let round = untrack(|| live.round.get()).filter(|_| is_ready)?;
        let project = round.project_id;
        let jobs = Loaded::new(move || async move {
            Ok((
                api::project::load(project).await?,
                api::completion::jobs(project).await?,
            ))
        });
        Some(jobs.view(move |(project, jobs)| offer(next_job(&round, &project, &jobs), project.id)))
    })
    .into_any()
}

fn offer(job: NewCompletionJob, project: ProjectId) -> AnyView {
    let navigate = use_navigate();
    let action = Action::default();
    let job = StoredValue::new(job);
    let click = move |_| {
        let navigate = navigate.clone();
        let started = async move { api::completion::start(project, &job.get_value()).await };
        action.run(started, move |_| {
            navigate(&format!("/projects/{project}"), Default::default())
        });
    };
    view! {
        <section class="card card-accent">
            <div class="row-head">
                <p>
                    {t("The adapter is ready. Let it answer the prompts, and let people judge the new answers against \
                    the earlier ones.")}
                </p>
                <button
                    type="button"
                    class="button button-main"
                    data-test="new-completions"
                    disabled=move || action.busy()
                    on:click=click
                >
                    {t("Make new completions and compare")}
                </button>
            </div>
            {action.error_line()}
        </section>
    }
    .into_any()
}

/// Samples as the project's last job did, so that new and old differ by the adapter alone.
fn next_job(round: &Round, project: &Project, jobs: &[CompletionJob]) -> NewCompletionJob {
    let (mut sampling, n_prompts) = jobs
        .first()
        .map(|job| (job.request.sampling.clone(), job.request.n_prompts))
        .unwrap_or_default();
    sampling.seed = fresh_seed(jobs);
    NewCompletionJob {
        adapter: round.adapter,
        base_model: false,
        completions_per_prompt: match project.settings.label_type {
            LabelType::Pick => 1,
            LabelType::Rank | LabelType::BestWorst | LabelType::Rate => {
                project.settings.completions_per_task.div_ceil(2)
            }
        },
        sampling,
        task_plan: TaskPlan::AgainstEarlier,
        n_prompts,
    }
}
