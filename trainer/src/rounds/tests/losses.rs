//! Rounds with each of the losses: they learn, their passes add up, and each takes the rows that it can use.

use super::*;
use crate::ops::Gradients;
use laurel_protocol::{BatchBy, Loss, Margin};
use rankings::{Ranking, ranking_passes};
use tally::Tally;

/// A spec of a loss, with a β that makes its first steps large enough to see, and a rate at which it settles.
fn spec_of(loss: Loss) -> RoundSpec {
    let base = spec(loss.kind());
    let beta = match loss {
        Loss::SigmoidNorm | Loss::Simpo => 2.0,
        Loss::Hinge | Loss::Robust | Loss::Orpo => 0.5,
        _ => 0.1,
    };
    // IPO pulls back what has gone too far: at the common rate it swings.
    let learning_rate = if loss == Loss::Ipo {
        5e-3
    } else {
        base.hyper.learning_rate
    };
    let defaults = Hyper::for_loss(loss);
    let hyper = Hyper {
        loss,
        beta,
        learning_rate,
        label_smoothing: defaults.label_smoothing,
        batch_by: defaults.batch_by,
        ..base.hyper
    };
    RoundSpec { hyper, ..base }
}

fn run_with(
    spec: &RoundSpec,
    model: &Model,
    rows: Vec<PreferencePair>,
) -> (tempfile::TempDir, Vec<MetricPoint>) {
    let out = tempfile::tempdir().unwrap();
    let input = Input {
        rows,
        ..input(spec, model, out.path())
    };
    run(input, &mut Silent).unwrap();
    let points = metrics(out.path());
    (out, points)
}

fn report(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap()
}

/// Rankings of three answers of the rule of [`pairs`], the best with the lowest tokens; the last two tie.
fn rankings_of_three(n: u64, ties: bool) -> Vec<PreferencePair> {
    let mut stream = Rng::new(4).stream("rankings", 0);
    let mut rows = Vec::new();
    for annotation in 0..n {
        let mut tokens =
            |from: u32, n: usize| (0..n).map(|_| from + stream.below(8) as u32).collect::<Vec<_>>();
        let prompt = tokens(3, 4);
        let answers = [tokens(4, 3), tokens(24, 2), tokens(24, 4)];
        for (chosen, rejected) in [(0, 1), (0, 2), (1, 2)] {
            let tie = (chosen, rejected) == (1, 2);
            if tie && !ties {
                continue;
            }
            rows.push(PreferencePair {
                prompt: prompt.clone(),
                chosen: answers[chosen].clone(),
                rejected: answers[rejected].clone(),
                group: annotation,
                label: Label {
                    tie,
                    annotation: Some(annotation),
                    ..Label::default()
                },
            });
        }
    }
    rows
}

#[test]
fn rounds_learn_with_every_loss_of_preferences() {
    let model = tiny::model(0);
    // PPO's have their own tests: they learn from scores.
    for loss in Loss::ALL.into_iter().filter(|loss| loss.kind() != RoundKind::Ppo) {
        let spec = spec_of(loss);
        let (out, points) = run_with(&spec, &model, pairs(24));
        let train: Vec<f64> = points
            .iter()
            .filter(|point| point.split == Split::Train)
            .map(|point| point.values["loss"])
            .collect();
        assert!(train[train.len() - 1] < 0.95 * train[0], "{loss:?}: {train:?}");
        let last = points.iter().rfind(|point| point.split == Split::Eval).unwrap();
        if loss.is_unpaired() {
            assert!(last.values["margin"] > 0.1, "{loss:?}: {:?}", last.values);
        } else if loss != Loss::CrossEntropy {
            assert_eq!(last.values["accuracy"], 1.0, "{loss:?}");
        }
        let references = fs::read_dir(out.path().join("checkpoints"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().starts_with("reference-")
            });
        assert_eq!(
            references.count(),
            usize::from(loss.needs_reference()),
            "{loss:?}"
        );
    }
}

/// The largest distance of two sets of gradients, as a share of the largest gradient.
pub(super) fn distance(a: &Gradients, b: &Gradients) -> f64 {
    let norm = |x: &candle_core::Tensor| {
        let largest = x.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
        f64::from(largest.to_scalar::<f32>().unwrap())
    };
    assert_eq!(a.0.len(), b.0.len());
    let largest = a.0.values().map(norm).fold(0.0, f64::max);
    assert!(largest > 1e-4, "the gradients are no test: {largest}");
    let apart = a.0.iter().map(|(name, x)| norm(&(x - &b.0[name]).unwrap()));
    apart.fold(0.0, f64::max) / largest
}

