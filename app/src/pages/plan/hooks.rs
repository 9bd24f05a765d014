//! Who hears of the project's rounds: webhooks with their last deliveries, and this browser.

use super::Live;
use crate::{
    api,
    components::{
        action::Action,
        copy::copy_line,
        field::{Errors, Field, switch_field, text_field},
    },
    format,
    load::Loaded,
    notify,
    words::{fill, t},
};
use laurel_protocol::{Delivery, DeliveryStatus, HookEvent, NewWebhook, NoAnswer, Webhook};
use leptos::prelude::*;
use std::time::Duration;

const URL: Field = Field {
    name: "url",
    label: "Address",
    help: "It is sent a POST with JSON, signed with a key that is shown once.",
    hook: "webhook-url",
};

/// When to look what has come of a test: it is sent within two seconds, and may take ten more.
const LATER: [Duration; 3] = [
    Duration::from_millis(2500),
    Duration::from_secs(6),
    Duration::from_secs(13),
];

pub fn view(live: Live) -> AnyView {
    let hooks = Loaded::new(move || api::webhook::list(live.id));
    let list = hooks.view(move |all| {
        if all.is_empty() {
            return view! { <p class="fine">{t("No webhook yet.")}</p> }.into_any();
        }
        let rows = all.into_iter().map(|hook| row(hooks, hook)).collect_view();
        view! { <ul class="rows">{rows}</ul> }.into_any()
    });
    view! {
        <section class="card" aria-labelledby="hooks-title">
            <h2 id="hooks-title">{t("Notifications")}</h2>
            {browser()}
            <h3>{t("Webhooks")}</h3>
            {list}
            {form(live, hooks)}
        </section>
    }
    .into_any()
}

/// Notifications of this browser, while a page of the project is open in it.
fn browser() -> AnyView {
    let state = RwSignal::new(notify::state());
    let switch = move |_| notify::switch(move |now| state.set(now));
    let words = move || match state.get() {
        notify::State::Off => t("Notify me in this browser"),
        notify::State::On => t("Do not notify me in this browser"),
        notify::State::Refused => t("Blocked by the browser"),
    };
    view! {
        <div class="row-head">
            <button
                type="button"
                class="button"
                data-test="browser-notifications"
                aria-pressed=move || (state.get() == notify::State::On).to_string()
                disabled=move || state.get() == notify::State::Refused
                on:click=switch
            >
                {words}
            </button>
            <span class="fine">
                {t("When a round ends, fails or warns, while its page, the project's or this one is open.")}
            </span>
        </div>
    }
    .into_any()
}

fn row(hooks: Loaded<Vec<Webhook>>, hook: Webhook) -> AnyView {
    let action = Action::default();
    let id = hook.id;
    let events: Vec<&str> = hook.events.iter().map(|event| name(*event)).collect();
    let test = move |_| {
        action.run(api::webhook::test(id), move |_| {
            hooks.reload();
            for later in LATER {
                set_timeout(move || look_again(hooks), later);
            }
        });
    };
    let remove = move |_| action.run(api::webhook::delete(id), move |()| hooks.reload());
    let sent = hook.deliveries.iter().map(delivery).collect_view();
    view! {
        <li class="row" data-test="webhook">
            <div class="row-head">
                <code>{hook.url}</code>
                <button type="button" class="button button-quiet" data-test="test-webhook" disabled=move || action.busy() on:click=test>
                    {t("Send a test")}
                </button>
                <button type="button" class="button button-quiet" data-test="delete-webhook" disabled=move || action.busy() on:click=remove>
                    {t("Remove")}
                </button>
            </div>
            <p class="fine">{events.join(", ")}</p>
            <ul class="fine">{sent}</ul>
            {action.error_line()}
        </li>
    }
    .into_any()
}

/// The page may be gone by then.
fn look_again(hooks: Loaded<Vec<Webhook>>) {
    if hooks.state.try_with_untracked(|_| ()).is_some() {
        hooks.refresh();
    }
}

