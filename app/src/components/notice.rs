//! A notice that something went wrong, with the sentence and, where it makes sense, "Try again".

use crate::{
    error::AppError,
    words::{fill, t},
};
use leptos::prelude::*;

/// `retry` is offered as a button.
pub fn notice(error: &AppError, retry: Option<Callback<()>>) -> AnyView {
    let reference = error.request_id().map(|id| fill("Reference: {0}", &[&id]));
    view! {
        <div class="notice notice-error" role="alert">
            <p>{error.sentence()}</p>
            {reference.map(|text| view! { <p class="fine">{text}</p> })}
            {retry.map(|retry| view! {
                <button type="button" class="button" data-test="retry" on:click=move |_| retry.run(())>
                    {t("Try again")}
                </button>
            })}
        </div>
    }
    .into_any()
}
