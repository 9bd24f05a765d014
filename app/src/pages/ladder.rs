//! The ladder: all generators of a project by strength.

use super::contest::words::name;
use crate::{
    api,
    components::field::{Errors, Field, select_field},
    format,
    load::{Loaded, living},
    words::{fill, t},
};
use laurel_protocol::{Ladder, LadderGroup, LadderSource, PairStanding, ProjectId, Record, Rung};
use leptos::prelude::*;
use leptos_router::components::A;

const SOURCE: Field = Field {
    name: "source",
    label: "Comparisons",
    help: "",
    hook: "ladder-source",
};

pub fn page(id: ProjectId) -> AnyView {
    let source = RwSignal::new("all".to_owned());
    let errors: Errors = RwSignal::new(Vec::new());
    let sources = vec![
        ("all".to_owned(), t("All").to_owned()),
        ("contest".to_owned(), t("Contests").to_owned()),
        ("arena".to_owned(), t("Arena").to_owned()),
        ("tasks".to_owned(), t("Other tasks").to_owned()),
    ];
    let table = living(move || {
        let source = match source.get().as_str() {
            "contest" => LadderSource::Contest,
            "arena" => LadderSource::Arena,
            "tasks" => LadderSource::Tasks,
            _ => LadderSource::All,
        };
        Loaded::new(move || api::contest::ladder(id, source)).view(|ladder| body(&ladder))
    });
    view! {
        <div class="page page-wide">
            <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
            <h1>{t("Ladder")}</h1>
            <p class="muted">
                {t("Every comparison of two generators counts, a tie as half a win. Points are Bradley-Terry's: 1000 is the \
                 mean, 400 points more are odds of ten to one. The intervals of 95 % take comparisons as independent: several \
                 votes on the same prompt make them too narrow.")}
            </p>
            <div class="form">{select_field(SOURCE, sources, source, errors)}</div>
            {table}
        </div>
    }
    .into_any()
}

fn body(ladder: &Ladder) -> AnyView {
    let n = format::counted(ladder.n_comparisons, "{0} comparison", "{0} comparisons");
    let apart = (ladder.groups.len() > 1).then(|| {
        view! {
            <p class="notice" data-test="ladder-apart">
                {t("No comparisons connect these groups: points of one cannot be held against those of another. A contest \
                 between two of them would.")}
            </p>
        }
    });
    let groups = ladder.groups.iter().map(group).collect_view();
    let unranked = (!ladder.unranked.is_empty()).then(|| {
        let names: Vec<String> = ladder.unranked.iter().map(name).collect();
        view! { <p data-test="ladder-unranked">{fill("Not compared with any other: {0}", &[&names.join(", ")])}</p> }
    });
    let pairs = (!ladder.pairs.is_empty()).then(|| pairs(&ladder.pairs));
    view! {
        <p class="fine" data-test="ladder-count">{n}</p>
        {apart}
        {groups}
        {unranked}
        {pairs}
    }
    .into_any()
}

fn group(group: &LadderGroup) -> AnyView {
    let rungs = group.rungs.iter().map(rung).collect_view();
    view! {
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Ladder")>
            <table data-test="ladder">
                <thead>
                    <tr>
                        <th scope="col">{t("Generator")}</th>
                        <th scope="col" class="number">{t("Points")}</th>
                        {record_heads()}
                    </tr>
                </thead>
                <tbody>{rungs}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn rung(rung: &Rung) -> AnyView {
    let points = |value: f64| format!("{value:.0}");
    let shown = fill(
        "{0} ({1} to {2})",
        &[
            &points(rung.points),
            &points(rung.interval.low),
            &points(rung.interval.high),
        ],
    );
    view! {
        <tr data-test="rung">
            <th scope="row">{name(&rung.contender)}</th>
            <td class="number">{shown}</td>
            {record(&rung.record)}
        </tr>
    }
    .into_any()
}

fn pairs(pairs: &[PairStanding]) -> AnyView {
    let rows = pairs.iter().map(|pair| {
        view! {
            <tr>
                <th scope="row">{name(&pair.first)}</th>
                <td>{name(&pair.second)}</td>
                {record(&pair.record)}
            </tr>
        }
    });
    view! {
        <h2>{t("Who met whom")}</h2>
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Who met whom")>
            <table data-test="ladder-pairs">
                <thead>
                    <tr>
                        <th scope="col">{t("Generator")}</th>
                        <th scope="col">{t("Against")}</th>
                        {record_heads()}
                    </tr>
                </thead>
                <tbody>{rows.collect_view()}</tbody>
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
