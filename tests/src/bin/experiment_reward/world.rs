//! A world whose comparisons are known: answers list words, each word is worth something, and who compares two answers
//! prefers the better one with Bradley-Terry's probability. All of it can be read from the text, so the best that any
//! reward model can do is known too.

use fastrand::Rng;

/// What an answer may be called, and what a world gives a worth of its own, whatever the word means.
const WORDS: [&str; 16] = [
    "calm", "bright", "sturdy", "quiet", "narrow", "modern", "noisy", "clean", "cheap", "wide", "dark",
    "warm", "simple", "heavy", "smooth", "crowded",
];
/// Worth nothing, in any world.
const FILLERS: [&str; 12] = [
    "built in spring",
    "near the river",
    "open on Mondays",
    "made of oak",
    "with two doors",
    "painted green",
    "known in town",
    "next to a field",
    "seen from the road",
    "owned by a family",
    "on the second floor",
    "with a small sign",
];
/// What is described: the last ones only in what is held out.
const THINGS: [&str; 40] = [
    "hotel", "station", "garden", "office", "kitchen", "library", "market", "museum", "harbour", "school",
    "theatre", "bakery", "bridge", "chapel", "cinema", "clinic", "court", "factory", "farm", "gallery",
    "gym", "hall", "hostel", "house", "inn", "lodge", "mill", "palace", "park", "pool", "shop", "square",
    "stable", "studio", "tavern", "temple", "tower", "villa", "workshop", "zoo",
];
const N_HELD_OUT: usize = 10;

/// How long answers are.
#[derive(Clone, Copy)]
pub struct Length {
    pub n_words: usize,
    pub n_fillers: usize,
}

pub struct World {
    /// Of each word, in units of Bradley-Terry's utility.
    worths: Vec<f64>,
    length: Length,
}

#[derive(Clone)]
pub struct Answer {
    pub text: String,
    pub utility: f64,
}

/// A thing to describe and answers about it.
pub struct Question {
    pub prompt: String,
    pub answers: Vec<Answer>,
}

impl World {
    /// Worths are normal draws, scaled so that who always names the better of two answers agrees with `ceiling` of the
    /// comparisons.
    pub fn new(seed: u64, length: Length, ceiling: f64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let worths = WORDS.iter().map(|_| normal(&mut rng)).collect();
        let mut world = Self { worths, length };
        let sample: Vec<f64> = (0..20_000)
            .map(|_| world.answer(&mut rng).utility - world.answer(&mut rng).utility)
            .collect();
        let (mut low, mut high) = (0.0, 100.0);
        for _ in 0..50 {
            let middle = (low + high) / 2.0;
            let best: f64 = sample.iter().map(|d| logistic((d * middle).abs())).sum();
            match best / (sample.len() as f64) < ceiling {
                true => low = middle,
                false => high = middle,
            }
        }
        for worth in &mut world.worths {
            *worth *= low;
        }
        world
    }

    /// Questions with so many answers each, about things that the other set does not have.
    pub fn questions(&self, n: usize, n_answers: usize, held_out: bool, rng: &mut Rng) -> Vec<Question> {
        let (train, fresh) = THINGS.split_at(THINGS.len() - N_HELD_OUT);
        let things = if held_out { fresh } else { train };
        (0..n)
            .map(|_| Question {
                prompt: format!("Describe the {}:", things[rng.usize(..things.len())]),
                answers: (0..n_answers).map(|_| self.answer(rng)).collect(),
            })
            .collect()
    }

    fn answer(&self, rng: &mut Rng) -> Answer {
        let words = rng.choose_multiple(0..WORDS.len(), self.length.n_words);
        let utility = words.iter().map(|&word| self.worths[word]).sum();
        let mut parts: Vec<&str> = words.iter().map(|&word| WORDS[word]).collect();
        parts.extend(rng.choose_multiple(FILLERS, self.length.n_fillers));
        rng.shuffle(&mut parts);
        let separator = if self.length.n_fillers > 0 { ", " } else { " " };
        Answer {
            text: format!(" {}", parts.join(separator)),
            utility,
        }
    }
}

/// How an annotator puts answers in order: by utility plus noise of Gumbel's distribution, whose differences are
/// Bradley-Terry's logistic ones; an answer that comes out nearer to the one above it than `blur` is tied with it.
pub fn rank(answers: &[Answer], blur: f64, rng: &mut Rng) -> Vec<u32> {
    let seen: Vec<f64> = answers
        .iter()
        .map(|answer| answer.utility + gumbel(rng))
        .collect();
    let mut order: Vec<usize> = (0..answers.len()).collect();
    order.sort_by(|&a, &b| seen[b].total_cmp(&seen[a]));
    let mut ranks = vec![1; answers.len()];
    for next in order.windows(2) {
        let apart = seen[next[0]] - seen[next[1]] > blur;
        ranks[next[1]] = ranks[next[0]] + u32::from(apart);
    }
    ranks
}

/// The share of comparisons of fresh answers that a model's scores are right about, in expectation: P(a ≻ b) where it
/// puts a first. Over all pairs of each question's answers; `scores` question by question. Beside it the most that
/// any scores can reach on these pairs.
pub fn expected_accuracy(questions: &[Question], scores: &[Vec<f64>]) -> (f64, f64) {
    let (mut reached, mut ceiling, mut n) = (0.0, 0.0, 0.0);
    for (question, scores) in questions.iter().zip(scores) {
        for a in 0..question.answers.len() {
            for b in 0..a {
                let p = logistic(question.answers[a].utility - question.answers[b].utility);
                reached += match scores[a].total_cmp(&scores[b]) {
                    std::cmp::Ordering::Greater => p,
                    std::cmp::Ordering::Less => 1.0 - p,
                    std::cmp::Ordering::Equal => 0.5,
                };
                ceiling += p.max(1.0 - p);
                n += 1.0;
            }
        }
    }
    (reached / n, ceiling / n)
}

pub fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (std::f64::consts::TAU * rng.f64()).cos()
}

fn gumbel(rng: &mut Rng) -> f64 {
    -(-(1.0 - rng.f64()).ln()).ln()
}
