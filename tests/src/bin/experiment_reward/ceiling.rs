//! Whether a reward model of the default model learns all that comparisons can teach: its expected accuracy on fresh
//! pairs beside that of the utilities themselves.

use crate::{
    model,
    world::{Length, World, expected_accuracy, logistic},
};
use anyhow::Result;
use fastrand::Rng;
use laurel_tests::experiment::{statistics::Mean, trainer::Trainer};
use serde_json::{Value, json};
use std::ops::Range;

const LENGTH: Length = Length {
    n_words: 5,
    n_fillers: 1,
};
/// What the best scores agree with on average.
const CEILING: f64 = 0.8;
const N_COMPARISONS: usize = 3200;
/// Fresh questions and answers each: C(8, 2) pairs of each question make 4200.
const N_QUESTIONS: usize = 150;
const N_ANSWERS: usize = 8;

pub fn run(seeds: Range<u64>, precision: &str) -> Result<()> {
    let mut trainer = Trainer::new()?;
    let mut gaps = Vec::new();
    let mut reached = Vec::new();
    eprintln!("seed  accuracy  ceiling     gap");
    for seed in seeds {
        let world = World::new(seed, LENGTH, CEILING);
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let rows = comparisons(&world, &mut rng);
        let fresh = world.questions(N_QUESTIONS, N_ANSWERS, true, &mut rng);
        let hyper = json!({
            "learning_rate": 1e-3, "batch_size": 8, "epochs": 1, "held_out": 0.0, "eval_every": 0,
            "checkpoint_every": 100_000, "schedule": "linear", "warmup": 0.1, "precision": precision,
        });
        let model = model::train(&mut trainer, &rows, 16, hyper, seed)?;
        let (accuracy, ceiling) = expected_accuracy(&fresh, &model::scores(&mut trainer, &model, &fresh)?);
        let line = json!({
            "experiment": "ceiling", "seed": seed, "precision": precision, "comparisons": model.n_rows()?,
            "fresh_pairs": N_QUESTIONS * N_ANSWERS * (N_ANSWERS - 1) / 2,
            "accuracy": accuracy, "ceiling": ceiling, "gap": ceiling - accuracy, "training_seconds": model.seconds,
        });
        println!("{line}");
        eprintln!(
            "{seed:4}  {accuracy:8.4}  {ceiling:7.4}  {:6.4}",
            ceiling - accuracy
        );
        reached.push(accuracy);
        gaps.push(ceiling - accuracy);
    }
    eprintln!(
        "accuracy {}, below the ceiling by {} (mean, 95 %)",
        Mean::of(&reached),
        Mean::of(&gaps)
    );
    Ok(())
}

/// Each on a question of its own, labelled by a draw from Bradley-Terry's probability.
fn comparisons(world: &World, rng: &mut Rng) -> Vec<Value> {
    let questions = world.questions(N_COMPARISONS, 2, false, rng);
    questions
        .iter()
        .map(|question| {
            let [a, b] = &question.answers[..] else {
                unreachable!("two answers were asked for")
            };
            let (chosen, rejected) = match rng.f64() < logistic(a.utility - b.utility) {
                true => (a, b),
                false => (b, a),
            };
            json!({"prompt": question.prompt, "chosen": chosen.text, "rejected": rejected.text})
        })
        .collect()
}
