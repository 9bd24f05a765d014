//! Form fields: a label, an input, a line of help, and the reason beside it when the value is refused.

use crate::words::{fill, later, t, t_owned};
use laurel_protocol::FieldError;
use leptos::prelude::*;

/// What all fields share. Label and help are English, and translated where the field is shown.
#[derive(Clone, Copy)]
pub struct Field {
    /// As the API names it, for example `hyper.beta`; the reasons of a refusal find their field by it.
    pub name: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    /// The `data-test` name.
    pub hook: &'static str,
}

/// The reasons of the last refusal; every field shows its own.
pub type Errors = RwSignal<Vec<FieldError>>;

fn reason(errors: Errors, name: &'static str) -> impl Fn() -> Option<String> + Copy + Send + 'static {
    move || {
        errors.with(|errors| {
            errors
                .iter()
                .find(|error| error.field == name)
                .map(|error| t_owned(&error.reason))
        })
    }
}

/// The frame around an input: label above, help and reason below.
fn frame(field: Field, errors: Errors, input: AnyView) -> AnyView {
    let reason = reason(errors, field.name);
    let help = (!field.help.is_empty()).then(|| {
        view! { <span class="field-help" id=format!("{}-help", field.name)>{t(field.help)}</span> }
    });
    view! {
        <div class="field" class:field-bad=move || reason().is_some()>
            <label for=field.name>{t(field.label)}</label>
            {input}
            {help}
            <span class="field-reason" id=format!("{}-reason", field.name) role="alert">
                {move || reason().map(|reason| fill("{0} {1}", &[&t(field.label), &reason]))}
            </span>
        </div>
    }
    .into_any()
}

fn described_by(field: Field) -> String {
    format!("{0}-help {0}-reason", field.name)
}

/// One line of text. `kind` is `text`, `password` or `number`. Numbers are typed as text: a number input calls `0.`, on
/// the way to `0.1`, something else than what was typed, which then is written back under the caret.
pub fn text_field(field: Field, kind: &'static str, value: RwSignal<String>, errors: Errors) -> AnyView {
    let reason = reason(errors, field.name);
    let complete = match (field.name, kind) {
        ("name", "text") if field.hook == "name" => "username",
        (_, "password") => "current-password",
        _ => "off",
    };
    let (kind, keyboard) = match kind {
        "number" => ("text", Some("decimal")),
        kind => (kind, None),
    };
    let input = view! {
        <input
            id=field.name
            name=field.name
            type=kind
            inputmode=keyboard
            autocomplete=complete
            data-test=field.hook
            aria-describedby=described_by(field)
            aria-invalid=move || reason().is_some().then_some("true")
            prop:value=move || value.get()
            on:input=move |event| value.set(event_target_value(&event))
        />
    };
    frame(field, errors, input.into_any())
}

/// Several lines of text.
pub fn area_field(field: Field, n_lines: u32, value: RwSignal<String>, errors: Errors) -> AnyView {
    let input = view! {
        <textarea
            id=field.name
            name=field.name
            rows=n_lines.to_string()
            data-test=field.hook
            aria-describedby=described_by(field)
            prop:value=move || value.get()
            on:input=move |event| value.set(event_target_value(&event))
        ></textarea>
    };
    frame(field, errors, input.into_any())
}

/// One of a few; each option is its value and its words.
pub fn select_field(
    field: Field,
    options: Vec<(String, String)>,
    value: RwSignal<String>,
    errors: Errors,
) -> AnyView {
    let options = options
        .into_iter()
        .map(|(name, words)| {
            let own = name.clone();
            view! { <option value=name selected=move || value.get() == own>{words}</option> }
        })
        .collect_view();
    let input = view! {
        <select
            id=field.name
            name=field.name
            data-test=field.hook
            aria-describedby=described_by(field)
            on:change=move |event| value.set(event_target_value(&event))
        >
            {options}
        </select>
    };
    frame(field, errors, input.into_any())
}

/// Yes or no.
pub fn switch_field(field: Field, value: RwSignal<bool>) -> AnyView {
    view! {
        <div class="field field-switch">
            <input
                id=field.name
                name=field.name
                type="checkbox"
                data-test=field.hook
                aria-describedby=format!("{}-help", field.name)
                prop:checked=move || value.get()
                on:change=move |event| value.set(event_target_checked(&event))
            />
            <label for=field.name>{t(field.label)}</label>
            <span class="field-help" id=format!("{}-help", field.name)>{t(field.help)}</span>
        </div>
    }
    .into_any()
}

/// The number in a field, or the reason why it is none.
pub fn number<T: std::str::FromStr>(value: RwSignal<String>, name: &str) -> Result<T, FieldError> {
    value
        .with_untracked(|text| text.trim().parse())
        .map_err(|_| FieldError::new(name, later("must be a number")))
}
