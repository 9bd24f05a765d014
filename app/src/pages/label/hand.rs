//! The tasks in hand: the first is on screen, the others wait behind it. Merges what the server says it has
//! handed out with what the person has done since.

use laurel_protocol::{Assignment, AssignmentId};
use std::sync::Arc;

/// The tasks to show, in order. The one on screen stays there, whatever the server lists first: it must not be
/// swapped under the person's eyes. `is_done` names assignments that were answered here, which the server may
/// not have known yet when it made the list.
pub fn merge(
    on_screen: Option<Arc<Assignment>>,
    held: Vec<Assignment>,
    is_done: impl Fn(AssignmentId, u32) -> bool,
) -> Vec<Arc<Assignment>> {
    let shown = on_screen.as_ref().map(|assignment| assignment.id);
    let waiting = held
        .into_iter()
        .filter(|assignment| Some(assignment.id) != shown && !is_done(assignment.id, assignment.revision))
        .map(Arc::new);
    on_screen.into_iter().chain(waiting).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use laurel_protocol::{LabelType, ProjectId, TaskId, Timestamp};

    fn assignment(id: i64) -> Assignment {
        Assignment {
            id: AssignmentId(id),
            project_id: ProjectId(1),
            task_id: TaskId(id),
            label_type: LabelType::Pick,
            ask_strength: false,
            questions: Default::default(),
            prompt: vec![],
            completions: vec![],
            lease_until: Timestamp(0),
            revision: 0,
            previous: None,
        }
    }

    fn ids(hand: &[Arc<Assignment>]) -> Vec<i64> {
        hand.iter().map(|assignment| assignment.id.0).collect()
    }

    #[test]
    fn the_task_on_screen_stays_first() {
        let hand = merge(
            Some(Arc::new(assignment(2))),
            vec![assignment(1), assignment(2), assignment(3)],
            |_, _| false,
        );
        assert_eq!(ids(&hand), [2, 1, 3]);
    }

    #[test]
    fn an_answer_on_its_way_is_not_asked_again() {
        let hand = merge(None, vec![assignment(1), assignment(2)], |id, _| id.0 == 1);
        assert_eq!(ids(&hand), [2]);
    }
}
