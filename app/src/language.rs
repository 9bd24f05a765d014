//! Which language the pages are in: chosen in the menu and kept in the browser, else the first of the browser's own
//! that is known. Its table is fetched once, before the app is mounted; English needs none.
//!
//! The page that the server sent names the languages, and where their tables lie (`xtask/src/dist.rs`).

use crate::{
    theme::storage,
    words::{t, use_table},
};
use js_sys::{Array, JSON, Object};
use leptos::prelude::*;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

/// The key in the browser's local storage.
const KEY: &str = "laurel-language";
const ENGLISH: &str = "en";
/// A page in English is better than none.
const PATIENCE_MS: u32 = 4000;

/// A language that the pages can be shown in.
struct Language {
    code: String,
    /// As those who speak it call it.
    name: String,
    /// Of its table; empty for English.
    address: String,
}

/// Loads the table of the person's language.
pub async fn load() {
    let known = known();
    let language = wanted().into_iter().find_map(|code| {
        // Of `ko-KR` the language is what counts.
        let code = code.split('-').next().unwrap_or_default();
        known.iter().find(|language| language.code == code)
    });
    let Some(language) = language.filter(|language| !language.address.is_empty()) else {
        return;
    };
    if let Some(table) = table(&language.address).await {
        use_table(table);
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute("lang", &language.code);
        }
    }
}

/// The code of the language that the pages are in.
fn current() -> String {
    let root = document().document_element();
    root.and_then(|root| root.get_attribute("lang"))
        .unwrap_or_else(|| ENGLISH.to_owned())
}

/// What the person chose, or the browser's languages, the dearest first.
fn wanted() -> Vec<String> {
    match storage().and_then(|storage| storage.get_item(KEY).ok().flatten()) {
        Some(chosen) => vec![chosen],
        None => {
            let own = window().navigator().languages();
            own.iter().filter_map(|code| code.as_string()).collect()
        }
    }
}

/// From the page's `<meta name="languages">`: by code, name and address.
fn known() -> Vec<Language> {
    let meta = document().query_selector("meta[name=languages]").ok().flatten();
    let named = meta
        .and_then(|meta| meta.get_attribute("content"))
        .and_then(|content| JSON::parse(&content).ok());
    entries(named.unwrap_or_default())
        .into_iter()
        .filter_map(|(code, what)| {
            let what: Array = what.dyn_into().ok()?;
            Some(Language {
                code,
                name: what.get(0).as_string()?,
                address: what.get(1).as_string().unwrap_or_default(),
            })
        })
        .collect()
}

fn entries(object: JsValue) -> Vec<(String, JsValue)> {
    let Ok(object) = object.dyn_into::<Object>() else {
        return Vec::new();
    };
    let entry = |entry: JsValue| {
        let entry: Array = entry.dyn_into().ok()?;
        Some((entry.get(0).as_string()?, entry.get(1)))
    };
    Object::entries(&object).iter().filter_map(entry).collect()
}

/// The table at this address; `None` when it does not come in time.
async fn table(address: &str) -> Option<Vec<(&'static str, &'static str)>> {
    let init = web_sys::RequestInit::new();
    init.set_signal(Some(&web_sys::AbortSignal::timeout_with_u32(PATIENCE_MS)));
    let answer = JsFuture::from(window().fetch_with_str_and_init(address, &init));
    let response: web_sys::Response = answer.await.ok()?.dyn_into().ok()?;
    if !response.ok() {
        return None;
    }
    let table = JsFuture::from(response.json().ok()?).await.ok()?;
    let pairs = entries(table).into_iter().filter_map(|(english, translation)| {
        // Kept for as long as the page lives.
        Some((&*english.leak(), &*translation.as_string()?.leak()))
    });
    Some(pairs.collect())
}

/// The menu of languages. Choosing one begins the page anew: answers on their way are kept by the outbox.
pub fn menu() -> AnyView {
    let current = current();
    let sign = current.to_uppercase();
    let options = known()
        .into_iter()
        .map(|language| {
            let is_current = language.code == current;
            view! { <option value=language.code.clone() lang=language.code selected=is_current>{language.name}</option> }
        })
        .collect_view();
    let choose = move |event| {
        let code = event_target_value(&event);
        // Where storage is forbidden nothing can be chosen, and the page comes back as it was.
        let _ = storage().map(|storage| storage.set_item(KEY, &code));
        let _ = window().location().reload();
    };
    view! {
        <span class="language">
            <span class="language-sign" aria-hidden="true">{sign}</span>
            <select aria-label=t("Language") title=t("Language") data-test="language" on:change=choose>{options}</select>
        </span>
    }
    .into_any()
}
