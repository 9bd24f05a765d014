//! What an annotator writes: a completion edited into a better one, with what changed, and an answer of their own.

use super::{
    Sheet,
    diff::{Change, diff},
};
use crate::{
    components::label::{letters::use_letters, prompt::letter},
    words::{fill, t},
};
use laurel_protocol::Edit;
use leptos::prelude::*;
use wasm_bindgen::JsCast;

pub fn edit(sheet: Sheet, position: usize) -> AnyView {
    if !sheet.questions.with_value(|questions| questions.edit) {
        return ().into_any();
    }
    let original = sheet.texts.with_value(|texts| texts[position].clone());
    let edited = move || {
        sheet.extras.with(|extras| {
            let own = |edit: &&Edit| usize::from(edit.position) == position;
            extras.edits.iter().find(own).map(|edit| edit.text.clone())
        })
    };
    let start = untrack(edited);
    let is_open = start.is_some();
    let n_lines = original.lines().map(|line| 1 + line.len() / 60).sum::<usize>();
    let text = start.unwrap_or_else(|| original.clone());
    let on_input = move |event| {
        let text: String = event_target_value(&event);
        let is_new = sheet
            .texts
            .with_value(|texts| texts[position].trim() != text.trim() && !text.trim().is_empty());
        sheet.change(|extras| {
            extras.edits.retain(|edit| usize::from(edit.position) != position);
            if is_new {
                let position = position as u8;
                extras.edits.push(Edit { position, text });
            }
        });
    };
    let changes = move || {
        let edited = edited()?;
        let changes = sheet
            .texts
            .with_value(|texts| spoken(&diff(&texts[position], &edited)));
        Some(view! { <p class="diff" data-test="diff">{changes}</p> })
    };
    view! {
        <details class="sheet-part" data-test="edit" open=is_open>
            <summary>
                {t("Edit")} {move || edited().map(|_| view! { <span class="badge">{t("changed")}</span> })}
            </summary>
            <textarea
                rows=n_lines.clamp(3, 14).to_string()
                aria-label=fill("Answer {0}, to be made better", &[&letter(position)])
                prop:value=text
                on:input=on_input
            ></textarea>
            {changes}
        </details>
    }
    .into_any()
}

/// The words of a difference, those that are new and those that went marked.
pub fn spoken(changes: &[Change<'_>]) -> AnyView {
    changes
        .iter()
        .map(|change| match *change {
            Change::Same(text) => text.to_owned().into_any(),
            Change::Gone(text) => view! { <del>{text.to_owned()}</del> }.into_any(),
            Change::New(text) => view! { <ins>{text.to_owned()}</ins> }.into_any(),
        })
        .collect_view()
        .into_any()
}

/// The field for an answer of one's own, where the project asks for one.
pub fn demonstration(sheet: Sheet) -> AnyView {
    let letters = use_letters();
    if !sheet.questions.with_value(|questions| questions.demonstration) {
        return ().into_any();
    }
    let text = sheet
        .extras
        .with_untracked(|extras| extras.demonstration.clone().unwrap_or_default());
    let is_open = !text.is_empty();
    let on_input = move |event| {
        let text: String = event_target_value(&event);
        sheet.change(|extras| extras.demonstration = Some(text).filter(|text| !text.trim().is_empty()));
    };
    view! {
        <details class="label-comment" data-test="demonstration" open=is_open>
            <summary aria-keyshortcuts=move || letters.shown('w').to_string()>{t("Write a better answer of your own")}</summary>
            <textarea
                id="label-demonstration"
                rows="5"
                aria-label=t("Your own answer")
                prop:value=text
                on:input=on_input
            ></textarea>
        </details>
    }
    .into_any()
}

pub fn focus_demonstration() {
    let Some(field) = document().get_element_by_id("label-demonstration") else {
        return;
    };
    if let Some(details) = field.closest("details").ok().flatten() {
        let _ = details.set_attribute("open", "");
    }
    if let Some(field) = field.dyn_ref::<web_sys::HtmlElement>() {
        let _ = field.focus();
    }
}
