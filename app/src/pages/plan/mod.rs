//! What is to come in a project: rounds that wait for a trainer, in their order, and planned ones with what they wait for.

mod hooks;
mod recipes;
mod rows;

use crate::{api, load::Loaded, notify, words::t};
use laurel_protocol::{ProjectEvent, ProjectId, Round, RoundQueue};
use leptos::prelude::*;
use leptos_router::components::A;
use std::time::Duration;

/// While people label, news come with each answer: they are gathered so long.
const GATHER: Duration = Duration::from_secs(1);

/// What the parts of the page share.
#[derive(Clone, Copy)]
pub struct Live {
    pub id: ProjectId,
    pub queue: Loaded<RoundQueue>,
    pub rounds: Loaded<Vec<Round>>,
    is_stale: StoredValue<bool>,
}

impl Live {
    /// Something has changed: what is shown is asked for again, by and by.
    pub fn refresh(self) {
        if self.is_stale.try_get_value() != Some(false) {
            return;
        }
        self.is_stale.set_value(true);
        set_timeout(
            move || {
                // The page may be gone by now.
                if self.is_stale.try_update_value(|stale| *stale = false).is_some() {
                    self.reload();
                }
            },
            GATHER,
        );
    }

    pub fn reload(self) {
        self.queue.reload();
        self.rounds.reload();
    }
}

pub fn page(id: ProjectId) -> AnyView {
    let live = Live {
        id,
        queue: Loaded::new(move || api::planned::queue(id)),
        rounds: Loaded::new(move || api::round::list(id)),
        is_stale: StoredValue::new(false),
    };
    let on_event = move |event| match event {
        ProjectEvent::Counts { .. } => live.refresh(),
        ProjectEvent::Round { round } => {
            notify::see(&round);
            live.refresh();
        }
        ProjectEvent::CompletionJob { .. } | ProjectEvent::Scoring { .. } => {}
    };
    let connected = RwSignal::new(true);
    let stream = api::events::follow_project(id, on_event, move |on| {
        if on {
            live.refresh();
        }
        connected.set(on);
    });
    // Held by the page: leaving it closes the stream.
    let _stream = StoredValue::new_local(stream);
    view! {
        <div class="page">
            <p class="notice" role="status" hidden=move || connected.get()>
                {t("The live connection is interrupted; trying again.")}
            </p>
            <div class="page-head">
                <div>
                    <p class="crumbs"><A href="/">{t("Projects")}</A><A href=format!("/projects/{id}")>{t("Overview")}</A></p>
                    <h1>{t("Plan")}</h1>
                </div>
                <div class="actions">
                    <A href=format!("/projects/{id}/rounds/new") attr:class="button button-main" attr:data-test="new-round">
                        {t("New round")}
                    </A>
                </div>
            </div>
            {rows::queued(live)}
            {rows::planned(live)}
            {recipes::view(live)}
            {hooks::view(live)}
        </div>
    }
    .into_any()
}
