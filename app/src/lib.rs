//! The browser part of Laurel: the one table of pages, each with its guard.
//!
//! What only admins see, and the arena, is a part of the program that is downloaded when it is wanted: such a page has its
//! address here and its function in `pages/admin.rs`.
//!
//! A page is a function of what its guard hands over (who is signed in, which project), so that none can be
//! shown to the wrong person by mistake. All data comes through `api`, the public REST API.

// The browser side of leptos builds views out of deeply nested types.
#![recursion_limit = "256"]

pub mod api;
pub mod components;
pub mod error;
pub mod format;
pub mod language;
pub mod load;
pub mod notify;
pub mod outbox;
pub mod pages;
pub mod session;
pub mod shell;
pub mod theme;
pub mod words;

use laurel_protocol::ProjectId;
use leptos::{mount::mount_to_body, prelude::*};
use leptos_router::{
    components::{FlatRoutes, Route, Router},
    path,
};
use pages::admin::AdminPage;
use session::{admin, route_id, route_text, signed_in};

/// Loads the words of the person's language, takes the static shell away that stood in the page for the first paint, and
/// mounts the app.
pub fn start() {
    wasm_bindgen_futures::spawn_local(async {
        language::load().await;
        mount();
    });
}

fn mount() {
    if let Some(shell) = document().get_element_by_id("boot") {
        shell.remove();
    }
    mount_to_body(App);
}

/// Every page of the app.
#[component]
fn App() -> impl IntoView {
    session::provide();
    outbox::provide();
    theme::provide();
    components::toast::provide();
    pages::admin::fetch_ahead();
    view! {
        <Router>
            <shell::Shell>
                <FlatRoutes fallback=pages::not_found::page>
                    <Route path=path!("/setup/:token") view=|| route_text("token", pages::setup::page)/>
                    <Route path=path!("/invite/:token") view=|| route_text("token", pages::invite::page)/>
                    <Route path=path!("/sign-in") view=pages::sign_in::page/>
                    <Route path=path!("/") view=|| signed_in(pages::projects::page)/>
                    <Route
                        path=path!("/projects/:id/label")
                        view=|| signed_in(|_| route_id(|id| pages::label::page(ProjectId(id))))
                    />
                    <Route
                        path=path!("/projects/:id/mine")
                        view=|| signed_in(|_| route_id(|id| pages::mine::page(ProjectId(id))))
                    />
                    <Route path=path!("/projects/:id/arena") view=|| admin(AdminPage::Arena)/>
                    <Route path=path!("/projects/new") view=|| admin(AdminPage::ProjectNew)/>
                    <Route path=path!("/projects/:id") view=|| admin(AdminPage::Overview)/>
                    <Route path=path!("/projects/:id/chat") view=|| admin(AdminPage::Chat)/>
                    <Route path=path!("/projects/:id/contests") view=|| admin(AdminPage::Contests)/>
                    <Route path=path!("/contests/:id") view=|| admin(AdminPage::Contest)/>
                    <Route path=path!("/projects/:id/gold") view=|| admin(AdminPage::Gold)/>
                    <Route path=path!("/projects/:id/ladder") view=|| admin(AdminPage::Ladder)/>
                    <Route path=path!("/projects/:id/plan") view=|| admin(AdminPage::Plan)/>
                    <Route path=path!("/projects/:id/lineage") view=|| admin(AdminPage::Lineage)/>
                    <Route path=path!("/projects/:id/progress") view=|| admin(AdminPage::Progress)/>
                    <Route path=path!("/projects/:id/prompts") view=|| admin(AdminPage::Prompts)/>
                    <Route path=path!("/projects/:id/quality") view=|| admin(AdminPage::Quality)/>
                    <Route path=path!("/projects/:id/review") view=|| admin(AdminPage::Review)/>
                    <Route path=path!("/projects/:id/rounds/new") view=|| admin(AdminPage::RoundNew)/>
                    <Route path=path!("/rounds/:id") view=|| admin(AdminPage::Round)/>
                    <Route path=path!("/adapters/:id") view=|| admin(AdminPage::Adapter)/>
                    <Route path=path!("/people") view=|| admin(AdminPage::People)/>
                    <Route path=path!("/people/:id") view=|| admin(AdminPage::Person)/>
                    <Route path=path!("/storage") view=|| admin(AdminPage::Storage)/>
                    <Route path=path!("/tokens") view=|| admin(AdminPage::Tokens)/>
                    <Route path=path!("/audit") view=|| admin(AdminPage::Audit)/>
                </FlatRoutes>
            </shell::Shell>
        </Router>
    }
}
