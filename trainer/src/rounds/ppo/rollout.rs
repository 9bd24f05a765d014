//! Answers of the policy, and how they are laid out for a pass through the model.

use super::Environment;
use crate::{
    adapters::Adapter,
    generate::{Engine, Request},
    model::{Model, Pack, TokenAt},
    rounds::PASS_TOKENS,
};
use anyhow::Result;
use laurel_protocol::{Ppo, Sampling};

/// Prompts, and the answers to them, those to one prompt one after another.
pub struct Rollouts {
    pub prompts: Vec<Vec<u32>>,
    pub answers: Vec<Answer>,
}

/// A sampled answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The place of its prompt.
    pub prompt: usize,
    /// At least one: those that the policy drew, its end token included.
    pub tokens: Vec<u32>,
    /// Of each of them as it was drawn, at temperature 1.
    pub sampled_logps: Vec<f32>,
    /// Whether it ended by itself; the token limit cut off all others.
    pub has_end: bool,
}

impl Answer {
    /// Tokens without the end.
    pub fn n_words(&self) -> usize {
        self.tokens.len() - usize::from(self.has_end)
    }
}

impl Rollouts {
    pub fn all(&self) -> Vec<&Answer> {
        self.answers.iter().collect()
    }
}

/// Samples `n` answers to each prompt, whose number names its random stream, as `seed` does. `None` when the round was
/// asked to stop meanwhile.
pub fn sample(
    model: &Model,
    policy: &Adapter,
    environment: &Environment<'_>,
    ppo: &Ppo,
    prompts: Vec<(u64, Vec<u32>)>,
    (n, seed): (u32, u64),
) -> Result<Option<Rollouts>> {
    let sampling = Sampling {
        temperature: ppo.temperature,
        top_p: ppo.top_p,
        max_tokens: ppo.max_new_tokens,
        seed,
        ..Sampling::default()
    };
    let engine = Engine::new(model, Some(policy), &sampling, environment.tokenizer.stop_ids())?;
    let requests = prompts.iter().map(|(key, prompt)| Request {
        key: *key,
        prompt: prompt.clone(),
        indexes: (0..n).collect(),
    });
    let mut done = Vec::with_capacity(prompts.len() * n as usize);
    engine.run_until(environment.stop, requests.collect(), &mut |finished| {
        done.push(finished);
        Ok(true)
    })?;
    if done.len() < prompts.len() * n as usize {
        return Ok(None);
    }
    let place = |key: u64| prompts.iter().position(|(other, _)| *other == key);
    done.sort_by_key(|finished| (place(finished.key), finished.index));
    let answers = done.into_iter().map(|mut finished| {
        let has_end = finished.end.is_some();
        if let Some((token, logp)) = finished.end {
            finished.ids.push(token);
            finished.logprobs.push(logp);
        }
        Answer {
            prompt: place(finished.key).expect("the engine names prompts as they were named to it"),
            tokens: finished.ids,
            sampled_logps: finished.logprobs,
            has_end,
        }
    });
    Ok(Some(Rollouts {
        answers: answers.collect(),
        prompts: prompts.into_iter().map(|(_, prompt)| prompt).collect(),
    }))
}

/// Consecutive answers that fit into one pass, with `more` tokens behind each; a longer one goes alone. Answers to one
/// prompt that follow one another share it.
pub fn passes<'a>(answers: &[&'a Answer], prompts: &[Vec<u32>], more: usize) -> Vec<Vec<&'a Answer>> {
    let mut passes: Vec<Vec<&Answer>> = Vec::new();
    let mut n_tokens = 0;
    for &answer in answers {
        let own = answer.tokens.len() + more;
        let prompt = prompts[answer.prompt].len();
        if let Some(pass) = passes.last_mut() {
            let shares = pass.last().is_some_and(|last| last.prompt == answer.prompt);
            let size = if shares { own } else { prompt + own };
            if n_tokens + size <= PASS_TOKENS {
                pass.push(answer);
                n_tokens += size;
                continue;
            }
        }
        passes.push(vec![answer]);
        n_tokens = prompt + own;
    }
    passes
}

/// A pass's sequences, and its answers' tokens in their order.
pub fn packed(pass: &[&Answer], prompts: &[Vec<u32>]) -> (Pack, Vec<TokenAt>) {
    let (mut pack, mut tokens) = (Pack::default(), Vec::new());
    for group in pass.chunk_by(|left, right| left.prompt == right.prompt) {
        let completions: Vec<&[u32]> = group.iter().map(|answer| answer.tokens.as_slice()).collect();
        pack.push(&prompts[group[0].prompt], &completions);
        let at = pack.groups.len() - 1;
        (0..completions.len()).for_each(|branch| tokens.extend(pack.completion(at, branch)));
    }
    (pack, tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(prompt: usize, n: usize) -> Answer {
        Answer {
            prompt,
            tokens: vec![7; n],
            sampled_logps: vec![0.0; n],
            has_end: true,
        }
    }

    #[test]
    fn answers_to_one_prompt_share_it_within_a_pass_and_all_keep_their_order() {
        let prompts = vec![vec![1; 300], vec![2; 300]];
        let answers = [answer(0, 100), answer(0, 100), answer(1, 100), answer(1, 300)];
        let all: Vec<&Answer> = answers.iter().collect();
        let passes = passes(&all, &prompts, 0);
        assert_eq!(passes.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
        let (pack, tokens) = packed(&passes[1], &prompts);
        assert_eq!((pack.n_rows(), tokens.len()), (700, 400));
        assert_eq!((tokens[0].row, tokens[100].row), (299, 299));
    }
}
