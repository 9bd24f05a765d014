//! The annotators, each with how they work, how far others say the same, and what came of their checks.

use super::{interval, or_dash, value};
use crate::{
    format,
    words::{fill, t},
};
use laurel_protocol::{AnnotatorFigures, AnnotatorQuality, Estimate, Quality, Share};
use leptos::prelude::*;

/// `figures` are of all time. Who is in them alone has skipped, or was checked, and has not labelled in the chosen time.
pub fn view(quality: &Quality, figures: &[AnnotatorFigures]) -> AnyView {
    let of_person = |annotator: &AnnotatorQuality| {
        let own = figures.iter().find(|figures| figures.user == annotator.user);
        row(annotator.name.clone(), Some(annotator), own)
    };
    let has_labelled = |figures: &&AnnotatorFigures| {
        let users = || quality.annotators.iter().map(|annotator| annotator.user);
        users().any(|user| user == figures.user)
    };
    let others = figures.iter().filter(|figures| !has_labelled(figures));
    let others = others.map(|figures| row(figures.name.clone(), None, Some(figures)));
    let rows = quality
        .annotators
        .iter()
        .map(of_person)
        .chain(others)
        .collect_view();
    view! {
        <section class="card" aria-labelledby="annotators-title">
            <h2 id="annotators-title">{t("Annotators")}</h2>
            <div class="table-frame" tabindex="0" role="region" aria-label=t("Annotators")>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{t("Name")}</th>
                            <th scope="col" class="number">{t("Annotations")}</th>
                            <th scope="col" class="number">{t("Shared tasks")}</th>
                            <th scope="col" class="number">{t("Median time")}</th>
                            <th scope="col" class="number">{t("Agrees with others")}</th>
                            <th scope="col" class="number">{t("Reliability")}</th>
                            <th scope="col" class="number">{t("First shown is best")}</th>
                            <th scope="col" class="number">{t("Rank of first shown")}</th>
                            <th scope="col" class="number">{t("Ties")}</th>
                            <th scope="col" class="number">{t("Skips")}</th>
                            <th scope="col" class="number">{t("Gold items right")}</th>
                            <th scope="col" class="number">{t("Repeats the same")}</th>
                            <th scope="col" class="number">{t("Repeats by place alone")}</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <p class="fine">
                {t("Beneath a figure stands its interval of 95 %, beneath a rank the mean rank of all answers. Reliability is \
                 how likely a choice follows the strengths of the answers, estimated from everybody's choices: 0.5 answers \
                 at random. Who comes out low may be careless, or see what the others miss: read some of their answers \
                 first. Skips, gold items and repeats are of all time, whatever is chosen above.")}
            </p>
        </section>
    }
    .into_any()
}

fn row(name: String, annotator: Option<&AnnotatorQuality>, figures: Option<&AnnotatorFigures>) -> AnyView {
    let habits = annotator.map(|annotator| annotator.habits);
    let seconds = habits
        .and_then(|habits| habits.median_seconds)
        .map_or_else(|| "–".to_owned(), format::duration);
    let first_rank = habits.and_then(|habits| habits.mean_rank_of_first);
    let mean_rank = habits.and_then(|habits| habits.mean_rank);
    let mean_rank = mean_rank.map(|rank| fill("of {0}", &[&value(rank)]));
    let agreement = annotator.and_then(|annotator| annotator.agreement);
    let reliability = annotator.and_then(|annotator| annotator.reliability);
    let n_annotations = habits.map_or(0, |habits| habits.n_annotations);
    let n_shared = annotator.map_or(0, |annotator| annotator.n_shared_tasks);
    let checked = |part: fn(&AnnotatorFigures) -> u64, all: fn(&AnnotatorFigures) -> u64| {
        figures.map_or_else(|| "–".to_owned(), |figures| of(part(figures), all(figures)))
    };
    view! {
        <tr data-test="annotator" data-name=name.clone()>
            <th scope="row">{name.clone()}</th>
            <td class="number">{format::count(n_annotations)}</td>
            <td class="number">{format::count(n_shared)}</td>
            <td class="number">{seconds}</td>
            <td class="number told" data-test="annotator-agreement">{estimate(agreement, format::percent)}</td>
            <td class="number told" data-test="annotator-reliability">{estimate(reliability, value)}</td>
            <td class="number told" data-test="annotator-first">{share(habits.and_then(|habits| habits.first_is_best))}</td>
            <td class="number told">{or_dash(first_rank, value)}<span class="fine">{mean_rank}</span></td>
            <td class="number told" data-test="annotator-ties">{share(habits.and_then(|habits| habits.ties))}</td>
            <td class="number" data-test="annotator-skips">{format::count(figures.map_or(0, |figures| figures.n_skips))}</td>
            <td class="number" data-test="gold-right">{checked(|f| f.n_gold_right, |f| f.n_gold)}</td>
            <td class="number" data-test="repeats-same">{checked(|f| f.n_repeats_same, |f| f.n_repeats)}</td>
            <td class="number" data-test="repeats-by-place">{checked(|f| f.n_repeats_same_position, |f| f.n_repeats)}</td>
        </tr>
    }
    .into_any()
}

/// A part of a number, in words: "9 of 10".
fn of(part: u64, all: u64) -> String {
    match all {
        0 => "–".to_owned(),
        all => fill("{0} of {1}", &[&format::count(part), &format::count(all)]),
    }
}

fn estimate(estimate: Option<Estimate>, write: fn(f64) -> String) -> AnyView {
    let range = estimate.and_then(|estimate| estimate.interval);
    let range = range.map(|range| interval(Some(range), write));
    view! { {or_dash(estimate, write)}<span class="fine">{range}</span> }.into_any()
}

fn share(share: Option<Share>) -> AnyView {
    let Some(share) = share else {
        return "–".into_any();
    };
    let range = interval(Some(share.interval), format::percent);
    view! { {format::percent(share.value())}<span class="fine">{range}</span> }.into_any()
}
