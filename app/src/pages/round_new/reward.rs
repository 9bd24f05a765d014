//! What scores the answers of a PPO round: a reward model of the project, or a rule.

use super::fields::{REWARD, REWARD_ADAPTER, REWARD_PATTERN, REWARD_TARGET, REWARD_TIMEOUT, REWARD_URL};
use crate::{
    components::field::{Errors, number, select_field, text_field},
    load::living,
    words::t,
};
use laurel_protocol::{Adapter, AdapterId, FieldError, ProjectId, RewardSource, RoundKind};
use leptos::prelude::*;
use leptos_router::components::A;

/// What is in this part of the form, as text.
#[derive(Clone, Copy)]
pub struct RewardDraft {
    source: RwSignal<String>,
    adapter: RwSignal<String>,
    target: RwSignal<String>,
    pattern: RwSignal<String>,
    url: RwSignal<String>,
    timeout: RwSignal<String>,
}

impl RewardDraft {
    /// The newest reward model is chosen, where there is one.
    pub fn new(adapters: &[Adapter]) -> Self {
        let text = |value: &str| RwSignal::new(value.to_owned());
        let newest = models(adapters).next().map(|adapter| adapter.id.to_string());
        Self {
            source: text("adapter"),
            adapter: RwSignal::new(newest.unwrap_or_default()),
            target: text("32"),
            pattern: text(""),
            url: text(""),
            timeout: text("30"),
        }
    }

    pub fn read(self, reasons: &mut Vec<FieldError>) -> (RewardSource, Option<AdapterId>) {
        let mut take = |value, name| {
            number(value, name)
                .map_err(|reason| reasons.push(reason))
                .unwrap_or(1)
        };
        match self.source.get_untracked().as_str() {
            "length" => {
                let target = take(self.target, REWARD_TARGET.name);
                (RewardSource::Length { target }, None)
            }
            "regex" => {
                let pattern = self.pattern.get_untracked();
                (RewardSource::Regex { pattern }, None)
            }
            "http" => {
                let timeout_seconds = take(self.timeout, REWARD_TIMEOUT.name);
                let url = self.url.get_untracked().trim().to_owned();
                (RewardSource::Http { url, timeout_seconds }, None)
            }
            _ => (
                RewardSource::Adapter,
                self.adapter.get_untracked().parse::<AdapterId>().ok(),
            ),
        }
    }
}

fn models(adapters: &[Adapter]) -> impl Iterator<Item = &Adapter> {
    adapters
        .iter()
        .filter(|adapter| adapter.kind == RoundKind::Reward)
}

pub fn view(project: ProjectId, draft: RewardDraft, adapters: &[Adapter], errors: Errors) -> AnyView {
    let pair = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let sources = vec![
        pair("adapter", t("A reward model")),
        pair("length", t("Rule: a length")),
        pair("regex", t("Rule: a regular expression")),
        pair("http", t("A service over HTTP")),
    ];
    let options: Vec<_> = models(adapters)
        .map(|adapter| (adapter.id.to_string(), adapter.name.clone()))
        .collect();
    let settings = living(move || match draft.source.get().as_str() {
        "length" => text_field(REWARD_TARGET, "number", draft.target, errors),
        "regex" => text_field(REWARD_PATTERN, "text", draft.pattern, errors),
        "http" => view! {
            {text_field(REWARD_URL, "text", draft.url, errors)}
            {text_field(REWARD_TIMEOUT, "number", draft.timeout, errors)}
        }
        .into_any(),
        _ if options.is_empty() => no_model(project),
        _ => select_field(REWARD_ADAPTER, options.clone(), draft.adapter, errors),
    });
    view! {
        <div class="field-row">
            {select_field(REWARD, sources, draft.source, errors)}
            {settings}
        </div>
    }
    .into_any()
}

fn no_model(project: ProjectId) -> AnyView {
    view! {
        <p class="notice" role="status" data-test="no-reward-model">
            {t("This project has no reward model yet. Train one with a round of the kind \u{201c}Reward model\u{201d}, or score by \
            a rule.")} " "
            <A href=format!("/projects/{project}")>{t("To the project")}</A>
        </p>
    }
    .into_any()
}
