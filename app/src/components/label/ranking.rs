//! A ranking while it is being made: which completion stands in which lane. Keys, buttons and drops of the rank
//! board change it; the answer that is sent comes out of it.
//!
//! There are as many lanes as completions, lane 1 is best, and lanes may stay empty while the person works:
//! what was put in lane 3 stays in lane 3 until it is moved. Only the answer closes the gaps.

use serde::{Deserialize, Serialize};

/// `lanes[i]` is the lane of the completion shown at position i, or `None` while it has no rank.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranking {
    lanes: Vec<Option<u8>>,
}

/// Where a dragged completion would land.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drop {
    /// Into a lane: a tie when somebody stands there.
    Onto(u8),
    /// Between the lane above and this one: a rank of its own. One more than the last lane means the very end.
    Before(u8),
    /// Back to those without a rank.
    Out,
}

impl Ranking {
    pub fn new(n: usize) -> Self {
        Self { lanes: vec![None; n] }
    }

    /// The ranking that gave an answer.
    pub fn from_answer(ranks: &[u8]) -> Self {
        Self {
            lanes: ranks.iter().copied().map(Some).collect(),
        }
    }

    /// Whether a stored ranking fits a task of `n` completions (it may come from an older page).
    pub fn fits(&self, n: usize) -> bool {
        self.lanes.len() == n
            && self
                .lanes
                .iter()
                .flatten()
                .all(|lane| (1..=n as u8).contains(lane))
    }

    pub fn n(&self) -> u8 {
        self.lanes.len() as u8
    }

    pub fn lane(&self, item: usize) -> Option<u8> {
        self.lanes.get(item).copied().flatten()
    }

    /// Positions of the completions in a lane; `None` asks for those without a rank.
    pub fn standing_in(&self, lane: Option<u8>) -> Vec<usize> {
        (0..self.lanes.len())
            .filter(|&item| self.lanes[item] == lane)
            .collect()
    }

    pub fn n_ranked(&self) -> usize {
        self.lanes.iter().flatten().count()
    }

    pub fn is_complete(&self) -> bool {
        self.n_ranked() == self.lanes.len()
    }

    /// The ranks as the server wants them, without gaps; `None` until every completion has a rank.
    pub fn answer(&self) -> Option<Vec<u8>> {
        let lanes: Vec<u8> = self.lanes.iter().copied().collect::<Option<_>>()?;
        let mut used = lanes.clone();
        used.sort_unstable();
        used.dedup();
        let dense = |lane| used.iter().take_while(|&&other| other <= lane).count() as u8;
        Some(lanes.into_iter().map(dense).collect())
    }

    /// The last acceptable rank of the answer, where the lanes down to `line` are acceptable; without a line all are.
    pub fn acceptable(&self, line: Option<u8>) -> u8 {
        let mut used: Vec<u8> = self.lanes.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        let is_above = |lane: &&u8| line.is_none_or(|line| **lane <= line);
        used.iter().filter(is_above).count() as u8
    }

    /// Puts a completion into a lane; a lane that does not exist changes nothing.
    pub fn place(&mut self, item: usize, lane: u8) {
        if (1..=self.n()).contains(&lane) && item < self.lanes.len() {
            self.lanes[item] = Some(lane);
        }
    }

    pub fn clear(&mut self, item: usize) {
        if let Some(lane) = self.lanes.get_mut(item) {
            *lane = None;
        }
    }

    pub fn drop(&mut self, item: usize, target: Drop) {
        match target {
            Drop::Onto(lane) => self.place(item, lane),
            Drop::Before(lane) => self.insert(item, lane),
            Drop::Out => self.clear(item),
        }
    }

    /// One rank up: out of a tie to a rank of its own above it, else past the rank above.
    pub fn raise(&mut self, item: usize) {
        match self.lane(item) {
            None => self.append(item),
            Some(lane) if self.is_tied(item) => self.insert(item, lane),
            Some(1) => {}
            Some(lane) => self.swap(lane, lane - 1),
        }
    }

