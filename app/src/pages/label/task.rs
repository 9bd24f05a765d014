//! The task on screen: its prompt, its board, its comment; turns keys and clicks into an answer.

use super::{
    desk::{Desk, mark, now},
    draft::Draft,
    keys::{Command, Mode},
};
use crate::{
    components::label::{
        best_worst::{BestWorst, BestWorstBoard, best_worst},
        drag::Drag,
        letters::use_letters,
        pick::{PickBoard, pick},
        prompt::{letter, prompt},
        rank::{RankBoard, focus_card, rank},
        ranking::{Drop, Ranking},
        rate::rate,
        sheet::{self, Sheet},
    },
    error::said,
    outbox::Verdict,
    words::{fill, t},
};
use laurel_protocol::{Answer, Assignment, Choice, Expected, Judgement, LabelType};
use leptos::{html, prelude::*};
use std::{sync::Arc, time::Duration};

/// Builds the view of an assignment anew; the one before goes with all its signals.
pub fn task(desk: Desk, assignment: Arc<Assignment>) -> AnyView {
    let draft = Draft::open(&assignment);
    desk.start_clock(draft.seconds);
    desk.comment.set(draft.comment.clone());
    let is_rank = assignment.label_type == LabelType::Rank;
    let page = Page::new(desk, &assignment, &draft);
    let (label_type, board) = match assignment.label_type {
        LabelType::Pick => ("pick", pick_board(page, &assignment, &draft)),
        LabelType::Rank => ("rank", rank_board(page, &assignment, &draft)),
        LabelType::BestWorst => ("best_worst", best_worst_board(page, &assignment, &draft)),
        LabelType::Rate => ("rate", rate_board(page, &assignment)),
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
        t("Change your answer").to_owned()
    } else {
        fill("Task {0}", &[&number])
    };
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
            {sheet::demonstration(page.sheet)}
        </section>
    }
    .into_any()
}

/// What the boards share.
#[derive(Clone, Copy)]
struct Page {
    desk: Desk,
    assignment: StoredValue<Arc<Assignment>>,
    sheet: Sheet,
}

impl Page {
    fn new(desk: Desk, assignment: &Arc<Assignment>, draft: &Draft) -> Self {
        let kept = StoredValue::new(Arc::clone(assignment));
        let extras = StoredValue::new(None::<Sheet>);
        let changed = Callback::new(move |()| {
            let Some(sheet) = extras.get_value() else { return };
            let now = sheet.extras.get_untracked();
            keep_draft(desk, &kept.get_value(), |draft| draft.extras = now);
        });
        let sheet = Sheet::new(assignment, draft.extras.clone(), changed);
        extras.set_value(Some(sheet));
        Self {
            desk,
            assignment: kept,
            sheet,
        }
    }

    fn keep(self, change: impl FnOnce(&mut Draft)) {
        keep_draft(self.desk, &self.assignment.get_value(), change);
    }

    fn say(self, text: &str) {
        self.desk.said.set(text.to_owned());
        self.desk.toasts.bad(text.to_owned());
    }

    /// Gives the answer, unless it breaks a rule: then it stays on screen with the reason.
    fn decide(self, judgement: Judgement, acceptable: Option<u8>) {
        if !untrack(|| self.sheet.is_rated()) {
            self.say(t("Some answers are not rated yet."));
            return;
        }
        let assignment = self.assignment.get_value();
        let mut extras = self.sheet.extras.get_untracked();
        extras.acceptable = acceptable;
        let answer = Answer {
            judgement,
            comment: self.desk.comment.get_untracked().trim().to_owned(),
            extras,
            seconds: self.desk.seconds(),
            revision: assignment.revision,
        };
        let expected = Expected {
            label_type: assignment.label_type,
            ask_strength: assignment.ask_strength,
            questions: &assignment.questions,
            texts: &assignment.texts(),
        };
        match answer.validate(&expected) {
            Ok(()) => self.desk.decide(Verdict::Answer(answer)),
            Err(reasons) => self.desk.toasts.bad(said(&reasons)),
        }
    }
}

