//! How the form begins and ends: what it was filled with, and where it sends the round.

use super::{differences, draft::Draft, ground::Begin, plan::Planner};
use crate::{
    api,
    load::living,
    words::{fill, t},
};
use laurel_protocol::{NewPlanned, PlannedId, ProjectId};
use leptos::prelude::*;

/// Starts the round, or plans it where something is waited for; answers where to go then.
pub async fn send(id: ProjectId, planned: Option<PlannedId>, round: NewPlanned) -> api::Result<String> {
    if let Some(planned) = planned {
        api::planned::change(planned, &round).await?;
    } else if let Some(round) = round.at_once() {
        let started = api::round::start(id, &round).await?;
        return Ok(format!("/rounds/{}", started.id));
    } else {
        api::planned::create(id, &round).await?;
    }
    Ok(format!("/projects/{id}/plan"))
}

/// What the form began with, and what differs from it now.
pub fn view(begin: Begin, draft: Draft, planner: Planner) -> AnyView {
    let name = match begin.name.as_str() {
        "" => t("the planned round").to_owned(),
        name => name.to_owned(),
    };
    let first = name.clone();
    let table = living(move || {
        planner.follow();
        let now = untrack(|| draft.read());
        match now {
            Ok(now) => differences::table(
                differences::between(&begin.round.spec, &now.spec),
                first.clone(),
                t("This form").to_owned(),
            ),
            Err(_) => ().into_any(),
        }
    });
    view! {
        <details class="fold" data-test="round-from">
            <summary>{fill("Filled with {0}: what differs", &[&name])}</summary>
            {table}
        </details>
    }
    .into_any()
}
