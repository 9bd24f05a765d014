//! The trainer against PyTorch, transformers and PEFT on the real default model: log-probabilities, losses and
//! gradient norms that `parity/golden.py` wrote. Token ids are in the file, so that a tokenizer takes part only in the test
//! of text to ids.
//!
//! The model is found through `LAUREL_MODEL` or in the cache folder, where `cargo xtask test` puts it.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_protocol::Precision;
use laurel_trainer::{
    adapters::{Adapter, SCORE, Weight},
    data::{Row, Tokenizer, read_rows},
    losses::{self, PairLogps, Pairs},
    model::{Model, Pack, TokenAt},
    ops::{Gradients, Tape, Traced},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::OnceLock,
};

#[derive(Deserialize)]
struct Golden {
    beta: f64,
    pairs: Vec<Pair>,
    policy: Sides,
    reference: Sides,
    first_chosen_token_logps: Vec<f64>,
    dpo: Loss,
    sft: Loss,
    reward: Reward,
}

#[derive(Deserialize)]
struct Pair {
    prompt: Vec<u32>,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
}

#[derive(Deserialize)]
struct Sides {
    chosen: Vec<f64>,
    rejected: Vec<f64>,
}

#[derive(Deserialize)]
struct Loss {
    loss: f64,
    gradient_norms: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Reward {
    head: Vec<f32>,
    chosen: Vec<f64>,
    rejected: Vec<f64>,
    #[serde(flatten)]
    loss: Loss,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/golden")
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(folder().join("golden.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model_path() -> PathBuf {
    std::env::var_os("LAUREL_MODEL").map_or_else(cached, PathBuf::from)
}

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        Model::load(&model_path(), &Device::Cpu, DType::F32)
            .unwrap_or_else(|error| panic!("{error:#}: run `cargo xtask test`, or set LAUREL_MODEL"))
    })
}

fn cached() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    cache.join("laurel/models/SmolLM2-135M-Instruct.Q4_1.gguf")
}

fn adapter() -> Adapter {
    Adapter::load_peft(&folder().join("adapter"), model())
        .unwrap()
        .trainable_copy()
        .unwrap()
}

fn pack(pairs: &[Pair]) -> Pack {
    let mut pack = Pack::default();
    for pair in pairs {
        pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]);
    }
    pack
}

/// Log-probabilities of every completion's tokens: all chosen, then all rejected.
fn logps(pack: &Pack, tape: &Tape, adapter: Option<&Adapter>) -> (Traced, Vec<usize>) {
    let hidden = model().forward(tape, pack, adapter).unwrap();
    let mut tokens: Vec<TokenAt> = Vec::new();
    let mut counts = Vec::new();
    for branch in 0..2 {
        for group in 0..pack.groups.len() {
            let before = tokens.len();
            tokens.extend(pack.completion(group, branch));
            counts.push(tokens.len() - before);
        }
    }
    (model().logprobs(tape, &hidden, &tokens).unwrap(), counts)
}

fn sums(logps: &Tensor, counts: &[usize]) -> (Tensor, Tensor) {
    let mut at = 0;
    let mut sums = Vec::new();
    for &n in counts {
        sums.push(logps.narrow(0, at, n).unwrap().sum_all().unwrap());
        at += n;
    }
    let half = counts.len() / 2;
    (
        Tensor::stack(&sums[..half], 0).unwrap(),
        Tensor::stack(&sums[half..], 0).unwrap(),
    )
}

fn close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    let distance = (ours - theirs).abs() / theirs.abs().max(1e-6);
    assert!(
        distance < tolerance,
        "{what}: {ours} against {theirs}, off by {distance:.1e}"
    );
}

fn all_close(ours: &Tensor, theirs: &[f64], tolerance: f64, what: &str) {
    let ours = ours.to_vec1::<f32>().unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        close(f64::from(ours), *theirs, tolerance, what);
    }
}

fn same_gradient_norms(gradients: &Gradients, expected: &BTreeMap<String, f64>) {
    assert_eq!(
        gradients.0.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, gradient) in &gradients.0 {
        let norm = gradient
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt();
        close(f64::from(norm), expected[name], 1e-3, name);
    }
}

