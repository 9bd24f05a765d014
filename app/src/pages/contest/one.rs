//! One contest: how it stands, live.

use super::words::{badge, name, verdict};
use crate::{
    api,
    components::{
        action::Action,
        badge::status_badge,
        dialog::{Question, confirm_button},
        progress::{Amount, progress_bar},
    },
    format,
    load::{Loaded, living},
    words::{fill, t, t_owned},
};
use laurel_protocol::{CloseContest, CompletionJob, Contest, ContestId, ContestStatus, ProjectId};
use leptos::prelude::*;
use leptos_router::components::A;

const CLOSE: Question = Question {
    title: "End this contest?",
    text: "Its open tasks leave the queue, and nobody is named as better. What people said stays.",
    yes: "End the contest",
    no: "Let it run",
};

pub fn page(id: ContestId) -> AnyView {
    let contest = Loaded::new(move || api::contest::load(id));
    let stream = StoredValue::new_local(None);
    // The project's events tell of each answer; held by the page, so that leaving it closes the stream.
    Effect::new(move |_| {
        let project = contest.with_ready(|contest| contest.project_id);
        if let Some(project) = project.filter(|_| stream.with_value(Option::is_none)) {
            let again = move |_| contest.refresh();
            stream.set_value(Some(api::events::follow_project(project, again, |_| {})));
        }
    });
    let body = contest.view_once(move || body(contest));
    view! { <div class="page">{body}</div> }.into_any()
}

/// Built once: an answer that comes meanwhile closes no question.
fn body(contest: Loaded<Contest>) -> AnyView {
    // `view_once` builds this only once the contest is there.
    let Some(begun) = untrack(|| contest.get()) else {
        return ().into_any();
    };
    let is_over =
        Memo::new(move |_| contest.with_ready(|now| now.status != ContestStatus::Open) != Some(false));
    let standing = living(move || contest.with_ready(standing).into_any());
    let status = move || contest.with_ready(|now| status_name(now.status));
    view! {
        {crumbs(begun.project_id)}
        <div class="page-head">
            <div>
                <h1>{fill("{0} against {1}", &[&name(&begun.first), &name(&begun.second)])}</h1>
                <p data-test="contest-status" data-status=status>{move || contest.with_ready(badge)}</p>
            </div>
            <div hidden=move || is_over.get()>{close(contest, begun.id)}</div>
        </div>
        {standing}
        {next(&begun)}
    }
    .into_any()
}

fn status_name(status: ContestStatus) -> &'static str {
    match status {
        ContestStatus::Open => "open",
        ContestStatus::Decided => "decided",
        ContestStatus::Undecided => "undecided",
        ContestStatus::Closed => "closed",
    }
}

fn standing(now: &Contest) -> AnyView {
    let is_open = now.status == ContestStatus::Open;
    let jobs = is_open.then(|| now.jobs.iter().map(job).collect_view());
    let reason = now.close_reason.clone().filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| view! { <p class="verbatim">{reason}</p> });
    view! {
        <p class="notice" role="status" data-test="contest-verdict">{verdict(now)}</p>
        {reason}
        {jobs}
        {figures(now, &name(&now.first))}
    }
    .into_any()
}

fn crumbs(project: ProjectId) -> AnyView {
    view! {
        <p class="crumbs">
            <A href="/">{t("Projects")}</A>
            <A href=format!("/projects/{project}")>{t("Overview")}</A>
            <A href=format!("/projects/{project}/contests")>{t("Contests")}</A>
        </p>
    }
    .into_any()
}

fn close(contest: Loaded<Contest>, id: ContestId) -> AnyView {
    let action = Action::default();
    let act = Callback::new(move |()| {
        let end = async move { api::contest::close(id, &CloseContest::default()).await };
        action.run(end, move |now| contest.set(now));
    });
    view! {
        <div class="actions">{confirm_button(t("End"), "close-contest", CLOSE, act)} {action.error_line()}</div>
    }
    .into_any()
}

