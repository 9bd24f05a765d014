//! One seed of the experiment, from the model's answers to the policies that were trained on them.

use crate::{
    policy::{self, Answer, N_TOKENS, by_prompt},
    prompts::prompts,
};
use anyhow::{Result, ensure};
use fastrand::Rng;
use laurel_tests::experiment::{
    statistics::Mean,
    trainer::{Round, Trained, Trainer},
};
use serde_json::{Value, json};
use std::{path::Path, time::Instant};

pub struct Size {
    /// Answers to each training prompt.
    n_answers: usize,
    n_comparisons: usize,
    n_held_out_prompts: usize,
    /// Answers to each held-out prompt, of the policies that count and of those on the way.
    n_fresh: usize,
    n_on_the_way: usize,
    ppo_steps: u64,
    dpo_steps: u64,
    reward_steps: u64,
}

pub const FULL: Size = Size {
    n_answers: 3,
    n_comparisons: 400,
    n_held_out_prompts: 80,
    n_fresh: 3,
    n_on_the_way: 2,
    ppo_steps: 30,
    dpo_steps: 50,
    reward_steps: 100,
};
/// To see that it works.
pub const QUICK: Size = Size {
    n_answers: 2,
    n_comparisons: 16,
    n_held_out_prompts: 8,
    n_fresh: 2,
    n_on_the_way: 1,
    ppo_steps: 3,
    dpo_steps: 3,
    reward_steps: 2,
};
/// Of a round, at which adapters on the way are looked at besides the last.
const PARTS: u64 = 3;

/// A policy on the held-out prompts.
pub struct Point {
    pub policy: &'static str,
    pub step: u64,
    pub last: bool,
    /// VADER's mean.
    pub score: Mean,
    /// That less the base model's, prompt by prompt.
    pub raised: Mean,
    pub kl: Mean,
    pub accuracy: f64,
}

struct Run<'a> {
    seed: u64,
    precision: &'a str,
    trainer: Trainer,
    held_out: Vec<Value>,
    /// The base model's mean on each held-out prompt.
    base: Vec<f64>,
    accuracy: f64,
    begun: Instant,
}

pub fn run(seed: u64, precision: &str, size: &Size) -> Result<Vec<Point>> {
    let mut trainer = Trainer::new()?;
    let begun = Instant::now();
    let train = prompts(false);
    let mut held_out = prompts(true);
    held_out.truncate(size.n_held_out_prompts);

    // 1. The model's own answers, compared by VADER.
    let n_prompts = train.len().min(2 * size.n_comparisons);
    let theirs = policy::answers(
        &mut trainer,
        None,
        &train[..n_prompts],
        size.n_answers,
        seed,
        precision,
    )?;
    let rows = comparisons(&train, &theirs, size.n_comparisons, seed)?;
    let fresh = policy::answers(
        &mut trainer,
        None,
        &held_out,
        size.n_fresh,
        seed + 1000,
        precision,
    )?;
    let base = score_by_prompt(held_out.len(), &fresh);
    let mut run = Run {
        seed,
        precision,
        trainer,
        held_out,
        base,
        accuracy: 0.0,
        begun,
    };
    let nothing = Mean {
        value: 0.0,
        half: 0.0,
    };
    let mut points = vec![run.point("base", 0, true, &fresh, (nothing, fresh.len()))];
    run.say("answers of the base model");

    // 2. A reward model of the comparisons.
    let reward = run.round("reward", &rows, None, size.reward_steps)?;
    run.say("reward round");
    run.accuracy = run.held_out_accuracy(&reward.adapter, &fresh)?;
    println!(
        "{}",
        json!({
            "experiment": "ppo", "seed": seed, "what": "reward model", "precision": precision,
            "comparisons": reward.n_rows()?, "held_out_accuracy": run.accuracy,
            "training_seconds": reward.seconds,
        })
    );

    // 3. PPO from that reward model, DPO on the same comparisons.
    let asked: Vec<Value> = train.iter().map(|prompt| json!({"prompt": prompt})).collect();
    let ppo = run.round("ppo", &asked, Some(&reward.adapter), size.ppo_steps)?;
    run.say("PPO round");
    for line in ppo.metrics.iter().filter(|line| line["split"] == "train") {
        let values = &line["values"];
        println!(
            "{}",
            json!({
                "experiment": "ppo", "seed": seed, "what": "PPO step", "step": line["step"],
                "reward": values["reward"], "kl": values["kl"], "entropy": values["entropy"],
                "length": values["length"],
            })
        );
    }
    let dpo = run.round("dpo", &rows, None, size.dpo_steps)?;
    run.say("DPO round");

    // 4. What they answer now.
    for (name, trained, steps) in [("PPO", &ppo, size.ppo_steps), ("DPO", &dpo, size.dpo_steps)] {
        points.push(run.look(name, trained, &trained.adapter, steps, size.n_fresh)?);
    }
    for (name, trained) in [("PPO", &ppo), ("DPO", &dpo)] {
        for (step, adapter) in &trained.on_the_way {
            points.push(run.look(name, trained, adapter, *step, size.n_on_the_way)?);
        }
    }
    Ok(points)
}

