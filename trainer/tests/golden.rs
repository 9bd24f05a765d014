//! The trainer against PyTorch, transformers and PEFT on the real default model: log-probabilities, losses and
//! gradient norms that `parity/golden.py` and `parity/golden_more.py` wrote. Token ids are in the file, so that a tokenizer takes part only in the test
//! of text to ids.
//!
//! The model is found through `LAUREL_MODEL` or in the cache folder, where `cargo xtask test` puts it.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_protocol::{Precision, Sampling};
use laurel_trainer::{
    adapters::{Adapter, SCORE, Weight},
    data::{Row, Tokenizer, read_rows},
    generate::{Engine, Request},
    losses::{self, Judged, PairLogps, PairTokens, Pairs},
    model::{Model, Pack, TokenAt},
    ops::{Gradients, Tape, Traced},
    rounds::cli::id_logps,
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

/// What `parity/golden_more.py` wrote.
#[derive(Deserialize)]
struct More {
    logits: Logits,
    /// The policy's log-probabilities of every token but the first, prompt included.
    first_chosen_logps: Vec<f64>,
    mean_nll_of_all_tokens: f64,
    sft_reference_loss: f64,
    mismatched: Mismatched,
    kl: f64,
    losses: MoreLosses,
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

/// The policy's, where it predicts the first chosen completion's first token.
#[derive(Deserialize)]
struct Logits {
    first: Vec<f64>,
    likeliest: usize,
    logsumexp: f64,
}

#[derive(Deserialize)]
struct MoreLosses {
    hinge: GlobalLoss,
    ipo: GlobalLoss,
    ipo_of_sums: GlobalLoss,
    kto: GlobalLoss,
}

#[derive(Deserialize)]
struct GlobalLoss {
    loss: f64,
    /// Over all weights together.
    gradient_norm: f64,
}

#[derive(Deserialize)]
struct Mismatched {
    policy: Vec<f64>,
    reference: Vec<f64>,
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

fn more() -> More {
    let text = std::fs::read_to_string(folder().join("more.json")).unwrap();
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
    let loss = losses::dpo_sigmoid(&pair_logps, golden.beta, 0.0)
        .unwrap()
        .mean_all()
        .unwrap();
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
    let (reference, _) = logps(&pack, &Tape::off(), None);
    let of_reference = losses::cross_entropy(&reference.value.narrow(0, 0, n_chosen).unwrap()).unwrap();
    close(
        scalar(&of_reference),
        more().sft_reference_loss,
        1e-4,
        "the reference's loss",
    );
    let mut gradients = Gradients::default();
    let gradient = loss.backward().unwrap().get(&values).unwrap().clone();
    tape.backward(&traced, gradient, &mut gradients).unwrap();
    same_gradient_norms(&gradients, &golden.sft.gradient_norms);
}

/// DPO's relatives and KTO on one pass through the model each: the loss, and the norm of its whole gradient.
#[test]
fn hinge_ipo_and_kto_losses_and_gradient_norms_are_pytorchs() {
    let golden = golden();
    let (pack, adapter) = (pack(&golden.pairs), adapter());
    let (reference, counts) = logps(&pack, &Tape::off(), None);
    let (ref_chosen, ref_rejected) = sums(&reference.value, &counts);
    let n_pairs = golden.pairs.len();
    let numbers = |values: Vec<f32>| {
        let n = values.len();
        Tensor::from_vec(values, n, &Device::Cpu).unwrap()
    };
    let counted = numbers(counts.iter().map(|&n| n as f32).collect());
    let ones = numbers(vec![1.0; n_pairs]);
    let more = more();
    let kl = mismatched_kl(&golden, &more, &adapter);
    let check = |what: &str, expected: &GlobalLoss, of: &dyn Fn(&PairLogps<'_>) -> Tensor| {
        let tape = Tape::recording();
        let (traced, counts) = logps(&pack, &tape, Some(&adapter));
        let values = Var::from_tensor(&traced.value).unwrap();
        let (chosen, rejected) = sums(&values, &counts);
        let loss = of(&PairLogps {
            chosen: &chosen,
            rejected: &rejected,
            ref_chosen: &ref_chosen,
            ref_rejected: &ref_rejected,
        });
        close(scalar(&loss), expected.loss, 1e-4, what);
        let mut gradients = Gradients::default();
        let gradient = loss.backward().unwrap().get(&values).unwrap().clone();
        tape.backward(&traced, gradient, &mut gradients).unwrap();
        let squares = gradients
            .0
            .values()
            .map(|x| scalar(&x.sqr().unwrap().sum_all().unwrap()));
        close(squares.sum::<f64>().sqrt(), expected.gradient_norm, 1e-3, what);
    };
    check("hinge", &more.losses.hinge, &|it| {
        losses::dpo_hinge(it, golden.beta).unwrap().mean_all().unwrap()
    });
    let n_tokens = PairTokens {
        chosen: &counted.narrow(0, 0, n_pairs).unwrap(),
        rejected: &counted.narrow(0, n_pairs, n_pairs).unwrap(),
    };
    check("IPO", &more.losses.ipo, &|it| {
        losses::dpo_ipo(it, &n_tokens, golden.beta)
            .unwrap()
            .mean_all()
            .unwrap()
    });
    // Completions that count as one token each leave the sums as they are: IPO as its paper has it.
    let sums_alone = PairTokens {
        chosen: &ones,
        rejected: &ones,
    };
    check("IPO of sums", &more.losses.ipo_of_sums, &|it| {
        losses::dpo_ipo(it, &sums_alone, golden.beta)
            .unwrap()
            .mean_all()
            .unwrap()
    });
    check("KTO", &more.losses.kto, &|it| {
        let both = |a: &Tensor, b: &Tensor| Tensor::cat(&[a, b], 0).unwrap();
        let answers = Judged {
            logps: &both(it.chosen, it.rejected),
            ref_logps: &both(it.ref_chosen, it.ref_rejected),
            sign: &both(&ones, &ones.neg().unwrap()),
            weight: &numbers(vec![0.5 / n_pairs as f32; 2 * n_pairs]),
        };
        losses::kto(&answers, kl, golden.beta).unwrap()
    });
}

/// KTO's z₀ of the golden pairs as one batch, all chosen before all rejected; its parts are compared as well.
fn mismatched_kl(golden: &Golden, more: &More, adapter: &Adapter) -> f64 {
    let chosen = golden.pairs.iter().map(|pair| (&pair.prompt, &pair.chosen));
    let rejected = golden.pairs.iter().map(|pair| (&pair.prompt, &pair.rejected));
    let all: Vec<(&Vec<u32>, &Vec<u32>)> = chosen.chain(rejected).collect();
    let mut pack = Pack::default();
    for (at, (prompt, _)) in all.iter().enumerate() {
        pack.push(prompt, &[all[(at + all.len() - 1) % all.len()].1]);
    }
    let of = |adapter: Option<&Adapter>, expected: &[f64], what: &str| -> Vec<f32> {
        let hidden = model().forward(&Tape::off(), &pack, adapter).unwrap();
        let sum = |group: usize| {
            let tokens: Vec<TokenAt> = pack.completion(group, 0).collect();
            let logps = model().logprobs(&Tape::off(), &hidden, &tokens).unwrap().value;
            logps.sum_all().unwrap().to_scalar::<f32>().unwrap()
        };
        let sums: Vec<f32> = (0..all.len()).map(sum).collect();
        for (ours, theirs) in sums.iter().zip(expected) {
            close(f64::from(*ours), *theirs, 1e-4, what);
        }
        sums
    };
    let policy = of(Some(adapter), &more.mismatched.policy, "policy, mismatched");
    let reference = of(None, &more.mismatched.reference, "reference, mismatched");
    let kl = losses::kl_estimate(&policy, &reference);
    assert!((kl - more.kl).abs() < 1e-3, "z₀: {kl} against {}", more.kl);
    kl
}

#[test]
fn logits_and_log_probabilities_of_all_tokens_are_pytorchs() {
    let (golden, more) = (golden(), more());
    let adapter = adapter();
    let mut sum = 0.0;
    let mut n_tokens = 0;
    for (at, pair) in golden.pairs.iter().enumerate() {
        let ids = [pair.prompt.as_slice(), &pair.chosen].concat();
        let logps = id_logps(model(), Some(&adapter), &ids, 1).unwrap();
        if at == 0 {
            let theirs = &more.first_chosen_logps;
            assert_eq!(logps.len(), theirs.len());
            for (ours, theirs) in logps.iter().zip(theirs) {
                // Relative to a nat: a token that is nearly certain has a log-probability near 0.
                let distance = (f64::from(*ours) - theirs).abs() / theirs.abs().max(1.0);
                assert!(distance < 1e-4, "a token: {ours} against {theirs}");
            }
        }
        sum += logps.iter().map(|logp| f64::from(*logp)).sum::<f64>();
        n_tokens += logps.len();
    }
    close(-sum / n_tokens as f64, more.mean_nll_of_all_tokens, 1e-4, "NLL");

    let first = &golden.pairs[0].prompt;
    let mut pack = Pack::default();
    pack.push(first, &[]);
    let hidden = model().forward(&Tape::off(), &pack, Some(&adapter)).unwrap();
    let state = model()
        .states(&Tape::off(), &hidden, &[first.len() as u32 - 1])
        .unwrap();
    let logits = model().logits(&state.value).unwrap().flatten_all().unwrap();
    let logits: Vec<f64> = logits
        .to_vec1::<f32>()
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect();
    for (ours, theirs) in logits.iter().zip(&more.logits.first) {
        assert!((ours - theirs).abs() < 1e-3, "a logit: {ours} against {theirs}");
    }
    let likeliest = (0..logits.len())
        .max_by(|a, b| logits[*a].total_cmp(&logits[*b]))
        .unwrap();
    assert_eq!(likeliest, more.logits.likeliest);
    let logsumexp = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
    close(logsumexp, more.logits.logsumexp, 1e-4, "log-sum-exp");
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

#[test]
fn sampling_from_quantised_weights_says_what_training_says_and_depends_on_no_neighbour() {
    let model = Model::load_in(&model_path(), &Device::Cpu, Precision::Quantized).unwrap();
    let adapter = Adapter::load_peft(&folder().join("adapter"), &model).unwrap();
    let sampling = Sampling {
        temperature: 1.0,
        top_p: 1.0,
        max_tokens: 24,
        ..Sampling::default()
    };
    let engine = Engine::new(&model, Some(&adapter), &sampling, &[]).unwrap();
    let prompts: Vec<Vec<u32>> = golden().pairs.into_iter().map(|pair| pair.prompt).collect();
    let complete = |key: usize, indexes: &[u32]| Request {
        key: key as u64,
        prompt: prompts[key].clone(),
        indexes: indexes.to_vec(),
    };
    let run = |requests: Vec<Request>| {
        let mut all = Vec::new();
        engine
            .run(requests, &mut |finished| {
                all.push(finished);
                Ok(true)
            })
            .unwrap();
        all
    };
    let together = run((0..prompts.len()).map(|key| complete(key, &[0, 1, 2])).collect());
    let alone = run(vec![complete(0, &[1])]).remove(0);
    assert!(
        together.contains(&alone),
        "the same tokens and log-probabilities alone"
    );
    let mut gaps = Vec::new();
    for done in together {
        let prompt = &prompts[done.key as usize];
        let ids = [prompt.clone(), done.ids.clone()].concat();
        let expected = id_logps(&model, Some(&adapter), &ids, prompt.len()).unwrap();
        gaps.extend(
            done.logprobs
                .iter()
                .zip(expected)
                .map(|(sampled, trained)| f64::from((sampled - trained).abs())),
        );
    }
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    // The check at the start of a PPO round allows 0.05 (`rounds/ppo/health.rs`).
    assert!(mean < 0.005, "{mean}");
    println!("mean gap {mean:.4} of {} tokens", gaps.len());
}
