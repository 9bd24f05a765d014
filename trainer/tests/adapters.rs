//! Adapters with every option against PEFT, whose files and numbers `parity/adapters.py` wrote on the tiny models of
//! `parity/families.py`: log-probabilities, the norm of every gradient, every number of the magnitudes' gradients. In f32
//! the fused operations compute, in f64 the composed ones.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_trainer::{
    adapters::{Adapter, Module, TaskType, Weight},
    model::{Model, Pack},
    ops::{Dropout, Gradients, Tape},
    rng::Rng,
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

const CASES: [&str; 8] = [
    "rslora",
    "dora",
    "dora_fused",
    "patterns",
    "blocks",
    "ia3",
    "lora_dropout",
    "dora_dropout",
];
/// Those of the script.
const SEED: u64 = 11;
const STEP: u64 = 3;

#[derive(Deserialize)]
struct Expected {
    family: String,
    ids: [Vec<u32>; 2],
    /// Of each sequence's tokens from the second on.
    logps: [Vec<f64>; 2],
    /// Of the sum of all `logps`.
    gradient_norms: BTreeMap<String, f64>,
    magnitude_gradients: BTreeMap<String, Vec<f64>>,
}

fn parity() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity")
}

fn folder(case: &str) -> PathBuf {
    parity().join("adapters").join(case)
}

