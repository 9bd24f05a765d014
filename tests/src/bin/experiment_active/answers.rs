//! The answers: several of the default model to each prompt of the sample project, with their features. Both take minutes
//! and are kept in a folder, so that a seed costs seconds.

use crate::run::Size;
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device};
use laurel_protocol::{Message, PromptText};
use laurel_tests::experiment::trainer::Trainer;
use laurel_trainer::{
    data::{
        Tokenizer,
        rows::{Example, Side},
    },
    model::Model,
    select::{Cache, Sequence, features},
};
use serde_json::{Value, json};
use std::{collections::HashSet, env, fs, path::Path};

pub struct Answer {
    pub text: String,
    pub features: Vec<f32>,
}

/// Answers to prompts that tasks are made of, and to prompts that are held out.
pub struct Answers {
    pub tasks: Vec<Vec<Answer>>,
    pub held_out: Vec<Vec<Answer>>,
}

/// Reads what the folder has, and makes what it lacks.
pub fn load(folder: &Path, prompts: &Path, size: &Size) -> Result<Answers> {
    fs::create_dir_all(folder)?;
    let text = fs::read_to_string(prompts).with_context(|| format!("read {prompts:?}"))?;
    let prompts: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(
        prompts.len() > size.n_held_out,
        "there are {} prompts",
        prompts.len()
    );
    let texts = texts(folder, &prompts, size)?;
    let path = env::var_os("LAUREL_MODEL")
        .context("LAUREL_MODEL is not set: run this with `cargo xtask experiment`")?;
    let tokenizer = Tokenizer::load(Path::new(&path))?;
    let mut sequences = Vec::new();
    for (prompt, texts) in prompts.iter().zip(&texts) {
        let prompt: PromptText =
            serde_json::from_value(prompt["prompt"].clone()).context("a line has a prompt")?;
        let messages = match prompt {
            PromptText::Text(text) => vec![Message::user(text)],
            PromptText::Messages(messages) => messages,
        };
        for text in texts {
            let row = Example {
                prompt: Side::Messages(messages.clone()),
                completion: Side::Messages(vec![Message::assistant(text)]),
                group: None,
                desirable: None,
            };
            let read = tokenizer.demonstration(&row)?;
            sequences.push(Sequence {
                prompt: read.prompt,
                completion: read.completion,
            });
        }
    }
    let states = states(folder, Path::new(&path), &sequences)?;
    let mut states = states.into_iter();
    let mut groups: Vec<Vec<Answer>> = Vec::new();
    for texts in texts {
        let answer = |text| {
            let features = states.next().context("each answer has its features")?;
            Ok(Answer { text, features })
        };
        groups.push(texts.into_iter().map(answer).collect::<Result<_>>()?);
    }
    let held_out = groups.split_off(groups.len() - size.n_held_out);
    Ok(Answers {
        tasks: groups,
        held_out,
    })
}

/// So many answers to each prompt, drawn once.
fn texts(folder: &Path, prompts: &[Value], size: &Size) -> Result<Vec<Vec<String>>> {
    let file = folder.join(format!(
        "answers-{}-{}-{}.json",
        prompts.len(),
        size.n_answers,
        size.n_tokens
    ));
    if let Ok(text) = fs::read_to_string(&file) {
        return serde_json::from_str(&text)
            .with_context(|| format!("read {file:?}: remove it to make it anew"));
    }
    eprintln!(
        "Drawing {} answers to each of {} prompts …",
        size.n_answers,
        prompts.len()
    );
    let options = [
        ("--n", size.n_answers.to_string()),
        ("--max-tokens", size.n_tokens.to_string()),
        ("--temperature", "1".to_owned()),
        ("--seed", "1".to_owned()),
        ("--precision", "quantized".to_owned()),
    ];
    let lines = Trainer::new()?.generate(None, prompts, &options)?;
    let mut texts: Vec<Vec<String>> = vec![Vec::new(); prompts.len()];
    for line in lines {
        let at = line["prompt_index"]
            .as_u64()
            .context("a completion names its prompt")? as usize;
        texts[at].push(
            line["completion"]
                .as_str()
                .context("a completion has a text")?
                .to_owned(),
        );
    }
    fs::write(&file, json!(texts).to_string())?;
    Ok(texts)
}

fn states(folder: &Path, model: &Path, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>> {
    let keys: Vec<_> = sequences.iter().map(Sequence::key).collect();
    let wanted: HashSet<_> = keys.iter().copied().collect();
    let width = laurel_trainer::model::Facts::read(model)?.config.hidden;
    let mut cache = Cache::open(folder, "default-model", width, &wanted)?;
    let missing: Vec<Sequence> = sequences
        .iter()
        .filter(|one| cache.get(&one.key()).is_none())
        .cloned()
        .collect();
    if !missing.is_empty() {
        eprintln!("Computing the features of {} answers …", missing.len());
        let model = Model::load(model, &Device::Cpu, DType::F32)?;
        for pass in features::passes(&missing) {
            for (sequence, state) in pass.iter().zip(features::features(&model, None, pass)?) {
                cache.add(sequence.key(), state)?;
            }
        }
    }
    let state = |key| {
        cache
            .get(key)
            .map(<[f32]>::to_vec)
            .context("each sequence has its features")
    };
    keys.iter().map(state).collect()
}
