//! The letters of the keyboard shortcuts, which a person may change; the browser keeps them. Digits, arrows, Enter and
//! Escape stay what they are.

use crate::theme::storage;
use leptos::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// In the browser's local storage.
const KEY: &str = "laurel-letters";

/// A key press, as the browser tells it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Press<'a> {
    /// What the key types in the person's layout.
    pub key: &'a str,
    /// Where the key lies on a US keyboard.
    pub code: &'a str,
    pub shift: bool,
    /// Ctrl, Alt or Meta is down: the press belongs to the browser.
    pub modified: bool,
    /// The key is held down.
    pub repeat: bool,
}

/// The letter or digit of a press. A Latin letter counts as typed; where the layout types something else
/// (Hangul, Cyrillic, or `&` on the `1` of a French keyboard), the place of the key counts.
pub fn letter(press: Press<'_>) -> Option<char> {
    let mut chars = press.key.chars();
    let typed = chars.next().filter(|_| chars.next().is_none());
    if let Some(typed) = typed.filter(char::is_ascii_alphanumeric) {
        return Some(typed.to_ascii_lowercase());
    }
    // An input method that has taken the letter tells its place alone.
    if press.key != "Process" {
        typed.filter(|_| !press.shift)?;
    }
    let place = press
        .code
        .strip_prefix("Key")
        .or_else(|| press.code.strip_prefix("Digit"))?;
    place.chars().next().map(|place| place.to_ascii_lowercase())
}

/// Which letter stands for which. Two letters change places, so each command keeps a key, and no key has two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Letters {
    /// From the letter of the shortcut as it is at first to the person's own; those that are the same are left out.
    own: BTreeMap<char, char>,
}

impl Letters {
    /// What a person presses for a shortcut.
    pub fn shown(&self, first: char) -> char {
        self.own.get(&first).copied().unwrap_or(first)
    }

    /// The shortcut of the letter that was pressed.
    pub fn meant(&self, pressed: char) -> char {
        let own = self.own.iter().find(|(_, own)| **own == pressed);
        own.map_or(pressed, |(first, _)| *first)
    }

    /// Gives a shortcut another letter. The one that had the letter gets the old one.
    pub fn change(&mut self, first: char, own: char) {
        let (other, old) = (self.meant(own), self.shown(first));
        for (first, own) in [(other, old), (first, own)] {
            match first == own {
                true => self.own.remove(&first),
                false => self.own.insert(first, own),
            };
        }
    }

    pub fn is_changed(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether it changes letters alone, and gives no letter twice: what is stored may be damaged.
    fn is_sound(&self) -> bool {
        let from: BTreeSet<char> = self.own.keys().copied().collect();
        let to: BTreeSet<char> = self.own.values().copied().collect();
        from == to && from.iter().all(char::is_ascii_lowercase)
    }

    fn from_stored(text: &str) -> Self {
        let stored = serde_json::from_str(text).ok();
        stored.filter(Self::is_sound).unwrap_or_default()
    }
}

/// The person's letters, for the labelling page and its parts.
#[derive(Clone, Copy)]
pub struct OwnLetters(RwSignal<Letters>);

impl OwnLetters {
    pub fn meant(self, pressed: char) -> char {
        self.0.with_untracked(|letters| letters.meant(pressed))
    }

    pub fn shown(self, first: char) -> char {
        self.0.with(|letters| letters.shown(first))
    }

    pub fn is_changed(self) -> bool {
        self.0.with(Letters::is_changed)
    }

    pub fn change(self, first: char, own: char) {
        self.0.update(|letters| letters.change(first, own));
        self.keep();
    }

    pub fn reset(self) {
        self.0.set(Letters::default());
        self.keep();
    }

    fn keep(self) {
        // Where storage is forbidden the change lasts until the page is left, which is all that can be done.
        let text = self
            .0
            .with_untracked(|letters| serde_json::to_string(letters).ok());
        let _ = storage()
            .zip(text)
            .map(|(storage, text)| storage.set_item(KEY, &text));
    }
}

/// Makes the letters known to the page.
pub fn provide() {
    let stored = storage().and_then(|storage| storage.get_item(KEY).ok().flatten());
    let letters = Letters::from_stored(&stored.unwrap_or_default());
    provide_context(OwnLetters(RwSignal::new(letters)));
}

/// Of the page that provides them; a board on another page has the letters as they are at first.
pub fn use_letters() -> OwnLetters {
    use_context().unwrap_or_else(|| OwnLetters(RwSignal::new(Letters::default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_change_places_and_back() {
        let mut letters = Letters::default();
        letters.change('s', 'q');
        assert_eq!((letters.shown('s'), letters.meant('q')), ('q', 's'));
        assert_eq!(letters.meant('s'), 'q'); // nothing
        letters.change('u', 'q');
        assert_eq!((letters.shown('u'), letters.shown('s')), ('q', 'u'));
        assert!(letters.is_sound() && letters.is_changed());
        letters.change('u', 'u');
        letters.change('s', 's');
        assert_eq!(letters, Letters::default());
    }

    #[test]
    fn every_letter_stays_reachable_whatever_is_changed() {
        let mut letters = Letters::default();
        for (at, first) in ('a'..='z').enumerate() {
            letters.change(first, (b'a' + ((at * 7 + 3) % 26) as u8) as char);
            let reached: BTreeSet<char> = ('a'..='z').map(|pressed| letters.meant(pressed)).collect();
            assert_eq!(reached.len(), 26);
            assert!(('a'..='z').all(|first| letters.meant(letters.shown(first)) == first));
            assert!(letters.is_sound());
        }
    }

    #[test]
    fn damaged_letters_are_those_of_the_start() {
        for damaged in ["", "{", r#"{"s":"q"}"#, r#"{"1":"2","2":"1"}"#, r#"{"s":"qq"}"#] {
            assert_eq!(Letters::from_stored(damaged), Letters::default(), "{damaged}");
        }
        let mut letters = Letters::default();
        letters.change('s', 'q');
        let stored = serde_json::to_string(&letters).unwrap();
        assert_eq!(Letters::from_stored(&stored), letters);
    }
}
