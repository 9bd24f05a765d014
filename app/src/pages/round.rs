//! Page of this name.

use leptos::prelude::*;

pub fn page(_round: laurel_protocol::RoundId) -> AnyView {
    ().into_any()
}
