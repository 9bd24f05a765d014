//! Every family against transformers and PEFT on tiny random models that `parity/families.py` made: logits,
//! log-probabilities, gradients of an adapter, greedy continuations, and the same weights from GGUF files. In f32
//! the fused operations compute, in f64 the composed ones.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_protocol::{Precision, Sampling};
use laurel_trainer::{
    adapters::{Adapter, Module, Weight},
    generate::{Engine, Request},
    model::{Model, Pack, TokenAt},
    ops::{Gradients, Tape, Traced},
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

const FAMILIES: [&str; 8] = [
    "llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3",
];

#[derive(Deserialize)]
struct Expected {
    /// Two sequences that begin with the same `shared` tokens.
    ids: [Vec<u32>; 2],
    shared: usize,
    /// Of each sequence, row after row.
    logits: [Vec<f64>; 2],
    /// Of each sequence's tokens from the second on.
    logps: [Vec<f64>; 2],
    /// The tokens that follow the shared ones.
    greedy: Vec<u32>,
    /// Of the tokens after the shared ones, with the adapter.
    adapted_logps: [Vec<f64>; 2],
    /// Of the sum of `adapted_logps`.
    gradient_norms: BTreeMap<String, f64>,
}

fn folder(family: &str) -> PathBuf {
    let families = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/families");
    families.join(family)
}

fn expected(family: &str) -> Expected {
    let text = std::fs::read_to_string(folder(family).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model(family: &str, dtype: DType) -> Model {
    Model::load(&folder(family), &Device::Cpu, dtype).unwrap_or_else(|error| panic!("{family}: {error:#}"))
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(ours: &[f32], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    let differences = ours.iter().zip(theirs).map(|(ours, theirs)| {
        let difference = (f64::from(*ours) - theirs).abs();
        assert!(difference.is_finite());
        difference
    });
    differences.fold(0.0, f64::max)
}

/// Of each whole sequence.
fn logits(model: &Model, ids: &[u32]) -> Vec<f32> {
    let mut pack = Pack::default();
    pack.push(ids, &[]);
    let tape = Tape::off();
    let hidden = model.forward(&tape, &pack, None).unwrap();
    let rows: Vec<u32> = (0..ids.len() as u32).collect();
    let states = model.states(&tape, &hidden, &rows).unwrap();
    numbers(&model.logits(&states.value).unwrap())
}

/// The two sequences as one prompt with two completions, and the tokens of the completions.
fn shared_pack(expected: &Expected) -> (Pack, Vec<TokenAt>) {
    let [first, second] = &expected.ids;
    let (prompt, rest) = first.split_at(expected.shared);
    let mut pack = Pack::default();
    pack.push(prompt, &[rest, &second[expected.shared..]]);
    let tokens = pack.completion(0, 0).chain(pack.completion(0, 1)).collect();
    (pack, tokens)
}

fn same_logits(what: &str, model: &Model, expected: &Expected) {
    for (ids, theirs) in expected.ids.iter().zip(&expected.logits) {
        let difference = largest_difference(&logits(model, ids), theirs);
        println!("{what}: logits differ by {difference:.1e}");
        assert!(difference < 1e-4, "{what}: logits differ by {difference:.1e}");
    }
}

#[test]
fn logits_are_those_of_transformers() {
    for family in FAMILIES {
        for dtype in [DType::F32, DType::F64] {
            same_logits(
                &format!("{family} in {dtype:?}"),
                &model(family, dtype),
                &expected(family),
            );
        }
    }
}

#[test]
fn gguf_files_give_the_logits_of_transformers() {
    let mut n_files = 0;
    for family in FAMILIES {
        let file = folder(family).join("model.gguf");
        if file.exists() {
            for precision in [Precision::F32, Precision::Quantized] {
                let model = Model::load_in(&file, &Device::Cpu, precision)
                    .unwrap_or_else(|error| panic!("{family}: {error:#}"));
                let what = format!("{family} from GGUF in {precision:?}");
                same_logits(&what, &model, &expected(family));
            }
            n_files += 1;
        }
    }
    assert_eq!(n_files, 6);
}

#[test]
fn log_probabilities_of_tokens_are_those_of_transformers() {
    for family in FAMILIES {
        let expected = expected(family);
        let theirs: Vec<f64> = expected
            .logps
            .iter()
            .flat_map(|logps| logps[expected.shared - 1..].to_vec())
            .collect();
        let (pack, tokens) = shared_pack(&expected);
        for dtype in [DType::F32, DType::F64] {
            let model = model(family, dtype);
            let hidden = model.forward(&Tape::off(), &pack, None).unwrap();
            let logps = model.logprobs(&Tape::off(), &hidden, &tokens).unwrap();
            let difference = largest_difference(&numbers(&logps.value), &theirs);
            println!("{family} in {dtype:?}: log-probabilities differ by {difference:.1e}");
            assert!(
                difference < 1e-4,
                "{family} in {dtype:?}: off by {difference:.1e}"
            );
        }
    }
}

/// The saved adapter, to train, in the model's numbers.
fn adapter(family: &str, model: &Model, dtype: DType) -> Adapter {
    let mut adapter = Adapter::load_peft(&folder(family).join("adapter"), model).unwrap();
    let trainable = |weight: &Weight| {
        let tensor = weight.tensor().to_dtype(dtype).unwrap();
        Weight::Trainable(Var::from_tensor(&tensor).unwrap())
    };
    for module in adapter.modules.values_mut() {
        let Module::Lora { a, b, .. } = module else {
            panic!("the adapters are LoRA")
        };
        (*a, *b) = (trainable(a), trainable(b));
    }
    adapter
}

fn adapted_logps(model: &Model, adapter: &Adapter, tape: &Tape, expected: &Expected) -> Traced {
    let (pack, tokens) = shared_pack(expected);
    let hidden = model.forward(tape, &pack, Some(adapter)).unwrap();
    model.logprobs(tape, &hidden, &tokens).unwrap()
}

#[test]
fn adapted_log_probabilities_and_every_gradients_norm_are_those_of_peft() {
    for family in FAMILIES {
        let expected = expected(family);
        for dtype in [DType::F32, DType::F64] {
            let (model, tape) = (model(family, dtype), Tape::recording());
            let adapter = adapter(family, &model, dtype);
            let logps = adapted_logps(&model, &adapter, &tape, &expected);
            let difference = largest_difference(&numbers(&logps.value), &expected.adapted_logps.concat());
            assert!(
                difference < 1e-4,
                "{family} in {dtype:?}: off by {difference:.1e}"
            );
            let mut gradients = Gradients::default();
            let ones = logps.value.ones_like().unwrap();
            tape.backward(&logps, ones, &mut gradients).unwrap();
            let names: Vec<&String> = gradients.0.keys().collect();
            assert_eq!(
                names,
                expected.gradient_norms.keys().collect::<Vec<_>>(),
                "{family}"
            );
            let mut largest: f64 = 0.0;
            for (name, gradient) in &gradients.0 {
                let squares = numbers(gradient).into_iter().map(|x| f64::from(x).powi(2));
                let (norm, theirs) = (squares.sum::<f64>().sqrt(), expected.gradient_norms[name]);
                let difference = (norm - theirs).abs() / theirs;
                assert!(
                    difference < 1e-3,
                    "{family} in {dtype:?}, {name}: {norm} against {theirs}"
                );
                largest = largest.max(difference);
            }
            println!(
                "{family} in {dtype:?}: adapted log-probabilities differ by {difference:.1e}, norms of {} \
                 gradients by {largest:.1e} of themselves",
                names.len()
            );
        }
    }
}

#[test]
fn greedy_generation_is_that_of_transformers() {
    for family in FAMILIES {
        let expected = expected(family);
        let sampling = Sampling {
            temperature: 0.0,
            max_tokens: expected.greedy.len() as u32,
            ..Sampling::default()
        };
        let engine = Engine::new(&model(family, DType::F32), None, &sampling, &[]).unwrap();
        let prompt = expected.ids[0][..expected.shared].to_vec();
        let request = Request {
            key: 0,
            prompt,
            indexes: vec![0, 1],
        };
        let mut completions = Vec::new();
        engine
            .run(vec![request], &mut |done| {
                completions.push(done.ids);
                Ok(true)
            })
            .unwrap();
        assert_eq!(
            completions,
            [expected.greedy.clone(), expected.greedy],
            "{family}"
        );
    }
}
