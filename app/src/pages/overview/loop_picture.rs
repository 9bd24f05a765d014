//! The loop in one picture: how much there is of each thing, and which step comes next.

use super::Live;
use crate::words::{fill, t};
use laurel_protocol::{JobStatus, ProjectCounts};
use leptos::prelude::*;
use leptos_router::components::A;

/// The next sensible step: its sentence and where it is done.
struct Next {
    text: String,
    link: Option<(String, &'static str)>,
}

/// Enough to see a small model move; fewer mostly teach noise.
const GOOD_START: u64 = 100;

fn next(live: Live) -> Option<Next> {
    let counts = live.project.get()?.counts;
    let id = live.id;
    let work_is_under_way = live
        .jobs
        .get()
        .unwrap_or_default()
        .iter()
        .any(|job| !job.status.is_over());
    let rounds = live.rounds.get().unwrap_or_default();
    let say = |text: &str| Next {
        text: text.to_owned(),
        link: None,
    };
    Some(if counts.n_prompts == 0 {
        Next {
            text: t("Import prompts: the questions that the model is to answer.").to_owned(),
            link: Some((format!("/projects/{id}/prompts"), t("Import prompts"))),
        }
    } else if counts.n_completions == 0 && !work_is_under_way {
        say(t("Make completions: let the model answer the prompts, below."))
    } else if let Some(round) = rounds.iter().find(|round| !round.status.is_over()) {
        Next {
            text: match round.status {
                JobStatus::Paused => fill("{0} is paused.", &[&round.name]),
                _ => fill("{0} is under way.", &[&round.name]),
            },
            link: Some((format!("/rounds/{}", round.id), t("Watch it"))),
        }
    } else if counts.n_tasks_done < counts.n_tasks && counts.n_comparisons < GOOD_START {
        Next {
            text: fill(
                "Label: {0} comparisons so far. From about {1} on a round has something to learn from.",
                &[&counts.n_comparisons, &GOOD_START],
            ),
            link: Some((format!("/projects/{id}/label"), t("Label"))),
        }
    } else if counts.n_comparisons == 0 {
        say(t(
            "Completions are on their way; labelling can start with the first task.",
        ))
    } else if let Some(round) = rounds.first().filter(|round| round.status == JobStatus::Done) {
        Next {
            text: fill(
                "{0} is done: compare its samples, then let people judge new against old.",
                &[&round.name],
            ),
            link: Some((format!("/rounds/{}", round.id), t("See what changed"))),
        }
    } else {
        Next {
            text: fill("Start a round on {0} comparisons.", &[&counts.n_comparisons]),
            link: Some((format!("/projects/{id}/rounds/new"), t("New round"))),
        }
    })
}

pub fn view(live: Live) -> AnyView {
    let count = move |pick: fn(&ProjectCounts) -> u64| {
        move || {
            live.project
                .get()
                .map(|project| pick(&project.counts).to_string())
        }
    };
    let step = |number: &'static str,
                hook: &'static str,
                name: &'static str,
                pick: fn(&ProjectCounts) -> u64| {
        view! {
            <li class="loop-step">
                <span class="loop-name"><span class="loop-number" aria-hidden="true">{number}</span>{name}</span>
                <span class="loop-count figures" data-test=hook>{count(pick)}</span>
            </li>
        }
        .into_any()
    };
    let done = move || {
        live.project.get().map(|project| {
            let counts = project.counts;
            fill(
                "{0} of them judged · {1} ties · {2} skips",
                &[&counts.n_tasks_done, &counts.n_ties, &counts.n_skips],
            )
        })
    };
    let n_rounds = move || live.rounds.get().map(|rounds| rounds.len().to_string());
    let next_step = move || {
        next(live).map(|next| {
            let link = next
                .link
                .map(|(href, words)| view! { <A href attr:class="button">{words}</A> });
            view! {
                <p class="loop-next"><strong>{t("Next:")} " "</strong>{next.text}</p>
                {link}
            }
        })
    };
    view! {
        <section class="loop" aria-label=t("Where the project stands")>
            <ol class="loop-steps">
                {step("1", "count-prompts", t("Prompts"), |counts| counts.n_prompts)}
                {step("2", "count-completions", t("Completions"), |counts| counts.n_completions)}
                {step("3", "count-tasks", t("Tasks"), |counts| counts.n_tasks)}
                {step("4", "count-annotations", t("Annotations"), |counts| counts.n_annotations)}
                {step("5", "count-comparisons", t("Comparisons"), |counts| counts.n_comparisons)}
                <li class="loop-step">
                    <span class="loop-name"><span class="loop-number" aria-hidden="true">"6"</span>{t("Rounds")}</span>
                    <span class="loop-count figures" data-test="count-rounds">{n_rounds}</span>
                </li>
            </ol>
            <p class="fine">{done}</p>
            <div class="loop-foot">{next_step}</div>
        </section>
    }
    .into_any()
}