fn pick_board(page: Page, assignment: &Arc<Assignment>, draft: &Draft) -> AnyView {
    let desk = page.desk;
    // Where more is asked the answer waits until all of it is there.
    let submits_itself = !page.sheet.any();
    let asks = assignment.ask_strength;
    let choice = RwSignal::new(draft.choice);
    let strength = RwSignal::new(draft.strength);
    let is_strict = |choice: Choice| matches!(choice, Choice::First | Choice::Second);
    // A choice that came back still asks how much better it is.
    let still_waits = asks && draft.choice.is_some_and(is_strict);
    let waits = RwSignal::new(still_waits);
    desk.mode
        .set(if still_waits { Mode::Strength } else { Mode::Pick });
    let differences = RwSignal::new(false);
    let answer = move |choice, strength| page.decide(Judgement::Pick { choice, strength }, None);
    let choose = move |chosen: Choice| {
        choice.set(Some(chosen));
        if asks && is_strict(chosen) {
            waits.set(true);
            desk.mode.set(Mode::Strength);
            page.keep(|draft| draft.choice = Some(chosen));
        } else if submits_itself {
            answer(chosen, None);
        } else {
            waits.set(false);
            strength.set(None);
            desk.mode.set(Mode::Pick);
            page.keep(|draft| (draft.choice, draft.strength) = (Some(chosen), None));
        }
    };
    let choose_strength = move |how_much: u8| {
        let Some(chosen) = choice.get_untracked() else {
            return;
        };
        if submits_itself {
            answer(chosen, Some(how_much));
        } else {
            strength.set(Some(how_much));
            page.keep(|draft| draft.strength = Some(how_much));
        }
    };
    let submit = move || match (choice.get_untracked(), strength.get_untracked()) {
        (None, _) => page.say(t("Choose an answer first.")),
        (Some(_), None) if waits.get_untracked() => page.say(t("Say how much better it is.")),
        (Some(choice), strength) => answer(choice, strength),
    };
    let obey = move |command| match command {
        Command::Choose(chosen) => choose(chosen),
        Command::Strength(how_much) => choose_strength(how_much),
        Command::Submit if !submits_itself => submit(),
        Command::Differences => differences.update(|on| *on = !*on),
        Command::Escape if waits.get_untracked() => {
            waits.set(false);
            choice.set(None);
            strength.set(None);
            desk.mode.set(Mode::Pick);
            page.keep(|draft| (draft.choice, draft.strength) = (None, None));
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
        differences,
        submit: Callback::new(move |()| submit()),
        sheet: page.sheet,
    };
    pick(&assignment.completions, board)
}

fn rank_board(page: Page, assignment: &Arc<Assignment>, draft: &Draft) -> AnyView {
    let desk = page.desk;
    let has_line = assignment.questions.acceptable_line;
    let n = assignment.completions.len();
    let ranking = RwSignal::new(draft.ranking.clone());
    let focused = RwSignal::new(0_usize);
    desk.mode.set(Mode::Rank);
    let change = move |item: usize, change: &dyn Fn(&mut Ranking)| {
        ranking.update(|ranking| change(ranking));
        let ranking = ranking.get_untracked();
        desk.said.set(spoken(item, &ranking));
        page.keep(|draft| draft.ranking = ranking.clone());
    };
    let submit = move || {
        if let Some(ranks) = ranking.with_untracked(Ranking::answer) {
            let line = untrack(|| page.sheet.acceptable());
            let acceptable = ranking.with_untracked(|ranking| ranking.acceptable(line));
            page.decide(Judgement::Rank { ranks }, has_line.then_some(acceptable));
        } else {
            desk.said.set(t("Some answers have no rank yet.").to_owned());
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
            Command::Line if has_line => {
                let lane = ranking.with_untracked(|ranking| ranking.lane(item));
                let line = lane.map(|lane| lane - 1);
                let is_there = untrack(|| page.sheet.acceptable()) == line;
                page.sheet.set_acceptable(line.filter(|_| !is_there));
            }
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
        sheet: page.sheet,
    };
    rank(&assignment.completions, board)
}

fn best_worst_board(page: Page, assignment: &Arc<Assignment>, draft: &Draft) -> AnyView {
    let named = RwSignal::new(draft.best_worst);
    let n = assignment.completions.len() as u8;
    page.desk.mode.set(Mode::BestWorst);
    let change = move |now: BestWorst| {
        named.set(now);
        page.keep(|draft| draft.best_worst = now);
    };
    let submit = move || match named.get_untracked().answer() {
        Some((best, worst)) => page.decide(Judgement::BestWorst { best, worst }, None),
        None => page.say(t("Name the best and the worst answer first.")),
    };
    let obey = move |command| match command {
        Command::Place(digit) if digit <= n => {
            let mut now = named.get_untracked();
            now.name(digit - 1);
            change(now);
        }
        Command::Clear | Command::Escape => change(BestWorst::default()),
        Command::Submit => submit(),
        _ => {}
    };
    page.desk.board.set_value(Some(Callback::new(obey)));
    let board = BestWorstBoard {
        named,
        change: Callback::new(change),
        submit: Callback::new(move |()| submit()),
        sheet: page.sheet,
    };
    best_worst(&assignment.completions, board)
}

fn rate_board(page: Page, assignment: &Arc<Assignment>) -> AnyView {
    page.desk.mode.set(Mode::Rate);
    let submit = move || page.decide(Judgement::Rate, None);
    let obey = move |command| {
        if matches!(command, Command::Submit) {
            submit();
        }
    };
    page.desk.board.set_value(Some(Callback::new(obey)));
    rate(
        &assignment.completions,
        page.sheet,
        Callback::new(move |()| submit()),
    )
}

fn comment_field(desk: Desk, assignment: &Arc<Assignment>) -> AnyView {
    let letters = use_letters();
    let kept = StoredValue::new(Arc::clone(assignment));
    let is_open = RwSignal::new(!desk.comment.get_untracked().is_empty());
    let text = desk.comment.get_untracked();
    let on_input = move |event| {
        desk.comment.set(event_target_value(&event));
        keep_draft(desk, &kept.get_value(), |_| {});
    };
    view! {
        <details class="label-comment" prop:open=is_open.get_untracked()>
            <summary aria-keyshortcuts=move || letters.shown('c').to_string()>{t("Comment")}</summary>
            <textarea
                id="label-comment"
                rows="2"
                aria-label=t("Comment on this task")
                placeholder=t("What made the difference? (optional)")
                prop:value=text
                on:input=on_input
            ></textarea>
        </details>
    }
    .into_any()
}

/// Keeps the unfinished answer over a reload.
fn keep_draft(desk: Desk, assignment: &Assignment, change: impl FnOnce(&mut Draft)) {
    let mut draft = Draft::open(assignment);
    draft.comment = desk.comment.get_untracked();
    draft.seconds = desk.seconds();
    draft.at = now();
    change(&mut draft);
    draft.store(assignment.id, assignment.revision);
}

/// The place of a completion in words.
fn spoken(item: usize, ranking: &Ranking) -> String {
    let name = letter(item);
    let Some(lane) = ranking.lane(item) else {
        return fill("{0}: no rank", &[&name]);
    };
    let others: Vec<String> = ranking
        .standing_in(Some(lane))
        .into_iter()
        .filter(|&other| other != item)
        .map(|other| letter(other).to_string())
        .collect();
    if others.is_empty() {
        fill("{0}: rank {1}", &[&name, &lane])
    } else {
        fill(
            "{0}: rank {1}, tied with {2}",
            &[&name, &lane, &others.join(", ")],
        )
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
