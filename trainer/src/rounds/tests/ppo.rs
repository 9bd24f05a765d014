//! PPO rounds on a tiny model: they learn, begin as they must, resume bit for bit, end by their rules, and measure by what
//! the data taught the reward model.

use super::{
    super::ppo::{
        rollout::{Answer, Rollouts, sample},
        score,
    },
    *,
};
use crate::data::Tokenizer;
use laurel_protocol::{Keep, Loss, Ppo, RewardSource};

/// A vocabulary of the tiny model's size: `t3 t4 …`, and an end.
pub(super) struct Scene {
    tokenizer: Tokenizer,
    reward: Option<Adapter>,
}

const END: u32 = 2;

impl Scene {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = |id: u32| {
            if id == END {
                "</s>".to_owned()
            } else {
                format!("t{id}")
            }
        };
        let vocabulary: serde_json::Map<_, _> = (0..40).map(|id| (name(id), id.into())).collect();
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
            "added_tokens": [{"id": END, "content": "</s>", "special": true, "single_word": false, "lstrip": false,
                              "rstrip": false, "normalized": false}],
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "t0"},
        });
        fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let config = dir.path().join("tokenizer_config.json");
        fs::write(config, r#"{"eos_token": "</s>"}"#).unwrap();
        Self {
            tokenizer: Tokenizer::load(dir.path()).unwrap(),
            reward: None,
        }
    }

    pub fn environment(&self, spec: &RoundSpec) -> Environment<'_> {
        Environment {
            tokenizer: &self.tokenizer,
            scorer: Scorer::new(spec.reward.as_ref().unwrap(), self.reward.as_ref()).unwrap(),
            ending: vec![END],
            samples: Vec::new(),
            stop: &|| false,
        }
    }
}

pub(super) fn prompts(n: u64) -> Vec<PreferencePair> {
    let mut stream = Rng::new(4).stream("prompts", 0);
    (0..n)
        .map(|group| PreferencePair {
            prompt: (0..3).map(|_| 3 + stream.below(36) as u32).collect(),
            chosen: vec![5, END],
            rejected: Vec::new(),
            group,
            label: Label::default(),
        })
        .collect()
}

/// Short answers pay.
fn short(loss: Loss) -> RoundSpec {
    let base = spec(RoundKind::Dpo);
    RoundSpec {
        kind: RoundKind::Ppo,
        reward: Some(RewardSource::Length { target: 1 }),
        hyper: Hyper {
            batch_size: 8,
            epochs: 5,
            held_out: 0.2,
            ppo: Some(Ppo {
                max_new_tokens: 6,
                // The tiny model seldom ends an answer otherwise.
                temperature: 2.0,
                kl_coefficient: 0.01,
                minibatches: 4,
                ..Ppo::for_loss(loss)
            }),
            ..Hyper { loss, ..base.hyper }
        },
        ..base
    }
}

fn settings(spec: &mut RoundSpec) -> &mut Ppo {
    spec.hyper.ppo.as_mut().unwrap()
}

fn run_in(spec: &RoundSpec, out: &Path, reporter: &mut dyn Reporter) -> anyhow::Result<RoundOutcome> {
    let (model, scene) = (tiny::model(0), Scene::new());
    let environment = scene.environment(spec);
    let input = Input {
        rows: prompts(20),
        environment: Some(&environment),
        probes: None,
        references: None,
        ..input(spec, &model, out)
    };
    run(input, reporter)
}

fn figures(out: &Path, split: Split, name: &str) -> Vec<f64> {
    let points = metrics(out).into_iter().filter(|point| point.split == split);
    points.map(|point| point.values[name]).collect()
}