fn job(job: &CompletionJob) -> AnyView {
    let amount = (!job.status.is_over()).then(|| {
        let amount = Amount {
            n_done: job.n_done,
            n_total: job.n_total,
            seconds_left: job.seconds_left,
        };
        progress_bar(amount, t("completions"))
    });
    let error = job
        .error
        .as_ref()
        .map(|error| view! { <p class="notice notice-error" role="alert">{t_owned(error)}</p> });
    view! {
        <section class="row">
            <div class="row-head">
                <span>{fill("Answers of {0}", &[&job.generator])}</span>
                {status_badge(job.status)}
            </div>
            {amount}
            {error}
        </section>
    }
    .into_any()
}

fn figures(now: &Contest, first: &str) -> AnyView {
    let figures = &now.figures;
    let interval = fill(
        "{0} to {1}",
        &[
            &format::percent(figures.interval.low),
            &format::percent(figures.interval.high),
        ],
    );
    let rate = figures.win_rate.map_or_else(|| "–".to_owned(), format::percent);
    let counted = fill(
        "{0} of {1}",
        &[
            &format::count(figures.n_counted),
            &format::count(figures.n_prompts),
        ],
    );
    let (wins, ties, losses) = (
        format::count(figures.wins),
        format::count(figures.ties),
        format::count(figures.losses),
    );
    let trust = format::percent(1.0 - now.alpha);
    view! {
        <section class="card" aria-labelledby="figures-title">
            <h2 id="figures-title">{t("Figures")}</h2>
            {bar(now)}
            <dl class="facts">
                <dt>{fill("Win rate of {0}", &[&first])}</dt>
                <dd data-test="contest-rate">{rate}</dd>
                <dt>{fill("Interval of {0}", &[&trust])}</dt>
                <dd data-test="contest-interval">{interval}</dd>
                <dt>{t("Prompts that count")}</dt>
                <dd data-test="contest-counted">{counted}</dd>
                <dt>{t("Votes: won, tied, lost")}</dt>
                <dd>{fill("{0}, {1}, {2}", &[&wins, &ties, &losses])}</dd>
                <dt>{t("Answered alike by both")}</dt>
                <dd>{format::count(figures.n_same)}</dd>
                <dt>{t("Left out, an answer was cut off")}</dt>
                <dd>{format::count(figures.n_left_out)}</dd>
                <dt>{t("People per prompt")}</dt>
                <dd>{now.n_people}</dd>
            </dl>
            <p class="fine">
                {t("A tie, and a verdict that both are bad, is half a win of each. A prompt counts once, by the mean of its \
                 votes, when all of them are in. The interval holds however often one looks at it; the contest ends when one \
                 half lies outside of it.")}
            </p>
        </section>
    }
    .into_any()
}

/// The interval on a line from 0 to 100 %, one half marked. The figures below say the same in words.
fn bar(now: &Contest) -> AnyView {
    let figures = &now.figures;
    let at = |share: f64| format!("{:.1}", 600.0 * share);
    let width = format!("{:.1}", 600.0 * (figures.interval.high - figures.interval.low));
    let dot = figures
        .win_rate
        .map(|rate| view! { <circle class="interval-dot" cx=at(rate) cy="16" r="6"/> });
    view! {
        <svg class="interval" viewBox="-8 0 616 32" aria-hidden="true">
            <line class="interval-line" x1="0" y1="16" x2="600" y2="16"/>
            <line class="interval-half" x1="300" y1="2" x2="300" y2="30"/>
            <rect class="interval-range" x=at(figures.interval.low) y="12" width=width height="8" rx="4"/>
            {dot}
        </svg>
    }
    .into_any()
}

fn next(now: &Contest) -> AnyView {
    let project = now.project_id;
    let round = now.round.map(|round| {
        view! { <A href=format!("/rounds/{round}") attr:class="button" attr:data-test="contest-round">{t("To the round")}</A> }
    });
    view! {
        <div class="actions">
            {round}
            <A href=format!("/projects/{project}/ladder") attr:class="button">{t("Ladder")}</A>
        </div>
    }
    .into_any()
}
