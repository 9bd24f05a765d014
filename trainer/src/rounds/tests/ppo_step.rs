//! One update of PPO, GRPO and RLOO on a tiny random model against a straightforward one in PyTorch, whose numbers
//! `tests/parity/ppo_step.py` wrote: losses, figures, and the norm of every weight's gradient.

use super::{
    super::ppo::{
        advantage::{Known, mean_kl, targets},
        forward::of_tokens,
        rollout::{Answer, Rollouts},
        update::{Step, minibatch_gradient},
    },
    ppo::{Scene, prompts},
    *,
};
use crate::{adapters::Weight, ops::Gradients};
use candle_core::{Device, Tensor};
use laurel_protocol::{Loss, Ppo, RewardSource};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Deserialize)]
struct Golden {
    prompts: Vec<Vec<u32>>,
    answers: Vec<Vec<u32>>,
    prompt_of: Vec<usize>,
    scores: Vec<f64>,
    head: Vec<f32>,
    /// What is added to the policy's log-probabilities and values to make the old ones.
    logp_shifts: Vec<Vec<f32>>,
    value_shifts: Vec<Vec<f32>>,
    settings: serde_json::Map<String, serde_json::Value>,
    steps: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    loss: f64,
    policy_loss: f64,
    value_loss: Option<f64>,
    clip_fraction: f64,
    approximate_kl: f64,
    kl: f64,
    logps: Vec<Vec<f32>>,
    gradient_norms: BTreeMap<String, f64>,
}

fn parity() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity")
}

/// The golden file's settings; those that a loss does not read stay at its defaults.
fn settings(golden: &Golden, loss: Loss) -> Ppo {
    let short = Ppo {
        max_new_tokens: 8,
        ..Ppo::for_loss(loss)
    };
    let mut value = serde_json::to_value(short).unwrap();
    let own_to_ppo = ["value_clip", "value_weight", "gamma", "lambda"];
    let read = golden.settings.clone().into_iter();
    let read = read.filter(|(name, _)| loss == Loss::Ppo || !own_to_ppo.contains(&name.as_str()));
    value.as_object_mut().unwrap().extend(read);
    serde_json::from_value(value).unwrap()
}

fn shifted(numbers: &[Vec<f32>], shifts: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let add = |(numbers, shifts): (&Vec<f32>, &Vec<f32>)| {
        numbers
            .iter()
            .zip(shifts)
            .map(|(number, shift)| number + shift)
            .collect()
    };
    numbers.iter().zip(shifts).map(add).collect()
}

fn near(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    let difference = (ours - theirs).abs() / theirs.abs().max(1.0);
    assert!(difference < tolerance, "{what}: {ours} against {theirs}");
}

#[test]
fn an_update_has_pytorchs_loss_and_gradients() {
    let text = fs::read_to_string(parity().join("golden/ppo_step.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let family = parity().join("families/llama3");
    let model = Model::load(&family, &Device::Cpu, candle_core::DType::F32).unwrap();
    let start = Adapter::load_peft(&family.join("adapter"), &model).unwrap();
    for (name, expected) in &golden.steps {
        let loss: Loss = serde_json::from_value(name.as_str().into()).unwrap();
        let ppo = settings(&golden, loss);
        let mut spec = spec(RoundKind::Ppo);
        spec.reward = Some(RewardSource::Length { target: 1 });
        spec.hyper = Hyper {
            ppo: Some(ppo.clone()),
            ..Hyper::for_loss(loss)
        };
        let (out, scene) = (tempfile::tempdir().unwrap(), Scene::new());
        let environment = scene.environment(&spec);
        let mut reporter = Silent;
        let input = Input {
            spec: &spec,
            model: &model,
            base_model: "tiny",
            starting_adapter: Some(&start),
            rows: prompts(4),
            out: out.path(),
            environment: Some(&environment),
            probes: None,
            references: None,
        };
        let session = Session::start(input, &mut reporter).unwrap().unwrap();
        if let Some(Weight::Trainable(head)) = &session.adapter.value {
            let numbers = Tensor::new(golden.head.as_slice(), &Device::Cpu).unwrap();
            head.set(&numbers.unsqueeze(0).unwrap()).unwrap();
        }
        let answers = golden.answers.iter().zip(&golden.prompt_of);
        let rollouts = Rollouts {
            prompts: golden.prompts.clone(),
            answers: answers
                .map(|(tokens, &prompt)| Answer {
                    prompt,
                    tokens: tokens.clone(),
                    sampled_logps: vec![0.0; tokens.len()],
                    has_end: tokens.last() == Some(&2),
                })
                .collect(),
        };
        let now = of_tokens(&model, Some(&session.adapter), &rollouts, ppo.temperature).unwrap();
        for (ours, theirs) in now.logps.concat().iter().zip(expected.logps.concat()) {
            near("a log-probability", f64::from(*ours), f64::from(theirs), 1e-4);
        }
        let reference = of_tokens(&model, None, &rollouts, ppo.temperature).unwrap();
        let (logps, values) = (
            shifted(&now.logps, &golden.logp_shifts),
            shifted(&now.values, &golden.value_shifts),
        );
        let known = Known {
            answers: &rollouts.answers,
            scores: &golden.scores,
            logps: &logps,
            ref_logps: &reference.logps,
            values: &values,
        };
        near("kl", mean_kl(&logps, &reference.logps), expected.kl, 1e-4);
        let step = Step {
            rollouts: &rollouts,
            known: &known,
            targets: &targets(loss, &ppo, ppo.kl_coefficient, &known),
            device: &model.device,
        };
        let (mut gradients, mut tally) = (Gradients::default(), tally::Tally::default());
        minibatch_gradient(&session, &ppo, &step, &[0, 1, 2, 3], &mut gradients, &mut tally).unwrap();
        let figures = tally.means();
        near("loss", figures["loss"], expected.loss, 1e-4);
        near("policy_loss", figures["policy_loss"], expected.policy_loss, 1e-4);
        near(
            "clip_fraction",
            figures["clip_fraction"],
            expected.clip_fraction,
            1e-9,
        );
        near(
            "approximate_kl",
            figures["approximate_kl"],
            expected.approximate_kl,
            1e-4,
        );
        if let Some(value_loss) = expected.value_loss {
            near("value_loss", figures["value_loss"], value_loss, 1e-4);
        }
        let names: Vec<&String> = gradients.0.keys().collect();
        assert_eq!(names, expected.gradient_norms.keys().collect::<Vec<_>>());
        for (weight, gradient) in &gradients.0 {
            let norm = gradient
                .sqr()
                .unwrap()
                .sum_all()
                .unwrap()
                .to_scalar::<f32>()
                .unwrap();
            let theirs = expected.gradient_norms[weight];
            let difference = (f64::from(norm).sqrt() - theirs).abs() / theirs;
            assert!(difference < 1e-3, "{name}, {weight}: off by {difference:.1e}");
        }
    }
}
