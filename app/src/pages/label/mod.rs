//! The labelling page: one task on screen, the next ones already here.

use laurel_protocol::ProjectId;
use leptos::prelude::*;

/// The page, for the project in its address.
pub fn page(project: ProjectId) -> AnyView {
    view! { <LabelPage project/> }.into_any()
}

#[component]
pub fn LabelPage(project: ProjectId) -> impl IntoView {
    let _ = project;
}
