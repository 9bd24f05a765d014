//! The conversation that awaits an answer, above the completions.

use crate::words::t;
use laurel_protocol::{ShownMessage, Speaker};
use leptos::{html, prelude::*};

/// Taller prompts start folded.
const FOLDED_PX: i32 = 300;

pub fn prompt(messages: &[ShownMessage]) -> AnyView {
    let content = NodeRef::<html::Div>::new();
    let is_long = RwSignal::new(false);
    let is_open = RwSignal::new(false);
    Effect::new(move |_| {
        if let Some(content) = content.get() {
            is_long.set(content.scroll_height() > FOLDED_PX);
        }
    });
    let turns = messages
        .iter()
        .map(|message| {
            let (class, who) = match message.role {
                Speaker::System => ("turn turn-system", t("Instruction")),
                Speaker::User => ("turn turn-user", t("Prompt")),
                Speaker::Assistant => ("turn turn-assistant", t("Earlier answer")),
            };
            view! {
                <div class=class>
                    <p class="turn-who">{who}</p>
                    <div class="prose" inner_html=message.html.clone()></div>
                </div>
            }
        })
        .collect_view();
    view! {
        <section class="label-prompt" aria-label=t("Prompt")>
            <div
                class="label-prompt-turns"
                class:is-folded=move || is_long.get() && !is_open.get()
                node_ref=content
            >
                {turns}
            </div>
            <button
                type="button"
                class="label-link"
                hidden=move || !is_long.get()
                aria-expanded=move || is_open.get().to_string()
                on:click=move |_| is_open.update(|open| *open = !*open)
            >
                {move || if is_open.get() { t("Show less") } else { t("Show the whole prompt") }}
            </button>
        </section>
    }
    .into_any()
}

/// A, B, C … for the completion shown at a position.
pub fn letter(position: usize) -> char {
    char::from(b'A' + position.min(25) as u8)
}

/// The mark of a completion that the token limit cut off.
pub fn truncated_badge(is_truncated: bool) -> Option<AnyView> {
    is_truncated.then(|| {
        view! { <span class="label-badge" title=t("The model reached its token limit here")>{t("cut off")}</span> }.into_any()
    })
}
