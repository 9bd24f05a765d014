//! Every loss against PyTorch, and TRL where it has the same one: values and gradients in f64 that
//! `tests/parity/losses.py` wrote, against ours in f64, f32 and by finite differences.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_trainer::losses::{self, Judged, PairLogps, PairTokens, Pairs, Stages};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    settings: BTreeMap<String, serde_json::Value>,
    trl: String,
    inputs: BTreeMap<String, Vec<f64>>,
    loss: f64,
    gradients: BTreeMap<String, Vec<f64>>,
}

fn cases() -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/golden/losses.json");
    let golden: Golden = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    golden.cases
}

/// The inputs as variables.
struct Vars(BTreeMap<String, Var>);

impl Vars {
    fn new(inputs: &BTreeMap<String, Vec<f64>>, dtype: DType) -> Self {
        let var = |values: &Vec<f64>| {
            let tensor = Tensor::new(values.as_slice(), &Device::Cpu).unwrap();
            Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap()
        };
        Self(
            inputs
                .iter()
                .map(|(name, values)| (name.clone(), var(values)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.0[name]
    }
}

impl Case {
    fn setting(&self, name: &str) -> f64 {
        self.settings[name].as_f64().unwrap()
    }

    fn loss(&self, vars: &Vars) -> Tensor {
        let set = |name: &str| self.setting(name);
        let logps = || PairLogps {
            chosen: vars.get("chosen"),
            rejected: vars.get("rejected"),
            ref_chosen: vars.get("ref_chosen"),
            ref_rejected: vars.get("ref_rejected"),
        };
        let n_tokens = || PairTokens {
            chosen: vars.get("chosen_tokens"),
            rejected: vars.get("rejected_tokens"),
        };
        let pairs = || Pairs {
            chosen: vars.get("chosen"),
            rejected: vars.get("rejected"),
            margin: vars.get("margin"),
            tie: vars.get("tie"),
            weight: vars.get("weight"),
        };
        let loss = match self.name.as_str() {
            "sigmoid" => losses::dpo_sigmoid(&logps(), set("beta"), set("smoothing")),
            "sigmoid_norm" => losses::dpo_sigmoid_norm(&logps(), &n_tokens(), set("beta"), set("smoothing")),
            "hinge" => losses::dpo_hinge(&logps(), set("beta")),
            "ipo" => losses::dpo_ipo(&logps(), &n_tokens(), set("beta")),
            "robust" => losses::dpo_robust(&logps(), set("beta"), set("smoothing")),
            "simpo" => {
                let (chosen, rejected) = (vars.get("chosen"), vars.get("rejected"));
                losses::simpo(chosen, rejected, set("beta"), set("gamma"), set("smoothing"))
            }
            "kto" => {
                let answers = Judged {
                    logps: vars.get("logps"),
                    ref_logps: vars.get("ref_logps"),
                    sign: vars.get("sign"),
                    weight: vars.get("weight"),
                };
                losses::kto(&answers, set("kl"), set("beta"))
            }
            "orpo" => losses::orpo_odds_ratio(vars.get("chosen"), vars.get("rejected")),
            "bradley_terry" => losses::bradley_terry(&pairs(), set("smoothing")),
            "centred" => losses::bradley_terry(&pairs(), 0.0)
                .and_then(|loss| loss + (losses::center_rewards(&pairs())? * set("coefficient"))?),
            "rao_kupper" => losses::rao_kupper(&pairs(), set("threshold")),
            "davidson" => losses::davidson(&pairs(), set("nu")),
            "k_wise" => k_wise(vars.get("scores"), &self.sizes()),
            "plackett_luce" => plackett_luce(vars.get("scores"), &self.sizes()),
            other => panic!("no loss is called {other:?}"),
        };
        losses::mean(&loss.unwrap(), None).unwrap()
    }

    fn sizes(&self) -> Vec<usize> {
        serde_json::from_value(self.settings["sizes"].clone()).unwrap()
    }
}

/// Rankings best first: every pair, each ranking with the same weight.
fn k_wise(scores: &Tensor, sizes: &[usize]) -> candle_core::Result<Tensor> {
    let (mut chosen, mut rejected, mut weight) = (Vec::new(), Vec::new(), Vec::new());
    let mut first = 0;
    for &size in sizes {
        let n_pairs = size * (size - 1) / 2;
        for i in 0..size {
            for j in i + 1..size {
                chosen.push((first + i) as u32);
                rejected.push((first + j) as u32);
                weight.push(1.0 / (sizes.len() * n_pairs) as f64);
            }
        }
        first += size;
    }
    let pick = |places: &[u32]| scores.index_select(&Tensor::new(places, &Device::Cpu)?, 0);
    let weight = Tensor::new(weight.as_slice(), &Device::Cpu)?.to_dtype(scores.dtype())?;
    let none = weight.zeros_like()?;
    losses::bradley_terry(
        &Pairs {
            chosen: &pick(&chosen)?,
            rejected: &pick(&rejected)?,
            margin: &none,
            tie: &none,
            weight: &weight,
        },
        0.0,
    )
}

fn plackett_luce(scores: &Tensor, sizes: &[usize]) -> candle_core::Result<Tensor> {
    let width = sizes.iter().max().copied().unwrap();
    let (mut places, mut present) = (Vec::new(), Vec::new());
    let mut first = 0;
    for &size in sizes {
        for best in 0..size - 1 {
            for at in 0..width {
                let inside = best + at < size;
                places.push((first + if inside { best + at } else { best }) as u32);
                present.push(f64::from(u8::from(inside)));
            }
        }
        first += size;
    }
    let n = places.len() / width;
    let present = Tensor::from_vec(present, (n, width), &Device::Cpu)?.to_dtype(scores.dtype())?;
    let weight = (Tensor::ones(n, scores.dtype(), &Device::Cpu)? / sizes.len() as f64)?;
    losses::plackett_luce(&Stages {
        scores: &scores
            .index_select(&Tensor::new(places.as_slice(), &Device::Cpu)?, 0)?
            .reshape((n, width))?,
        present: &present,
        weight: &weight,
    })
}

fn number(tensor: &Tensor) -> f64 {
    tensor.to_dtype(DType::F64).unwrap().to_scalar().unwrap()
}

fn close(ours: f64, theirs: f64, tolerance: f64, what: &str) {
    let distance = (ours - theirs).abs() / theirs.abs().max(1e-3);
    assert!(
        distance < tolerance,
        "{what}: {ours} against {theirs}, off by {distance:.1e}"
    );
}

#[test]
fn values_and_gradients_are_pytorchs_and_trls() {
    let cases = cases();
    assert_eq!(cases.iter().filter(|case| !case.trl.is_empty()).count(), 23);
    // In f32 the differences of log-probabilities around -60 have lost two digits before a loss sees them.
    for (dtype, value_tolerance, tolerance) in [(DType::F64, 1e-12, 1e-11), (DType::F32, 1e-5, 1e-4)] {
        for (at, case) in cases.iter().enumerate() {
            let vars = Vars::new(&case.inputs, dtype);
            let loss = case.loss(&vars);
            let what = format!("case {at}, {} in {dtype:?}", case.name);
            close(number(&loss), case.loss, value_tolerance, &what);
            let store = loss.backward().unwrap();
            for (name, theirs) in &case.gradients {
                let ours = store.get(&vars.0[name]).unwrap().to_dtype(DType::F64).unwrap();
                for (ours, theirs) in ours.to_vec1::<f64>().unwrap().iter().zip(theirs) {
                    close(*ours, *theirs, tolerance, &format!("{what}, gradient of {name}"));
                }
            }
        }
    }
}

#[test]
fn gradients_are_the_finite_differences() {
    const STEP: f64 = 1e-6;
    for (at, case) in cases().iter().enumerate() {
        for name in case.gradients.keys() {
            let vars = Vars::new(&case.inputs, DType::F64);
            let store = case.loss(&vars).backward().unwrap();
            let slopes = store.get(&vars.0[name]).unwrap().to_vec1::<f64>().unwrap();
            for (place, slope) in slopes.into_iter().enumerate() {
                let moved = |by: f64| {
                    let mut inputs = case.inputs.clone();
                    inputs.get_mut(name).unwrap()[place] += by;
                    number(&case.loss(&Vars::new(&inputs, DType::F64)))
                };
                let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let what = format!("case {at}, {}, {name}[{place}]", case.name);
                assert!(
                    (slope - difference).abs() < 1e-7,
                    "{what}: {slope} against {difference}"
                );
            }
        }
    }
}

/// The first step, where policy and reference are the same.
#[test]
fn a_margin_of_zero_costs_ln_2_or_1_or_the_square_of_the_target() {
    let logps = Tensor::new(&[-40f32, -7.5], &Device::Cpu).unwrap();
    let counts = Tensor::new(&[20f32, 5.0], &Device::Cpu).unwrap();
    let same = PairLogps {
        chosen: &logps,
        rejected: &logps,
        ref_chosen: &logps,
        ref_rejected: &logps,
    };
    let n_tokens = PairTokens {
        chosen: &counts,
        rejected: &counts,
    };
    let ln_2 = std::f64::consts::LN_2;
    let beta = 0.1;
    let expected = [
        (losses::dpo_sigmoid(&same, beta, 0.0), ln_2),
        (losses::dpo_sigmoid(&same, beta, 0.2), ln_2),
        (losses::dpo_sigmoid_norm(&same, &n_tokens, beta, 0.0), ln_2),
        (losses::dpo_robust(&same, beta, 0.2), ln_2),
        (losses::dpo_hinge(&same, beta), 1.0),
        (
            losses::dpo_ipo(&same, &n_tokens, beta),
            (1.0 / (2.0 * beta)).powi(2),
        ),
        (losses::orpo_odds_ratio(&logps, &logps), ln_2),
        (losses::simpo(&logps, &logps, 2.0, 0.0, 0.0), ln_2),
    ];
    for (at, (loss, expected)) in expected.into_iter().enumerate() {
        let loss = losses::mean(&loss.unwrap(), None).unwrap();
        close(number(&loss), expected, 1e-6, &format!("loss {at}"));
    }
}

#[test]
fn a_ranking_of_two_is_a_pair_and_an_even_ranking_costs_the_log_of_its_orders() {
    let scores = Tensor::new(&[0.7f64, -0.4], &Device::Cpu).unwrap();
    let pair = number(&k_wise(&scores, &[2]).unwrap());
    close(number(&plackett_luce(&scores, &[2]).unwrap()), pair, 1e-12, "two");
    let even = Tensor::zeros(4, DType::F64, &Device::Cpu).unwrap();
    close(
        number(&plackett_luce(&even, &[4]).unwrap()),
        24f64.ln(),
        1e-12,
        "four",
    );
    close(
        number(&k_wise(&even, &[4]).unwrap()),
        std::f64::consts::LN_2,
        1e-12,
        "four",
    );
}
