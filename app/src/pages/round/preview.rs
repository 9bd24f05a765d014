//! What a round trains on: its first rows as tokens, those that the loss is on in colour, and what is odd about the data.

use super::Live;
use crate::{
    format,
    words::{fill, t, t_owned},
};
use laurel_protocol::{Finding, Preview, PreviewRow, PreviewSide, PreviewToken, RoundKind};
use leptos::prelude::*;

pub fn view(live: Live, kind: RoundKind) -> AnyView {
    let body = live.preview.view(move |preview| match preview {
        Some(preview) => shown(preview, kind),
        None => {
            view! { <p class="fine">{t("It comes when a trainer has read the data, before the first step.")}</p> }
                .into_any()
        }
    });
    view! {
        <section class="card" aria-labelledby="preview-title">
            <h2 id="preview-title">{t("What is trained")}</h2>
            {body}
        </section>
    }
    .into_any()
}

fn shown(preview: Preview, kind: RoundKind) -> AnyView {
    let legend = match kind {
        RoundKind::Reward => t("The score is read at the last token of each text, in colour here."),
        RoundKind::Sft | RoundKind::Dpo => {
            t("The loss is on the tokens in colour; the model only reads the others.")
        }
        RoundKind::Ppo => t("The model answers these prompts itself, and the loss is on its answers."),
    };
    let rows = preview
        .rows
        .into_iter()
        .map(move |shown| row(shown, kind))
        .collect_view();
    view! {
        <ul class="findings">{preview.findings.into_iter().map(finding).collect_view()}</ul>
        <details data-test="preview">
            <summary>{t("The first rows, token by token")}</summary>
            <p class="fine">{legend}</p>
            {rows}
        </details>
    }
    .into_any()
}

fn finding(finding: Finding) -> AnyView {
    let class = if finding.fatal { "log-error" } else { "log-warning" };
    view! { <li class=class data-test="preview-finding">{t_owned(&finding.text)}</li> }.into_any()
}

fn row(row: PreviewRow, kind: RoundKind) -> AnyView {
    let side = match (kind, row.side) {
        (RoundKind::Sft | RoundKind::Ppo, _) => "",
        (_, PreviewSide::Chosen) => t(", chosen"),
        (_, PreviewSide::Rejected) => t(", rejected"),
    };
    let left_out = row.left_out.map(|why| fill(" Left out: {0}.", &[&t_owned(&why)]));
    let hidden = |n: u64| {
        (n > 0).then(|| {
            fill(
                "[{0} not shown]",
                &[&format::counted(n, "{0} token", "{0} tokens")],
            )
        })
    };
    let tokens = row.tokens.into_iter().map(token).collect_view();
    let completion = match row.n_completion {
        0 => String::new(),
        n => fill(", {0} of completion", &[&n]),
    };
    view! {
        <article class="preview-row" data-test="preview-row">
            <h3>
                {fill("Row {0}{1}: {2} of prompt{3}.", &[&row.row, &side, &row.n_prompt, &completion])}
                {left_out}
            </h3>
            <p class="tokens">
                <span class="muted">{hidden(row.n_before)}</span>
                {tokens}
                <span class="muted">{hidden(row.n_behind)}</span>
            </p>
        </article>
    }
    .into_any()
}

/// Line breaks break the line here as well, and are seen to be a token.
fn token(token: PreviewToken) -> AnyView {
    let class = if token.trained {
        "token token-trained"
    } else {
        "token"
    };
    let text = token.text.replace('\n', "⏎\n");
    view! { <span class=class title=token.id.to_string()>{text}</span> }.into_any()
}
