//! The arithmetic of PPO, GRPO and RLOO against PyTorch: numbers in f64 that `tests/parity/ppo.py` wrote from masked,
//! padded tensors.

#![allow(clippy::unwrap_used)]

use candle_core::{DType, Device, Tensor, Var};
use laurel_protocol::KlEstimator;
use laurel_trainer::losses::{
    self, RunningMoments, Steps, Values, adapt_kl_coefficient, explained_variance, gae, group_advantages,
    kl_of_token, leave_one_out_advantages, moments, whiten,
};
use serde_json::Value;
use std::path::Path;

fn golden() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity/golden/ppo.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn same(ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let difference = (ours - theirs).abs() / theirs.abs().max(1.0);
        assert!(difference < tolerance, "{ours} against {theirs}");
    }
}

fn advantages(golden: &Value, name: &str) -> Vec<Vec<f64>> {
    let case = &golden[format!("gae_{name}")];
    let (gamma, lambda) = (case["gamma"].as_f64().unwrap(), case["lambda"].as_f64().unwrap());
    let answers = rows(&golden["rewards"]).into_iter().zip(rows(&golden["values"]));
    answers
        .map(|(rewards, values)| gae(&rewards, &values, gamma, lambda))
        .collect()
}

#[test]
fn advantages_and_whitening_are_those_of_padded_tensors() {
    let golden = golden();
    for name in ["plain", "discounted"] {
        let theirs = rows(&golden[format!("gae_{name}")]["advantages"]);
        same(&advantages(&golden, name).concat(), &theirs.concat(), 1e-12);
    }
    let mut whitened = advantages(&golden, "discounted").concat();
    let (before, values) = (whitened.clone(), rows(&golden["values"]).concat());
    let returns: Vec<f64> = before.iter().zip(&values).map(|(a, v)| a + v).collect();
    same(&returns, &numbers(&golden["returns"]), 1e-12);
    let explained = explained_variance(&values, &returns);
    same(
        &[explained],
        &[golden["explained_variance"].as_f64().unwrap()],
        1e-12,
    );
    whiten(&mut whitened, true);
    same(&whitened, &numbers(&golden["whitened"]), 1e-12);
    let mut rewards = rows(&golden["rewards"]).concat();
    whiten(&mut rewards, false);
    same(&rewards, &numbers(&golden["whitened_with_mean"]), 1e-12);
}

#[test]
fn divergences_the_controller_and_group_advantages_are_those_of_pytorch() {
    let golden = golden();
    let kl = &golden["kl"];
    let pairs = numbers(&kl["logps"]).into_iter().zip(numbers(&kl["ref_logps"]));
    let pairs: Vec<(f64, f64)> = pairs.collect();
    for (estimator, name) in [(KlEstimator::K1, "k1"), (KlEstimator::K3, "k3")] {
        let ours: Vec<f64> = pairs
            .iter()
            .map(|(p, r)| kl_of_token(estimator, *p, *r))
            .collect();
        same(&ours, &numbers(&kl[name]), 1e-12);
    }
    for case in golden["controller"].as_array().unwrap() {
        let beta = adapt_kl_coefficient(0.15, case["kl"].as_f64().unwrap(), 64, 6.0, 10_000.0);
        same(&[beta], &[case["beta"].as_f64().unwrap()], 1e-14);
    }
    let rewards = numbers(&golden["group"]["rewards"]);
    same(
        &group_advantages(&rewards),
        &numbers(&golden["group"]["grpo"]),
        1e-12,
    );
    same(
        &leave_one_out_advantages(&rewards),
        &numbers(&golden["group"]["rloo"]),
        1e-12,
    );
}

/// Value and gradient of a loss of one trained column and fixed ones, each token weighing the same.
fn loss(
    case: &Value,
    (trained, fixed): (&str, [&str; 2]),
    dtype: DType,
    of: impl Fn(&Tensor, [&Tensor; 2], &Tensor) -> candle_core::Result<Tensor>,
) -> (f64, Vec<f64>) {
    let column = |name: &str| {
        let numbers = Tensor::new(numbers(&case[name]), &Device::Cpu).unwrap();
        numbers.to_dtype(dtype).unwrap()
    };
    let var = Var::from_tensor(&column(trained)).unwrap();
    let fixed = fixed.map(column);
    let n = var.dim(0).unwrap();
    let weight = (Tensor::ones(n, dtype, &Device::Cpu).unwrap() / n as f64).unwrap();
    let value = of(&var, [&fixed[0], &fixed[1]], &weight).unwrap();
    let gradients = value.backward().unwrap();
    let plain = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let gradient = plain(gradients.get(&var).unwrap()).to_vec1().unwrap();
    (plain(&value).to_scalar().unwrap(), gradient)
}

#[test]
fn the_clipped_losses_and_their_gradients_are_those_of_pytorch() {
    let golden = golden();
    for (dtype, tolerance) in [(DType::F64, 1e-12), (DType::F32, 1e-5)] {
        let check = |name: &str, (value, gradient): (f64, Vec<f64>)| {
            let case = &golden[name];
            same(&[value], &[case["loss"].as_f64().unwrap()], tolerance);
            same(&gradient, &numbers(&case["gradient"]), tolerance);
        };
        let columns = ("logps", ["old_logps", "advantages"]);
        let policy = loss(&golden["policy_loss"], columns, dtype, |logps, fixed, weight| {
            let [old_logps, advantages] = fixed;
            let steps = Steps {
                logps,
                old_logps,
                advantages,
                weight,
            };
            losses::policy_loss(&steps, 0.2)
        });
        check("policy_loss", policy);
        let columns = ("values", ["old_values", "returns"]);
        let value = loss(&golden["value_loss"], columns, dtype, |values, fixed, weight| {
            let [old_values, returns] = fixed;
            let values = Values {
                values,
                old_values,
                returns,
                weight,
            };
            losses::value_loss(&values, 0.2)
        });
        check("value_loss", value);
        let columns = ("logps", ["ref_logps", "ref_logps"]);
        let kl = loss(&golden["kl_loss"], columns, dtype, |logps, fixed, weight| {
            losses::kl_loss(logps, fixed[0], weight)
        });
        check("kl_loss", kl);
    }
}

#[test]
fn running_moments_of_parts_are_those_of_the_whole() {
    let rewards = rows(&golden()["rewards"]);
    let mut running = RunningMoments::default();
    rewards.iter().for_each(|part| running.add(part));
    let (mean, variance) = moments(&rewards.concat());
    let expected = (1.5 - mean) / (variance + 1e-8).sqrt();
    assert!((running.normalise(1.5) - expected).abs() < 1e-12);
    let text = serde_json::to_string(&running).unwrap();
    assert_eq!(serde_json::from_str::<RunningMoments>(&text).unwrap(), running);
}

#[test]
fn numbers_that_are_all_the_same_whiten_to_zero_and_explain_nothing() {
    for n in [1, 4] {
        let mut same = vec![3.0; n];
        whiten(&mut same, true);
        assert_eq!(same, vec![0.0; n]);
        assert_eq!(explained_variance(&vec![1.0; n], &vec![2.0; n]), 0.0);
        assert_eq!(group_advantages(&vec![0.5; n]), vec![0.0; n]);
    }
}
