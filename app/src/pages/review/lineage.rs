//! What learnt from an annotation, where an admin sees it.

use crate::{
    api,
    components::action::Action,
    session::use_session,
    words::{fill, t},
};
use laurel_protocol::{AnnotationId, AnnotationLineage, Role, TaughtRound};
use leptos::prelude::*;
use leptos_router::components::A;

/// A button for admins, and below it the rounds once they are asked for.
pub fn of(id: AnnotationId) -> AnyView {
    let session = use_session();
    if !untrack(|| session.user()).is_some_and(|user| user.role == Role::Admin) {
        return ().into_any();
    }
    let found = RwSignal::new(None::<AnnotationLineage>);
    let action = Action::default();
    let ask = move |_| {
        action.run(api::lineage::of_annotation(id), move |lineage| {
            if !found.is_disposed() {
                found.set(Some(lineage));
            }
        });
    };
    view! {
        <button
            type="button"
            class="button button-quiet"
            data-test="annotation-lineage"
            hidden=move || found.with(Option::is_some)
            disabled=move || action.busy()
            on:click=ask
        >
            {t("What learnt from it")}
        </button>
        {move || found.get().map(listing)}
        {action.error_line()}
    }
    .into_any()
}

fn listing(lineage: AnnotationLineage) -> AnyView {
    if lineage.rounds.is_empty() {
        let text = fill(
            "No round has learnt from annotation {0}.",
            &[&lineage.annotation_id],
        );
        return view! { <span class="fine" role="status" data-test="taught-nothing">{text}</span> }
            .into_any();
    }
    let rounds = lineage.rounds.into_iter().map(round).collect_view();
    view! {
        <span class="fine" role="status" data-test="taught-rounds">
            {fill("Annotation {0} taught:", &[&lineage.annotation_id])} " " {rounds}
        </span>
    }
    .into_any()
}

fn round(round: TaughtRound) -> AnyView {
    let how = match round.n_rows {
        0 => t("(by an adapter that it used)").to_owned(),
        n => fill("({0} of its rows)", &[&n]),
    };
    let href = match round.adapter {
        Some(adapter) => format!("/adapters/{adapter}"),
        None => format!("/rounds/{}", round.id),
    };
    view! { <A href>{round.name}</A> " " {how} " " }.into_any()
}
