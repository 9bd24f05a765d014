//! Page of this name.

use leptos::prelude::*;

pub fn page(_admin: crate::session::Admin) -> AnyView {
    ().into_any()
}
