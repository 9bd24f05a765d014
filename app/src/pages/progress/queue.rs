//! What is left, and when nothing will be.

use crate::{
    components::plot::{Column, Kind, Line, Plot, plot},
    format,
    words::{fill, later, t},
};
use laurel_protocol::{Finish, ProjectProgress, Queue, Timestamp};
use leptos::prelude::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
const TEN_YEARS_MS: i64 = 3652 * DAY_MS;

pub fn view(progress: &ProjectProgress) -> AnyView {
    let lines = words(progress).into_iter();
    let lines = lines.map(|line| view! { <p>{line}</p> }).collect_view();
    view! {
        <section class="card" aria-labelledby="queue-title">
            <h2 id="queue-title">{t("What is left")}</h2>
            <div class="stack" data-test="progress-queue">{lines}</div>
            <div class="charts">{tasks(progress)}</div>
        </section>
    }
    .into_any()
}

fn words(progress: &ProjectProgress) -> Vec<String> {
    let queue = &progress.queue;
    if progress.tasks.is_empty() {
        return vec![t("There are no tasks yet: order completions on the project's page.").to_owned()];
    }
    if queue.n_open_slots == 0 {
        return vec![t("Nothing: every task has all its answers.").to_owned()];
    }
    let left = fill(
        "{0} in {1}.",
        &[
            &format::counted(
                queue.n_open_slots,
                "{0} answer is wanted",
                "{0} answers are wanted",
            ),
            &format::counted(queue.n_open_tasks, "{0} open task", "{0} open tasks"),
        ],
    );
    let mut lines = vec![left];
    match queue.estimate {
        Some(estimate) => lines.push(estimated(&estimate, progress.as_of)),
        None => lines.push(
            t("Nobody has answered in the last 14 days: when that will be done cannot be estimated.")
                .to_owned(),
        ),
    }
    lines.extend(too_few(queue));
    lines
}

fn estimated(estimate: &Finish, now: Timestamp) -> String {
    let pace = fill(
        "At the pace of the last {0}, {1} answers a day, they are there: {2}",
        &[
            &format::counted(estimate.n_days, "{0} day", "{0} days"),
            &format::figure(estimate.per_day),
            &when(estimate.at, now),
        ],
    );
    let range = match estimate.range {
        None => t(" (a guess: less than 3 days of work are known).").to_owned(),
        Some(range) => match range.latest {
            Some(latest) => fill(
                " (95 %: {0} to {1}).",
                &[&when(range.earliest, now), &when(latest, now)],
            ),
            None => fill(
                " (95 %: {0} at the earliest; the latest is open, so little was done).",
                &[&when(range.earliest, now)],
            ),
        },
    };
    pace + &range
}

/// With the time of day where that matters.
fn when(at: Timestamp, now: Timestamp) -> String {
    match at.0 - now.0 {
        ahead if ahead > TEN_YEARS_MS => t("in more than ten years").to_owned(),
        ahead if ahead < 2 * DAY_MS => format::moment(at),
        _ => format::day(at),
    }
}

fn too_few(queue: &Queue) -> Option<String> {
    let is_too_few = (1..queue.overlap).contains(&queue.n_people);
    is_too_few.then(|| {
        fill(
            "A task wants answers of up to {0} different people, and {1} answered in the last 14 days: without others it will \
             not be done.",
            &[&queue.overlap, &queue.n_people],
        )
    })
}

/// How many tasks have how many answers.
fn tasks(progress: &ProjectProgress) -> AnyView {
    let columns = progress
        .tasks
        .iter()
        .map(|tasks| Column::named(format::counted(tasks.n_answers, "{0} answer", "{0} answers")));
    let open = progress.tasks.iter().map(|tasks| tasks.n_open);
    let done = progress.tasks.iter().map(|tasks| tasks.n_done);
    let done = Line {
        class: "line-b",
        ..Line::of_counts(later("Done tasks"), done)
    };
    plot(Plot {
        title: t("Tasks by their answers").to_owned(),
        hook: "plot-tasks",
        kind: Kind::Bars,
        x: later("Answers"),
        columns: columns.collect(),
        lines: vec![Line::of_counts(later("Open tasks"), open), done],
        write: format::figure,
        top: 1.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::FinishRange;

    fn finish(latest: Option<i64>) -> Finish {
        let after = |days: i64| Timestamp(days * DAY_MS);
        Finish {
            n_days: 14,
            per_day: 2.5,
            at: after(20_000),
            range: Some(FinishRange {
                earliest: after(19_000),
                latest: latest.map(after),
            }),
        }
    }

    #[test]
    fn an_estimate_says_how_sure_it_is() {
        let now = Timestamp(0);
        let open = estimated(&finish(None), now);
        assert!(
            open.contains("2.5 answers a day") && open.contains("the latest is open"),
            "{open}"
        );
        let known = estimated(&finish(Some(21_000)), now);
        assert!(
            known.contains("95 %: in more than ten years to in more than ten years"),
            "{known}"
        );
        let guess = Finish {
            range: None,
            ..finish(None)
        };
        assert!(estimated(&guess, now).contains("a guess"));
    }

    #[test]
    fn a_lead_is_told_where_there_are_fewer_people_than_a_task_wants() {
        let queue = |overlap, n_people| Queue {
            overlap,
            n_people,
            ..Queue::default()
        };
        assert!(
            too_few(&queue(3, 2))
                .unwrap()
                .contains("up to 3 different people, and 2")
        );
        assert_eq!(too_few(&queue(3, 3)), None);
        assert_eq!(too_few(&queue(3, 0)), None, "that nobody works is said already");
    }
}
