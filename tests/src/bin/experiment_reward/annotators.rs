//! Which loss makes the most of rankings with ties when 30 % of those who made them answered at random: the same
//! rankings for every loss, so that differences are paired.

use crate::{
    model,
    world::{Length, Question, World, expected_accuracy, rank},
};
use anyhow::Result;
use fastrand::Rng;
use laurel_tests::experiment::{statistics::Mean, trainer::Trainer};
use serde_json::{Value, json};
use std::{cmp::Ordering, ops::Range};

const LENGTH: Length = Length {
    n_words: 4,
    n_fillers: 0,
};
const CEILING: f64 = 0.8;
/// Of the default model's 30: it takes many rounds to tell losses apart.
const N_BLOCKS: u32 = 4;
const N_RANKINGS: usize = 100;
/// Answers of each ranking.
const K: usize = 4;
const CARELESS: f64 = 0.3;
/// Answers that an annotator sees nearer to each other than this are tied.
const BLUR: f64 = 1.0;
const N_QUESTIONS: usize = 150;
const N_ANSWERS: usize = 8;

/// A way to train on the rankings.
struct Way {
    name: &'static str,
    loss: &'static str,
    batch_by: &'static str,
    batch_size: u32,
    epochs: u32,
}

/// The first is what the others are compared with. Two rankings hold up to 12 pairs, so that an epoch has as many steps
/// either way. Among pairs each answer goes through the model three times, among rankings once: with three times the
/// epochs the work is the same.
const WAYS: [Way; 5] = [
    way("pairs", "bradley_terry", PAIRS, EPOCHS),
    way("k-wise", "bradley_terry", RANKINGS, EPOCHS),
    way("k-wise, same work", "bradley_terry", RANKINGS, 3 * EPOCHS),
    way("Rao-Kupper", "rao_kupper", PAIRS, EPOCHS),
    way("Davidson", "davidson", PAIRS, EPOCHS),
];
const EPOCHS: u32 = 3;
const PAIRS: (&str, u32) = ("pair", 12);
const RANKINGS: (&str, u32) = ("ranking", 2);

const fn way(name: &'static str, loss: &'static str, batch: (&'static str, u32), epochs: u32) -> Way {
    Way {
        name,
        loss,
        batch_by: batch.0,
        batch_size: batch.1,
        epochs,
    }
}

pub fn run(seeds: Range<u64>, precision: &str) -> Result<()> {
    let mut trainer = Trainer::with_blocks(N_BLOCKS)?;
    let mut reached: Vec<Vec<f64>> = WAYS.iter().map(|_| Vec::new()).collect();
    let mut ceilings = Vec::new();
    for seed in seeds {
        let world = World::new(seed, LENGTH, CEILING);
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let rows = rankings(&world, &mut rng);
        let n_ties = rows.iter().filter(|row| row["tie"] == true).count();
        let fresh = world.questions(N_QUESTIONS, N_ANSWERS, true, &mut rng);
        for (way, reached) in WAYS.iter().zip(&mut reached) {
            let model = model::train(&mut trainer, &rows, 8, hyper(way, precision), seed)?;
            let (accuracy, ceiling) =
                expected_accuracy(&fresh, &model::scores(&mut trainer, &model, &fresh)?);
            let line = json!({
                "experiment": "annotators", "seed": seed, "way": way.name, "precision": precision,
                "rankings": N_RANKINGS, "pairs": rows.len(), "ties": n_ties, "trained_rows": model.n_rows()?,
                "accuracy": accuracy, "ceiling": ceiling, "training_seconds": model.seconds,
            });
            println!("{line}");
            reached.push(accuracy);
            ceilings.push(ceiling);
        }
    }
    let most = Mean::of(&ceilings).value;
    eprintln!(
        "{} seeds; ceiling {most:.4}; means and 95 % intervals",
        reached[0].len()
    );
    for (way, values) in WAYS.iter().zip(&reached) {
        let ahead: Vec<f64> = values.iter().zip(&reached[0]).map(|(a, b)| a - b).collect();
        let n_ahead = ahead.iter().filter(|d| **d > 0.0).count();
        eprintln!(
            "{:30} {}   against {}: {}, ahead in {n_ahead}",
            way.name,
            Mean::of(values),
            WAYS[0].name,
            Mean::of(&ahead)
        );
    }
    Ok(())
}

fn hyper(way: &Way, precision: &str) -> Value {
    json!({
        "loss": way.loss, "batch_by": way.batch_by, "batch_size": way.batch_size, "epochs": way.epochs,
        "learning_rate": 1e-3, "held_out": 0.0, "eval_every": 0, "checkpoint_every": 100_000,
        "schedule": "linear", "warmup": 0.1, "precision": precision,
    })
}

/// Every pair of every ranking, as the server makes rows of them, ties among them. Who is careless ranks answers that
/// are not before them: the order says nothing about these, and ties are as frequent as elsewhere.
fn rankings(world: &World, rng: &mut Rng) -> Vec<Value> {
    let questions = world.questions(N_RANKINGS, K, false, rng);
    let mut rows = Vec::new();
    for (at, question) in questions.iter().enumerate() {
        let ranks = match rng.f64() < CARELESS {
            true => rank(&world.questions(1, K, false, rng)[0].answers, BLUR, rng),
            false => rank(&question.answers, BLUR, rng),
        };
        for a in 0..K {
            for b in a + 1..K {
                rows.push(row(question, at, (a, ranks[a]), (b, ranks[b])));
            }
        }
    }
    rows
}

fn row(question: &Question, annotation: usize, a: (usize, u32), b: (usize, u32)) -> Value {
    let (chosen, rejected) = match a.1.cmp(&b.1) {
        Ordering::Greater => (b.0, a.0),
        _ => (a.0, b.0),
    };
    let text = |at: usize| &question.answers[at].text;
    json!({
        "prompt": question.prompt, "prompt_id": annotation, "annotation_id": annotation,
        "chosen": text(chosen), "rejected": text(rejected), "tie": a.1 == b.1,
    })
}
