//! Rounds on a tiny random model: they learn, stop, resume bit for bit, and refuse what they cannot train on.

mod adapters;
mod keeping;
mod kept_references;
mod kto;
mod losses;
mod memory;
mod ppo;
mod ppo_step;
mod weights;

use super::*;
use crate::{
    data::{Label, PreferencePair},
    model::tiny,
    report::{Directive, Progress, Silent},
    rng::Rng,
};
use laurel_protocol::{
    adapter::AdapterConfig,
    round::{Hyper, LogLevel, MetricPoint, Split},
};
use std::{fs, path::Path};

/// Pairs with a rule that can be learnt: chosen completions use low tokens, rejected ones high tokens.
fn pairs(n: usize) -> Vec<PreferencePair> {
    let mut stream = Rng::new(8).stream("pairs", 0);
    let mut tokens = |from: u32, n: usize| (0..n).map(|_| from + stream.below(12) as u32).collect::<Vec<_>>();
    (0..n)
        .map(|i| PreferencePair {
            prompt: tokens(3, 3 + i % 4),
            chosen: tokens(4, 2 + i % 3),
            rejected: tokens(24, 2 + i % 5),
            group: i as u64,
            label: Label::default(),
        })
        .collect()
}

fn spec(kind: RoundKind) -> RoundSpec {
    let hyper = Hyper {
        learning_rate: 2e-2,
        epochs: 2,
        batch_size: 4,
        checkpoint_every: 3,
        eval_every: 5,
        ..Hyper::for_kind(kind)
    };
    let adapter = AdapterConfig::lora(4, 16.0);
    RoundSpec {
        kind,
        adapter,
        hyper,
        reward: None,
        seed: 7,
    }
}

fn input<'a>(spec: &'a RoundSpec, model: &'a Model, out: &'a Path) -> Input<'a> {
    Input {
        spec,
        model,
        base_model: "tiny",
        starting_adapter: None,
        rows: pairs(24),
        out,
        environment: None,
        probes: None,
        references: None,
    }
}

fn metrics(out: &Path) -> Vec<MetricPoint> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn weights(out: &Path) -> Vec<u8> {
    fs::read(out.join("adapter").join(crate::adapters::WEIGHTS_FILE)).unwrap()
}

/// Asks to stop after a number of steps.
struct StopAfter(u64);

impl Reporter for StopAfter {
    fn log(&mut self, _: LogLevel, _: &str) {}
    fn metrics(&mut self, _: &MetricPoint) {}
    fn progress(&mut self, progress: Progress) -> Directive {
        if progress.step >= self.0 {
            Directive::Stop
        } else {
            Directive::GoOn
        }
    }
}

#[test]
fn each_kind_of_round_learns_a_simple_rule() {
    let model = tiny::model(0);
    for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
        let out = tempfile::tempdir().unwrap();
        let spec = spec(kind);
        assert_eq!(
            run(input(&spec, &model, out.path()), &mut Silent).unwrap(),
            RoundOutcome::Done
        );
        let points = metrics(out.path());
        let train: Vec<f64> = points
            .iter()
            .filter(|p| p.split == Split::Train)
            .map(|p| p.values["loss"])
            .collect();
        assert!(train[train.len() - 1] < 0.9 * train[0], "{kind:?}: {train:?}");
        let last = points.iter().rfind(|point| point.split == Split::Eval).unwrap();
        if kind != RoundKind::Sft {
            assert_eq!(last.values["accuracy"], 1.0, "{kind:?}");
        }
        if kind == RoundKind::Dpo {
            assert!(
                (train[0] - std::f64::consts::LN_2).abs() < 1e-6,
                "the first loss is ln 2"
            );
        }
    }
}

#[test]
fn a_stopped_round_goes_on_to_the_same_weights_bit_for_bit() {
    let model = tiny::model(0);
    for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
        let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let spec = spec(kind);
        run(input(&spec, &model, whole.path()), &mut Silent).unwrap();
        let stopped = run(input(&spec, &model, parts.path()), &mut StopAfter(5)).unwrap();
        assert_eq!(stopped, RoundOutcome::Stopped);
        run(input(&spec, &model, parts.path()), &mut Silent).unwrap();
        assert_eq!(weights(whole.path()), weights(parts.path()), "{kind:?}");
        let steps = |out: &Path| metrics(out).iter().map(|p| (p.step, p.split)).collect::<Vec<_>>();
        assert_eq!(steps(whole.path()), steps(parts.path()), "{kind:?}");
    }
}

/// Breaks off in the middle of a step, as a kill does: only checkpoints of the rhythm are there.
struct PanicAt(u64);

