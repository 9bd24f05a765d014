//! What a battle looks like: while both write, when the vote is awaited, and after it.

use super::ring::Ring;
use crate::{
    components::label::{
        dialogs::REASONS,
        letters::use_letters,
        pick::{PickBoard, pick},
        prompt::{letter, prompt, truncated_badge},
        sheet::Sheet,
        spoken::spoken,
    },
    load::living,
    words::{fill, t, t_owned},
};
use laurel_protocol::{
    Battle, BattleId, BattleStatus, Choice, Contender, Judgement, Reveal, ShownCompletion, Waiting,
};
use leptos::{html, prelude::*};
use std::{collections::BTreeMap, time::Duration};
use wasm_bindgen::JsCast;

/// The battle on the page, built anew when it or its status is another one.
pub fn battle(ring: Ring) -> AnyView {
    let stage = Memo::new(move |_| {
        ring.battle.with(|battle| {
            battle
                .as_ref()
                .map(|battle| (battle.id, battle.status, battle.turn))
        })
    });
    living(move || match stage.get() {
        None => ().into_any(),
        Some(stage) => untrack(|| staged(ring, stage)),
    })
}

fn staged(ring: Ring, (id, status, turn): (BattleId, BattleStatus, u8)) -> AnyView {
    let Some(battle) = ring.battle.get() else {
        return ().into_any();
    };
    let heading = NodeRef::<html::H2>::new();
    // The form has gone, and with it the focus.
    Effect::new(move |_| {
        if let Some(heading) = heading.get() {
            let _ = heading.focus();
        }
    });
    let body = match status {
        BattleStatus::Asked => asked(ring),
        BattleStatus::Answered => answered(ring, &battle),
        BattleStatus::Judged => judged(&battle),
        BattleStatus::Closed => ().into_any(),
    };
    let name = match status {
        BattleStatus::Asked => "asked",
        BattleStatus::Answered => "answered",
        BattleStatus::Judged => "judged",
        BattleStatus::Closed => "closed",
    };
    view! {
        <section class="arena" data-test="battle" data-status=name data-battle=id.to_string() aria-labelledby="arena-turn">
            <h2 id="arena-turn" class="arena-turn" data-test="arena-turn" tabindex="-1" node_ref=heading>
                {fill("Turn {0} of {1}", &[&turn, &battle.max_turns.max(turn)])}
            </h2>
            {prompt(&battle.prompt)}
            {body}
        </section>
    }
    .into_any()
}

/// Both answers while they are written.
fn asked(ring: Ring) -> AnyView {
    let side = move |position: usize| {
        living(move || {
            let answer = ring.battle.with(|battle| {
                let battle = battle.as_ref()?;
                battle.answers.get(position).cloned()
            });
            let answer = answer.unwrap_or(ShownCompletion {
                html: String::new(),
                text: String::new(),
                truncated: false,
            });
            card(position, &answer, None, false)
        })
    };
    let line = Memo::new(move |_| ring.battle.with(|battle| battle.as_ref().map(under_way)));
    let line = move || {
        line.get().map(|(hook, words)| {
            view! { <p class="notice" role="status" data-test=hook>{words}</p> }
        })
    };
    let may_ask = move || {
        ring.battle
            .with(|battle| battle.as_ref().is_some_and(|battle| !battle.is_at_work))
    };
    view! {
        {line}
        <div class="pick-cards" aria-busy="true">{side(0)} {side(1)}</div>
        <div class="actions">
            <button
                type="button"
                class="button button-main"
                data-test="arena-ask"
                hidden=move || !may_ask()
                disabled=move || ring.action.busy()
                on:click=move |_| ring.ask_again()
            >
                {t("Ask again")}
            </button>
            <button
                type="button"
                class="button"
                data-test="arena-stop"
                disabled=move || ring.action.busy()
                on:click=move |_| ring.close(None)
            >
                {t("Stop")}
            </button>
        </div>
        {ring.action.error_line()}
    }
    .into_any()
}

/// What is to be known of a battle without both answers.
fn under_way(battle: &Battle) -> (&'static str, String) {
    if let Some(error) = &battle.error {
        return ("arena-error", t_owned(error));
    }
    match (&battle.waiting, battle.is_at_work) {
        (Some(waiting), _) => ("arena-waits", in_words(waiting)),
        (None, true) => ("arena-writing", t("Both models are answering.").to_owned()),
        (None, false) => (
            "arena-broken",
            t("The answers were not finished. Ask again, or stop.").to_owned(),
        ),
    }
}

fn in_words(waiting: &Waiting) -> String {
    if !waiting.has_trainer {
        return fill(
            "No trainer is at work for the base model {0}. Your message waits until an admin starts one.",
            &[&waiting.base_model],
        );
    }
    let before = match waiting.n_ahead {
        0 => t("It is the next to be answered.").to_owned(),
        1 => t("One other turn is answered before it.").to_owned(),
        n => fill("{0} other turns are answered before it.", &[&n]),
    };
    let busy = match waiting.is_busy {
        true => t(" The trainer is at other work and answers at its next chance."),
        false => "",
    };
    fill("Waits for a trainer. {0}{1}", &[&before, &busy])
}

