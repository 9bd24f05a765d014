//! Rounds on answers that are judged one by one: where they come from, what they are measured from, and resuming.

use super::{super::kto, *};
use crate::{ops::Gradients, report::Reporter};
use laurel_protocol::Loss;
use tally::Tally;

fn spec_of(loss: Loss) -> RoundSpec {
    let base = spec(RoundKind::Dpo);
    RoundSpec {
        hyper: Hyper { loss, ..base.hyper },
        ..base
    }
}

/// An answer of the rule of [`pairs`], judged by itself.
fn judged(pair: PreferencePair, desirable: bool) -> PreferencePair {
    let label = Label {
        desirable: Some(desirable),
        ..Label::default()
    };
    PreferencePair {
        chosen: if desirable { pair.chosen } else { pair.rejected },
        rejected: Vec::new(),
        label,
        ..pair
    }
}

/// Keeps the warnings.
#[derive(Default)]
struct Warnings(Vec<String>);

impl Reporter for Warnings {
    fn log(&mut self, level: LogLevel, text: &str) {
        if level == LogLevel::Warning {
            self.0.push(text.to_owned());
        }
    }
    fn metrics(&mut self, _: &MetricPoint) {}
    fn progress(&mut self, _: Progress) -> Directive {
        Directive::GoOn
    }
}

fn run_with(spec: &RoundSpec, rows: Vec<PreferencePair>) -> (tempfile::TempDir, Vec<String>) {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut warnings = Warnings::default();
    let input = Input {
        rows,
        ..input(spec, &model, out.path())
    };
    assert_eq!(run(input, &mut warnings).unwrap(), RoundOutcome::Done);
    (out, warnings.0)
}

#[test]
fn pairs_and_their_answers_judged_one_by_one_make_the_same_round() {
    let spec = spec_of(Loss::Kto);
    let (of_pairs, warnings) = run_with(&spec, pairs(12));
    let answers = pairs(12)
        .into_iter()
        .flat_map(|pair| [judged(pair.clone(), true), judged(pair, false)]);
    let (of_answers, _) = run_with(&spec, answers.collect());
    assert_eq!(weights(of_pairs.path()), weights(of_answers.path()));
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn the_first_step_costs_half_of_each_sides_weight_and_measures_from_zero() {
    for loss in [Loss::Kto, Loss::ApoZeroUnpaired] {
        let mut spec = spec_of(loss);
        (spec.hyper.desirable_weight, spec.hyper.undesirable_weight) = (1.0, 3.0);
        (spec.hyper.batch_size, spec.hyper.held_out) = (48, 0.0);
        let (out, _) = run_with(&spec, pairs(24));
        let first = &metrics(out.path())[0].values;
        assert!(
            (first["loss"] - 0.5 * (1.0 + 3.0) / 2.0).abs() < 1e-5,
            "{first:?}"
        );
        for name in ["chosen_reward", "rejected_reward", "margin"] {
            assert!(first[name].abs() < 1e-5, "{name} of {first:?}");
        }
        let kl = first.get("kl").map(|kl| kl.abs() < 1e-5);
        assert_eq!(kl, (loss == Loss::Kto).then_some(true));
    }
}

#[test]
fn stopped_and_killed_rounds_go_on_to_the_same_weights_bit_for_bit() {
    let (model, spec) = (tiny::model(0), spec_of(Loss::Kto));
    let (whole, _) = run_with(&spec, pairs(24));
    let kl = |point: &MetricPoint| point.values["kl"] > 0.0;
    assert!(metrics(whole.path()).iter().any(kl), "z₀ takes no part");
    let stopped = tempfile::tempdir().unwrap();
    let round = |out: &Path, reporter: &mut dyn Reporter| run(input(&spec, &model, out), reporter);
    let outcome = round(stopped.path(), &mut StopAfter(5)).unwrap();
    assert_eq!(outcome, RoundOutcome::Stopped);
    round(stopped.path(), &mut Silent).unwrap();
    let killed = tempfile::tempdir().unwrap();
    let breaks_off = || round(killed.path(), &mut PanicAt(8));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(breaks_off)).is_err());
    round(killed.path(), &mut Silent).unwrap();
    for other in [&stopped, &killed] {
        assert_eq!(weights(whole.path()), weights(other.path()));
        let figures = |out: &Path| {
            let mut points = metrics(out);
            for point in &mut points {
                point.values.remove("tokens_per_second");
            }
            points
        };
        assert_eq!(figures(whole.path()), figures(other.path()));
    }
}

#[test]
fn answers_of_one_side_are_trained_with_a_warning_and_have_no_margin() {
    for desirable in [true, false] {
        let rows = pairs(12)
            .into_iter()
            .map(|pair| judged(pair, desirable))
            .collect();
        let (out, warnings) = run_with(&spec_of(Loss::Kto), rows);
        assert!(warnings[0].contains("one side alone"), "{warnings:?}");
        let last = metrics(out.path()).pop().unwrap().values;
        let (there, absent) = match desirable {
            true => ("chosen_reward", "rejected_reward"),
            false => ("rejected_reward", "chosen_reward"),
        };
        assert!(last.contains_key(there) && !last.contains_key(absent) && !last.contains_key("margin"));
    }
}

