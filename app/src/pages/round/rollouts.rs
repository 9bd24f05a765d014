//! What the policy of a PPO round answered to the fixed prompts, before the first step and at every evaluation, with the
//! scores.

use super::record::question;
use crate::format;
use laurel_protocol::{Rollout, Sample};
use leptos::prelude::*;

pub fn sample(sample: Sample) -> AnyView {
    let rollouts = sample.rollouts;
    let first = rollouts
        .first()
        .map(|first| answer("Before", first, "rollout-first"));
    let last = rollouts.last().filter(|_| rollouts.len() > 1);
    let last = last.map(|last| {
        let title = format!("After step {}", last.step);
        view! { <div class="sample-after">{inside(&title, last, "rollout-last")}</div> }
    });
    let all = (rollouts.len() > 2).then(|| {
        let course = rollouts.iter().map(stage).collect_view();
        view! {
            <details class="fold">
                <summary>{format!("All {} evaluations", rollouts.len())}</summary>
                <ol class="rows rollouts" data-test="rollouts">{course}</ol>
            </details>
        }
    });
    view! {
        <article class="sample" data-test="round-sample">
            <p class="sample-prompt">{question(&sample.prompt)}</p>
            <div class="sample-pair">{first} {last}</div>
            {all}
        </article>
    }
    .into_any()
}

fn answer(title: &str, rollout: &Rollout, hook: &'static str) -> AnyView {
    view! { <div>{inside(title, rollout, hook)}</div> }.into_any()
}

fn inside(title: &str, rollout: &Rollout, hook: &'static str) -> AnyView {
    view! {
        <h3>{title.to_owned()}<span class="score figures">"score "{format::figure(rollout.score)}</span></h3>
        <p class="verbatim" data-test=hook>{rollout.text.clone()}</p>
    }
    .into_any()
}

fn stage(rollout: &Rollout) -> AnyView {
    view! { <li class="row">{inside(&format!("Step {}", rollout.step), rollout, "rollout")}</li> }.into_any()
}