/// What the rounds share, and what is each one's own.
fn hyper(kind: &str, n_steps: u64, precision: &str) -> Value {
    let mut hyper = json!({
        "max_steps": n_steps, "epochs": 100, "held_out": 0.0, "eval_every": 0,
        "checkpoint_every": (n_steps / PARTS).max(1), "precision": precision,
    });
    let own = match kind {
        "reward" => json!({"learning_rate": 1e-3, "batch_size": 8}),
        "dpo" => json!({"learning_rate": 2e-4, "batch_size": 16, "beta": 0.1}),
        _ => json!({
            "learning_rate": 3e-4, "batch_size": 16,
            "ppo": {
                "max_new_tokens": N_TOKENS, "minibatches": 1, "inner_epochs": 2, "kl_coefficient": 0.05,
                "missing_eos_penalty": 0.0, "normalise_rewards": true, "n_samples": 0,
            },
        }),
    };
    for (name, value) in own.as_object().into_iter().flatten() {
        hyper[name] = value.clone();
    }
    hyper
}

/// Two answers to a prompt of which VADER prefers one, in random order of the prompts.
fn comparisons(prompts: &[Value], answers: &[Answer], n: usize, seed: u64) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (at, one) in answers.iter().enumerate() {
        for other in answers[..at].iter().filter(|other| other.prompt == one.prompt) {
            if one.score == other.score || one.text.is_empty() || other.text.is_empty() {
                continue;
            }
            let (chosen, rejected) = match one.score > other.score {
                true => (one, other),
                false => (other, one),
            };
            let said = |answer: &Answer| json!([{"role": "assistant", "content": answer.text}]);
            rows.push(json!({
                "prompt": prompts[one.prompt], "chosen": said(chosen), "rejected": said(rejected),
            }));
        }
    }
    Rng::with_seed(seed).shuffle(&mut rows);
    ensure!(
        rows.len() >= n,
        "VADER tells only {} pairs of answers apart",
        rows.len()
    );
    rows.truncate(n);
    Ok(rows)
}

fn score_by_prompt(n_prompts: usize, answers: &[Answer]) -> Vec<f64> {
    let scores = answers.iter().map(|answer| (answer.prompt, answer.score));
    by_prompt(n_prompts, scores)
        .into_iter()
        .map(|mean| mean.expect("every prompt has answers"))
        .collect()
}