    /// One rank down: out of a tie to a rank of its own below it, else past the rank below.
    pub fn lower(&mut self, item: usize) {
        match self.lane(item) {
            None => self.append(item),
            Some(lane) if self.is_tied(item) => self.insert(item, lane + 1),
            Some(lane) if lane == self.n() => {}
            Some(lane) => self.swap(lane, lane + 1),
        }
    }

    /// Ties a completion with the rank above it; one without a rank joins the last rank given so far.
    pub fn tie_with_above(&mut self, item: usize) {
        let above = match self.lane(item) {
            None => self.lanes.iter().flatten().copied().max().or(Some(1)),
            Some(lane) => self
                .lanes
                .iter()
                .flatten()
                .copied()
                .filter(|&other| other < lane)
                .max(),
        };
        if let Some(lane) = above {
            self.place(item, lane);
        }
    }

    pub fn is_tied(&self, item: usize) -> bool {
        let lane = self.lane(item);
        lane.is_some() && self.standing_in(lane).len() > 1
    }

    /// Gives a completion a lane of its own, below everything above `at` and above everything from `at` on.
    /// The neighbours move into the nearest empty lane.
    fn insert(&mut self, item: usize, at: u8) {
        if item >= self.lanes.len() || !(1..=self.n() + 1).contains(&at) {
            return;
        }
        self.lanes[item] = None;
        let is_free = |lane: u8| !self.lanes.contains(&Some(lane));
        let lane = if at <= self.n() && is_free(at) {
            at
        } else if at > 1 && is_free(at - 1) {
            at - 1
        } else if let Some(free) = (at..=self.n()).find(|&lane| is_free(lane)) {
            self.shift(at..free, 1);
            at
        } else {
            // There are as many lanes as completions and this one stands in none, so one above must be free.
            let Some(free) = (1..at).rev().find(|&lane| is_free(lane)) else {
                return;
            };
            self.shift(free + 1..at, -1);
            at - 1
        };
        self.lanes[item] = Some(lane);
    }

    fn append(&mut self, item: usize) {
        let last = self.lanes.iter().flatten().copied().max().unwrap_or(0);
        self.insert(item, last + 1);
    }

    fn shift(&mut self, range: std::ops::Range<u8>, by: i8) {
        for lane in self
            .lanes
            .iter_mut()
            .flatten()
            .filter(|lane| range.contains(lane))
        {
            *lane = lane.saturating_add_signed(by);
        }
    }