#[test]
fn eight_rows_in_one_pass_equal_eight_passes_of_one_for_every_loss() {
    let model = tiny::model(0);
    let of_pairs = |loss: &Loss| loss.kind() == RoundKind::Dpo && !loss.is_unpaired();
    for loss in Loss::ALL.into_iter().filter(of_pairs) {
        let mut spec = spec_of(loss);
        if loss != Loss::Orpo {
            spec.hyper.nll_weight = 0.3;
        }
        let out = tempfile::tempdir().unwrap();
        let mut reporter = Silent;
        let mut session = Session::start(input(&spec, &model, out.path()), &mut reporter)
            .unwrap()
            .unwrap();
        let references = match loss.needs_reference() {
            true => {
                let wanted = |session: &Session<'_>| session.rows_in_use().into_iter().cloned().collect();
                references::reference_logps(&mut session, wanted)
                    .unwrap()
                    .unwrap()
            }
            false => references::References::None,
        };
        tiny::disturb(&session.adapter, 0.1);
        let rows = session.rows_in_use();
        let whole = dpo::Whole::of(&rows[..8]);
        let of = |passes: &[&[&PreferencePair]]| {
            let (mut gradients, mut tally) = (Gradients::default(), Tally::default());
            for pass in passes {
                dpo::train_pass(&session, pass, &whole, &references, &mut gradients, &mut tally).unwrap();
            }
            (gradients, tally.means()["loss"])
        };
        let (together, loss_together) = of(&[&rows[..8]]);
        let (apart, loss_apart) = of(&rows[..8].chunks(1).collect::<Vec<_>>());
        assert!(distance(&together, &apart) < 1e-4, "{loss:?}");
        assert!(
            (loss_together - loss_apart).abs() < 1e-5 * loss_apart.abs(),
            "{loss:?}"
        );
    }
}

