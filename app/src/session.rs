//! Who is signed in, and the guards that pages stand behind.
//!
//! Asked from the server once (`GET /session`), by the first page that wants to know: the pages of links and of
//! sign-in do not, so that a stranger's first page starts without a refused request. A 401 on any later call
//! empties it. What a page reads while it is built never builds it again: only another user or address does.

use crate::{
    api,
    components::notice::notice,
    error::AppError,
    load::{Loaded, State, living, waiting},
    pages::{
        self,
        admin::{AdminPage, Show},
    },
};
use laurel_protocol::{ErrorCode, User};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_params_map;

/// What the browser knows about its user.
#[derive(Clone, PartialEq)]
pub enum Who {
    /// The server has not answered yet.
    Unknown,
    Nobody,
    User(User),
    /// The server could not be asked.
    Failed(AppError),
}

#[derive(Clone, Copy)]
pub struct Session {
    who: RwSignal<Who>,
    asked: StoredValue<bool>,
}

/// Proof that someone looks at the page whom it is for (see [`AdminPage::is_for`]): an admin, where it does not say otherwise.
#[derive(Clone, PartialEq)]
pub struct Admin(pub User);

impl Session {
    pub fn get(self) -> Who {
        self.who.get()
    }

    pub fn user(self) -> Option<User> {
        match self.who.get() {
            Who::User(user) => Some(user),
            Who::Unknown | Who::Nobody | Who::Failed(_) => None,
        }
    }

    pub fn sign_in(self, user: User) {
        self.who.set(Who::User(user));
    }

    pub fn sign_out(self) {
        self.who.set(Who::Nobody);
    }

    /// Asks the server who this is, unless it is known or was asked before.
    fn ask_once(self) {
        if !self.asked.get_value() && self.who.get_untracked() == Who::Unknown {
            self.ask();
        }
    }

    /// Asks the server who this is.
    pub fn ask(self) {
        self.asked.set_value(true);
        spawn_local(async move {
            let who = match api::account::session().await {
                Ok(session) => Who::User(session.user),
                Err(error) if error.code() == Some(ErrorCode::NotSignedIn) => Who::Nobody,
                Err(error) => Who::Failed(error),
            };
            self.who.set(who);
        });
    }
}

/// Makes the session known to all pages. Called once, by the app.
pub fn provide() {
    let session = Session {
        who: RwSignal::new(Who::Unknown),
        asked: StoredValue::new(false),
    };
    provide_context(session);
    api::on_signed_out(move || session.sign_out());
}

pub fn use_session() -> Session {
    use_context::<Session>().expect("the app provides the session before any page")
}

/// Shows `page` to whoever is signed in; asks to sign in otherwise and comes back.
pub fn signed_in(page: fn(User) -> AnyView) -> AnyView {
    let session = use_session();
    session.ask_once();
    // A memo, so that the same answer given twice does not build the page again.
    let who = Memo::new(move |_| session.get());
    living(move || match who.get() {
        Who::Unknown => ().into_any(),
        Who::Nobody => pages::sign_in::page(),
        Who::User(user) => untrack(|| page(user)),
        Who::Failed(error) => in_page(notice(&error, Some(Callback::new(move |()| session.ask())))),
    })
}

/// Shows `page` to those whom it is for: admins, and a few to others.
pub fn admin(page: AdminPage) -> AnyView {
    let session = use_session();
    session.ask_once();
    // On its way while the server is asked who this is.
    let part = Loaded::new(pages::admin::part);
    let who = Memo::new(move |_| session.get());
    living(move || match who.get() {
        Who::Unknown => ().into_any(),
        Who::Nobody => pages::sign_in::page(),
        Who::User(user) if page.is_for(&user) => untrack(|| from_part(part, page, Admin(user))),
        Who::User(_) => pages::not_found::for_admins_only(),
        Who::Failed(error) => in_page(notice(&error, Some(Callback::new(move |()| session.ask())))),
    })
}

/// The page, or what stands in its place until the part with it is here.
fn from_part(part: Loaded<Show>, page: AdminPage, admin: Admin) -> AnyView {
    living(move || match part.state.get() {
        State::Loading => in_page(waiting()),
        State::Failed(error) => in_page(notice(&error, Some(Callback::new(move |()| part.retry())))),
        State::Ready(show) => untrack(|| show(page, admin.clone())),
    })
}

/// With a page's margins around it.
fn in_page(view: AnyView) -> AnyView {
    view! { <div class="page">{view}</div> }.into_any()
}

/// The same for a page that asks who looks at it.
pub fn route_id_for(who: Admin, page: fn(i64, &Admin) -> AnyView) -> AnyView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").and_then(|id| id.parse().ok())));
    living(move || match id.get() {
        Some(id) => untrack(|| page(id, &who)),
        None => pages::not_found::page(),
    })
}

/// Hands the page the number in its address, anew when that changes.
pub fn route_id(page: fn(i64) -> AnyView) -> AnyView {
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").and_then(|id| id.parse().ok())));
    living(move || match id.get() {
        Some(id) => untrack(|| page(id)),
        None => pages::not_found::page(),
    })
}

/// Hands the page a text in its address.
pub fn route_text(name: &'static str, page: fn(String) -> AnyView) -> AnyView {
    let params = use_params_map();
    let text = Memo::new(move |_| params.with(|params| params.get(name).unwrap_or_default()));
    living(move || {
        let text = text.get();
        untrack(|| page(text))
    })
}
