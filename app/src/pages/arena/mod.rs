//! The arena: a person says something, two hidden models answer side by side, the person votes and hears who they were.
//!
//! `ring.rs` holds the battle and what can be done with it, `votes.rs` sends the vote, `view.rs` shows all of it and `entry.rs`
//! the field below; `keys.rs` reads the keyboard with the labelling page's own keys, `results.rs` tells admins who wins.

mod entry;
mod keys;
mod results;
mod ring;
mod view;
mod votes;

use crate::{
    api,
    components::label::letters,
    load::Loaded,
    session::Admin,
    words::{fill, t},
};
use laurel_protocol::{ArenaState, BattleStatus, Project, ProjectId, Role};
use leptos::prelude::*;
use leptos_router::components::A;
use ring::Ring;

/// `who` need not be an admin: the part of the program with this page is fetched by whoever opens it.
pub fn page(id: ProjectId, who: &Admin) -> AnyView {
    letters::provide();
    let is_admin = who.0.role == Role::Admin;
    let ground =
        Loaded::new(move || async move { Ok((api::project::load(id).await?, api::arena::state(id).await?)) });
    let body = ground.view(move |(project, state)| body(&project, state, is_admin));
    let overview = is_admin.then(|| view! { <A href=format!("/projects/{id}")>{t("Overview")}</A> });
    view! {
        <div class="page page-wide">
            <p class="crumbs"><A href="/">{t("Projects")}</A>{overview}</p>
            <h1>{t("Arena")}</h1>
            {body}
        </div>
    }
    .into_any()
}

fn body(project: &Project, state: ArenaState, is_admin: bool) -> AnyView {
    let ring = Ring::open(project.id, state.on);
    keys::listen(ring);
    let resumed = state.battle.as_ref().map(|battle| battle.status);
    if let Some(battle) = state.battle {
        ring.take(battle);
    }
    // What a restart or a long absence broke off is asked anew; what failed waits for the person.
    if resumed == Some(BattleStatus::Asked) && !ring.is_at_work() && !ring.has_failed() {
        ring.ask_again();
    }
    let results = is_admin.then(|| results::view(project.id));
    view! {
        <p class="lead">
            {fill(
                "“{0}”: two models answer what you say, and you vote for the better answer. Only then are you told who they \
                 were. A vote is kept as a label, with all that was said: write nothing private.",
                &[&project.settings.name],
            )}
        </p>
        <p class="notice" role="status" hidden=move || ring.is_live.get()>
            {t("The live connection is interrupted; trying again.")}
        </p>
        {view::battle(ring)}
        {entry::entry(ring)}
        <p class="visually-hidden" role="status" aria-live="polite">{ring.said}</p>
        {results}
    }
    .into_any()
}
