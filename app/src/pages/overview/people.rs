//! The people of a project: who may label, and in a line who has. The figures of each stand on the page of quality.

use super::{Live, members};
use crate::{
    api, format,
    load::Loaded,
    words::{fill, t},
};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn view(live: Live) -> AnyView {
    let figures = Loaded::new(move || api::project::annotators(live.id));
    let line = figures.view(|figures| {
        let labelled: Vec<_> = figures
            .iter()
            .filter(|figures| figures.n_annotations > 0)
            .collect();
        let words = match labelled.first() {
            None => t("Nobody has labelled in this project yet.").to_owned(),
            Some(most) => {
                let n = labelled.len() as u64;
                format::counted(n, "{0} person has labelled here", "{0} people have labelled here")
                    + &fill(", most of all {0}.", &[&most.name])
            }
        };
        view! { <p data-test="who-labelled">{words}</p> }.into_any()
    });
    let id = live.id;
    view! {
        <section class="card" aria-labelledby="people-title">
            <h2 id="people-title">{t("People of this project")}</h2>
            {line}
            <p class="links">
                <A href=format!("/projects/{id}/quality")>{t("How each of them works")}</A>
                <A href=format!("/projects/{id}/progress")>{t("How the work goes on")}</A>
            </p>
            {members::view(id)}
        </section>
    }
    .into_any()
}
