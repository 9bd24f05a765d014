//! Ratings of a completion: a row of numbers for each dimension. A digit rates and goes on to the next row, arrows
//! change the number.

use super::Sheet;
use crate::{components::label::prompt::letter, words::fill};
use leptos::prelude::*;
use wasm_bindgen::JsCast;

pub fn ratings(sheet: Sheet, position: usize) -> AnyView {
    let (names, steps) = sheet
        .questions
        .with_value(|questions| (questions.dimensions.clone(), questions.rating_steps));
    names
        .into_iter()
        .map(|name| row(sheet, position, name, steps))
        .collect_view()
        .into_any()
}

fn row(sheet: Sheet, position: usize, name: String, steps: u8) -> AnyView {
    let name = StoredValue::new(name);
    let rating = Memo::new(move |_| {
        sheet.extras.with(|extras| {
            let ratings = name.with_value(|name| extras.ratings.get(name));
            ratings
                .and_then(|ratings| ratings.get(position))
                .copied()
                .unwrap_or(0)
        })
    });
    let rate = move |value: u8| {
        sheet.change(|extras| {
            let ratings = name.with_value(|name| extras.ratings.get_mut(name));
            if let Some(rating) = ratings.and_then(|ratings| ratings.get_mut(position)) {
                *rating = value;
            }
        });
    };
    let on_key = move |event: web_sys::KeyboardEvent| {
        if event.ctrl_key() || event.alt_key() || event.meta_key() {
            return;
        }
        let now = rating.get_untracked();
        let value = match event.key().as_str() {
            "ArrowRight" | "ArrowUp" => (now + 1).min(steps),
            "ArrowLeft" | "ArrowDown" => now.saturating_sub(1).max(1),
            "0" if steps == 10 => 10,
            key => match key.parse() {
                Ok(digit) if (1..=steps).contains(&digit) => digit,
                _ => return,
            },
        };
        event.prevent_default();
        rate(value);
        let is_digit = event.key().parse::<u8>().is_ok();
        let Some(group) = event
            .current_target()
            .and_then(|target| target.dyn_into::<web_sys::Element>().ok())
        else {
            return;
        };
        if is_digit {
            focus_behind(&group);
        } else {
            focus_value(&group, value);
        }
    };
    let label = fill("{0}, answer {1}", &[&name.get_value(), &letter(position)]);
    let numbers = (1..=steps)
        .map(|value| {
            let is_reached = move || match rating.get() {
                0 => value == 1,
                rating => rating == value,
            };
            view! {
                <button
                    type="button"
                    class="rating-button"
                    role="radio"
                    data-value=value.to_string()
                    aria-checked=move || (rating.get() == value).to_string()
                    tabindex=move || if is_reached() { "0" } else { "-1" }
                    on:click=move |_| rate(value)
                >
                    {value.to_string()}
                </button>
            }
        })
        .collect_view();
    view! {
        <div class="rating">
            <span class="rating-name">{name.get_value()}</span>
            <div
                class="rating-group"
                role="radiogroup"
                aria-label=label
                aria-required="true"
                data-test="rating"
                data-dimension=name.get_value()
                data-rating=move || rating.get().to_string()
                on:keydown=on_key
            >
                {numbers}
            </div>
        </div>
    }
    .into_any()
}

/// Moves the focus to the first row without a rating, else to the first row.
pub fn focus_unrated() {
    let found = |selector: &str| document().query_selector(selector).ok().flatten();
    if let Some(group) = found(".rating-group[data-rating='0']").or_else(|| found(".rating-group")) {
        focus_value(&group, 0);
    }
}

/// Moves the focus to the row behind this one; from the last row to the button that submits.
fn focus_behind(group: &web_sys::Element) {
    let Ok(groups) = document().query_selector_all(".rating-group") else {
        return;
    };
    let at = (0..groups.length()).find(|&at| groups.item(at).as_ref() == Some(group.as_ref()));
    let next = at
        .and_then(|at| groups.item(at + 1))
        .and_then(|next| next.dyn_into::<web_sys::Element>().ok());
    match next {
        Some(next) => focus_value(&next, 0),
        // It is enabled once this change has been drawn.
        None => request_animation_frame(|| {
            focus(document().query_selector("[data-test='submit']").ok().flatten())
        }),
    }
}

/// Focuses a number of a row; 0 is the one that Tab would reach.
fn focus_value(group: &web_sys::Element, value: u8) {
    let selector = match value {
        0 => "[tabindex='0']".to_owned(),
        value => format!("[data-value='{value}']"),
    };
    focus(group.query_selector(&selector).ok().flatten());
}

fn focus(element: Option<web_sys::Element>) {
    if let Some(element) = element
        .as_ref()
        .and_then(|it| it.dyn_ref::<web_sys::HtmlElement>())
    {
        let _ = element.focus();
    }
}