impl Reporter for PanicAt {
    fn log(&mut self, _: LogLevel, _: &str) {}
    fn metrics(&mut self, point: &MetricPoint) {
        assert!(point.step < self.0, "killed");
    }
    fn progress(&mut self, _: Progress) -> Directive {
        Directive::GoOn
    }
}

#[test]
fn a_killed_round_goes_on_to_the_same_weights_bit_for_bit() {
    let model = tiny::model(0);
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spec = spec(RoundKind::Dpo);
    run(input(&spec, &model, whole.path()), &mut Silent).unwrap();
    let round = || run(input(&spec, &model, parts.path()), &mut PanicAt(8));
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(round));
    assert!(killed.is_err());
    run(input(&spec, &model, parts.path()), &mut Silent).unwrap();
    assert_eq!(weights(whole.path()), weights(parts.path()));
}

#[test]
fn a_batch_in_one_pass_equals_the_sum_of_its_rows() {
    let model = tiny::model(0);
    let rng = Rng::new(3);
    let adapter = Adapter::init(&spec(RoundKind::Dpo).adapter, &model, &rng).unwrap();
    tiny::disturb(&adapter, 0.2);
    let rows = pairs(8);
    let together = completion_logps(&model, Some(&adapter), &rows.iter().collect::<Vec<_>>()).unwrap();
    for (row, together) in rows.iter().zip(together) {
        let alone = completion_logps(&model, Some(&adapter), &[row]).unwrap()[0];
        assert!((alone.0 - together.0).abs() < 1e-4 && (alone.1 - together.1).abs() < 1e-4);
    }
}

#[test]
fn a_round_that_starts_from_an_adapter_takes_its_copy_as_reference() {
    let model = tiny::model(0);
    let first = Adapter::init(&spec(RoundKind::Dpo).adapter, &model, &Rng::new(3)).unwrap();
    tiny::disturb(&first, 0.2);
    let first = first.frozen_copy().unwrap();
    let out = tempfile::tempdir().unwrap();
    let spec = spec(RoundKind::Dpo);
    let input = Input {
        starting_adapter: Some(&first),
        ..input(&spec, &model, out.path())
    };
    run(input, &mut Silent).unwrap();
    assert!((metrics(out.path())[0].values["loss"] - std::f64::consts::LN_2).abs() < 1e-5);
}

/// Keeps what it is told.
#[derive(Default)]
struct Listening(Vec<(u64, Split)>);

impl Reporter for Listening {
    fn log(&mut self, _: LogLevel, _: &str) {}
    fn metrics(&mut self, point: &MetricPoint) {
        self.0.push((point.step, point.split));
    }
    fn progress(&mut self, _: Progress) -> Directive {
        Directive::GoOn
    }
}

#[test]
fn a_resumed_round_reports_the_figures_before_the_checkpoint_again() {
    let model = tiny::model(0);
    let (out, spec) = (tempfile::tempdir().unwrap(), spec(RoundKind::Dpo));
    run(input(&spec, &model, out.path()), &mut StopAfter(5)).unwrap();
    let mut heard = Listening::default();
    run(input(&spec, &model, out.path()), &mut heard).unwrap();
    let written: Vec<_> = metrics(out.path()).iter().map(|p| (p.step, p.split)).collect();
    assert!(written.contains(&(5, Split::Eval)));
    assert_eq!(heard.0, written);
}

#[test]
fn files_of_something_else_are_neither_overwritten_nor_removed() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let own = out.path().join("adapter").join("mine.txt");
    fs::create_dir(out.path().join("adapter")).unwrap();
    fs::write(&own, "kept").unwrap();
    let spec = spec(RoundKind::Sft);
    let error = run(input(&spec, &model, out.path()), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("choose an empty folder"), "{error}");
    assert_eq!(fs::read_to_string(own).unwrap(), "kept");
}

#[test]
fn a_finished_folder_is_kept_and_refused_to_another_spec() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut spec = spec(RoundKind::Sft);
    run(input(&spec, &model, out.path()), &mut Silent).unwrap();
    let before = weights(out.path());
    assert_eq!(
        run(input(&spec, &model, out.path()), &mut Silent).unwrap(),
        RoundOutcome::Done
    );
    spec.seed = 8;
    let error = run(input(&spec, &model, out.path()), &mut Silent).unwrap_err();
    assert!(error.to_string().contains("another spec"), "{error}");
    assert_eq!(weights(out.path()), before);
}

