//! Early stop and keeping the best adapter, also when the round is stopped or killed in between.

use super::*;
use laurel_protocol::{Keep, Schedule};

/// Rows without a rule: a round learns them by heart, and its held-out loss rises.
fn noise(n: u64) -> Vec<PreferencePair> {
    let mut stream = Rng::new(11).stream("noise", 0);
    let mut tokens = |n: usize| (0..n).map(|_| 3 + stream.below(36) as u32).collect::<Vec<_>>();
    (0..n)
        .map(|group| PreferencePair {
            prompt: tokens(4),
            chosen: tokens(4),
            rejected: tokens(4),
            group,
            label: Label::default(),
        })
        .collect()
}

fn watched(kind: RoundKind) -> RoundSpec {
    let mut spec = spec(kind);
    spec.hyper = Hyper {
        epochs: 8,
        eval_every: 2,
        held_out: 0.3,
        patience: 3,
        keep: Keep::Best,
        schedule: Schedule::Constant,
        warmup: 0.0,
        ..spec.hyper
    };
    spec
}

fn noisy<'a>(spec: &'a RoundSpec, model: &'a Model, out: &'a Path) -> Input<'a> {
    Input {
        rows: noise(30),
        ..input(spec, model, out)
    }
}

fn report(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

#[test]
fn a_round_stops_when_its_held_out_loss_rises_and_keeps_the_weights_of_the_lowest() {
    let model = tiny::model(0);
    let out = tempfile::tempdir().unwrap();
    let mut spec = watched(RoundKind::Reward);
    run(noisy(&spec, &model, out.path()), &mut Silent).unwrap();
    let said = report(out.path());
    assert_eq!(said["stopped_early"], true, "{said}");
    let best = said["kept_step"].as_u64().unwrap();
    assert_eq!(said["steps"], best + 2 * 3);
    let evals: Vec<MetricPoint> = metrics(out.path())
        .into_iter()
        .filter(|point| point.split == Split::Eval)
        .collect();
    let lowest = evals
        .iter()
        .min_by(|a, b| a.values["loss"].total_cmp(&b.values["loss"]))
        .unwrap();
    assert_eq!(lowest.step, best);
    // At a constant rate a round that ends there has the same weights.
    (spec.hyper.max_steps, spec.hyper.patience, spec.hyper.keep) = (best as u32, 0, Keep::Last);
    let short = tempfile::tempdir().unwrap();
    run(noisy(&spec, &model, short.path()), &mut Silent).unwrap();
    assert_eq!(weights(short.path()), weights(out.path()));
}

#[test]
fn early_stop_and_the_best_adapter_are_the_same_after_a_stop_or_a_kill() {
    let model = tiny::model(0);
    for kind in [RoundKind::Sft, RoundKind::Reward, RoundKind::Dpo] {
        let whole = tempfile::tempdir().unwrap();
        let spec = watched(kind);
        run(noisy(&spec, &model, whole.path()), &mut Silent).unwrap();
        let n_steps = report(whole.path())["steps"].as_u64().unwrap();
        // Odd and even steps in turn, before and after evaluations and checkpoints, and the last.
        for at in (1..=n_steps).step_by(5).chain([n_steps]) {
            let parts = tempfile::tempdir().unwrap();
            let first = match at % 2 {
                0 => run(noisy(&spec, &model, parts.path()), &mut StopAfter(at)).map(|_| ()),
                _ => {
                    let round = || run(noisy(&spec, &model, parts.path()), &mut PanicAt(at));
                    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(round));
                    assert!(killed.is_err());
                    Ok(())
                }
            };
            first.unwrap();
            run(noisy(&spec, &model, parts.path()), &mut Silent).unwrap();
            assert_eq!(
                weights(whole.path()),
                weights(parts.path()),
                "{kind:?} broken at {at}"
            );
            let steps = |out: &Path| metrics(out).iter().map(|p| (p.step, p.split)).collect::<Vec<_>>();
            assert_eq!(
                steps(whole.path()),
                steps(parts.path()),
                "{kind:?} broken at {at}"
            );
            let (a, b) = (report(whole.path()), report(parts.path()));
            assert_eq!(a["best_evaluation"], b["best_evaluation"]);
        }
    }
}

#[test]
fn too_few_prompts_to_hold_out_keep_the_last_weights() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let spec = watched(RoundKind::Sft);
    let input = Input {
        rows: noise(1),
        ..input(&spec, &model, out.path())
    };
    run(input, &mut Silent).unwrap();
    let said = report(out.path());
    assert_eq!(
        (&said["kept_step"], &said["stopped_early"]),
        (&said["steps"], &false.into())
    );
}
