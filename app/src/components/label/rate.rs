//! The rate board: completions that are rated one by one, not compared.

use super::{
    prompt::{letter, truncated_badge},
    sheet::{self, Sheet, submit_button},
};
use crate::words::{fill, t};
use laurel_protocol::ShownCompletion;
use leptos::prelude::*;

pub fn rate(completions: &[ShownCompletion], sheet: Sheet, submit: Callback<()>) -> AnyView {
    let cards = completions
        .iter()
        .enumerate()
        .map(|(position, completion)| {
            let name = letter(position);
            view! {
                <article
                    class="completion"
                    data-test="completion"
                    data-position=position.to_string()
                    aria-label=fill("Answer {0}", &[&name])
                >
                    <header class="completion-head">
                        <h2 class="completion-letter">{name}</h2>
                        {truncated_badge(completion.truncated)}
                    </header>
                    <div class="prose" inner_html=completion.html.clone()></div>
                    {sheet::of_card(sheet, position)}
                </article>
            }
        })
        .collect_view();
    let text = move || match sheet.is_rated() {
        true => t("Submit").to_owned(),
        false => t("Some ratings are missing").to_owned(),
    };
    view! {
        <div class="sheet-cards">{cards}</div>
        <div class="label-dock">
            <div class="choices">{submit_button(text, move || !sheet.is_rated(), submit)}</div>
        </div>
    }
    .into_any()
}