fn delivery(delivery: &Delivery) -> AnyView {
    let came = match (delivery.http_status, delivery.error) {
        (Some(status), _) => fill("status {0}", &[&status]),
        (None, Some(why)) => no_answer(why).to_owned(),
        (None, None) => String::new(),
    };
    let (status, standing) = match delivery.status {
        DeliveryStatus::Sent => ("sent", t("sent").to_owned()),
        DeliveryStatus::Failed => ("failed", t("given up").to_owned()),
        DeliveryStatus::Pending => {
            let at = delivery.next_at.map(format::moment).unwrap_or_default();
            ("pending", fill("next try {0}", &[&at]))
        }
    };
    let tries = format::counted(delivery.n_attempts.into(), "{0} try", "{0} tries");
    let parts = [
        format::moment(delivery.created_at),
        name(delivery.event).to_owned(),
        standing,
        tries,
        came,
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    view! { <li data-test="delivery" data-status=status>{parts.join(" · ")}</li> }.into_any()
}

fn no_answer(why: NoAnswer) -> &'static str {
    match why {
        NoAnswer::NowhereAllowed => t("the address leads nowhere, or to where this server may not send"),
        NoAnswer::TimedOut => t("no answer within ten seconds"),
        NoAnswer::Untrusted => t("the receiver's certificate is not trusted"),
        NoAnswer::Unreachable => t("the receiver cannot be reached"),
    }
}

fn name(event: HookEvent) -> &'static str {
    match event {
        HookEvent::RoundDone => t("Round done"),
        HookEvent::RoundFailed => t("Round failed"),
        HookEvent::RoundAborted => t("Round aborted"),
        HookEvent::RoundPaused => t("Round paused"),
        HookEvent::Alarm => t("A round warns"),
        HookEvent::Test => t("Test"),
    }
}

fn form(live: Live, hooks: Loaded<Vec<Webhook>>) -> AnyView {
    let url = RwSignal::new(String::new());
    let wanted = HookEvent::CHOICES.map(|event| (event, RwSignal::new(true)));
    let errors: Errors = RwSignal::new(Vec::new());
    let action = Action::default();
    let secret = RwSignal::new(None::<String>);
    let submit = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let chosen = wanted.iter().filter(|(_, wanted)| wanted.get_untracked());
        let new = NewWebhook {
            url: url.get_untracked().trim().to_owned(),
            events: chosen.map(|(event, _)| *event).collect(),
        };
        if let Err(reasons) = new.validate() {
            errors.set(reasons);
            return;
        }
        errors.set(Vec::new());
        action.run(
            async move { api::webhook::create(live.id, &new).await },
            move |made| {
                url.set(String::new());
                secret.set(Some(made.secret));
                hooks.reload();
            },
        );
    };
    let switches = wanted.map(|(event, wanted)| {
        let (name, hook) = match event {
            HookEvent::RoundDone => ("event_round_done", "webhook-round-done"),
            HookEvent::RoundFailed => ("event_round_failed", "webhook-round-failed"),
            HookEvent::RoundAborted => ("event_round_aborted", "webhook-round-aborted"),
            HookEvent::RoundPaused => ("event_round_paused", "webhook-round-paused"),
            HookEvent::Alarm | HookEvent::Test => ("event_alarm", "webhook-alarm"),
        };
        let field = Field {
            name,
            label: self::name(event),
            help: "",
            hook,
        };
        switch_field(field, wanted)
    });
    let no_event = move || {
        errors.with(|errors| {
            errors
                .iter()
                .any(|error| error.field == "events")
                .then(|| view! { <p class="form-error" role="alert">{t("Choose one event at least.")}</p> })
        })
    };
    let key = move || {
        secret.get().map(|secret| {
            view! {
                <div class="notice" role="status">
                    <p>{t("The key of the signatures, shown this once:")}</p>
                    {copy_line(secret, "webhook-secret")}
                </div>
            }
        })
    };
    view! {
        <details class="fold" data-test="add-webhook">
            <summary>{t("Add a webhook")}</summary>
            <form class="form" on:submit=submit novalidate>
                {text_field(URL, "text", url, errors)}
                <div class="field-grid">{switches.into_iter().collect_view()}</div>
                {no_event}
                {action.error_line()}
                <div class="actions">
                    <button class="button" data-test="save-webhook" disabled=move || action.busy()>{t("Add")}</button>
                </div>
            </form>
        </details>
        {key}
    }
    .into_any()
}
