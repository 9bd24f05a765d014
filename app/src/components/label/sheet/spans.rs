//! Marked passages of a completion. The text stands in a field that can be selected in but not changed, as the model
//! wrote it, so that a passage has exact bounds whether it was selected by mouse, by touch or by keys.

use super::Sheet;
use crate::{
    components::label::prompt::letter,
    words::{fill, t},
};
use laurel_protocol::Span;
use leptos::{html, prelude::*};

pub fn spans(sheet: Sheet, position: usize) -> AnyView {
    let labels = sheet
        .questions
        .with_value(|questions| questions.span_labels.clone());
    if labels.is_empty() {
        return ().into_any();
    }
    let text = sheet.texts.with_value(|texts| texts[position].clone());
    let n_lines = text.lines().map(|line| 1 + line.len() / 60).sum::<usize>();
    let field = NodeRef::<html::Textarea>::new();
    let nothing = RwSignal::new(false);
    let mark = move |label: String| {
        let selected = field.get_untracked().and_then(|field| {
            let bound = |bound: Result<Option<u32>, _>| bound.ok().flatten();
            Some((bound(field.selection_start())?, bound(field.selection_end())?))
        });
        let Some((start, end)) = selected.filter(|(start, end)| start < end) else {
            nothing.set(true);
            return;
        };
        nothing.set(false);
        let (start, end) = sheet
            .texts
            .with_value(|texts| (n_chars(&texts[position], start), n_chars(&texts[position], end)));
        let span = Span {
            position: position as u8,
            start,
            end,
            label,
        };
        sheet.change(|extras| {
            if !extras.spans.contains(&span) {
                extras.spans.push(span);
            }
        });
    };
    let buttons = labels
        .into_iter()
        .map(|label| {
            let (own, name) = (label.clone(), label.clone());
            view! {
                <button
                    type="button"
                    class="label-tool"
                    data-test="span-label"
                    data-label=name
                    // The press must not take the selection away.
                    on:pointerdown=move |event| event.prevent_default()
                    on:click=move |_| mark(own.clone())
                >
                    {label}
                </button>
            }
        })
        .collect_view();
    let own = move || {
        let of_card = |span: &Span| usize::from(span.position) == position;
        sheet.extras.with(|extras| {
            extras
                .spans
                .iter()
                .filter(|span| of_card(span))
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    let marked = move || own().into_iter().map(|span| item(sheet, span)).collect_view();
    let n = move || own().len();
    view! {
        <details class="sheet-part" data-test="spans">
            <summary>
                {t("Mark passages")}
                {move || (n() > 0).then(|| view! { <span class="badge">{n}</span> })}
            </summary>
            <textarea
                class="sheet-source"
                readonly
                rows=n_lines.clamp(3, 14).to_string()
                aria-label=fill("Text of answer {0}: select a passage", &[&letter(position)])
                node_ref=field
                prop:value=text
            ></textarea>
            <div class="sheet-row" role="group" aria-label=t("Mark the selected passage as")>{buttons}</div>
            <p class="form-error" role="alert">
                {move || nothing.get().then_some(t("Select a passage in the text first."))}
            </p>
            <ul class="sheet-spans">{marked}</ul>
        </details>
    }
    .into_any()
}

fn item(sheet: Sheet, span: Span) -> AnyView {
    let quote: String = sheet.texts.with_value(|texts| {
        let text = texts[usize::from(span.position)].chars();
        text.skip(span.start as usize)
            .take((span.end - span.start) as usize)
            .collect()
    });
    let label = span.label.clone();
    let remove = move |_| sheet.change(|extras| extras.spans.retain(|other| *other != span));
    view! {
        <li data-test="span">
            <b>{label}</b>
            " "
            <mark>{quote}</mark>
            <button type="button" class="label-tool" aria-label=t("Remove this mark") on:click=remove>"✕"</button>
        </li>
    }
    .into_any()
}

/// A place in a text as a field of the browser counts it (UTF-16 units; a line break is one) in characters.
fn n_chars(text: &str, n_units: u32) -> u32 {
    let mut left = n_units as usize;
    let mut n = 0;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let n_units = match char {
            '\r' if chars.peek() == Some(&'\n') => 0,
            char => char.len_utf16(),
        };
        if left == 0 || left < n_units {
            break;
        }
        left -= n_units;
        n += 1;
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_of_two_units_counts_once() {
        let text = "a😀b";
        assert_eq!([0, 1, 3, 4].map(|units| n_chars(text, units)), [0, 1, 2, 3]);
    }

    #[test]
    fn a_line_break_of_two_characters_is_one_unit() {
        let text = "a\r\nb";
        assert_eq!([1, 2, 3].map(|units| n_chars(text, units)), [1, 3, 4]);
    }
}
