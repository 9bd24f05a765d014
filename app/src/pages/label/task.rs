//! The task on screen: its prompt, its board, its comment; turns keys and clicks into an answer.

use super::{
    desk::{Desk, mark, now},
    draft::Draft,
    keys::{Command, Mode},
};
use crate::{
    components::{
        label::{
            drag::Drag,
            pick::{PickBoard, pick},
            prompt::{letter, prompt},
            rank::{RankBoard, focus_card, rank},
            ranking::{Drop, Ranking},
        },
        toast::{Toasts, use_toasts},
    },
    error::said,
    outbox::Verdict,
};
use laurel_protocol::{Answer, Assignment, Choice, Judgement, LabelType};
use leptos::{html, prelude::*};
use std::{sync::Arc, time::Duration};

/// Builds the view of an assignment anew; the one before goes with all its signals.
pub fn task(desk: Desk, assignment: Arc<Assignment>) -> AnyView {
    let draft = Draft::open(&assignment);
    desk.start_clock(draft.seconds);
    desk.comment.set(draft.comment.clone());
    let is_rank = assignment.label_type == LabelType::Rank;
    let board = match assignment.label_type {
        LabelType::Pick => pick_board(desk, &assignment, &draft),
        LabelType::Rank => rank_board(desk, &assignment, &draft),
    };
    let heading = NodeRef::<html::H1>::new();
    Effect::new(move |_| {
        let Some(heading) = heading.get() else { return };
        window().scroll_to_with_x_and_y(0.0, 0.0);
        // On a rank page the keys are about the first completion; on a pick page about the task.
        if is_rank {
            focus_card(0);
            window().scroll_to_with_x_and_y(0.0, 0.0);
        } else {
            let _ = heading.focus();
        }
        measure_paint();
    });
    let is_again = assignment.previous.is_some();
    let number = untrack(|| desk.task_number());
    let title = if is_again {
        "Change your answer".to_owned()
    } else {
        format!("Task {number}")
    };
    let label_type = if is_rank { "rank" } else { "pick" };
    view! {
        <section
            class="label-task"
            data-test="task"
            data-assignment=assignment.id.to_string()
            data-label-type=label_type
            aria-labelledby="label-task-title"
        >
            <h1 id="label-task-title" class="label-title" tabindex="-1" node_ref=heading>{title}</h1>
            {prompt(&assignment.prompt)}
            {comment_field(desk, &assignment)}
            {board}
        </section>
    }
    .into_any()
}

fn pick_board(desk: Desk, assignment: &Arc<Assignment>, draft: &Draft) -> AnyView {
    let asks = assignment.ask_strength;
    let choice = RwSignal::new(draft.choice);
    let strength = RwSignal::new(draft.strength);
    let is_strict = |choice: Choice| matches!(choice, Choice::First | Choice::Second);
    // A choice that came back still asks how much better it is.
    let still_waits = asks && draft.choice.is_some_and(is_strict);
    let waits = RwSignal::new(still_waits);
    desk.mode
        .set(if still_waits { Mode::Strength } else { Mode::Pick });
    let toasts = use_toasts();
    let kept = StoredValue::new(Arc::clone(assignment));
    let answer = move |choice, strength| {
        decide(
            desk,
            toasts,
            &kept.get_value(),
            Judgement::Pick { choice, strength },
        );
    };
    let choose = move |chosen: Choice| {
        choice.set(Some(chosen));
        if asks && is_strict(chosen) {
            waits.set(true);
            desk.mode.set(Mode::Strength);
            keep_draft(desk, &kept.get_value(), |draft| draft.choice = Some(chosen));
        } else {
            answer(chosen, None);
        }
    };
    let choose_strength = move |how_much: u8| {
        if let Some(chosen) = choice.get_untracked() {
            answer(chosen, Some(how_much));
        }
    };
    let obey = move |command| match command {
        Command::Choose(chosen) => choose(chosen),
        Command::Strength(how_much) => choose_strength(how_much),
        Command::Escape if waits.get_untracked() => {
            waits.set(false);
            choice.set(None);
            desk.mode.set(Mode::Pick);
            keep_draft(desk, &kept.get_value(), |draft| draft.choice = None);
        }
        _ => {}
    };
    desk.board.set_value(Some(Callback::new(obey)));
    let board = PickBoard {
        choice,
        strength,
        waits,
        choose: Callback::new(choose),
        choose_strength: Callback::new(choose_strength),
    };
    pick(&assignment.completions, board)
}