#[test]
fn eight_rankings_in_one_pass_equal_eight_passes_of_one_for_every_loss() {
    let model = tiny::model(0);
    for loss in Loss::ALL
        .into_iter()
        .filter(|loss| loss.kind() == RoundKind::Reward)
    {
        let mut spec = spec_of(loss);
        (spec.hyper.batch_by, spec.hyper.held_out) = (BatchBy::Ranking, 0.0);
        spec.hyper.center_rewards = 0.05;
        let out = tempfile::tempdir().unwrap();
        let mut reporter = Silent;
        // Rankings of three, and picks.
        let mut rows = rankings_of_three(5, loss.trains_ties());
        rows.extend(pairs(5));
        let input = Input {
            rows: rows.clone(),
            ..input(&spec, &model, out.path())
        };
        let session = Session::start(input, &mut reporter).unwrap().unwrap();
        tiny::disturb(&session.adapter, 0.1);
        let Some(crate::adapters::Weight::Trainable(head)) = session.adapter.score.clone() else {
            panic!("a reward round has a head")
        };
        let elements = rankings::elements(&rows, BatchBy::Ranking);
        assert_eq!(elements.len(), 10);
        let rankings: Vec<Ranking<'_>> = elements[..8]
            .iter()
            .map(|element| Ranking::of(&element.iter().map(|&at| &rows[at]).collect::<Vec<_>>()))
            .collect();
        let of = |passes: &[&[Ranking<'_>]]| {
            let (mut gradients, mut tally) = (Gradients::default(), Tally::default());
            for pass in passes {
                reward::train_pass(&session, &head, pass, 8, &mut gradients, &mut tally).unwrap();
            }
            (gradients, tally.means()["loss"])
        };
        assert_eq!(ranking_passes(&rankings).len(), 1);
        let (together, loss_together) = of(&[&rankings]);
        let (apart, loss_apart) = of(&rankings.chunks(1).collect::<Vec<_>>());
        assert!(distance(&together, &apart) < 1e-4, "{loss:?}");
        assert!(
            (loss_together - loss_apart).abs() < 1e-5 * loss_apart.abs(),
            "{loss:?}"
        );
    }
}

#[test]
fn ties_are_trained_where_the_loss_can_and_else_left_out_and_counted() {
    let model = tiny::model(0);
    let of = |loss| {
        let (out, points) = run_with(&spec_of(loss), &model, rankings_of_three(12, true));
        let last = points
            .into_iter()
            .rfind(|point| point.split == Split::Eval)
            .unwrap();
        (report(out.path()), last)
    };
    let (strict, last) = of(Loss::BradleyTerry);
    assert_eq!(
        (&strict["n_ties"], &strict["n_left_out_rows"]),
        (&0.into(), &12.into())
    );
    assert!(!last.values.contains_key("tie_distance"));
    for loss in [Loss::RaoKupper, Loss::Davidson] {
        let (tied, last) = of(loss);
        assert_eq!(
            (&tied["n_ties"], &tied["n_left_out_rows"]),
            (&12.into(), &0.into())
        );
        let (margin, distance) = (last.values["margin"], last.values["tie_distance"]);
        assert!(
            distance < 0.3 * margin,
            "{loss:?}: ties {distance}, strict {margin}"
        );
    }
}

#[test]
fn whole_rankings_weigh_the_same_and_pairs_do_not() {
    let model = tiny::model(0);
    let mut rows = rankings_of_three(1, false);
    rows.push(pairs(1).remove(0));
    let first_loss = |by: BatchBy, loss: Loss| {
        let mut spec = spec_of(loss);
        (spec.hyper.batch_by, spec.hyper.held_out, spec.hyper.batch_size) = (by, 0.0, 3);
        let (_, points) = run_with(&spec, &model, rows.clone());
        points[0].values["loss"]
    };
    let spec = spec_of(Loss::BradleyTerry);
    let mut adapter = Adapter::init(&spec.adapter, &model, &Rng::new(spec.seed)).unwrap();
    adapter.add_score(&model, &Rng::new(spec.seed)).unwrap();
    let scored = scores(&model, &adapter, &rows.iter().collect::<Vec<_>>()).unwrap();
    let cost: Vec<f64> = scored
        .iter()
        .map(|(chosen, rejected)| (1.0 + f64::from(rejected - chosen).exp()).ln())
        .collect();
    let by_pair = (cost[0] + cost[1] + cost[2]) / 3.0;
    let by_ranking = ((cost[0] + cost[1]) / 2.0 + cost[2]) / 2.0;
    assert!((first_loss(BatchBy::Pair, Loss::BradleyTerry) - by_pair).abs() < 1e-5);
    assert!((first_loss(BatchBy::Ranking, Loss::BradleyTerry) - by_ranking).abs() < 1e-5);
    // The first of the ranking is chosen among all three; the two that tie say nothing of each other.
    let (first, second, third) = (scored[0].0, scored[0].1, scored[1].1);
    let all: f64 = [first, second, third]
        .iter()
        .map(|score| f64::from(*score).exp())
        .sum();
    let choice = all.ln() - f64::from(first);
    assert!((first_loss(BatchBy::Ranking, Loss::PlackettLuce) - (choice + cost[2]) / 2.0).abs() < 1e-5);
}

#[test]
fn margins_come_from_the_column_or_the_strength_and_must_be_there() {
    let model = tiny::model(0);
    let mut rows = pairs(4);
    for (at, row) in rows.iter_mut().enumerate() {
        row.label.strength = at as u8 + 1;
        row.label.margin = Some(0.5);
    }
    let mut spec = spec_of(Loss::BradleyTerry);
    (spec.hyper.held_out, spec.hyper.margin_scale) = (0.0, 2.0);
    let mut adapter = Adapter::init(&spec.adapter, &model, &Rng::new(spec.seed)).unwrap();
    adapter.add_score(&model, &Rng::new(spec.seed)).unwrap();
    let scored = scores(&model, &adapter, &rows.iter().collect::<Vec<_>>()).unwrap();
    let expected = |margin: fn(usize) -> f64| {
        let cost = |(at, (chosen, rejected)): (usize, &(f32, f32))| {
            (1.0 + (f64::from(rejected - chosen) + margin(at)).exp()).ln()
        };
        scored.iter().enumerate().map(cost).sum::<f64>() / 4.0
    };
    spec.hyper.margin = Margin::Column;
    let (_, points) = run_with(&spec, &model, rows.clone());
    assert!((points[0].values["loss"] - expected(|_| 1.0)).abs() < 1e-5);
    spec.hyper.margin = Margin::Strength;
    let (_, points) = run_with(&spec, &model, rows.clone());
    assert!((points[0].values["loss"] - expected(|at| 2.0 * at as f64)).abs() < 1e-5);
    for margin in [Margin::Column, Margin::Strength] {
        let out = tempfile::tempdir().unwrap();
        spec.hyper.margin = margin;
        let error = run(input(&spec, &model, out.path()), &mut Silent)
            .unwrap_err()
            .to_string();
        assert!(error.contains("margin"), "{error}");
    }
}

#[test]
fn a_whole_ranking_cannot_be_read_from_rows_that_contradict_each_other() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let mut spec = spec_of(Loss::PlackettLuce);
    spec.hyper.held_out = 0.0;
    let mut rows = rankings_of_three(2, false);
    let mut turned = rows[0].clone();
    std::mem::swap(&mut turned.chosen, &mut turned.rejected);
    rows.push(turned);
    let input = Input {
        rows,
        ..input(&spec, &model, out.path())
    };
    let error = run(input, &mut Silent).unwrap_err().to_string();
    assert!(error.contains("annotation_id"), "{error}");
}

#[test]
fn the_label_is_part_of_what_a_round_is_known_by() {
    let (spec, model) = (spec(RoundKind::Reward), tiny::model(0));
    let hash =
        |rows: &[PreferencePair]| accept::fingerprint(&spec, "tiny", &model, (None, None), rows).unwrap();
    let rows = pairs(3);
    let changes: [fn(&mut Label); 5] = [
        |label| label.desirable = Some(true),
        |label| label.tie = true,
        |label| label.margin = Some(1.0),
        |label| label.strength = 2,
        |label| label.annotation = Some(1),
    ];
    for change in changes {
        let mut changed = rows.clone();
        change(&mut changed[1].label);
        assert_ne!(hash(&rows), hash(&changed));
    }
}
