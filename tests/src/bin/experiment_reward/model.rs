//! A reward model: trained on rows, asked for the scores of questions' answers.

use crate::world::Question;
use anyhow::Result;
use laurel_tests::experiment::trainer::{Round, Trained, Trainer};
use serde_json::{Value, json};

pub fn train(trainer: &mut Trainer, rows: &[Value], rank: u32, hyper: Value, seed: u64) -> Result<Trained> {
    trainer.round(&Round {
        kind: "reward",
        rows,
        adapter: json!({"type": "lora", "rank": rank, "alpha": 2.0 * f64::from(rank)}),
        hyper,
        seed,
        reward_adapter: None,
    })
}

/// The score of each answer, question by question. Each has an even number of answers, and all the same.
pub fn scores(trainer: &mut Trainer, model: &Trained, questions: &[Question]) -> Result<Vec<Vec<f64>>> {
    let rows: Vec<Value> = questions
        .iter()
        .flat_map(|question| {
            let twos = question.answers.chunks_exact(2);
            twos.map(|two| json!({"prompt": question.prompt, "chosen": two[0].text, "rejected": two[1].text}))
        })
        .collect();
    let scores = trainer.scores(&model.adapter, &rows)?;
    let n_each = questions.first().map_or(1, |question| question.answers.len());
    Ok(scores.chunks(n_each).map(<[f64]>::to_vec).collect())
}
