//! Page of this name.

use leptos::prelude::*;

pub fn page(_project: laurel_protocol::ProjectId) -> AnyView {
    ().into_any()
}
