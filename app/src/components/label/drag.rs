//! Dragging a completion to its rank, by mouse, pen or touch alike (pointer events). The handle that was
//! pressed captures the pointer; what lies under it is measured from the lanes on screen.

use super::ranking::{Drop, Ranking};
use leptos::prelude::*;
use wasm_bindgen::JsCast;
use web_sys::{Element, PointerEvent};

/// Less movement than this is a click.
const THRESHOLD_PX: f64 = 5.0;
/// This much of a lane's edge means "between", the middle means "onto".
const EDGE: f64 = 0.28;

/// A completion under the pointer.
#[derive(Clone, Copy, PartialEq)]
pub struct Dragged {
    pub item: usize,
    from: (f64, f64),
    pub at: (f64, f64),
    pub has_moved: bool,
    pub target: Option<Drop>,
}

#[derive(Clone, Copy)]
pub struct Drag {
    pub dragged: RwSignal<Option<Dragged>>,
    ranking: RwSignal<Ranking>,
    dropped: Callback<(usize, Drop)>,
    clicked: Callback<usize>,
}

impl Drag {
    pub fn new(
        ranking: RwSignal<Ranking>,
        dropped: Callback<(usize, Drop)>,
        clicked: Callback<usize>,
    ) -> Self {
        Self {
            dragged: RwSignal::new(None),
            ranking,
            dropped,
            clicked,
        }
    }

    pub fn press(self, item: usize, event: &PointerEvent) {
        if event.button() != 0 || !event.is_primary() {
            return;
        }
        if let Some(handle) = event
            .current_target()
            .and_then(|target| target.dyn_into::<Element>().ok())
        {
            // A pointer that is gone already cannot be captured, and then nothing moves either.
            let _ = handle.set_pointer_capture(event.pointer_id());
        }
        let at = (f64::from(event.client_x()), f64::from(event.client_y()));
        self.dragged.set(Some(Dragged {
            item,
            from: at,
            at,
            has_moved: false,
            target: None,
        }));
    }

    pub fn carry(self, event: &PointerEvent) {
        let Some(mut dragged) = self.dragged.get_untracked() else {
            return;
        };
        dragged.at = (f64::from(event.client_x()), f64::from(event.client_y()));
        let (dx, dy) = (dragged.at.0 - dragged.from.0, dragged.at.1 - dragged.from.1);
        dragged.has_moved |= dx.hypot(dy) > THRESHOLD_PX;
        if dragged.has_moved {
            event.prevent_default();
            dragged.target = self.ranking.with_untracked(|ranking| under(dragged, ranking));
        }
        self.dragged.set(Some(dragged));
    }

    pub fn release(self) {
        let Some(dragged) = self.dragged.get_untracked() else {
            return;
        };
        self.dragged.set(None);
        match dragged.target {
            Some(target) if dragged.has_moved => self.dropped.run((dragged.item, target)),
            None if !dragged.has_moved => self.clicked.run(dragged.item),
            _ => {}
        }
    }

    pub fn cancel(self) {
        self.dragged.set(None);
    }

    /// The drop that would happen now, to be shown.
    pub fn target(self) -> Option<Drop> {
        self.dragged
            .with(|dragged| dragged.and_then(|dragged| dragged.target))
    }

    /// The completion that is being carried.
    pub fn carried(self) -> Option<Dragged> {
        self.dragged.get().filter(|dragged| dragged.has_moved)
    }
}

/// What a completion would be dropped on at this point.
fn under(dragged: Dragged, ranking: &Ranking) -> Option<Drop> {
    let (x, y) = dragged.at;
    let under = document().element_from_point(x as f32, y as f32)?;
    if let Some(lane) = under.closest("[data-lane]").ok().flatten() {
        return on_lane(&lane, dragged, ranking);
    }
    // Another completion's card stands for its rank.
    let card = under.closest("[data-position]").ok().flatten()?;
    let other: usize = card.get_attribute("data-position")?.parse().ok()?;
    (other != dragged.item)
        .then(|| ranking.lane(other).map(Drop::Onto))
        .flatten()
}

fn on_lane(element: &Element, dragged: Dragged, ranking: &Ranking) -> Option<Drop> {
    let lane: u8 = element.get_attribute("data-lane")?.parse().ok()?;
    if lane == 0 {
        return Some(Drop::Out);
    }
    let others = ranking
        .standing_in(Some(lane))
        .into_iter()
        .filter(|&item| item != dragged.item)
        .count();
    if others == 0 {
        return Some(Drop::Onto(lane));
    }
    let rect = element.get_bounding_client_rect();
    // Lanes lie below each other on a wide screen and beside each other on a phone.
    let is_beside = element
        .next_element_sibling()
        .or_else(|| element.previous_element_sibling())
        .is_some_and(|other| (other.get_bounding_client_rect().top() - rect.top()).abs() < 2.0);
    let share = if is_beside {
        (dragged.at.0 - rect.left()) / rect.width().max(1.0)
    } else {
        (dragged.at.1 - rect.top()) / rect.height().max(1.0)
    };
    Some(match share {
        share if share < EDGE => Drop::Before(lane),
        share if share > 1.0 - EDGE => Drop::Before(lane + 1),
        _ => Drop::Onto(lane),
    })
}