    fn swap(&mut self, a: u8, b: u8) {
        for lane in self.lanes.iter_mut().flatten() {
            *lane = match *lane {
                lane if lane == a => b,
                lane if lane == b => a,
                lane => lane,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_acceptable_line_follows_the_ranks_when_gaps_close() {
        let mut ranking = Ranking::new(3);
        for (item, lane) in [(0, 2), (1, 3), (2, 2)] {
            ranking.place(item, lane);
        }
        assert_eq!(ranking.answer(), Some(vec![1, 2, 1]));
        assert_eq!(
            [Some(1), Some(2), None].map(|line| ranking.acceptable(line)),
            [0, 1, 2]
        );
    }

    fn ranking(lanes: &[u8]) -> Ranking {
        Ranking {
            lanes: lanes.iter().map(|&lane| (lane > 0).then_some(lane)).collect(),
        }
    }

    /// 0 stands for "no rank".
    fn after(lanes: &[u8], change: impl FnOnce(&mut Ranking)) -> Vec<u8> {
        let mut ranking = ranking(lanes);
        change(&mut ranking);
        ranking.lanes.iter().map(|lane| lane.unwrap_or(0)).collect()
    }

    #[test]
    fn ranks_given_out_of_order_keep_their_lanes_until_all_are_there() {
        let mut ranking = Ranking::new(3);
        ranking.place(0, 3);
        assert_eq!((ranking.lane(0), ranking.answer()), (Some(3), None));
        ranking.place(1, 1);
        ranking.place(2, 2);
        assert_eq!(ranking.answer(), Some(vec![3, 1, 2]));
    }

    #[test]
    fn the_answer_closes_gaps_and_keeps_ties() {
        assert_eq!(ranking(&[2, 2, 4, 1]).answer(), Some(vec![2, 2, 3, 1]));
        assert_eq!(ranking(&[3, 3, 3]).answer(), Some(vec![1, 1, 1]));
    }

    #[test]
    fn two_digits_swap_two_neighbours() {
        let swapped = after(&[1, 2, 3], |r| {
            r.place(0, 2);
            r.place(1, 1);
        });
        assert_eq!(swapped, [2, 1, 3]);
    }

    #[test]
    fn a_drop_between_makes_a_rank_of_its_own() {
        assert_eq!(after(&[1, 2, 3], |r| r.drop(2, Drop::Before(2))), [1, 3, 2]);
        assert_eq!(after(&[1, 2, 3], |r| r.drop(0, Drop::Before(3))), [2, 1, 3]);
        assert_eq!(after(&[1, 2, 3], |r| r.drop(0, Drop::Before(4))), [3, 1, 2]);
        assert_eq!(after(&[1, 1, 2], |r| r.drop(0, Drop::Before(2))), [2, 1, 3]);
        assert_eq!(after(&[1, 0, 3, 0], |r| r.drop(1, Drop::Before(3))), [1, 2, 3, 0]);
    }

    #[test]
    fn a_drop_onto_a_lane_ties() {
        assert_eq!(after(&[1, 2, 3], |r| r.drop(2, Drop::Onto(1))), [1, 2, 1]);
        assert_eq!(after(&[1, 2, 3], |r| r.drop(2, Drop::Out)), [1, 2, 0]);
    }

    #[test]
    fn raising_leaves_a_tie_or_passes_the_rank_above() {
        assert_eq!(after(&[1, 2, 3], |r| r.raise(2)), [1, 3, 2]);
        assert_eq!(after(&[1, 1, 2], |r| r.raise(1)), [2, 1, 3]);
        assert_eq!(after(&[1, 2, 3], |r| r.raise(0)), [1, 2, 3]);
        assert_eq!(after(&[1, 0, 0], |r| r.raise(1)), [1, 2, 0]);
    }

    #[test]
    fn lowering_leaves_a_tie_or_passes_the_rank_below() {
        assert_eq!(after(&[1, 2, 3], |r| r.lower(0)), [2, 1, 3]);
        assert_eq!(after(&[1, 2, 2], |r| r.lower(1)), [1, 3, 2]);
        assert_eq!(after(&[3, 3, 3], |r| r.lower(1)), [2, 3, 2]);
        assert_eq!(after(&[1, 2, 3], |r| r.lower(2)), [1, 2, 3]);
    }

    #[test]
    fn a_tie_joins_the_rank_above() {
        assert_eq!(after(&[1, 3, 0], |r| r.tie_with_above(1)), [1, 1, 0]);
        assert_eq!(after(&[1, 3, 0], |r| r.tie_with_above(2)), [1, 3, 3]);
        assert_eq!(after(&[0, 0, 0], |r| r.tie_with_above(1)), [0, 1, 0]);
        assert_eq!(after(&[1, 2, 3], |r| r.tie_with_above(0)), [1, 2, 3]);
    }

    /// Walks every ranking of four completions: an insertion keeps the order of the others, whatever the gaps.
    #[test]
    fn an_insertion_never_changes_the_order_of_the_others() {
        for code in 0..5_u32.pow(4) {
            let lanes: Vec<u8> = (0..4).map(|i| (code / 5_u32.pow(i) % 5) as u8).collect();
            for at in 1..=5 {
                let moved = after(&lanes, |r| r.drop(0, Drop::Before(at)));
                for a in 1..4 {
                    assert_eq!(lanes[a] == 0, moved[a] == 0, "{lanes:?} before {at}: {moved:?}");
                    assert_ne!(moved[0], moved[a], "{lanes:?} before {at}: {moved:?}");
                    let is_above = lanes[a] < at;
                    assert!(
                        lanes[a] == 0 || is_above == (moved[a] < moved[0]),
                        "{lanes:?} before {at}: {moved:?}"
                    );
                    for b in 1..4 {
                        assert_eq!(
                            lanes[a].cmp(&lanes[b]),
                            moved[a].cmp(&moved[b]),
                            "{lanes:?} before {at}: {moved:?}"
                        );
                    }
                }
            }
        }
    }
}
