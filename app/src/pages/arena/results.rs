//! For admins: who wins how often, in the arena and apart from it in tasks.

use super::view::name;
use crate::{
    api, format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{PairStanding, ProjectId, Record, Standing, Standings};
use leptos::prelude::*;

pub fn view(id: ProjectId) -> AnyView {
    let results = Loaded::new(move || api::arena::results(id));
    let tables = results.view(|results| {
        view! {
            {standings(t("In the arena"), "live", results.live)}
            {standings(t("In tasks from completion jobs"), "offline", results.offline)}
        }
        .into_any()
    });
    view! {
        <section class="card" aria-labelledby="arena-results-title">
            <div class="page-head">
                <h2 id="arena-results-title">{t("Results")}</h2>
                <button
                    type="button"
                    class="button button-quiet"
                    data-test="arena-results-again"
                    on:click=move |_| results.reload()
                >
                    {t("Count again")}
                </button>
            </div>
            <p class="muted">
                {t("Only admins see this. A tie is half a win. The score is Bradley-Terry's: 1000 is the mean, 400 points \
                 more are odds of ten to one.")}
            </p>
            {tables}
        </section>
    }
    .into_any()
}

fn standings(title: &'static str, hook: &'static str, all: Standings) -> AnyView {
    if all.contenders.is_empty() {
        return view! {
            <h3>{title}</h3>
            <p class="fine">{t("No two contenders have been compared yet.")}</p>
        }
        .into_any();
    }
    let counts = fill(
        "{0}, and {1} of both answers as bad.",
        &[
            &format::counted(all.n_comparisons, "{0} comparison", "{0} comparisons"),
            &format::counted(all.n_both_bad, "{0} verdict", "{0} verdicts"),
        ],
    );
    let contenders = all.contenders.iter().map(contender).collect_view();
    let pairs = all.pairs.iter().map(pair).collect_view();
    view! {
        <h3>{title}</h3>
        <p class="fine">{counts}</p>
        <div class="table-frame" tabindex="0" role="region" aria-label=fill("{0}: contenders", &[&title])>
            <table data-test=format!("arena-{hook}")>
                <thead>
                    <tr>
                        <th scope="col">{t("Contender")}</th>
                        <th scope="col" class="number">{t("Score")}</th>
                        {record_heads()}
                    </tr>
                </thead>
                <tbody>{contenders}</tbody>
            </table>
        </div>
        <div class="table-frame" tabindex="0" role="region" aria-label=fill("{0}: pairs", &[&title])>
            <table data-test=format!("arena-{hook}-pairs")>
                <thead>
                    <tr>
                        <th scope="col">{t("Contender")}</th>
                        <th scope="col">{t("Against")}</th>
                        {record_heads()}
                    </tr>
                </thead>
                <tbody>{pairs}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn record_heads() -> AnyView {
    view! {
        <th scope="col" class="number">{t("Wins")}</th>
        <th scope="col" class="number">{t("Ties")}</th>
        <th scope="col" class="number">{t("Losses")}</th>
        <th scope="col" class="number">{t("Win rate")}</th>
    }
    .into_any()
}

fn contender(one: &Standing) -> AnyView {
    let points = |value: f64| format!("{value:.0}");
    let score = match one.score.interval {
        None => points(one.score.value),
        Some(range) => fill(
            "{0} ({1} to {2})",
            &[&points(one.score.value), &points(range.low), &points(range.high)],
        ),
    };
    view! {
        <tr>
            <th scope="row">{name(&one.contender)}</th>
            <td class="number">{score}</td>
            {record(&one.record)}
        </tr>
    }
    .into_any()
}

fn pair(one: &PairStanding) -> AnyView {
    view! {
        <tr>
            <th scope="row">{name(&one.first)}</th>
            <td>{name(&one.second)}</td>
            {record(&one.record)}
        </tr>
    }
    .into_any()
}

fn record(record: &Record) -> AnyView {
    let rate = fill(
        "{0} ({1} to {2})",
        &[
            &format::percent(record.win_rate),
            &format::percent(record.interval.low),
            &format::percent(record.interval.high),
        ],
    );
    view! {
        <td class="number">{format::count(record.wins)}</td>
        <td class="number">{format::count(record.ties)}</td>
        <td class="number">{format::count(record.losses)}</td>
        <td class="number">{rate}</td>
    }
    .into_any()
}
