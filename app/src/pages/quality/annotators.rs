//! The annotators, each with how they work and how far others say the same.

use super::{interval, or_dash, value};
use crate::{
    format,
    words::{fill, t},
};
use laurel_protocol::{AnnotatorQuality, Estimate, Quality, Share};
use leptos::prelude::*;

pub fn view(quality: &Quality) -> AnyView {
    let rows = quality.annotators.iter().map(row).collect_view();
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
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <p class="fine">
                {t("Beneath a figure stands its interval of 95 %, beneath a rank the mean rank of all answers. Reliability is \
                 how likely a choice follows the strengths of the answers, estimated from everybody's choices: 0.5 answers \
                 at random. Who comes out low may be careless, or see what the others miss: read some of their answers \
                 first.")}
            </p>
        </section>
    }
    .into_any()
}

fn row(annotator: &AnnotatorQuality) -> AnyView {
    let habits = &annotator.habits;
    let seconds = habits
        .median_seconds
        .map_or_else(|| "–".to_owned(), format::duration);
    let mean_rank = habits.mean_rank.map(|rank| fill("of {0}", &[&value(rank)]));
    view! {
        <tr data-test="annotator" data-name=annotator.name.clone()>
            <th scope="row">{annotator.name.clone()}</th>
            <td class="number">{format::count(habits.n_annotations)}</td>
            <td class="number">{format::count(annotator.n_shared_tasks)}</td>
            <td class="number">{seconds}</td>
            <td class="number told" data-test="annotator-agreement">{estimate(annotator.agreement, format::percent)}</td>
            <td class="number told" data-test="annotator-reliability">{estimate(annotator.reliability, value)}</td>
            <td class="number told" data-test="annotator-first">{share(habits.first_is_best)}</td>
            <td class="number told">
                {or_dash(habits.mean_rank_of_first, value)}<span class="fine">{mean_rank}</span>
            </td>
            <td class="number told" data-test="annotator-ties">{share(habits.ties)}</td>
        </tr>
    }
    .into_any()
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