fn scalar(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

#[test]
fn rows_of_text_become_the_token_ids_of_transformers() {
    let rows = std::fs::read(folder().join("rows.jsonl")).unwrap();
    let tokenizer = Tokenizer::load(&model_path()).unwrap();
    let golden = golden();
    let rows = read_rows(rows.as_slice()).unwrap();
    assert_eq!(rows.len(), golden.pairs.len());
    for (row, expected) in rows.iter().zip(&golden.pairs) {
        let Row::Preference(row) = row else {
            panic!("the golden rows are preferences")
        };
        let pair = tokenizer.preference(row).unwrap();
        assert_eq!(pair.prompt, expected.prompt);
        assert_eq!(pair.chosen, expected.chosen);
        assert_eq!(pair.rejected, expected.rejected);
    }
}

/// ChatML's generation prompt ends in a line break; a token may hold two of them.
#[test]
fn an_answer_that_begins_with_a_line_break_is_split_as_it_was_sampled() {
    let tokenizer = Tokenizer::load(&model_path()).unwrap();
    for answer in ["\n\nHello", "\n Hello", "\n1. Paris", "\n", " Hello", "Hello"] {
        let turn = |role: &str, content: &str| serde_json::json!([{"role": role, "content": content}]);
        let line = serde_json::json!({
            "prompt": turn("user", "Hi"), "chosen": turn("assistant", answer), "rejected": turn("assistant", "No"),
        });
        let rows = read_rows(line.to_string().as_bytes()).unwrap();
        let Row::Preference(row) = &rows[0] else {
            panic!("a preference")
        };
        let pair = tokenizer.preference(row).unwrap();
        let sampled = tokenizer.encode(&format!("{answer}<|im_end|>\n")).unwrap();
        assert_eq!(pair.chosen, sampled, "{answer:?}");
    }
}

#[test]
fn log_probabilities_of_policy_and_reference_are_pytorchs() {
    let golden = golden();
    let pack = pack(&golden.pairs);
    let (reference, counts) = logps(&pack, &Tape::off(), None);
    let (chosen, rejected) = sums(&reference.value, &counts);
    all_close(&chosen, &golden.reference.chosen, 1e-4, "reference, chosen");
    all_close(&rejected, &golden.reference.rejected, 1e-4, "reference, rejected");
    let (policy, counts) = logps(&pack, &Tape::off(), Some(&adapter()));
    let (chosen, rejected) = sums(&policy.value, &counts);
    all_close(&chosen, &golden.policy.chosen, 1e-4, "policy, chosen");
    all_close(&rejected, &golden.policy.rejected, 1e-4, "policy, rejected");
    let first = policy
        .value
        .narrow(0, 0, counts[0])
        .unwrap()
        .to_vec1::<f32>()
        .unwrap();
    for (ours, theirs) in first.iter().zip(&golden.first_chosen_token_logps) {
        assert!(
            (f64::from(*ours) - theirs).abs() < 1e-3,
            "a token: {ours} against {theirs}"
        );
    }
}

#[test]
fn dpo_loss_and_every_gradients_norm_are_pytorchs() {
    let golden = golden();
    let (pack, adapter, tape) = (pack(&golden.pairs), adapter(), Tape::recording());
    let (reference, counts) = logps(&pack, &Tape::off(), None);
    let (ref_chosen, ref_rejected) = sums(&reference.value, &counts);
    let (traced, counts) = logps(&pack, &tape, Some(&adapter));
    let values = Var::from_tensor(&traced.value).unwrap();
    let (chosen, rejected) = sums(&values, &counts);
    let pair_logps = PairLogps {
        chosen: &chosen,
        rejected: &rejected,
        ref_chosen: &ref_chosen,
        ref_rejected: &ref_rejected,
    };
    let loss = losses::dpo_sigmoid(&pair_logps, golden.beta, 0.0).unwrap();
    close(scalar(&loss), golden.dpo.loss, 1e-4, "loss");
    let mut gradients = Gradients::default();
    let gradient = loss.backward().unwrap().get(&values).unwrap().clone();
    tape.backward(&traced, gradient, &mut gradients).unwrap();
    same_gradient_norms(&gradients, &golden.dpo.gradient_norms);
}

#[test]
fn sft_loss_and_every_gradients_norm_are_pytorchs() {
    let golden = golden();
    let (pack, adapter, tape) = (pack(&golden.pairs), adapter(), Tape::recording());
    let (traced, counts) = logps(&pack, &tape, Some(&adapter));
    let values = Var::from_tensor(&traced.value).unwrap();
    let n_chosen = counts[..golden.pairs.len()].iter().sum();
    let loss = losses::cross_entropy(&values.narrow(0, 0, n_chosen).unwrap()).unwrap();
    close(scalar(&loss), golden.sft.loss, 1e-4, "loss");
    let mut gradients = Gradients::default();
    let gradient = loss.backward().unwrap().get(&values).unwrap().clone();
    tape.backward(&traced, gradient, &mut gradients).unwrap();
    same_gradient_norms(&gradients, &golden.sft.gradient_norms);
}

#[test]
fn reward_scores_loss_and_gradient_norms_are_pytorchs() {
    let golden = golden();
    let (pack, mut adapter, tape) = (pack(&golden.pairs), adapter(), Tape::recording());
    let width = golden.reward.head.len();
    let head = Tensor::from_vec(golden.reward.head, (1, width), &Device::Cpu).unwrap();
    let head = Var::from_tensor(&head).unwrap();
    adapter.score = Some(Weight::Trainable(head.clone()));
    let hidden = model().forward(&tape, &pack, Some(&adapter)).unwrap();
    let n_pairs = golden.pairs.len();
    let rows: Vec<u32> = (0..2)
        .flat_map(|branch| (0..n_pairs).map(move |group| (group, branch)))
        .map(|(g, b)| pack.last_row(g, b))
        .collect();
    let traced = model().states(&tape, &hidden, &rows).unwrap();
    let states = Var::from_tensor(&traced.value).unwrap();
    let scores = states.matmul(&head.t().unwrap()).unwrap().squeeze(1).unwrap();
    let (chosen, rejected) = (
        scores.narrow(0, 0, n_pairs).unwrap(),
        scores.narrow(0, n_pairs, n_pairs).unwrap(),
    );
    all_close(&chosen, &golden.reward.chosen, 1e-3, "chosen");
    all_close(&rejected, &golden.reward.rejected, 1e-3, "rejected");
    let none = chosen.zeros_like().unwrap();
    let weight = (chosen.ones_like().unwrap() / n_pairs as f64).unwrap();
    let scored = Pairs {
        chosen: &chosen,
        rejected: &rejected,
        margin: &none,
        tie: &none,
        weight: &weight,
    };
    let loss = losses::bradley_terry(&scored, 0.0).unwrap();
    close(scalar(&loss), golden.reward.loss.loss, 1e-4, "loss");
    let store = loss.backward().unwrap();
    let mut gradients = Gradients::default();
    gradients.add(SCORE, store.get(&head).unwrap().clone()).unwrap();
    tape.backward(&traced, store.get(&states).unwrap().clone(), &mut gradients)
        .unwrap();
    same_gradient_norms(&gradients, &golden.reward.loss.gradient_norms);
}

#[test]
fn quantised_weights_give_the_log_probabilities_of_f32() {
    let quantised = Model::load_in(&model_path(), &Device::Cpu, Precision::Quantized).unwrap();
    let pair = &golden().pairs[0];
    let mut pack = Pack::default();
    pack.push(&pair.prompt, &[&pair.chosen, &pair.rejected]);
    let tokens: Vec<TokenAt> = pack.completion(0, 0).chain(pack.completion(0, 1)).collect();
    let [ours, theirs] = [&quantised, model()].map(|model| {
        let tape = Tape::off();
        let hidden = model.forward(&tape, &pack, None).unwrap();
        let logps = model.logprobs(&tape, &hidden, &tokens).unwrap();
        logps.value.to_vec1::<f32>().unwrap()
    });
    for (ours, theirs) in ours.iter().zip(&theirs) {
        close(
            f64::from(*ours),
            f64::from(*theirs),
            1e-5,
            "a token's log-probability",
        );
    }
}