#[test]
fn data_without_a_usable_row_is_refused_with_the_reasons() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let spec = spec(RoundKind::Dpo);
    let mut rows = pairs(2);
    rows[0].rejected = rows[0].chosen.clone();
    rows[1].chosen = vec![5; 2000];
    let error = run(
        Input {
            rows,
            ..input(&spec, &model, out.path())
        },
        &mut Silent,
    )
    .unwrap_err();
    assert!(error.to_string().contains("no row is left"), "{error}");
    assert!(!out.path().join("report.json").exists());
}

#[test]
fn numbers_that_overflow_stop_the_round_and_leave_no_adapter() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut spec = spec(RoundKind::Sft);
    spec.hyper.checkpoint_every = 1;
    let mut rows = pairs(24);
    rows.truncate(8);
    let broken = Adapter::init(&spec.adapter, &model, &Rng::new(3)).unwrap();
    for (_, var) in broken.variables() {
        var.set(&(var.ones_like().unwrap() * 1e20).unwrap()).unwrap();
    }
    let input = Input {
        rows,
        starting_adapter: Some(&broken),
        ..input(&spec, &model, out.path())
    };
    let error = format!("{:#}", run(input, &mut Silent).unwrap_err());
    assert!(error.contains("step 1") && error.contains("finite"), "{error}");
    assert!(!out.path().join("adapter").exists());
}

/// Rows of such lengths that a batch of them takes several passes, with unlike numbers of chosen tokens.
fn long_pairs() -> Vec<PreferencePair> {
    let mut stream = Rng::new(9).stream("long pairs", 0);
    let mut tokens = |n: usize| (0..n).map(|_| 3 + stream.below(30) as u32).collect::<Vec<_>>();
    (0..6)
        .map(|i| PreferencePair {
            prompt: tokens(40),
            chosen: tokens(10 + 30 * i),
            rejected: tokens(150),
            group: i as u64,
            label: Label::default(),
        })
        .collect()
}

#[test]
fn the_nll_term_is_the_mean_over_the_chosen_tokens_of_the_batch() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let rows = long_pairs();
    let pairs: Vec<&PreferencePair> = rows.iter().collect();
    assert!(logps::passes(&pairs).len() > 1);
    let logps = completion_logps(&model, None, &pairs).unwrap();
    let n_tokens: usize = rows.iter().map(|row| row.chosen.len()).sum();
    let nll = -logps.iter().map(|(chosen, _)| f64::from(*chosen)).sum::<f64>() / n_tokens as f64;
    let mut spec = spec(RoundKind::Dpo);
    (spec.hyper.nll_weight, spec.hyper.batch_size, spec.hyper.held_out) = (0.5, 8, 0.0);
    let input = Input {
        rows: rows.clone(),
        ..input(&spec, &model, out.path())
    };
    run(input, &mut Silent).unwrap();
    let loss = metrics(out.path())[0].values["loss"];
    let expected = std::f64::consts::LN_2 + 0.5 * nll;
    assert!((loss - expected).abs() < 1e-4, "{loss} against {expected}");
}

#[test]
fn rounding_does_not_refuse_a_round_of_a_large_beta() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut spec = spec(RoundKind::Dpo);
    (spec.hyper.beta, spec.hyper.max_steps) = (100.0, 1);
    let input = Input {
        rows: long_pairs(),
        ..input(&spec, &model, out.path())
    };
    assert_eq!(run(input, &mut Silent).unwrap(), RoundOutcome::Done);
}

#[test]
fn held_out_figures_that_are_no_numbers_stop_the_round() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let spec = spec(RoundKind::Sft);
    let mut reporter = Silent;
    let mut session = Session::start(input(&spec, &model, out.path()), &mut reporter)
        .unwrap()
        .unwrap();
    let mut tally = tally::Tally::default();
    tally.add("loss", f64::NAN, 1);
    let error = session.report(Split::Eval, &tally).unwrap_err();
    assert!(error.to_string().contains("held-out loss"), "{error}");
    assert!(metrics(out.path()).is_empty());
}

#[test]
fn a_round_is_known_by_base_weights_and_by_the_starting_adapters_alpha() {
    let spec = spec(RoundKind::Dpo);
    let adapter = |alpha: f64| {
        let config = AdapterConfig::lora(4, alpha);
        Adapter::init(&config, &tiny::model(0), &Rng::new(3)).unwrap()
    };
    let hash = |model: &Model, alpha: f64| {
        accept::fingerprint(&spec, "tiny", model, (Some(&adapter(alpha)), None), &pairs(4)).unwrap()
    };
    let first = hash(&tiny::model(0), 16.0);
    assert_eq!(first, hash(&tiny::model(0), 16.0));
    assert_ne!(first, hash(&tiny::model(0), 32.0));
    assert_ne!(first, hash(&tiny::model(1), 16.0));
    assert_ne!(first, hash(&tiny::biased_model(0), 16.0));
}
