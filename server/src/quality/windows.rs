//! Parts of the shared tasks in the order in which they were judged, so that agreement can be followed over time.

use std::ops::Range;

/// Windows at most, and tasks in each at least.
const MAX_WINDOWS: usize = 12;
const MIN_TASKS: usize = 20;
/// Tasks of a window whose answers are compared.
const MAX_READ: usize = 400;

/// As many equal parts as so many tasks give, all tasks in order of time.
pub fn windows(n_tasks: usize) -> Vec<Range<usize>> {
    let n = (n_tasks / MIN_TASKS).clamp(1, MAX_WINDOWS).min(n_tasks);
    (0..n)
        .map(|at| at * n_tasks / n..(at + 1) * n_tasks / n)
        .collect()
}

/// The tasks of a window that are read: all, or some spread evenly.
pub fn spread(window: Range<usize>) -> Vec<usize> {
    let n = window.len();
    let n_read = n.min(MAX_READ);
    (0..n_read).map(|at| window.start + at * n / n_read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_equal_follow_one_another_and_leave_nothing_out() {
        assert!(windows(0).is_empty());
        let few = windows(7);
        assert_eq!((few.len(), few[0].clone()), (1, 0..7));
        assert_eq!(windows(59), [0..29, 29..59]);
        let many = windows(100_001);
        assert_eq!(many.len(), 12);
        assert_eq!((many[0].start, many[11].end), (0, 100_001));
        assert!(many.windows(2).all(|two| two[0].end == two[1].start));
        assert!(many.iter().all(|window| (8333..=8334).contains(&window.len())));
    }

    #[test]
    fn a_large_window_is_read_in_part_from_its_beginning_to_its_end() {
        assert_eq!(spread(5..8), [5, 6, 7]);
        let some = spread(1000..9000);
        assert_eq!((some.len(), some[0], some[1], some[399]), (400, 1000, 1020, 8980));
    }
}
