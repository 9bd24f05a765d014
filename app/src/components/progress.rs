//! A bar of how much is done, with the figure and the time left beside it.

use crate::{format, words::fill};
use leptos::prelude::*;

/// How far something has come.
#[derive(Clone, Copy, PartialEq)]
pub struct Amount {
    pub n_done: u64,
    pub n_total: u64,
    pub seconds_left: Option<f64>,
}

/// `what` names the things counted, for example "completions", in the person's language.
pub fn progress_bar(amount: Amount, what: &'static str) -> AnyView {
    let total = amount.n_total.max(1);
    let left = amount
        .seconds_left
        .map(|seconds| fill(" · about {0} left", &[&format::duration(seconds)]));
    let text = fill(
        "{0} of {1} {2}",
        &[
            &format::count(amount.n_done),
            &format::count(amount.n_total),
            &what,
        ],
    );
    view! {
        <div class="progress">
            <progress max=total.to_string() value=amount.n_done.min(total).to_string() aria-label=what></progress>
            <span class="fine figures">{text}{left}</span>
        </div>
    }
    .into_any()
}
