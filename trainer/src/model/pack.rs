//! A pack: sequences laid end to end, without padding, a prompt that several of them share only once.
//!
//! Made from token ids by the rounds; read by the decoder, which lets each token attend to its own sequence
//! only. Rotary positions go on from the prompt, so packing and sharing change no log-probability.

/// A prompt and the completions that continue it. Rows: the prompt's, then those of each branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Row of the prompt's first token.
    pub start: usize,
    /// Tokens of the prompt, at least one.
    pub prompt: usize,
    /// Tokens of each completion.
    pub branches: Vec<usize>,
}

/// A token whose log-probability is wanted: predicted by the hidden state of `row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenAt {
    pub row: u32,
    pub token: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pack {
    pub ids: Vec<u32>,
    pub groups: Vec<Group>,
}

impl Group {
    pub fn n_rows(&self) -> usize {
        self.prompt + self.branches.iter().sum::<usize>()
    }

    /// First row of branch `index`.
    pub fn branch_start(&self, index: usize) -> usize {
        self.start + self.prompt + self.branches[..index].iter().sum::<usize>()
    }

    /// Rotary position of each row.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let branches = self.branches.iter().flat_map(|&n| self.prompt..self.prompt + n);
        (0..self.prompt).chain(branches)
    }

    /// The longest sequence in it.
    pub fn longest(&self) -> usize {
        self.prompt + self.branches.iter().max().copied().unwrap_or(0)
    }
}

impl Pack {
    /// Adds a prompt with its completions. The prompt must not be empty: something predicts the first token.
    pub fn push(&mut self, prompt: &[u32], completions: &[&[u32]]) -> &Group {
        assert!(!prompt.is_empty(), "a prompt has at least one token");
        let start = self.ids.len();
        self.ids.extend_from_slice(prompt);
        for completion in completions {
            self.ids.extend_from_slice(completion);
        }
        self.groups.push(Group {
            start,
            prompt: prompt.len(),
            branches: completions.iter().map(|completion| completion.len()).collect(),
        });
        &self.groups[self.groups.len() - 1]
    }

    pub fn n_rows(&self) -> usize {
        self.ids.len()
    }

    /// The tokens of completion `branch` of group `group`, each with the row that predicts it.
    pub fn completion(&self, group: usize, branch: usize) -> impl Iterator<Item = TokenAt> + '_ {
        let group = &self.groups[group];
        let start = group.branch_start(branch);
        let last_of_prompt = group.start + group.prompt - 1;
        (0..group.branches[branch]).map(move |at| TokenAt {
            row: if at == 0 { last_of_prompt } else { start + at - 1 } as u32,
            token: self.ids[start + at],
        })
    }

    /// The row of the last token of completion `branch` of group `group` (of the prompt if it is empty).
    pub fn last_row(&self, group: usize, branch: usize) -> u32 {
        let group = &self.groups[group];
        let row = match group.branches[branch] {
            0 => group.start + group.prompt - 1,
            n => group.branch_start(branch) + n - 1,
        };
        row as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_continue_the_prompt_and_its_last_row_predicts_each_first_token() {
        let mut pack = Pack::default();
        pack.push(&[9], &[]);
        pack.push(&[1, 2, 3], &[&[4, 5], &[6]]);
        assert_eq!(pack.groups[1].positions().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 3]);
        let rejected: Vec<_> = pack.completion(1, 1).collect();
        assert_eq!(rejected, [TokenAt { row: 3, token: 6 }]);
        assert_eq!((pack.last_row(1, 0), pack.last_row(1, 1)), (5, 6));
    }
}
