//! Rows of one prompt taken together: a PPO round trains on prompts, each once, whatever answers the rows hold.

use crate::data::PreferencePair;
use std::collections::HashMap;

/// The places of each prompt's rows, in the order of their first.
pub fn elements_by_prompt(rows: &[PreferencePair]) -> Vec<Vec<usize>> {
    let mut elements: Vec<Vec<usize>> = Vec::new();
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        let element = *known.entry(&row.prompt).or_insert_with(|| {
            elements.push(Vec::new());
            elements.len() - 1
        });
        elements[element].push(at);
    }
    elements
}

/// Puts rows of the same prompt into the same group, that of the first, so that none is trained on and held out.
pub fn groups_by_prompt(mut rows: Vec<PreferencePair>) -> Vec<PreferencePair> {
    for element in elements_by_prompt(&rows) {
        let group = rows[element[0]].group;
        element.into_iter().for_each(|at| rows[at].group = group);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Label;

    #[test]
    fn rows_of_a_prompt_are_one_element_and_one_group() {
        let row = |prompt: u32, group: u64| PreferencePair {
            prompt: vec![prompt],
            chosen: vec![group as u32],
            rejected: Vec::new(),
            group,
            label: Label::default(),
        };
        let rows = vec![row(5, 1), row(6, 2), row(5, 3)];
        assert_eq!(elements_by_prompt(&rows), [vec![0, 2], vec![1]]);
        let groups: Vec<u64> = groups_by_prompt(rows).iter().map(|row| row.group).collect();
        assert_eq!(groups, [1, 2, 1]);
    }
}
