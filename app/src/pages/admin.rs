//! The admins' pages and the arena, as one part of the program that is downloaded apart from the rest: whoever only labels
//! never fetches it. [`part`] is the seam; what can be reached through it alone lies in the part's own file (see
//! `xtask/src/split.rs`).

use super::{
    adapter, arena, audit, chat, contest, gold, ladder, lineage, overview, people, person, plan, progress,
    project_new, prompts, quality, review, round, round_new, storage, tokens,
};
use crate::{
    error::AppError,
    session::{Admin, route_id, route_id_for, use_session},
};
use laurel_protocol::{AdapterId, ContestId, ProjectId, Role, RoundId, User, UserId};
use leptos::{prelude::*, task::spawn_local, wasm_split::wasm_split};
use std::time::Duration;

/// The page that an admin asked for has the connection for itself so long.
const FETCH_AHEAD_AFTER: Duration = Duration::from_secs(2);

/// Every page that only an admin may see, what reviewers see as well, and the arena, which is everyone's.
#[derive(Clone, Copy)]
pub enum AdminPage {
    Adapter,
    Arena,
    ProjectNew,
    Overview,
    Chat,
    Contests,
    Contest,
    Gold,
    Ladder,
    Plan,
    Lineage,
    Progress,
    Prompts,
    Quality,
    Review,
    RoundNew,
    Round,
    People,
    Person,
    Storage,
    Tokens,
    Audit,
}

impl AdminPage {
    /// Whether this person may see it.
    pub fn is_for(self, user: &User) -> bool {
        match self {
            Self::Arena => true,
            Self::Review => user.role.may_review(),
            _ => user.role == Role::Admin,
        }
    }
}

/// Shows one of the pages. Had from [`part`], and from nowhere else: a direct call of [`show`] would bring all that
/// is below it into everyone's download.
pub type Show = fn(AdminPage, Admin) -> AnyView;

/// Fetches the part, once; a failed try may be repeated.
#[wasm_split(admin, wasm_split_path = ::leptos::wasm_split, fallible)]
pub fn part() -> Result<Show, AppError> {
    Ok(show)
}

/// Fetches the part as soon as an admin is signed in, so that the first of its pages comes at once. Called once, by
/// the app.
pub fn fetch_ahead() {
    let session = use_session();
    Effect::new(move |_| {
        if session.user().is_some_and(|user| user.role.may_review()) {
            // A page that needs the part says it if it does not come.
            set_timeout(|| spawn_local(async { drop(part().await) }), FETCH_AHEAD_AFTER);
        }
    });
}

fn show(page: AdminPage, admin: Admin) -> AnyView {
    match page {
        AdminPage::Adapter => route_id(|id| adapter::page(AdapterId(id))),
        AdminPage::Arena => route_id_for(admin, |id, who| arena::page(ProjectId(id), who)),
        AdminPage::ProjectNew => project_new::page(admin),
        AdminPage::Overview => route_id(|id| overview::page(ProjectId(id))),
        AdminPage::Chat => route_id(|id| chat::page(ProjectId(id))),
        AdminPage::Contests => route_id(|id| contest::page(ProjectId(id))),
        AdminPage::Contest => route_id(|id| contest::one::page(ContestId(id))),
        AdminPage::Gold => route_id(|id| gold::page(ProjectId(id))),
        AdminPage::Ladder => route_id(|id| ladder::page(ProjectId(id))),
        AdminPage::Plan => route_id(|id| plan::page(ProjectId(id))),
        AdminPage::Lineage => route_id(|id| lineage::page(ProjectId(id))),
        AdminPage::Progress => route_id(|id| progress::page(ProjectId(id))),
        AdminPage::Prompts => route_id(|id| prompts::page(ProjectId(id))),
        AdminPage::Quality => route_id(|id| quality::page(ProjectId(id))),
        AdminPage::Review => route_id(|id| review::page(ProjectId(id))),
        AdminPage::RoundNew => route_id(|id| round_new::page(ProjectId(id))),
        AdminPage::Round => route_id(|id| round::page(RoundId(id))),
        AdminPage::People => people::page(admin),
        AdminPage::Person => route_id(|id| person::page(UserId(id))),
        AdminPage::Storage => storage::page(admin),
        AdminPage::Tokens => tokens::page(admin),
        AdminPage::Audit => audit::page(admin),
    }
}
