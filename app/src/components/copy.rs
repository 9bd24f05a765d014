//! A text that is shown once, with a button that copies it.

use leptos::prelude::*;

/// `hook` is the text's `data-test` name.
pub fn copy_line(text: String, hook: &'static str) -> AnyView {
    let copied = RwSignal::new(false);
    let shown = text.clone();
    let copy = move |_| {
        // Where the clipboard is closed to pages (plain http), the text can still be selected by hand.
        let _ = window().navigator().clipboard().write_text(&text);
        copied.set(true);
    };
    view! {
        <div class="copy-line">
            <code data-test=hook tabindex="0">{shown}</code>
            <button type="button" class="button" on:click=copy>
                {move || if copied.get() { "Copied" } else { "Copy" }}
            </button>
        </div>
    }
    .into_any()
}
