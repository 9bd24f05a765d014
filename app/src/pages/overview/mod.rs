//! A project's front page for admins: where the loop stands, what to do next, and every part of it.
//!
//! Loaded once, then kept true by server-sent events.

mod current;
mod jobs;
mod loop_picture;
mod members;
mod outcome;
mod people;
mod scorings;
mod start_job;

pub use outcome::kind_name;
pub use start_job::fresh_seed;

use super::project_form;
use crate::{api, components::toast::use_toasts, load::Loaded, notify, words::t};
use laurel_protocol::{
    Adapter, CompletionJob, Current, JobStatus, Project, ProjectEvent, ProjectId, ProjectSettings, Round,
    Scoring,
};
use leptos::prelude::*;
use leptos_router::components::A;

/// What the parts of the page share.
#[derive(Clone, Copy)]
pub struct Live {
    pub id: ProjectId,
    pub project: Loaded<Project>,
    pub jobs: Loaded<Vec<CompletionJob>>,
    pub rounds: Loaded<Vec<Round>>,
    pub adapters: Loaded<Vec<Adapter>>,
    pub scorings: Loaded<Vec<Scoring>>,
    pub current: Loaded<Current>,
}

impl Live {
    fn take(self, event: ProjectEvent) {
        match event {
            ProjectEvent::Counts { counts } => self.project.update(|project| project.counts = counts),
            ProjectEvent::CompletionJob { job } => {
                self.jobs
                    .update(|jobs| match jobs.iter_mut().find(|known| known.id == job.id) {
                        Some(known) => *known = *job,
                        None => jobs.insert(0, *job),
                    })
            }
            ProjectEvent::Round { round } => {
                notify::see(&round);
                if round.status == JobStatus::Done {
                    self.adapters.reload();
                }
                self.rounds.update(
                    |rounds| match rounds.iter_mut().find(|known| known.id == round.id) {
                        Some(known) => *known = *round,
                        None => rounds.insert(0, *round),
                    },
                );
            }
            ProjectEvent::Scoring { scoring } => {
                self.scorings.update(|scorings| {
                    match scorings.iter_mut().find(|known| known.id == scoring.id) {
                        Some(known) => *known = *scoring,
                        None => scorings.insert(0, *scoring),
                    }
                });
            }
        }
    }

    /// The stream begins with the counts and the jobs under way; what ended before it was open, or while it was
    /// interrupted, it does not tell.
    fn catch_up(self) {
        self.jobs.refresh();
        self.rounds.refresh();
        self.adapters.refresh();
        self.scorings.refresh();
        self.current.refresh();
    }
}

pub fn page(id: ProjectId) -> AnyView {
    let live = Live {
        id,
        project: Loaded::new(move || api::project::load(id)),
        jobs: Loaded::new(move || api::completion::jobs(id)),
        rounds: Loaded::new(move || api::round::list(id)),
        adapters: Loaded::new(move || api::adapter::list(id)),
        scorings: Loaded::new(move || api::scoring::list(id)),
        current: Loaded::new(move || api::contest::current(id)),
    };
    let connected = RwSignal::new(true);
    let on_live = move |on| {
        if on {
            live.catch_up();
        }
        connected.set(on);
    };
    let stream = api::events::follow_project(id, move |event| live.take(event), on_live);
    // Held by the page: leaving it closes the stream.
    let _stream = StoredValue::new_local(stream);
    let body = live.project.view_once(move || body(live));
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
    let id = live.id;
    let name = move || live.project.get().map(|project| project.settings.name);
    let model = move || live.project.get().map(|project| project.settings.base_model);
    let can_label = move || {
        live.project
            .get()
            .is_some_and(|project| project.counts.n_tasks > 0)
    };
    view! {
        <div class="page-head">
            <div>
                <p class="crumbs"><A href="/">{t("Projects")}</A></p>
                <h1>{name}</h1>
                <p class="muted">{t("Base model")} " "<code>{model}</code></p>
            </div>
            <div class="actions">
                <A href=format!("/projects/{id}/prompts") attr:class="button" attr:data-test="prompts-link">{t("Prompts")}</A>
                <A href=format!("/projects/{id}/plan") attr:class="button" attr:data-test="plan-link">{t("Plan")}</A>
                <A href=format!("/projects/{id}/progress") attr:class="button" attr:data-test="progress-link">{t("Progress")}</A>
                <A href=format!("/projects/{id}/quality") attr:class="button" attr:data-test="quality-link">{t("Quality")}</A>
                <A href=format!("/projects/{id}/lineage") attr:class="button" attr:data-test="lineage-link">{t("Lineage")}</A>
                <A href=format!("/projects/{id}/review") attr:class="button" attr:data-test="review-link">{t("Review")}</A>
                <A href=format!("/projects/{id}/gold") attr:class="button" attr:data-test="gold-link">{t("Gold items")}</A>
                <A href=format!("/projects/{id}/chat") attr:class="button" attr:data-test="chat-link">{t("Chat")}</A>
                <A href=format!("/projects/{id}/arena") attr:class="button" attr:data-test="arena-link">{t("Arena")}</A>
                <A
                    href=format!("/projects/{id}/label")
                    attr:class="button"
                    attr:data-test="label-link"
                    attr:hidden=move || !can_label()
                >
                    {t("Label")}
                </A>
                <A
                    href=format!("/projects/{id}/rounds/new")
                    attr:class="button button-main"
                    attr:data-test="new-round"
                >
                    {t("New round")}
                </A>
            </div>
        </div>
        {loop_picture::view(live)}
        <div class="columns">
            <section class="card" aria-labelledby="completions-title">
                <h2 id="completions-title">{t("Completions")}</h2>
                {start_job::view(live)}
                {jobs::view(live)}
            </section>
            <div class="stack">
                {outcome::rounds(live)}
                {outcome::adapters(live)}
                {current::view(live)}
                {scorings::view(live)}
                {outcome::exports(live)}
            </div>
        </div>
        {people::view(live)}
        {settings(live)}
    }
    .into_any()
}

fn settings(live: Live) -> AnyView {
    let toasts = use_toasts();
    let id = live.id;
    let done = Callback::new(move |project| {
        live.project.set(project);
        toasts.good(t("The settings are saved."));
    });
    let save = move |settings: ProjectSettings| {
        Box::pin(async move { api::project::change_settings(id, &settings).await }) as _
    };
    // What the form starts from; after that it is the admin's.
    let start = live
        .project
        .with_ready(|project| project.settings.clone())
        .unwrap_or_else(project_form::defaults);
    let adapters = Signal::derive(move || live.adapters.get().unwrap_or_default());
    view! {
        <details class="card fold">
            <summary><h2>{t("Settings")}</h2></summary>
            {project_form::form(start, adapters, t("Save the settings"), save, done)}
        </details>
    }
    .into_any()
}