impl Run<'_> {
    fn round(
        &mut self,
        kind: &str,
        rows: &[Value],
        reward_adapter: Option<&Path>,
        n_steps: u64,
    ) -> Result<Trained> {
        self.trainer.round(&Round {
            kind,
            rows,
            adapter: json!({"type": "lora", "rank": 16, "alpha": 32.0}),
            hyper: hyper(kind, n_steps, self.precision),
            seed: self.seed,
            reward_adapter,
        })
    }

    /// The share of pairs of held-out answers, all that VADER tells apart, in which the reward model agrees with it.
    fn held_out_accuracy(&mut self, adapter: &Path, fresh: &[Answer]) -> Result<f64> {
        let whole: Vec<&Answer> = fresh.iter().filter(|answer| !answer.text.is_empty()).collect();
        let said = |answer: &Answer| json!([{"role": "assistant", "content": answer.text}]);
        // A row has two sides behind one prompt; the last of an odd number of answers is both.
        let twos: Vec<&[&Answer]> = whole
            .chunk_by(|a, b| a.prompt == b.prompt)
            .flat_map(|same| same.chunks(2))
            .collect();
        let rows: Vec<Value> = twos
            .iter()
            .map(|two| {
                let (a, b) = (two[0], two[two.len() - 1]);
                json!({"prompt": self.held_out[a.prompt], "chosen": said(a), "rejected": said(b)})
            })
            .collect();
        let scores = self.trainer.scores(adapter, &rows)?;
        let scores: Vec<f64> = twos
            .iter()
            .zip(scores.chunks(2))
            .flat_map(|(two, scores)| scores[..two.len()].to_vec())
            .collect();
        let (mut right, mut n) = (0.0, 0.0);
        for (at, one) in whole.iter().enumerate() {
            for (before, other) in whole[..at].iter().enumerate() {
                if one.prompt != other.prompt || one.score == other.score {
                    continue;
                }
                n += 1.0;
                if (scores[at] > scores[before]) == (one.score > other.score) {
                    right += 1.0;
                }
            }
        }
        Ok(right / n)
    }

    fn look(
        &mut self,
        name: &'static str,
        trained: &Trained,
        adapter: &Path,
        step: u64,
        n: usize,
    ) -> Result<Point> {
        let answers = policy::answers(
            &mut self.trainer,
            Some(adapter),
            &self.held_out,
            n,
            self.seed + 2000,
            self.precision,
        )?;
        let apart = policy::divergence(&mut self.trainer, adapter, &self.held_out, &answers)?;
        let point = self.point(name, step, adapter == trained.adapter, &answers, apart);
        self.say(&format!("answers of {name} after step {step}"));
        Ok(point)
    }

    /// A line of JSON and what the summary needs of it.
    fn point(
        &self,
        policy: &'static str,
        step: u64,
        last: bool,
        answers: &[Answer],
        (kl, n_kl): (Mean, usize),
    ) -> Point {
        let scores = score_by_prompt(self.held_out.len(), answers);
        let apart: Vec<f64> = scores.iter().zip(&self.base).map(|(a, b)| a - b).collect();
        let point = Point {
            policy,
            step,
            last,
            score: Mean::of(&scores),
            raised: Mean::of(&apart),
            kl,
            accuracy: self.accuracy,
        };
        let n = answers.len() as f64;
        println!(
            "{}",
            json!({
                "experiment": "ppo", "seed": self.seed, "what": "policy", "policy": policy, "step": step,
                "last": last, "answers": answers.len(), "score": point.score.value,
                "score_interval": point.score.half, "raised": point.raised.value,
                "raised_interval": point.raised.half, "kl": kl.value, "kl_interval": kl.half,
                "answers_for_kl": n_kl,
                "length": answers.iter().map(|answer| answer.n_tokens as f64).sum::<f64>() / n,
                "example": answers.first().map(|answer| &answer.text),
            })
        );
        point
    }

    fn say(&self, done: &str) {
        eprintln!(
            "seed {}: {:4.0} s, {done}",
            self.seed,
            self.begun.elapsed().as_secs_f64()
        );
    }
}
