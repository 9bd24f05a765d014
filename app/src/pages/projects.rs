//! The list of projects: what an admin set up, and what there is to label.

use crate::{
    api,
    components::{
        action::Action,
        progress::{Amount, progress_bar},
        toast::use_toasts,
    },
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{LabelType, Project, Role, User};
use leptos::prelude::*;
use leptos_router::components::A;

pub fn page(user: User) -> AnyView {
    let projects = Loaded::new(api::project::list);
    let is_admin = user.role == Role::Admin;
    let role = user.role;
    let action = Action::default();
    let toasts = use_toasts();
    let load_sample = move |_| {
        action.run(api::project::load_sample(), move |project| {
            toasts.good(fill(
                "“{0}” is ready. Open it to make completions.",
                &[&project.settings.name],
            ));
            projects.update(|projects| projects.insert(0, project));
        });
    };
    let load_sample = Callback::new(load_sample);
    let list = projects.view(move |projects| {
        if projects.is_empty() {
            return if is_admin {
                empty_for_admins(load_sample, action)
            } else {
                empty_for_annotators()
            };
        }
        let cards = projects
            .into_iter()
            .map(|project| card(project, role))
            .collect_view();
        view! { <ul class="cards">{cards}</ul> }.into_any()
    });
    let tools = is_admin.then(|| {
        let any = Memo::new(move |_| projects.get().is_some_and(|projects| !projects.is_empty()));
        move || {
            any.get().then(|| {
                view! {
                    <div class="actions">
                        {sample_button(load_sample, action)}
                        <A href="/projects/new" attr:class="button button-main" attr:data-test="new-project">
                            {t("New project")}
                        </A>
                    </div>
                }
            })
        }
    });
    view! {
        <div class="page">
            <div class="page-head">
                <h1>{t("Projects")}</h1>
                {tools}
            </div>
            {action.error_line()}
            {list}
        </div>
    }
    .into_any()
}

fn sample_button(load_sample: Callback<()>, action: Action) -> AnyView {
    view! {
        <button
            type="button"
            class="button"
            data-test="load-sample"
            disabled=move || action.busy()
            on:click=move |_| load_sample.run(())
        >
            {t("Load the sample project")}
        </button>
    }
    .into_any()
}

fn empty_for_admins(load_sample: Callback<()>, action: Action) -> AnyView {
    view! {
        <div class="empty">
            <h2>{t("Start with a project")}</h2>
            <p>
                {t("A project holds prompts, the guidelines for judging their answers, and the rounds that train on \
                the judgements. The sample has everything to try the whole loop today.")}
            </p>
            <div class="actions">
                {sample_button(load_sample, action)}
                <A href="/projects/new" attr:class="button button-main">{t("New project")}</A>
            </div>
        </div>
    }
    .into_any()
}

fn empty_for_annotators() -> AnyView {
    view! {
        <div class="empty" data-test="no-projects">
            <h2>{t("Nothing to label yet")}</h2>
            <p>{t("As soon as an admin opens a project, it appears here.")}</p>
        </div>
    }
    .into_any()
}

fn card(project: Project, role: Role) -> AnyView {
    let is_admin = role == Role::Admin;
    let counts = project.counts;
    let id = project.id;
    let done = Amount {
        n_done: counts.n_tasks_done,
        n_total: counts.n_tasks,
        seconds_left: None,
    };
    let kind = match project.settings.label_type {
        LabelType::Pick => t("Pick the better of two").to_owned(),
        LabelType::Rank => fill("Rank {0} completions", &[&project.settings.completions_per_task]),
        LabelType::BestWorst => fill("Best and worst of {0}", &[&project.settings.completions_per_task]),
        LabelType::Rate => t("Rate completions").to_owned(),
    };
    let progress = if counts.n_tasks > 0 {
        progress_bar(done, t("tasks judged"))
    } else {
        view! { <p class="fine">{t("No tasks yet: they come with the completions.")}</p> }.into_any()
    };
    let name = project.settings.name;
    let (title, figures) = if is_admin {
        let href = format!("/projects/{id}");
        let figures = format!(
            "{} · {} · {}",
            format::counted(counts.n_prompts, "{0} prompt", "{0} prompts"),
            format::counted(counts.n_completions, "{0} completion", "{0} completions"),
            format::counted(counts.n_comparisons, "{0} comparison", "{0} comparisons")
        );
        let link = view! { <A href attr:data-test="project-link">{name}</A> };
        (
            link.into_any(),
            Some(view! { <p class="fine figures">{figures}</p> }),
        )
    } else {
        (name.into_any(), None)
    };
    let label = (counts.n_tasks > 0 || !is_admin).then(|| {
        view! {
            <A href=format!("/projects/{id}/label") attr:class="button button-main" attr:data-test="label-link">
                {t("Label")}
            </A>
        }
    });
    let arena = project.settings.arena.on.then(|| {
        view! {
            <A href=format!("/projects/{id}/arena") attr:class="button" attr:data-test="arena-link">{t("Arena")}</A>
        }
    });
    let review = (role == Role::Reviewer).then(|| {
        view! {
            <A href=format!("/projects/{id}/review") attr:class="button" attr:data-test="review-link">{t("Review")}</A>
        }
    });
    view! {
        <li class="card project-card">
            <div>
                <h2>{title}</h2>
                <p class="muted">{kind}</p>
            </div>
            {progress}
            {figures}
            <div class="actions">{label}{arena}{review}</div>
        </li>
    }
    .into_any()
}