fn rank_board(desk: Desk, assignment: &Arc<Assignment>, draft: &Draft) -> AnyView {
    let n = assignment.completions.len();
    let ranking = RwSignal::new(draft.ranking.clone());
    let focused = RwSignal::new(0_usize);
    desk.mode.set(Mode::Rank);
    let toasts = use_toasts();
    let kept = StoredValue::new(Arc::clone(assignment));
    let change = move |item: usize, change: &dyn Fn(&mut Ranking)| {
        ranking.update(|ranking| change(ranking));
        let ranking = ranking.get_untracked();
        desk.said.set(spoken(item, &ranking));
        keep_draft(desk, &kept.get_value(), |draft| draft.ranking = ranking.clone());
    };
    let submit = move || {
        if let Some(ranks) = ranking.with_untracked(Ranking::answer) {
            decide(desk, toasts, &kept.get_value(), Judgement::Rank { ranks });
        } else {
            desk.said.set("Some answers have no rank yet.".to_owned());
        }
    };
    let drag = Drag::new(
        ranking,
        Callback::new(move |(item, target): (usize, Drop)| {
            change(item, &|ranking| ranking.drop(item, target))
        }),
        Callback::new(focus_card),
    );
    let obey = move |command| {
        let item = focused.get_untracked();
        match command {
            Command::Place(rank) => change(item, &|ranking| ranking.place(item, rank)),
            Command::Clear => change(item, &|ranking| ranking.clear(item)),
            Command::Raise => change(item, &|ranking| ranking.raise(item)),
            Command::Lower => change(item, &|ranking| ranking.lower(item)),
            Command::TieWithAbove => change(item, &|ranking| ranking.tie_with_above(item)),
            Command::Next => focus_card((item + 1).min(n - 1)),
            Command::Previous => focus_card(item.saturating_sub(1)),
            Command::Submit => submit(),
            Command::Escape => drag.cancel(),
            _ => {}
        }
    };
    desk.board.set_value(Some(Callback::new(obey)));
    let board = RankBoard {
        ranking,
        focused,
        place: Callback::new(move |(item, rank): (usize, u8)| {
            change(item, &|ranking| ranking.place(item, rank))
        }),
        submit: Callback::new(move |()| submit()),
        drag,
    };
    rank(&assignment.completions, board)
}

fn comment_field(desk: Desk, assignment: &Arc<Assignment>) -> AnyView {
    let kept = StoredValue::new(Arc::clone(assignment));
    let is_open = RwSignal::new(!desk.comment.get_untracked().is_empty());
    let text = desk.comment.get_untracked();
    let on_input = move |event| {
        desk.comment.set(event_target_value(&event));
        keep_draft(desk, &kept.get_value(), |_| {});
    };
    view! {
        <details class="label-comment" prop:open=is_open.get_untracked()>
            <summary aria-keyshortcuts="c">"Comment"</summary>
            <textarea
                id="label-comment"
                rows="2"
                aria-label="Comment on this task"
                placeholder="What made the difference? (optional)"
                prop:value=text
                on:input=on_input
            ></textarea>
        </details>
    }
    .into_any()
}

/// Gives the answer, unless it breaks a rule: then it stays on screen with the reason.
fn decide(desk: Desk, toasts: Toasts, assignment: &Assignment, judgement: Judgement) {
    let answer = Answer {
        judgement,
        comment: desk.comment.get_untracked().trim().to_owned(),
        seconds: desk.seconds(),
        revision: assignment.revision,
    };
    let n = assignment.completions.len();
    match answer.validate(assignment.label_type, n, assignment.ask_strength) {
        Ok(()) => desk.decide(Verdict::Answer(answer)),
        Err(reasons) => toasts.bad(said(&reasons)),
    }
}

/// Keeps the unfinished answer over a reload.
fn keep_draft(desk: Desk, assignment: &Assignment, change: impl FnOnce(&mut Draft)) {
    let mut draft = Draft::open(assignment);
    draft.comment = desk.comment.get_untracked();
    draft.seconds = desk.seconds();
    draft.at = now();
    change(&mut draft);
    draft.store(assignment);
}

/// The place of a completion in words.
fn spoken(item: usize, ranking: &Ranking) -> String {
    let name = letter(item);
    let Some(lane) = ranking.lane(item) else {
        return format!("{name}: no rank");
    };
    let others: Vec<String> = ranking
        .standing_in(Some(lane))
        .into_iter()
        .filter(|&other| other != item)
        .map(|other| letter(other).to_string())
        .collect();
    if others.is_empty() {
        format!("{name}: rank {lane}")
    } else {
        format!("{name}: rank {lane}, tied with {}", others.join(", "))
    }
}

/// Measures from the key press to the paint of the next task: after the frame that shows it.
fn measure_paint() {
    request_animation_frame(|| {
        set_timeout(
            || {
                mark("label:painted");
                if let Some(performance) = window().performance() {
                    // There is no press before the first task, and then nothing to measure.
                    let _ = performance.measure_with_start_mark_and_end_mark(
                        "label:next",
                        "label:press",
                        "label:painted",
                    );
                    performance.clear_marks_with_mark_name("label:press");
                }
            },
            Duration::ZERO,
        );
    });
}
