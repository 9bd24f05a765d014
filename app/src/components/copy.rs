//! A text that is shown once, and the button that copies it.

use crate::words::t;
use leptos::{prelude::*, task::spawn_local};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// `hook` is the text's `data-test` name.
pub fn copy_line(text: String, hook: &'static str) -> AnyView {
    view! {
        <div class="copy-line">
            <code data-test=hook tabindex="0">{text.clone()}</code>
            {copy_button(text)}
        </div>
    }
    .into_any()
}

/// Copies the text, and says whether that worked.
pub fn copy_button(text: String) -> AnyView {
    let words = RwSignal::new(t("Copy"));
    let copy = move |_| {
        let text = text.clone();
        spawn_local(async move {
            let is_copied = to_clipboard(&text).await;
            // The text itself stands beside the button.
            let outcome = if is_copied {
                t("Copied")
            } else {
                t("Select it and copy by hand")
            };
            let _ = words.try_set(outcome);
        });
    };
    view! { <button type="button" class="button" data-test="copy" on:click=copy>{words}</button> }.into_any()
}

async fn to_clipboard(text: &str) -> bool {
    // Over plain http browsers have no `navigator.clipboard` at all.
    let clipboard = js_sys::Reflect::get(&window().navigator(), &JsValue::from_str("clipboard"));
    match clipboard
        .ok()
        .and_then(|found| found.dyn_into::<web_sys::Clipboard>().ok())
    {
        Some(clipboard) => JsFuture::from(clipboard.write_text(text)).await.is_ok(),
        None => by_selection(text).unwrap_or(false),
    }
}

/// The old way: selects the text in a field of its own and lets the browser copy the selection.
fn by_selection(text: &str) -> Option<bool> {
    let field = document().create_element("textarea").ok()?;
    let field: web_sys::HtmlTextAreaElement = field.dyn_into().ok()?;
    field.set_value(text);
    field.set_attribute("class", "visually-hidden").ok()?;
    document().body()?.append_child(&field).ok()?;
    field.select();
    let page: web_sys::HtmlDocument = document().dyn_into().ok()?;
    let is_copied = page.exec_command("copy").unwrap_or(false);
    field.remove();
    Some(is_copied)
}
