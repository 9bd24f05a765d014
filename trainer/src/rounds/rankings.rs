//! Rankings: what an annotation says about the completions of one prompt, as the pairs that it compares. A pick is
//! a ranking of two. Made from a reward round's rows; each different completion goes through the model once.

use super::PASS_TOKENS;
use crate::data::{Label, PreferencePair};
use anyhow::{Result, ensure};
use laurel_protocol::BatchBy;
use std::collections::HashMap;

pub struct Ranking<'a> {
    pub prompt: &'a [u32],
    pub completions: Vec<&'a [u32]>,
    pub pairs: Vec<RankedPair>,
}

/// Two completions, by their place in [`Ranking::completions`].
pub struct RankedPair {
    pub chosen: usize,
    pub rejected: usize,
    pub label: Label,
}

impl<'a> Ranking<'a> {
    /// From rows of one prompt, at least one.
    pub fn of(rows: &[&'a PreferencePair]) -> Self {
        let mut completions: Vec<&[u32]> = Vec::new();
        let mut place = |ids: &'a [u32]| {
            let known = completions.iter().position(|other| *other == ids);
            known.unwrap_or_else(|| {
                completions.push(ids);
                completions.len() - 1
            })
        };
        let pairs = rows
            .iter()
            .map(|row| RankedPair {
                chosen: place(&row.chosen),
                rejected: place(&row.rejected),
                label: row.label,
            })
            .collect();
        Self {
            prompt: &rows[0].prompt,
            completions,
            pairs,
        }
    }

    /// Tokens of a pack that holds it: the prompt once.
    fn n_packed(&self) -> usize {
        self.prompt.len() + self.completions.iter().map(|ids| ids.len()).sum::<usize>()
    }

    /// Tokens as TRL counts them: the prompt once for each completion.
    pub fn n_tokens(&self) -> usize {
        self.n_packed() + self.prompt.len() * (self.completions.len() - 1)
    }

    /// For each completion those that are ranked below it, directly or through others. Ties say nothing. Pairs that
    /// put a completion below itself are no ranking.
    pub fn below(&self) -> Result<Vec<Vec<usize>>> {
        let n = self.completions.len();
        let mut below = vec![vec![false; n]; n];
        for pair in self.pairs.iter().filter(|pair| !pair.label.tie) {
            below[pair.chosen][pair.rejected] = true;
        }
        for through in 0..n {
            for from in 0..n {
                for to in 0..n {
                    below[from][to] |= below[from][through] && below[through][to];
                }
            }
        }
        ensure!(
            (0..n).all(|at| !below[at][at]),
            "the pairs of one prompt contradict each other, so that they are no ranking; rows of several annotators \
             need the column annotation_id, or a loss of pairs"
        );
        let places = |row: &Vec<bool>| (0..n).filter(|&at| row[at]).collect();
        Ok(below.iter().map(places).collect())
    }
}

/// The elements of a batch, as places in `rows`: single rows, or the rows of one annotation (without one, of one
/// group) on the same prompt, in the order in which they first come.
pub fn elements(rows: &[PreferencePair], by: BatchBy) -> Vec<Vec<usize>> {
    if by == BatchBy::Pair {
        return (0..rows.len()).map(|at| vec![at]).collect();
    }
    let mut known: HashMap<(Option<u64>, u64, &[u32]), usize> = HashMap::new();
    let mut elements: Vec<Vec<usize>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let element = *known
            .entry((row.label.annotation, row.group, row.prompt.as_slice()))
            .or_insert(elements.len());
        if element == elements.len() {
            elements.push(Vec::new());
        }
        elements[element].push(at);
    }
    elements
}

/// Consecutive rankings that fit into one pass; a longer one goes alone.
pub fn ranking_passes<'r, 'a>(rankings: &'r [Ranking<'a>]) -> Vec<&'r [Ranking<'a>]> {
    let mut passes = Vec::new();
    let (mut from, mut n_tokens) = (0, 0);
    for (at, ranking) in rankings.iter().enumerate() {
        if at > from && n_tokens + ranking.n_packed() > PASS_TOKENS {
            passes.push(&rankings[from..at]);
            (from, n_tokens) = (at, 0);
        }
        n_tokens += ranking.n_packed();
    }
    if from < rankings.len() {
        passes.push(&rankings[from..]);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(chosen: u32, rejected: u32, annotation: u64) -> PreferencePair {
        PreferencePair {
            prompt: vec![1],
            chosen: vec![chosen],
            rejected: vec![rejected],
            group: 5,
            label: Label {
                annotation: Some(annotation),
                ..Label::default()
            },
        }
    }

    #[test]
    fn a_rankings_completions_come_once_and_what_is_below_goes_through_others() {
        let rows = [row(10, 11, 1), row(11, 12, 1), row(13, 12, 1)];
        let ranking = Ranking::of(&rows.iter().collect::<Vec<_>>());
        assert_eq!(ranking.completions, [[10], [11], [12], [13]]);
        assert_eq!(ranking.n_tokens(), 8);
        assert_eq!(ranking.below().unwrap(), [vec![1, 2], vec![2], vec![], vec![2]]);
    }

    #[test]
    fn pairs_that_contradict_each_other_are_no_ranking() {
        let rows = [row(10, 11, 1), row(11, 12, 1), row(12, 10, 1)];
        assert!(Ranking::of(&rows.iter().collect::<Vec<_>>()).below().is_err());
    }

    #[test]
    fn rows_of_an_annotation_are_one_element() {
        let rows = [row(10, 11, 1), row(10, 11, 2), row(11, 12, 1)];
        assert_eq!(elements(&rows, BatchBy::Ranking), [vec![0, 2], vec![1]]);
        assert_eq!(elements(&rows, BatchBy::Pair).len(), 3);
    }
}
