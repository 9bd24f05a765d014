//! The annotators' figures in a project.

use super::Live;
use crate::{
    api, format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::AnnotatorFigures;
use leptos::prelude::*;

pub fn view(live: Live) -> AnyView {
    let figures = Loaded::new(move || api::project::annotators(live.id));
    // The figures follow the annotations: a new one asks for them again.
    let n_annotations = Memo::new(move |_| live.project.get().map(|project| project.counts.n_annotations));
    Effect::new(move |before: Option<Option<u64>>| {
        let now = n_annotations.get();
        if before.is_some_and(|before| before != now) {
            figures.reload();
        }
        now
    });
    let table = figures.view(|figures| {
        if figures.is_empty() {
            return view! { <p class="fine">{t("Nobody has labelled in this project yet.")}</p> }.into_any();
        }
        let rows = figures.into_iter().map(row).collect_view();
        view! {
            <div class="table-frame" tabindex="0" role="region" aria-label=t("Annotators")>
                <table>
                    <thead>
                        <tr>
                            <th scope="col">{t("Name")}</th>
                            <th scope="col" class="number">{t("Annotations")}</th>
                            <th scope="col" class="number">{t("Skips")}</th>
                            <th scope="col" class="number">{t("Median time")}</th>
                            <th scope="col" class="number">{t("Chose the first shown")}</th>
                            <th scope="col" class="number">{t("Gold items right")}</th>
                            <th scope="col" class="number">{t("Repeats the same")}</th>
                            <th scope="col" class="number">{t("Repeats by place alone")}</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    });
    view! {
        <section class="card" aria-labelledby="annotators-title">
            <h2 id="annotators-title">{t("Annotators")}</h2>
            {table}
        </section>
    }
    .into_any()
}

fn row(figures: AnnotatorFigures) -> AnyView {
    let seconds = figures
        .median_seconds
        .map_or_else(|| "–".to_owned(), format::duration);
    let share = figures
        .first_position_share
        .map_or_else(|| "–".to_owned(), format::percent);
    view! {
        <tr>
            <th scope="row">{figures.name}</th>
            <td class="number">{format::count(figures.n_annotations)}</td>
            <td class="number">{format::count(figures.n_skips)}</td>
            <td class="number">{seconds}</td>
            <td class="number">{share}</td>
            <td class="number" data-test="gold-right">{of(figures.n_gold_right, figures.n_gold)}</td>
            <td class="number" data-test="repeats-same">{of(figures.n_repeats_same, figures.n_repeats)}</td>
            <td class="number" data-test="repeats-by-place">
                {of(figures.n_repeats_same_position, figures.n_repeats)}
            </td>
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
