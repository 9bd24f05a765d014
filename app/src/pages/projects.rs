//! Page of this name.

use leptos::prelude::*;

pub fn page(_user: laurel_protocol::User) -> AnyView {
    ().into_any()
}
