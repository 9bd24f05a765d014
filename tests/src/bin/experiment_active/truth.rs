//! What answers are worth, by a rule that the annotators follow and the reward head does not know. Its weights are drawn
//! anew for each seed.

use crate::answers::{Answer, Answers};
use fastrand::Rng;

/// Who always names the better of two answers agrees with so many of the annotators' comparisons.
pub const CEILING: f64 = 0.8;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A weighted sum of what can be counted in the text. No linear head on the features can learn it exactly.
    Rules,
    /// A weighted sum of the features themselves, every one of them: what a linear head is made for.
    Linear,
}

impl Kind {
    pub const ALL: [Self; 2] = [Self::Rules, Self::Linear];

    pub fn name(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Linear => "linear",
        }
    }
}

/// The worth of every answer, in units of Bradley-Terry's utility.
pub struct Worths {
    pub tasks: Vec<Vec<f64>>,
    pub held_out: Vec<Vec<f64>>,
}

pub fn worths(answers: &Answers, kind: Kind, rng: &mut Rng) -> Worths {
    let properties = |answer: &Answer| match kind {
        Kind::Rules => counted(&answer.text),
        Kind::Linear => answer.features.iter().map(|x| f64::from(*x)).collect(),
    };
    let all: Vec<Vec<f64>> = answers
        .tasks
        .iter()
        .chain(&answers.held_out)
        .flatten()
        .map(properties)
        .collect();
    let weights = weights(&all, rng);
    let worth = |answer: &Answer| {
        properties(answer)
            .iter()
            .zip(&weights)
            .map(|(x, w)| x * w)
            .sum::<f64>()
    };
    let of = |groups: &[Vec<Answer>]| -> Vec<Vec<f64>> {
        groups
            .iter()
            .map(|group| group.iter().map(worth).collect())
            .collect()
    };
    let mut worths = Worths {
        tasks: of(&answers.tasks),
        held_out: of(&answers.held_out),
    };
    let factor = factor(&worths.tasks);
    for worth in worths.tasks.iter_mut().chain(&mut worths.held_out).flatten() {
        *worth *= factor;
    }
    worths
}

/// Normal draws, each divided by how much its property varies, so that all count alike.
fn weights(all: &[Vec<f64>], rng: &mut Rng) -> Vec<f64> {
    let n = all.len() as f64;
    let mut weights = Vec::new();
    for at in 0..all[0].len() {
        let mean = all.iter().map(|row| row[at]).sum::<f64>() / n;
        let spread = (all.iter().map(|row| (row[at] - mean).powi(2)).sum::<f64>() / n).sqrt();
        let draw = normal(rng);
        weights.push(if spread > 0.0 { draw / spread } else { 0.0 });
    }
    weights
}

/// By what worths are multiplied, so that the annotators are as sure as [`CEILING`] says.
fn factor(groups: &[Vec<f64>]) -> f64 {
    let mut gaps = Vec::new();
    for group in groups {
        for (at, first) in group.iter().enumerate() {
            gaps.extend(group[at + 1..].iter().map(|second| (first - second).abs()));
        }
    }
    let (mut low, mut high) = (0.0, 1e6);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        let agreement: f64 = gaps.iter().map(|gap| logistic(gap * middle)).sum();
        match agreement / (gaps.len() as f64) < CEILING {
            true => low = middle,
            false => high = middle,
        }
    }
    low
}

/// What the rules look at.
fn counted(text: &str) -> Vec<f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let n_words = words.len().max(1) as f64;
    let n_chars = text.chars().count().max(1) as f64;
    let share = |is: &dyn Fn(char) -> bool| text.chars().filter(|c| is(*c)).count() as f64 / n_chars;
    let of = |list: &[&str]| {
        let is = |word: &&&str| {
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
            list.contains(&bare.as_str())
        };
        words.iter().filter(is).count() as f64 / n_words
    };
    vec![
        n_words.ln(),
        words.iter().map(|word| word.chars().count()).sum::<usize>() as f64 / n_words,
        (1.0 + text.lines().count() as f64).ln(),
        share(&|c| c.is_ascii_digit()),
        share(&|c| c == ',' || c == ';' || c == ':'),
        share(&|c| c.is_uppercase()),
        of(&["you", "your", "yours", "yourself"]),
        of(&["i", "me", "my", "we", "our", "i'm"]),
    ]
}

pub fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Box and Muller.
fn normal(rng: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}
