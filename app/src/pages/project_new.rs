//! A new project.

use super::project_form;
use crate::{api, session::Admin, words::t};
use laurel_protocol::{Project, ProjectSettings};
use leptos::prelude::*;
use leptos_router::hooks::use_navigate;

pub fn page(_admin: Admin) -> AnyView {
    let navigate = use_navigate();
    let done = Callback::new(move |project: Project| {
        navigate(&format!("/projects/{}/prompts", project.id), Default::default());
    });
    let save =
        |settings: ProjectSettings| Box::pin(async move { api::project::create(&settings).await }) as _;
    view! {
        <div class="page page-narrow">
            <h1>{t("New project")}</h1>
            <p class="lead">{t("Next you import its prompts.")}</p>
            {project_form::form(project_form::defaults(), Signal::derive(Vec::new), t("Make the project"), save, done)}
        </div>
    }
    .into_any()
}