#[test]
fn unequal_sides_are_warned_of_with_weights_that_silence_the_warning() {
    // 4 desirable and 16 undesirable answers: 1 : 4.
    let rows: Vec<_> = pairs(20)
        .into_iter()
        .enumerate()
        .map(|(at, pair)| judged(pair, at % 5 == 0))
        .collect();
    let mut spec = spec_of(Loss::Kto);
    (spec.hyper.held_out, spec.hyper.max_steps) = (0.0, 1);
    let (_, warnings) = run_with(&spec, rows.clone());
    let text = &warnings[0];
    assert!(text.contains("desirable_weight to 4 to 5.33"), "{text}");
    assert!(text.contains("undesirable_weight to 0.19 to 0.25"), "{text}");
    for (desirable, undesirable) in [(4.0, 1.0), (5.33, 1.0), (1.0, 0.25), (1.0, 0.19)] {
        (spec.hyper.desirable_weight, spec.hyper.undesirable_weight) = (desirable, undesirable);
        let (_, warnings) = run_with(&spec, rows.clone());
        assert!(warnings.is_empty(), "{warnings:?}");
    }
}

#[test]
fn a_prompt_meets_the_answer_before_it_that_belongs_to_another_prompt() {
    let row = |prompt: u32, answer: &[u32]| PreferencePair {
        prompt: vec![prompt; 2],
        chosen: answer.to_vec(),
        rejected: Vec::new(),
        group: 0,
        label: Label::default(),
    };
    let rows = [row(1, &[10]), row(1, &[11]), row(2, &[12, 13, 14]), row(3, &[15])];
    let met = |rows: &[&PreferencePair], longest| -> Vec<(u32, Vec<u32>)> {
        let met = kto::mismatched(rows, longest);
        met.into_iter().map(|row| (row.prompt[0], row.chosen)).collect()
    };
    let all: Vec<&PreferencePair> = rows.iter().collect();
    let expected = [(1, vec![15]), (1, vec![15]), (2, vec![11]), (3, vec![12, 13, 14])];
    assert_eq!(met(&all, 9), expected);
    // Where all prompts differ it is TRL's: each the one before it, the first the last.
    let expected = [(1, vec![15]), (2, vec![10]), (3, vec![12, 13])];
    assert_eq!(met(&[&rows[0], &rows[2], &rows[3]], 4), expected);
    assert!(met(&[&rows[0], &rows[1]], 9).is_empty());
}

/// By hand: the log-ratios of the batch's prompts with each other's answers, at the weights after the first step.
#[test]
fn the_second_steps_kl_is_the_mean_log_ratio_of_mismatched_answers() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut spec = spec_of(Loss::Kto);
    (
        spec.hyper.held_out,
        spec.hyper.max_steps,
        spec.hyper.checkpoint_every,
    ) = (0.0, 2, 1);
    let mut reporter = Silent;
    let mut session = Session::start(input(&spec, &model, out.path()), &mut reporter)
        .unwrap()
        .unwrap();
    let references = references::reference_logps(&mut session, kto::rows_in_use)
        .unwrap()
        .unwrap();
    tiny::disturb(&session.adapter, 0.1);
    let rows = session.rows_in_use();
    let batch: Vec<&PreferencePair> = session.batches().nth(1).unwrap().pairs(&session);
    let kl = kto::kl(&session, &batch, &references).unwrap();
    let mut sum = 0.0;
    for (at, row) in batch.iter().enumerate() {
        let answer = &batch[(at + batch.len() - 1) % batch.len()].chosen;
        let pair = PreferencePair {
            chosen: answer.clone(),
            rejected: vec![1],
            ..(*row).clone()
        };
        let of = |adapter| f64::from(completion_logps(&model, adapter, &[&pair]).unwrap()[0].0);
        sum += of(Some(&session.adapter)) - of(None);
    }
    let mean = sum / batch.len() as f64;
    assert!(
        !rows.is_empty() && (kl - mean.max(0.0)).abs() < 1e-4,
        "{kl} against {mean}"
    );
}

#[test]
fn eight_answers_in_one_pass_equal_eight_passes_of_one() {
    let model = tiny::model(0);
    for loss in [Loss::Kto, Loss::ApoZeroUnpaired] {
        let mut spec = spec_of(loss);
        spec.hyper.undesirable_weight = 1.5;
        let (out, mut reporter) = (tempfile::tempdir().unwrap(), Silent);
        let mut session = Session::start(input(&spec, &model, out.path()), &mut reporter)
            .unwrap()
            .unwrap();
        let references = references::reference_logps(&mut session, kto::rows_in_use)
            .unwrap()
            .unwrap();
        tiny::disturb(&session.adapter, 0.1);
        let rows = session.rows_in_use();
        let of = |passes: &[&[&PreferencePair]]| {
            let (mut gradients, mut tally) = (Gradients::default(), Tally::default());
            for pass in passes {
                kto::train_pass(&session, pass, 8, 0.3, &references, &mut gradients, &mut tally).unwrap();
            }
            (gradients, tally.means()["loss"])
        };
        let (together, loss_together) = of(&[&rows[..8]]);
        let (apart, loss_apart) = of(&rows[..8].chunks(1).collect::<Vec<_>>());
        assert!(super::losses::distance(&together, &apart) < 1e-4, "{loss:?}");
        assert!(
            (loss_together - loss_apart).abs() < 1e-5 * loss_apart.abs(),
            "{loss:?}"
        );
    }
}

#[test]
fn an_example_that_is_marked_undesirable_is_not_imitated() {
    let rows = pairs(12)
        .into_iter()
        .enumerate()
        .map(|(at, pair)| judged(pair, at % 3 != 0))
        .collect();
    let (out, warnings) = run_with(&spec(RoundKind::Sft), rows);
    assert!(
        warnings[0].starts_with("4 rows whose label is false"),
        "{warnings:?}"
    );
    let report = fs::read(out.path().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["n_left_out_rows"], 4);
}
