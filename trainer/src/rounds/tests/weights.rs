//! Rows that count by their weight.

use super::*;
use laurel_protocol::{Loss, RowWeights};

/// Two rows a step; batches of rankings where the loss reads rankings.
fn weighted(loss: Loss) -> RoundSpec {
    let mut spec = spec(loss.kind());
    spec.hyper = Hyper {
        loss,
        learning_rate: 1e-2,
        batch_size: 64,
        epochs: 3,
        held_out: 0.0,
        nll_weight: if loss == Loss::Sigmoid { 0.5 } else { 0.0 },
        label_smoothing: Hyper::for_loss(loss).label_smoothing,
        batch_by: Hyper::for_loss(loss).batch_by,
        row_weights: RowWeights::Column,
        ..spec.hyper
    };
    spec
}

fn losses_of(spec: &RoundSpec, rows: Vec<PreferencePair>) -> (Vec<f64>, Vec<u8>) {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let input = Input {
        rows,
        ..input(spec, &model, out.path())
    };
    run(input, &mut Silent).unwrap();
    let points = metrics(out.path()).into_iter();
    let train = points.filter(|point| point.split == Split::Train);
    (
        train.map(|point| point.values["loss"]).collect(),
        weights(out.path()),
    )
}

fn with_weights(mut rows: Vec<PreferencePair>, of: impl Fn(usize) -> f32) -> Vec<PreferencePair> {
    for (at, row) in rows.iter_mut().enumerate() {
        row.label.weight = Some(of(at));
        row.label.annotation = Some(at as u64);
    }
    rows
}

const LOSSES: [Loss; 10] = [
    Loss::Sigmoid,
    Loss::SigmoidNorm,
    Loss::Hinge,
    Loss::Ipo,
    Loss::Robust,
    Loss::Simpo,
    Loss::ApoZeroUnpaired,
    Loss::BradleyTerry,
    Loss::Davidson,
    Loss::PlackettLuce,
];

/// ORPO's NLL is a mean over tokens, those of rows without weight among them: it stands by itself below.
#[test]
fn rows_of_weight_zero_teach_nothing_whatever_the_loss() {
    for loss in LOSSES {
        let mut spec = weighted(loss);
        spec.hyper.nll_weight = 0.0;
        let half = with_weights(pairs(12), |at| f32::from(u8::from(at % 2 == 0)));
        let kept: Vec<_> = half.iter().step_by(2).cloned().collect();
        let (with, without) = (losses_of(&spec, half).0, losses_of(&spec, kept).0);
        assert_eq!(with.len(), 3);
        for (a, b) in with.iter().zip(&without) {
            assert!(
                (a - b).abs() < 2e-4 * b.abs().max(1.0),
                "{loss:?}: {with:?} {without:?}"
            );
        }
        assert!(with[2] < with[0], "{loss:?} learns: {with:?}");
    }
}

#[test]
fn the_loss_is_the_mean_of_the_rows_losses_times_their_weights_over_the_mean_weight() {
    for loss in [Loss::Orpo, Loss::Simpo, Loss::BradleyTerry] {
        let mut spec = weighted(loss);
        spec.hyper.max_steps = 1;
        // Answers of one length: then a mean over tokens is one over rows.
        let mut rows = pairs(2);
        for row in &mut rows {
            row.chosen.truncate(2);
            row.rejected.truncate(2);
        }
        let alone = |at: usize| losses_of(&spec, with_weights(vec![rows[at].clone()], |_| 1.0)).0[0];
        let expected = (3.0 * alone(0) + alone(1)) / 4.0;
        let both = with_weights(rows.clone(), |at| [0.6, 0.2][at]);
        let got = losses_of(&spec, both).0[0];
        assert!((got - expected).abs() < 1e-5, "{loss:?}: {got} {expected}");
        assert!((alone(0) - alone(1)).abs() > 1e-4, "{loss:?}: the rows differ");
    }
}

#[test]
fn equal_weights_give_the_very_adapter_that_none_give() {
    for loss in [Loss::BradleyTerry, Loss::Kto] {
        let mut spec = weighted(loss);
        let (_, equal) = losses_of(&spec, with_weights(pairs(12), |_| 0.5));
        spec.hyper.row_weights = RowWeights::None;
        let (_, none) = losses_of(&spec, with_weights(pairs(12), |at| at as f32));
        assert_eq!(equal, none, "{loss:?}");
    }
}

#[test]
fn weights_must_be_there_and_not_all_zero() {
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let spec = weighted(Loss::Sigmoid);
    let refused = |rows| {
        let input = Input {
            rows,
            ..input(&spec, &model, out.path())
        };
        run(input, &mut Silent).unwrap_err().to_string()
    };
    let error = refused(pairs(3));
    assert!(
        error.contains("3 rows have no number from 0 in the column \"weight\""),
        "{error}"
    );
    let error = refused(with_weights(pairs(3), |_| 0.0));
    assert!(error.contains("every row has the weight 0"), "{error}");
}

#[test]
fn held_out_rows_count_alike() {
    let mut spec = weighted(Loss::BradleyTerry);
    (
        spec.hyper.held_out,
        spec.hyper.max_steps,
        spec.hyper.learning_rate,
    ) = (0.5, 1, 1e-9);
    let eval = |of: fn(usize) -> f32| {
        let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
        let input = Input {
            rows: with_weights(pairs(12), of),
            ..input(&spec, &model, out.path())
        };
        run(input, &mut Silent).unwrap();
        let points = metrics(out.path()).into_iter();
        let mut held_out = points.filter(|point| point.split == Split::Eval);
        held_out.next().unwrap().values["loss"]
    };
    assert!((eval(|_| 1.0) - eval(|at| at as f32 + 0.1)).abs() < 1e-6);
}
