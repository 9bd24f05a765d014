//! The measures of agreement, each with its interval and what it means, and pairs of people.

use super::{
    about, interval, or_dash,
    reading::{name, reading, writing},
    value,
};
use crate::{
    format,
    words::{fill, t},
};
use laurel_protocol::{AgreementFigure, PairAgreement, Quality, Subject, UserId};
use leptos::prelude::*;

pub fn view(quality: &Quality) -> AnyView {
    let mut subjects: Vec<&Subject> = quality.agreement.iter().map(|figure| &figure.about).collect();
    subjects.dedup();
    let tables = subjects
        .into_iter()
        .map(|subject| table(subject, quality))
        .collect_view();
    view! {
        <section class="card" aria-labelledby="agreement-title">
            <h2 id="agreement-title">{t("Agreement")}</h2>
            <p class="fine">
                {t("Intervals of 95 %: the shared tasks drawn anew a thousand times. Answers count by what was answered, \
                 wherever it stood on the screen.")}
            </p>
            {tables}
            {pairs(quality)}
        </section>
    }
    .into_any()
}

fn table(subject: &Subject, quality: &Quality) -> AnyView {
    let title = about(subject);
    let of_subject = quality.agreement.iter().filter(|figure| figure.about == *subject);
    view! {
        <h3>{title.clone()}</h3>
        <div class="table-frame" tabindex="0" role="region" aria-label=fill("Agreement: {0}", &[&title])>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Measure")}</th>
                        <th scope="col" class="number">{t("Value")}</th>
                        <th scope="col" class="number">{t("Interval")}</th>
                        <th scope="col" class="number">{t("Tasks")}</th>
                    </tr>
                </thead>
                <tbody>{of_subject.map(row).collect_view()}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn row(figure: &AgreementFigure) -> AnyView {
    let write = writing(figure.measure);
    let range = figure.estimate.and_then(|estimate| estimate.interval);
    let measure = serde_json::to_value(figure.measure).ok();
    let measure = measure.and_then(|name| name.as_str().map(str::to_owned));
    view! {
        <tr data-test="agreement-figure" data-measure=measure>
            <th scope="row" class="told">
                {name(figure.measure)}<span class="fine">{reading(figure)}</span>
            </th>
            <td class="number" data-test="agreement-value">{or_dash(figure.estimate, write)}</td>
            <td class="number">{interval(range, write)}</td>
            <td class="number">{format::count(figure.n_tasks)}</td>
        </tr>
    }
    .into_any()
}

fn pairs(quality: &Quality) -> AnyView {
    if quality.pairs.is_empty() {
        return ().into_any();
    }
    let named = |id: UserId| {
        let found = quality.annotators.iter().find(|annotator| annotator.user == id);
        found.map_or_else(|| id.to_string(), |annotator| annotator.name.clone())
    };
    let row = |pair: &PairAgreement| {
        let range = pair.kappa.and_then(|kappa| kappa.interval);
        view! {
            <tr data-test="pair">
                <th scope="row">{fill("{0} and {1}", &[&named(pair.first), &named(pair.second)])}</th>
                <td>{about(&pair.about)}</td>
                <td class="number">{or_dash(pair.kappa, value)}</td>
                <td class="number">{interval(range, value)}</td>
                <td class="number">{format::count(pair.n_tasks)}</td>
            </tr>
        }
    };
    view! {
        <h3>{t("Two people each")}</h3>
        <div class="table-frame" tabindex="0" role="region" aria-label=t("Two people each")>
            <table>
                <thead>
                    <tr>
                        <th scope="col">{t("Who")}</th>
                        <th scope="col">{t("About")}</th>
                        <th scope="col" class="number">{t("Cohen's kappa")}</th>
                        <th scope="col" class="number">{t("Interval")}</th>
                        <th scope="col" class="number">{t("Tasks")}</th>
                    </tr>
                </thead>
                <tbody>{quality.pairs.iter().map(row).collect_view()}</tbody>
            </table>
        </div>
    }
    .into_any()
}
