//! The reference's log-probabilities, computed once for all rounds that ask for the same ones.

use super::*;

struct Told(Vec<String>);

impl Reporter for Told {
    fn log(&mut self, _: LogLevel, text: &str) {
        self.0.push(text.to_owned());
    }

    fn metrics(&mut self, _: &MetricPoint) {}

    fn progress(&mut self, _: Progress) -> Directive {
        Directive::GoOn
    }
}

/// Runs a DPO round with a β; whether it found its references, and its weights.
fn round(beta: f64, rows: Vec<PreferencePair>, references: Option<&Path>) -> (bool, Vec<u8>) {
    let mut spec = spec(RoundKind::Dpo);
    spec.hyper.beta = beta;
    let (model, out) = (tiny::model(0), tempfile::tempdir().unwrap());
    let input = Input {
        references,
        rows,
        ..input(&spec, &model, out.path())
    };
    let mut told = Told(Vec::new());
    run(input, &mut told).unwrap();
    let found = told.0.iter().any(|line| line.contains("an earlier round"));
    (found, weights(out.path()))
}

#[test]
fn a_later_round_of_the_same_rows_takes_the_references_and_comes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Some(folder.path());
    assert!(!round(0.1, pairs(24), kept).0);
    let (found, with) = round(0.3, pairs(24), kept);
    assert!(found);
    assert_eq!(with, round(0.3, pairs(24), None).1);
    // Other rows have other references.
    assert!(!round(0.1, pairs(25), kept).0);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn references_that_cannot_be_read_are_computed_again() {
    let folder = tempfile::tempdir().unwrap();
    let kept = Some(folder.path());
    let (_, weights) = round(0.1, pairs(24), kept);
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::write(entry.unwrap().path(), "{").unwrap();
    }
    assert_eq!(round(0.1, pairs(24), kept), (false, weights));
    assert!(round(0.1, pairs(24), kept).0);
}