#[test]
fn each_loss_learns_to_answer_briefly() {
    for loss in [Loss::Ppo, Loss::Grpo, Loss::Rloo] {
        let out = tempfile::tempdir().unwrap();
        let mut spec = short(loss);
        // Enough answers that some of each step's end.
        settings(&mut spec).samples_per_prompt = 16;
        assert_eq!(
            run_in(&spec, out.path(), &mut Silent).unwrap(),
            RoundOutcome::Done
        );
        let rewards = figures(out.path(), Split::Eval, "reward");
        let (first, last) = (rewards[0], rewards[rewards.len() - 1]);
        assert!(last > first + 2.0, "{loss:?}: {rewards:?}");
        let ends = figures(out.path(), Split::Eval, "eos_rate");
        assert!(ends[ends.len() - 1] > ends[0], "{loss:?}: {ends:?}");
    }
}

#[test]
fn at_the_start_ratios_are_one_and_the_policy_is_its_reference() {
    let out = tempfile::tempdir().unwrap();
    let mut spec = short(Loss::Ppo);
    (settings(&mut spec).minibatches, settings(&mut spec).inner_epochs) = (1, 1);
    settings(&mut spec).temperature = 0.7;
    run_in(&spec, out.path(), &mut Silent).unwrap();
    for ratio in figures(out.path(), Split::Train, "ratio") {
        assert!((ratio - 1.0).abs() < 1e-5, "one update a step: {ratio}");
    }
    assert!(figures(out.path(), Split::Train, "kl")[0].abs() < 1e-5);
    assert!(figures(out.path(), Split::Eval, "kl")[0].abs() < 1e-5);
    // A value head that says 0 of everything explains nothing.
    assert!(figures(out.path(), Split::Train, "explained_variance")[0].abs() < 1e-9);
}

#[test]
fn without_a_learning_rate_every_ratio_stays_one() {
    let out = tempfile::tempdir().unwrap();
    let mut spec = short(Loss::Ppo);
    (spec.hyper.learning_rate, spec.hyper.max_steps) = (0.0, 3);
    run_in(&spec, out.path(), &mut Silent).unwrap();
    for name in ["ratio", "ratio_variance", "clip_fraction", "approximate_kl"] {
        let expected = if name == "ratio" { 1.0 } else { 0.0 };
        for value in figures(out.path(), Split::Train, name) {
            assert!((value - expected).abs() < 1e-5, "{name}: {value}");
        }
    }
}

/// A round with all that has a state: an adaptive coefficient, normalised scores, moments, the best weights, examples.
fn with_state(loss: Loss) -> RoundSpec {
    let mut spec = short(loss);
    (
        spec.hyper.epochs,
        spec.hyper.eval_every,
        spec.hyper.checkpoint_every,
    ) = (3, 2, 2);
    (spec.hyper.keep, spec.hyper.patience) = (Keep::Best, 3);
    let ppo = settings(&mut spec);
    (ppo.kl_target, ppo.kl_horizon) = (0.5, 40.0);
    (ppo.normalise_rewards, ppo.reward_clip) = (true, 2.0);
    (ppo.entropy_weight, ppo.sft_weight) = (0.01, 0.1);
    if loss == Loss::Ppo {
        ppo.whiten_rewards = true;
    }
    spec
}

#[test]
fn a_stopped_or_killed_round_ends_with_the_same_weights_bit_for_bit() {
    for loss in [Loss::Ppo, Loss::Rloo] {
        let (spec, whole) = (with_state(loss), tempfile::tempdir().unwrap());
        run_in(&spec, whole.path(), &mut Silent).unwrap();
        let betas = figures(whole.path(), Split::Train, "kl_coefficient");
        assert!(betas.iter().any(|beta| *beta != betas[0]), "{betas:?}");
        let names = |out: &Path| fs::read(out.join("samples.jsonl")).unwrap();
        for at in 1..=5 {
            let parts = tempfile::tempdir().unwrap();
            match at % 2 {
                0 => drop(run_in(&spec, parts.path(), &mut StopAfter(at)).unwrap()),
                _ => {
                    let round = || run_in(&spec, parts.path(), &mut PanicAt(at));
                    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(round));
                    assert!(killed.is_err());
                }
            }
            run_in(&spec, parts.path(), &mut Silent).unwrap();
            assert_eq!(
                weights(whole.path()),
                weights(parts.path()),
                "{loss:?} broken at {at}"
            );
            if loss == Loss::Ppo {
                let head = |out: &Path| fs::read(out.join("adapter/value.safetensors")).unwrap();
                assert_eq!(head(whole.path()), head(parts.path()), "broken at {at}");
            }
            let steps = |out: &Path| metrics(out).iter().map(|p| (p.step, p.split)).collect::<Vec<_>>();
            assert_eq!(
                steps(whole.path()),
                steps(parts.path()),
                "{loss:?} broken at {at}"
            );
            assert_eq!(
                names(whole.path()),
                names(parts.path()),
                "{loss:?} broken at {at}"
            );
        }
    }
}

