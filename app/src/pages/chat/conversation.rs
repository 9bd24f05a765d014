//! One conversation: with whom, and what was said.

use crate::{
    load::living,
    words::{t, t_owned},
};
use laurel_protocol::{
    Adapter, AdapterId, ChatAnswer, ChatTurn, FinishReason, JobStatus, Message, Speaker, talkers,
};
use leptos::{html::Div, prelude::*};

/// So many hidden pixels below, what is added is still read as it comes.
const NEAR_END: i32 = 160;

/// Something that was said, and what is to be known of it.
#[derive(Clone, PartialEq)]
pub struct Utterance {
    pub speaker: Speaker,
    pub text: String,
    pub note: String,
}

#[derive(Clone, Copy)]
pub struct Conversation {
    /// Number of the adapter, empty for the base model.
    adapter: RwSignal<String>,
    said: RwSignal<Vec<Utterance>>,
    /// The answer that is being written; empty text at first.
    answer: RwSignal<Option<String>>,
}

impl Conversation {
    /// With an adapter by its number; an empty text is the base model.
    pub fn with(adapter: String) -> Self {
        Self {
            adapter: RwSignal::new(adapter),
            said: RwSignal::new(Vec::new()),
            answer: RwSignal::new(None),
        }
    }

    pub fn adapter(self) -> Option<AdapterId> {
        self.adapter.with_untracked(|id| id.parse().ok())
    }

    /// All that was said, and then this. Words of the user that were not answered are said in one.
    pub fn messages_with(self, text: &str) -> Vec<Message> {
        self.said.with_untracked(|said| messages(said, text))
    }

    pub fn say(self, text: &str) {
        self.said.update(|said| {
            said.push(Utterance {
                speaker: Speaker::User,
                text: text.to_owned(),
                note: String::new(),
            });
        });
        self.answer.set(Some(String::new()));
    }

    pub fn hear(self, answer: &ChatAnswer) {
        self.answer.set(Some(answer.text.clone()));
    }

    /// The answer as it stays.
    pub fn end(self, answer: &ChatAnswer, status: JobStatus, error: Option<&str>) {
        self.answer.set(None);
        let note = note(answer, status, error);
        if answer.text.is_empty() && note.is_empty() {
            return;
        }
        self.said.update(|said| {
            said.push(Utterance {
                speaker: Speaker::Assistant,
                text: answer.text.clone(),
                note,
            });
        });
    }

    pub fn clear(self) {
        self.said.set(Vec::new());
        self.answer.set(None);
    }

    /// `place` names the side in its hooks. Whom one talks to may change between turns: the other goes on from what was
    /// said.
    pub fn view(
        self,
        place: &'static str,
        adapters: &[Adapter],
        turn: RwSignal<Option<ChatTurn>>,
    ) -> AnyView {
        let mut options = vec![(String::new(), t("The base model").to_owned())];
        options.extend(talkers(adapters).map(|it| (it.id.to_string(), it.name.clone())));
        let options = options
            .into_iter()
            .map(|(id, name)| {
                let own = id.clone();
                view! { <option value=id selected=move || self.adapter.get() == own>{name}</option> }
            })
            .collect_view();
        let said = living(move || {
            self.said
                .with(|said| said.iter().map(utterance).collect_view().into_any())
        });
        let answer = living(move || {
            match self.answer.get() {
            Some(text) => view! {
                <div class="chat-said chat-answer">
                    <p class="verbatim" data-test="chat-writing">{text}<span class="chat-caret" aria-hidden="true"></span></p>
                </div>
            }
            .into_any(),
            None => ().into_any(),
        }
        });
        let log = NodeRef::<Div>::new();
        Effect::new(move || {
            self.said.track();
            self.answer.track();
            if let Some(log) = log.get() {
                keep_at_end(&log);
            }
        });
        let id = format!("chat-{place}");
        view! {
            <section class="card chat-side" data-test=id.clone()>
                <div class="field">
                    <label for=format!("{id}-adapter")>{t("Talk to")}</label>
                    <select
                        id=format!("{id}-adapter")
                        data-test=format!("{id}-adapter")
                        disabled=move || turn.with(Option::is_some)
                        on:change=move |event| self.adapter.set(event_target_value(&event))
                    >
                        {options}
                    </select>
                </div>
                <div class="chat-log" node_ref=log role="log" aria-label=t("What was said") tabindex="0">{said} {answer}</div>
            </section>
        }
        .into_any()
    }
}

/// Shows what was said last, unless the reader has scrolled up to what was said before.
fn keep_at_end(log: &web_sys::HtmlElement) {
    let hidden = log.scroll_height() - log.scroll_top() - log.client_height();
    if hidden < NEAR_END {
        log.set_scroll_top(log.scroll_height());
    }
}

fn utterance(said: &Utterance) -> AnyView {
    let (class, hook) = match said.speaker {
        Speaker::User => ("chat-said chat-user", "chat-said"),
        Speaker::Assistant | Speaker::System => ("chat-said chat-answer", "chat-answer"),
    };
    let note = (!said.note.is_empty()).then(|| view! { <p class="fine">{said.note.clone()}</p> });
    view! {
        <div class=class>
            <p class="verbatim" data-test=hook>{said.text.clone()}</p>
            {note}
        </div>
    }
    .into_any()
}

/// What is to be known of an answer that did not end by itself.
fn note(answer: &ChatAnswer, status: JobStatus, error: Option<&str>) -> String {
    match (status, answer.finish_reason) {
        (JobStatus::Failed, _) => {
            error.map_or_else(|| t("The trainer could not answer.").to_owned(), t_owned)
        }
        (JobStatus::Aborted, None) => t("Stopped.").to_owned(),
        (_, Some(FinishReason::Length)) => t("Cut off: longer than the most tokens.").to_owned(),
        _ if answer.text.is_empty() => t("The model ended its answer at once.").to_owned(),
        _ => String::new(),
    }
}

fn messages(said: &[Utterance], text: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let all = said.iter().map(|said| (said.speaker, said.text.as_str()));
    for (speaker, text) in all.chain([(Speaker::User, text)]) {
        match messages.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.role == speaker => {
                last.content.push('\n');
                last.content.push_str(text);
            }
            _ => messages.push(Message {
                role: speaker,
                content: text.to_owned(),
            }),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::validate_prompt;

    fn said(speaker: Speaker, text: &str) -> Utterance {
        Utterance {
            speaker,
            text: text.into(),
            note: String::new(),
        }
    }

    #[test]
    fn a_turn_without_an_answer_is_said_again_with_the_next() {
        let before = [
            said(Speaker::User, "hi"),
            said(Speaker::Assistant, "ho"),
            said(Speaker::User, "are you there?"),
            said(Speaker::Assistant, ""),
        ];
        let messages = messages(&before, "hello?");
        assert_eq!(messages.last().unwrap().content, "are you there?\nhello?");
        assert_eq!(messages.len(), 3);
        validate_prompt(&messages).unwrap();
    }

    #[test]
    fn an_answer_that_did_not_end_by_itself_says_why() {
        let cut = ChatAnswer {
            text: "and".into(),
            n_tokens: 1,
            finish_reason: Some(FinishReason::Length),
        };
        assert!(note(&cut, JobStatus::Done, None).contains("Cut off"));
        assert_eq!(note(&ChatAnswer::default(), JobStatus::Aborted, None), "Stopped.");
        assert_eq!(
            note(&ChatAnswer::default(), JobStatus::Failed, Some("No.")),
            "No."
        );
    }
}
