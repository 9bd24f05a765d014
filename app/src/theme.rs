//! Light, dark, or what the system says; kept in the browser.
//!
//! The static page's boot script applies the stored choice before the first paint; this module changes it.

use leptos::prelude::*;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Theme {
    System,
    Light,
    Dark,
}

/// The key in the browser's local storage; boot.js reads the same one.
const KEY: &str = "laurel-theme";

#[derive(Clone, Copy)]
pub struct ThemeChoice(RwSignal<Theme>);

impl ThemeChoice {
    pub fn get(self) -> Theme {
        self.0.get()
    }

    pub fn set(self, theme: Theme) {
        self.0.set(theme);
        apply(theme);
    }
}

/// Makes the choice known to all pages. Called once, by the app.
pub fn provide() {
    let stored = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    let theme = match stored.as_deref() {
        Some("light") => Theme::Light,
        Some("dark") => Theme::Dark,
        _ => Theme::System,
    };
    provide_context(ThemeChoice(RwSignal::new(theme)));
}

pub fn use_theme() -> ThemeChoice {
    use_context::<ThemeChoice>().expect("the app provides the theme before any page")
}

fn apply(theme: Theme) {
    let name = match theme {
        Theme::System => None,
        Theme::Light => Some("light"),
        Theme::Dark => Some("dark"),
    };
    let root = document().document_element();
    // Where storage is forbidden the choice lasts until the page is left, which is all that can be done.
    match name {
        Some(name) => {
            let _ = root.map(|root| root.set_attribute("data-theme", name));
            let _ = storage().map(|storage| storage.set_item(KEY, name));
        }
        None => {
            let _ = root.map(|root| root.remove_attribute("data-theme"));
            let _ = storage().map(|storage| storage.remove_item(KEY));
        }
    }
}

pub fn storage() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}
