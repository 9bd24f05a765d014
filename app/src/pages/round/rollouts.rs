//! What the policy of a PPO round answered to the fixed prompts, before the first step and at every evaluation, with the
//! scores.

use super::{Live, record::question};
use crate::{
    format,
    load::living,
    words::{fill, t},
};
use laurel_protocol::{Rollout, Sample};
use leptos::prelude::*;

/// Each prompt is built once and follows its answers by itself: what is open stays open at the next evaluation.
pub fn view(live: Live) -> AnyView {
    let n_prompts = Memo::new(move |_| live.samples.with_ready(Vec::len).unwrap_or_default());
    living(move || match n_prompts.get() {
        0 => view! { <p class="fine">{t("They come when the trainer has read the data.")}</p> }.into_any(),
        n => (0..n).map(|at| prompt(live, at)).collect_view().into_any(),
    })
}

fn prompt(live: Live, at: usize) -> AnyView {
    let sample = Memo::new(move |_| live.samples.with_ready(|all| all.get(at).cloned()).flatten());
    let asked = move || sample.with(|sample| sample.as_ref().and_then(|sample| question(&sample.prompt)));
    let ends = living(move || sample.with(|sample| sample.as_ref().map(pair).into_any()));
    let n_rollouts = move || sample.with(|sample| sample.as_ref().map_or(0, |sample| sample.rollouts.len()));
    let all = living(move || {
        let stages = |sample: &Sample| sample.rollouts.iter().map(stage).collect_view();
        sample.with(|sample| sample.as_ref().map(stages).into_any())
    });
    view! {
        <article class="sample" data-test="round-sample">
            <p class="sample-prompt">{asked}</p>
            {ends}
            <details class="fold" hidden=move || n_rollouts() < 3>
                <summary>{move || fill("All {0} evaluations", &[&n_rollouts()])}</summary>
                <ol class="rows rollouts" data-test="rollouts">{all}</ol>
            </details>
        </article>
    }
    .into_any()
}

/// The first answer beside the last one.
fn pair(sample: &Sample) -> AnyView {
    let rollouts = &sample.rollouts;
    let first = rollouts.first().map(|first| {
        view! { <div>{inside(t("Before").to_owned(), first, "rollout-first")}</div> }
    });
    let last = rollouts.last().filter(|_| rollouts.len() > 1).map(|last| {
        let title = fill("After step {0}", &[&last.step]);
        view! { <div class="sample-after">{inside(title, last, "rollout-last")}</div> }
    });
    view! { <div class="sample-pair">{first} {last}</div> }.into_any()
}

fn inside(title: String, rollout: &Rollout, hook: &'static str) -> AnyView {
    let (score, text) = (format::figure(rollout.score), rollout.text.clone());
    view! {
        <h3>{title}<span class="score figures">{t("score")} " "{score}</span></h3>
        <p class="verbatim" data-test=hook>{text}</p>
    }
    .into_any()
}

fn stage(rollout: &Rollout) -> AnyView {
    let title = fill("Step {0}", &[&rollout.step]);
    view! { <li class="row">{inside(title, rollout, "rollout")}</li> }.into_any()
}
