//! What was answered in the chosen days, and whether the place on the screen decides.

use crate::{
    components::plot::{Column, Kind, Line, Plot, plot},
    format,
    pages::quality::{answer_name, first_place, title_of},
    words::{fill, later, t},
};
use laurel_protocol::{Distribution, Given, ProjectProgress, SecondsBin};
use leptos::prelude::*;

pub fn view(progress: &ProjectProgress) -> AnyView {
    let given = &progress.given;
    if given.seconds.is_empty() {
        return ().into_any(); // nobody answered, as the throughput says
    }
    let bias = given.first_is_best.zip(given.first_by_chance);
    let bias = bias.map(|(share, chance)| {
        view! { <p data-test="progress-bias">{first_place(share, chance)}</p> }
    });
    let distributions = given.distributions.iter().map(distribution).collect_view();
    view! {
        <section class="card" aria-labelledby="answers-title">
            <h2 id="answers-title">{t("What was answered")}</h2>
            {bias}
            <div class="charts">
                {distributions}
                {strengths(given)}
                {ranks(given)}
                {seconds(&given.seconds)}
            </div>
        </section>
    }
    .into_any()
}

fn counts(title: String, hook: &'static str, x: &'static str, names: Vec<String>, counts: &[u64]) -> AnyView {
    plot(Plot {
        title,
        hook,
        kind: Kind::Bars,
        x,
        columns: names.into_iter().map(Column::named).collect(),
        lines: vec![Line::of_counts(later("Times"), counts.iter().copied())],
        write: format::figure,
        top: 1.0,
    })
}

fn distribution(distribution: &Distribution) -> AnyView {
    let names = (0..distribution.counts.len()).map(|at| answer_name(&distribution.about, at));
    counts(
        title_of(&distribution.about),
        "plot-answers",
        later("Answer"),
        names.collect(),
        &distribution.counts,
    )
}

fn strengths(given: &Given) -> Option<AnyView> {
    let names = [t("Slightly"), t("Better"), t("Much"), t("Far better")];
    (!given.strengths.is_empty()).then(|| {
        counts(
            t("How much better?").to_owned(),
            "plot-strengths",
            later("Strength"),
            names.map(str::to_owned).to_vec(),
            &given.strengths,
        )
    })
}

/// The mean hides it: each place with how often it came out at each rank.
fn ranks(given: &Given) -> Option<AnyView> {
    const CLASSES: [&str; 3] = ["line-a", "line-b", "line-c"];
    let n_ranks = given.ranks_by_place.first()?.len();
    let columns = (0..given.ranks_by_place.len()).map(|at| Column::named(fill("Place {0}", &[&(at + 1)])));
    let line = |rank: usize| Line {
        name: fill("Rank {0}", &[&(rank + 1)]),
        class: CLASSES[rank % CLASSES.len()],
        marks: given
            .ranks_by_place
            .iter()
            .map(|place| place.get(rank).map(|n| (*n as f64).into()))
            .collect(),
    };
    Some(plot(Plot {
        title: t("Ranks by place shown").to_owned(),
        hook: "plot-ranks",
        kind: Kind::Bars,
        x: later("Place"),
        columns: columns.collect(),
        lines: (0..n_ranks).map(line).collect(),
        write: format::figure,
        top: 1.0,
    }))
}

fn seconds(bins: &[SecondsBin]) -> AnyView {
    let name = |bin: &SecondsBin| match bin.until {
        Some(until) => fill("{0} to {1} s", &[&bin.from, &until]),
        None => fill("{0} s and more", &[&bin.from]),
    };
    let n: Vec<u64> = bins.iter().map(|bin| bin.n).collect();
    counts(
        t("Active time per answer").to_owned(),
        "plot-times",
        later("Time"),
        bins.iter().map(name).collect(),
        &n,
    )
}