fn expected(case: &str) -> Expected {
    let text = std::fs::read_to_string(folder(case).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn model(family: &str, dtype: DType) -> Model {
    Model::load(&parity().join("families").join(family), &Device::Cpu, dtype).unwrap()
}

/// PEFT's adapter, to train, in the model's numbers.
fn adapter(case: &str, model: &Model, dtype: DType) -> Adapter {
    let mut adapter = Adapter::load_peft(&folder(case), model).unwrap_or_else(|error| panic!("{error:#}"));
    let train = |weight: &mut Weight| {
        let tensor = weight.tensor().to_dtype(dtype).unwrap();
        *weight = Weight::Trainable(Var::from_tensor(&tensor).unwrap());
    };
    for module in adapter.modules.values_mut() {
        match module {
            Module::Lora { a, b, magnitude, .. } => [a, b].into_iter().chain(magnitude).for_each(train),
            Module::Ia3 { factors, .. } => train(factors),
        }
    }
    adapter
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    let distance = (ours - theirs).abs() / theirs.abs().max(1e-2);
    assert!(
        distance < tolerance,
        "{what}: {ours} against {theirs}, off by {distance:.1e}"
    );
}

/// The log-probabilities of each sequence, and the gradients of their sum.
fn computed(model: &Model, adapter: &Adapter, ids: &[Vec<u32>; 2], training: bool) -> (Vec<f64>, Gradients) {
    let mut gradients = Gradients::default();
    let mut all = Vec::new();
    for (pass, ids) in ids.iter().enumerate() {
        let dropout = Dropout {
            rng: Rng::new(SEED),
            step: STEP,
            pass: pass as u64,
        };
        let tape = if training {
            Tape::training(dropout)
        } else {
            Tape::recording()
        };
        let mut pack = Pack::default();
        pack.push(&ids[..1], &[&ids[1..]]);
        let hidden = model.forward(&tape, &pack, Some(adapter)).unwrap();
        let tokens: Vec<_> = pack.completion(0, 0).collect();
        let logps = model.logprobs(&tape, &hidden, &tokens).unwrap();
        all.extend(numbers(&logps.value));
        let ones = logps.value.ones_like().unwrap();
        tape.backward(&logps, ones, &mut gradients).unwrap();
    }
    (all, gradients)
}

#[test]
fn log_probabilities_and_gradients_are_those_of_peft() {
    for case in CASES {
        let expected = expected(case);
        for dtype in [DType::F32, DType::F64] {
            let model = model(&expected.family, dtype);
            let adapter = adapter(case, &model, dtype);
            let (logps, gradients) = computed(&model, &adapter, &expected.ids, case.ends_with("dropout"));
            let theirs = expected.logps.concat();
            assert_eq!(logps.len(), theirs.len());
            for (ours, theirs) in logps.into_iter().zip(theirs) {
                close(ours, theirs, 1e-4, &format!("{case} in {dtype:?}, a token"));
            }
            let names: Vec<&String> = gradients.0.keys().collect();
            assert_eq!(
                names,
                expected.gradient_norms.keys().collect::<Vec<_>>(),
                "{case}"
            );
            for (name, gradient) in &gradients.0 {
                let what = format!("{case} in {dtype:?}, {name}");
                let norm = numbers(gradient).into_iter().map(|x| x * x).sum::<f64>().sqrt();
                close(norm, expected.gradient_norms[name], 1e-3, &what);
                let theirs = expected.magnitude_gradients.get(name).into_iter().flatten();
                for (ours, theirs) in numbers(gradient).into_iter().zip(theirs) {
                    assert!(
                        (ours - theirs).abs() < 1e-3 * norm,
                        "{what}: {ours} against {theirs}"
                    );
                }
            }
        }
    }
}

#[test]
fn dropout_acts_in_training_alone() {
    for case in ["lora_dropout", "dora_dropout"] {
        let expected = expected(case);
        let model = model(&expected.family, DType::F32);
        let mut adapter = adapter(case, &model, DType::F32);
        let logps = |adapter: &Adapter, training| computed(&model, adapter, &expected.ids, training).0;
        let with = logps(&adapter, false);
        assert_ne!(logps(&adapter, true), with);
        let frozen = adapter.frozen_copy().unwrap();
        assert_eq!(logps(&frozen, true), with);
        adapter.set_dropout(0.0);
        assert_eq!(logps(&adapter, true), with);
        assert_eq!(logps(&adapter, false), with);
    }
}

#[test]
fn files_of_peft_are_written_again_with_the_same_tensors_and_options() {
    for case in CASES {
        let model = model(&expected(case).family, DType::F32);
        let adapter = Adapter::load_peft(&folder(case), &model).unwrap();
        let out = tempfile::tempdir().unwrap();
        adapter
            .save_peft(out.path(), &expected(case).family, TaskType::CausalLm)
            .unwrap();
        let tensors = |dir: PathBuf| {
            let tensors = candle_core::safetensors::load(dir.join("adapter_model.safetensors"), &Device::Cpu);
            let mut tensors: Vec<_> = tensors
                .unwrap()
                .into_iter()
                .map(|(name, tensor)| (name, tensor.dims().to_vec(), numbers(&tensor)))
                .collect();
            tensors.sort_by(|left, right| left.0.cmp(&right.0));
            tensors
        };
        assert_eq!(tensors(folder(case)), tensors(out.path().to_owned()), "{case}");
        // What both say, they say alike; ours leaves out options of PEFT that are off.
        let config = |dir: PathBuf| -> serde_json::Map<String, serde_json::Value> {
            serde_json::from_slice(&std::fs::read(dir.join("adapter_config.json")).unwrap()).unwrap()
        };
        let (theirs, ours) = (config(folder(case)), config(out.path().to_owned()));
        for (option, value) in ours {
            // PEFT writes every path in the place of "all-linear".
            if (case, option.as_str()) == ("dora", "target_modules") {
                continue;
            }
            let said = |value: &serde_json::Value| match value {
                serde_json::Value::Array(names) if option != "layers_to_transform" => {
                    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
                    names.sort();
                    names.join(" ")
                }
                serde_json::Value::Number(number) => format!("{:?}", number.as_f64()),
                serde_json::Value::Object(values) => {
                    let values = values.iter().map(|(key, value)| (key, value.as_f64()));
                    format!("{:?}", values.collect::<Vec<_>>())
                }
                other => other.to_string(),
            };
            assert_eq!(said(&value), said(&theirs[&option]), "{option} of {case}");
        }
    }
}
