//! A person's data: what there is of them, which adapters have learnt from it, and taking them out.

use crate::{
    api,
    components::{
        action::Action,
        dialog::{Question, confirm_button},
    },
    format,
    load::Loaded,
    words::{fill, t},
};
use laurel_protocol::{Leaving, PersonData, TaughtAdapter, UserId};
use leptos::prelude::*;
use leptos_router::components::A;

const SURE: Question = Question {
    title: "Take this person out?",
    text: "Nobody can sign in as them again, and their name, comments and notes are gone for good.",
    yes: "Take them out",
    no: "Cancel",
};

pub fn page(id: UserId) -> AnyView {
    let data = Loaded::new(move || api::account::person_data(id));
    let body = data.view(move |data| person(id, data));
    view! {
        <div class="page">
            <p class="crumbs"><A href="/people">{t("People")}</A></p>
            {body}
        </div>
    }
    .into_any()
}

fn person(id: UserId, data: PersonData) -> AnyView {
    let adapters = match data.adapters.is_empty() {
        true => view! { <p class="fine">{t("No adapter has learnt from what this person judged.")}</p> }
            .into_any(),
        false => {
            let rows = data.adapters.into_iter().map(adapter).collect_view();
            view! {
                <p>{t("These adapters have learnt from it. They stay as they are; train anew to be without it.")}</p>
                <ul class="rows">{rows}</ul>
            }
            .into_any()
        }
    };
    view! {
        <h1>{data.user.name}</h1>
        <section class="card" aria-labelledby="data-title">
            <h2 id="data-title">{t("What there is of them")}</h2>
            <p>
                {t("Answers:")} " " <b data-test="person-answers">{data.n_answers}</b> ". "
                {fill(
                    "Skips: {0}. Notes: {1}. An account since {2}.",
                    &[&data.n_skips, &data.n_notes, &format::moment(data.user.created_at)],
                )}
            </p>
            {adapters}
        </section>
        {leave(id)}
    }
    .into_any()
}

fn adapter(adapter: TaughtAdapter) -> AnyView {
    let how = match adapter.direct {
        true => t("trained on their comparisons"),
        false => t("began from, or was scored by, one that was"),
    };
    view! {
        <li data-test="taught-adapter">
            <A href=format!("/adapters/{}", adapter.id)>{adapter.name}</A> ": " {how}
        </li>
    }
    .into_any()
}

fn leave(id: UserId) -> AnyView {
    let withdraw = RwSignal::new(false);
    let gone = RwSignal::new(None::<PersonData>);
    let action = Action::default();
    let delete = Callback::new(move |()| {
        let answers = match withdraw.get_untracked() {
            true => Leaving::Withdraw,
            false => Leaving::Keep,
        };
        action.run(api::account::delete_person(id, answers), move |data| {
            if !gone.is_disposed() {
                gone.set(Some(data));
            }
        });
    });
    let choice = move |own: bool, hook: &'static str, text: &'static str| {
        view! {
            <label class="choice-line">
                <input
                    type="radio"
                    name="answers"
                    data-test=hook
                    prop:checked=move || withdraw.get() == own
                    on:change=move |_| withdraw.set(own)
                />
                {text}
            </label>
        }
    };
    let outcome = move || {
        gone.get().map(|data| {
            let text = fill(
                "{0} is taken out. {1} adapters that have learnt from them are listed above.",
                &[&data.user.name, &data.adapters.len()],
            );
            view! { <p class="notice" role="status" data-test="person-gone">{text}</p> }
        })
    };
    view! {
        <section class="card" aria-labelledby="leave-title" hidden=move || gone.with(Option::is_some)>
            <h2 id="leave-title">{t("Take them out")}</h2>
            <p>{t("The account is closed, and name, comments and notes go. What they judged:")}</p>
            {choice(false, "answers-keep", t("stays, under a pseudonym"))}
            {choice(true, "answers-withdraw", t("is withdrawn: it counts in nothing that is made from now on, and others are asked instead"))}
            <div class="actions">{confirm_button(t("Take this person out"), "delete-person", SURE, delete)}</div>
            {action.error_line()}
        </section>
        {outcome}
    }
    .into_any()
}