/// Both answers with the vote.
fn answered(ring: Ring, battle: &Battle) -> AnyView {
    let board = PickBoard {
        choice: ring.choice,
        strength: RwSignal::new(None),
        waits: ring.waits,
        choose: Callback::new(move |choice| ring.choose(choice)),
        choose_strength: Callback::new(move |strength| ring.choose_strength(strength)),
        differences: ring.differences,
        submit: Callback::new(|()| {}),
        sheet: Sheet::without_questions(&battle.answers),
    };
    let same = battle.same.then(|| {
        view! {
            <p class="notice" data-test="arena-same">
                {t("Both answers are the same: call it a tie, or skip it.")}
            </p>
        }
    });
    let on_its_way = move || {
        let words = match (ring.sending.get(), ring.is_offline.get()) {
            (false, _) => return None,
            (true, false) => t("Your vote is on its way …"),
            (true, true) => {
                t("The server cannot be reached. Your vote goes out again by itself: keep this page open.")
            }
        };
        Some(view! { <p class="notice" role="status" data-test="arena-sending">{words}</p> })
    };
    view! {
        {same}
        {comment(ring)}
        {pick(&battle.answers, board)}
        {on_its_way}
        {skip(ring)}
        {ring.action.error_line()}
    }
    .into_any()
}

fn comment(ring: Ring) -> AnyView {
    let letters = use_letters();
    view! {
        <details class="label-comment">
            <summary aria-keyshortcuts=move || letters.shown('c').to_string()>{t("Comment")}</summary>
            <textarea
                id="arena-comment"
                rows="2"
                data-test="arena-comment"
                aria-label=t("Comment on this task")
                placeholder=t("What made the difference? (optional)")
                prop:value=move || ring.comment.get()
                on:input=move |event| ring.comment.set(event_target_value(&event))
            ></textarea>
        </details>
    }
    .into_any()
}

fn skip(ring: Ring) -> AnyView {
    let letters = use_letters();
    let buttons = REASONS
        .into_iter()
        .enumerate()
        .map(|(at, (reason, hook, words))| {
            view! {
                <button
                    type="button"
                    class="button button-quiet"
                    id=(at == 0).then_some("arena-skip-first")
                    data-test=format!("arena-skip-{hook}")
                    on:click=move |_| ring.close(Some(reason))
                >
                    {t(words)}
                </button>
            }
        })
        .collect_view();
    view! {
        <details class="label-comment">
            <summary aria-keyshortcuts=move || letters.shown('s').to_string() data-test="arena-skip">{t("Skip without a vote")}</summary>
            <div class="actions">{buttons}</div>
        </details>
    }
    .into_any()
}

/// Both answers with their names.
fn judged(battle: &Battle) -> AnyView {
    let Some(reveal) = &battle.reveal else {
        return ().into_any();
    };
    let cards = battle.answers.iter().enumerate().map(|(position, answer)| {
        let name = reveal.contenders.get(position).map(name);
        let is_chosen = match reveal.choice {
            Choice::First => position == 0,
            Choice::Second => position == 1,
            Choice::Tie | Choice::BothBad => false,
        };
        card(position, answer, name, is_chosen)
    });
    let judgement = Judgement::Pick {
        choice: reveal.choice,
        strength: None,
    };
    view! {
        <p class="notice" data-test="arena-reveal">
            {fill("You said: {0}.", &[&spoken(&judgement, &BTreeMap::new())])} " " {after(battle, reveal)}
        </p>
        <div class="pick-cards">{cards.collect_view()}</div>
    }
    .into_any()
}

/// How the conversation goes on.
fn after(battle: &Battle, reveal: &Reveal) -> String {
    match (reveal.choice, reveal.goes_on_from, reveal.may_go_on) {
        (Choice::BothBad, _, _) => t("Say the same in other words, or begin a new conversation.").to_owned(),
        (Choice::Tie, Some(position), true) => fill(
            "The conversation goes on from answer {0}, which was drawn; new models answer.",
            &[&letter(usize::from(position))],
        ),
        (_, Some(position), true) => fill(
            "The conversation goes on from answer {0}; new models answer.",
            &[&letter(usize::from(position))],
        ),
        (_, Some(_), false) => fill("That was turn {0}, the last one.", &[&battle.turn]),
        (_, None, _) => t("An empty answer cannot be gone on from: begin a new conversation.").to_owned(),
    }
}

/// A contender's name as a person reads it.
pub fn name(contender: &Contender) -> String {
    match contender.adapter {
        None => t("The base model").to_owned(),
        Some(_) => contender.name.clone(),
    }
}

fn card(position: usize, answer: &ShownCompletion, name: Option<String>, is_chosen: bool) -> AnyView {
    let own = letter(position);
    let name = name.map(|name| view! { <b data-test="arena-name">{name}</b> });
    view! {
        <article
            class="completion"
            class:is-chosen=is_chosen
            data-test="arena-answer"
            aria-label=fill("Answer {0}", &[&own])
        >
            <header class="completion-head">
                <h3 class="completion-letter">{own}</h3>
                {name}
                {truncated_badge(answer.truncated)}
            </header>
            <div class="prose" inner_html=answer.html.clone()></div>
        </article>
    }
    .into_any()
}

/// Opens what is folded around an element, and goes there.
pub fn unfold(id: &'static str) {
    let Some(field) = document().get_element_by_id(id) else {
        return;
    };
    if let Some(details) = field.closest("details").ok().flatten() {
        let _ = details.set_attribute("open", "");
    }
    set_timeout(
        move || {
            if let Some(field) = field.dyn_ref::<web_sys::HtmlElement>() {
                let _ = field.focus();
            }
        },
        Duration::ZERO,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_battle_says_what_it_waits_for() {
        let mut waiting = Waiting {
            n_ahead: 0,
            is_busy: false,
            has_trainer: false,
            base_model: "m".into(),
        };
        assert!(in_words(&waiting).contains("No trainer is at work for the base model m"));
        waiting.has_trainer = true;
        assert_eq!(
            in_words(&waiting),
            "Waits for a trainer. It is the next to be answered."
        );
        (waiting.n_ahead, waiting.is_busy) = (2, true);
        let words = in_words(&waiting);
        assert!(
            words.contains("2 other turns") && words.contains("at other work"),
            "{words}"
        );
    }
}