#[test]
fn a_round_stopped_while_it_samples_goes_on_from_its_last_step() {
    let (spec, whole, parts) = (
        with_state(Loss::Ppo),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    run_in(&spec, whole.path(), &mut Silent).unwrap();
    let (model, scene) = (tiny::model(0), Scene::new());
    // The engine asks before every token, so these fall into the first evaluation, a later one, and into steps.
    for n_asked in [10, 20, 25, 20, 30] {
        let left = std::cell::Cell::new(n_asked);
        let stop = || {
            left.set(left.get() - 1);
            left.get() < 0
        };
        let mut environment = scene.environment(&spec);
        environment.stop = &stop;
        let input = Input {
            rows: prompts(20),
            environment: Some(&environment),
            probes: None,
            references: None,
            ..input(&spec, &model, parts.path())
        };
        assert_eq!(
            run(input, &mut Silent).unwrap(),
            RoundOutcome::Stopped,
            "asked {n_asked} times, {} left",
            left.get()
        );
    }
    run_in(&spec, parts.path(), &mut Silent).unwrap();
    assert_eq!(weights(whole.path()), weights(parts.path()));
}

#[test]
fn rules_end_a_round_early_and_its_report_says_so() {
    let ended = |change: fn(&mut Ppo)| {
        let (mut spec, out) = (short(Loss::Ppo), tempfile::tempdir().unwrap());
        change(settings(&mut spec));
        run_in(&spec, out.path(), &mut Silent).unwrap();
        let report: serde_json::Value =
            serde_json::from_slice(&fs::read(out.path().join("report.json")).unwrap()).unwrap();
        let last = metrics(out.path()).pop().unwrap();
        assert_eq!(last.split, Split::Eval, "it is measured at its end");
        (report["steps"].as_u64().unwrap(), report["ended_by"].to_string())
    };
    let (steps, by) = ended(|ppo| ppo.max_kl = 1e-3);
    assert!(steps <= 3 && by.contains("max_kl"), "{steps}: {by}");
    let (steps, by) = ended(|ppo| ppo.target_reward = Some(-100.0));
    assert!(steps == 5 && by.contains("target_reward"), "{steps}: {by}");
}

#[test]
fn prompts_are_taken_once_each_and_those_without_room_are_left_out() {
    let (model, scene, out) = (tiny::model(0), Scene::new(), tempfile::tempdir().unwrap());
    let mut spec = short(Loss::Ppo);
    (spec.hyper.max_length, spec.hyper.batch_size, spec.hyper.held_out) = (20, 4, 0.0);
    let environment = scene.environment(&spec);
    let mut rows = [prompts(6), prompts(6)].concat();
    // 6 new tokens and 8 for what closes an answer leave 6.
    rows[0].prompt = vec![7; 6];
    rows[1].prompt = vec![7; 7];
    rows[2].label.tie = true;
    let said = accept::about_rows(&rows, &spec, &model.config).unwrap();
    assert!(
        said.len() == 1 && said[0].starts_with("1 rows whose prompt"),
        "{said:?}"
    );
    let input = Input {
        rows,
        environment: Some(&environment),
        probes: None,
        references: None,
        ..input(&spec, &model, out.path())
    };
    let mut reporter = Silent;
    let session = Session::start(input, &mut reporter).unwrap().unwrap();
    let all: Vec<u64> = session
        .batches()
        .take(2)
        .flat_map(|batch| batch.prompts(&session))
        .map(|(row, _)| row)
        .collect();
    assert_eq!(all.len(), 7, "{all:?}");
}

#[test]
fn a_reward_model_scores_answers_as_it_scores_rows() {
    let model = tiny::model(0);
    let mut scene = Scene::new();
    let mut reward = Adapter::init(&spec(RoundKind::Dpo).adapter, &model, &Rng::new(5)).unwrap();
    tiny::disturb(&reward, 0.2);
    reward.add_score(&model, &Rng::new(6)).unwrap();
    scene.reward = Some(reward.frozen_copy().unwrap());
    let mut spec = short(Loss::Rloo);
    spec.reward = Some(RewardSource::Adapter);
    let environment = scene.environment(&spec);
    let policy = Adapter::init(&spec.adapter, &model, &Rng::new(1)).unwrap();
    let asked: Vec<(u64, Vec<u32>)> = (0..).zip(prompts(3)).map(|(at, row)| (at, row.prompt)).collect();
    let ppo = settings(&mut spec).clone();
    let rollouts = sample(&model, &policy, &environment, &ppo, asked, (3, 9))
        .unwrap()
        .unwrap();
    assert!(rollouts.answers.iter().any(|answer| !answer.has_end));
    let ours = score::scores(&model, &environment, &rollouts).unwrap();
    for (answer, ours) in rollouts.answers.iter().zip(ours) {
        // A row's answer ends with the end token, whatever ended the policy's.
        let closed = [&answer.tokens[..answer.n_words()], &[END]].concat();
        let row = PreferencePair {
            prompt: rollouts.prompts[answer.prompt].clone(),
            chosen: closed.clone(),
            rejected: closed,
            ..prompts(1).remove(0)
        };
        let theirs = scores(&model, &reward, &[&row]).unwrap()[0].0;
        assert!((ours - f64::from(theirs)).abs() < 1e-5, "{ours} against {theirs}");
    }
}

#[test]
fn what_is_no_reward_model_or_no_expression_is_refused() {
    let model = tiny::model(0);
    let policy = Adapter::init(&spec(RoundKind::Dpo).adapter, &model, &Rng::new(5)).unwrap();
    let refused = |source: RewardSource, adapter: Option<&Adapter>| {
        let error = Scorer::new(&source, adapter).err().unwrap();
        format!("{error:#}")
    };
    assert!(refused(RewardSource::Adapter, Some(&policy)).contains("no score head"));
    let pattern = "(unclosed".to_owned();
    assert!(refused(RewardSource::Regex { pattern }, None).contains("(unclosed"));
}

#[test]
fn an_expression_scores_the_text_without_the_end() {
    let (model, scene) = (tiny::model(0), Scene::new());
    let mut spec = short(Loss::Ppo);
    let pattern = "t7 t8$".to_owned();
    spec.reward = Some(RewardSource::Regex { pattern });
    let answer = |tokens: Vec<u32>| Answer {
        prompt: 0,
        sampled_logps: vec![0.0; tokens.len()],
        has_end: tokens.last() == Some(&END),
        tokens,
    };
    let rollouts = Rollouts {
        prompts: vec![vec![5]],
        answers: vec![
            answer(vec![7, 8, END]),
            answer(vec![8, 7, END]),
            answer(vec![7, 8]),
        ],
    };
    let scores = score::scores(&model, &scene.environment(&spec), &rollouts).unwrap();
    assert_eq!(scores, [1.0, 0.0, 1.0]);
}

#[test]
fn dropout_is_refused() {
    let mut spec = short(Loss::Ppo);
    if let AdapterConfig::Lora(lora) = &mut spec.adapter {
        lora.dropout = 0.1;
    }
    let error = run_in(&spec, tempfile::tempdir().unwrap().path(), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("dropout"), "{error}");
}
