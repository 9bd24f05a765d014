//! What scores the answers of a PPO round: a reward model of the project, or a rule.

use super::{
    fields::{REWARD, REWARD_ADAPTER, REWARD_PATTERN, REWARD_TARGET, REWARD_TIMEOUT, REWARD_URL},
    ground::{Source, origin_of, value_of},
};
use crate::{
    components::field::{Errors, number, select_field, text_field},
    load::living,
    words::t,
};
use laurel_protocol::{FieldError, Origin, ProjectId, RewardSource, RoundKind};
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
    pub fn new(sources: &[Source]) -> Self {
        let text = |value: &str| RwSignal::new(value.to_owned());
        let newest = models(sources).next().map(|model| value_of(model.origin));
        Self {
            source: text("adapter"),
            adapter: RwSignal::new(newest.unwrap_or_default()),
            target: text("32"),
            pattern: text(""),
            url: text(""),
            timeout: text("30"),
        }
    }

    pub fn put(self, source: &RewardSource, origin: Origin) {
        let name = match source {
            RewardSource::Adapter => "adapter",
            RewardSource::Length { target } => {
                self.target.set(target.to_string());
                "length"
            }
            RewardSource::Regex { pattern } => {
                self.pattern.set(pattern.clone());
                "regex"
            }
            RewardSource::Http { url, timeout_seconds } => {
                self.url.set(url.clone());
                self.timeout.set(timeout_seconds.to_string());
                "http"
            }
        };
        self.source.set(name.to_owned());
        if origin != Origin::Base {
            self.adapter.set(value_of(origin));
        }
    }

    /// Whether the reward model is one that is not made yet.
    pub fn waits(self) -> bool {
        self.source.with(|source| source == "adapter") && self.adapter.with(|value| value.contains(':'))
    }

    pub fn read(self, reasons: &mut Vec<FieldError>) -> (RewardSource, Origin) {
        let mut take = |value, name| {
            number(value, name)
                .map_err(|reason| reasons.push(reason))
                .unwrap_or(1)
        };
        match self.source.get_untracked().as_str() {
            "length" => {
                let target = take(self.target, REWARD_TARGET.name);
                (RewardSource::Length { target }, Origin::Base)
            }
            "regex" => {
                let pattern = self.pattern.get_untracked();
                (RewardSource::Regex { pattern }, Origin::Base)
            }
            "http" => {
                let timeout_seconds = take(self.timeout, REWARD_TIMEOUT.name);
                let url = self.url.get_untracked().trim().to_owned();
                (RewardSource::Http { url, timeout_seconds }, Origin::Base)
            }
            _ => (
                RewardSource::Adapter,
                self.adapter.with_untracked(|value| origin_of(value)),
            ),
        }
    }
}

fn models(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.kind == RoundKind::Reward)
}

pub fn view(project: ProjectId, draft: RewardDraft, sources: &[Source], errors: Errors) -> AnyView {
    let pair = |name: &str, words: &str| (name.to_owned(), words.to_owned());
    let ways = vec![
        pair("adapter", t("A reward model")),
        pair("length", t("Rule: a length")),
        pair("regex", t("Rule: a regular expression")),
        pair("http", t("A service over HTTP")),
    ];
    let options: Vec<_> = models(sources)
        .map(|model| (value_of(model.origin), model.name.clone()))
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
            {select_field(REWARD, ways, draft.source, errors)}
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
