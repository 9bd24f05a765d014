//! The figures of agreement against those of scikit-learn, statsmodels, krippendorff and scipy, on data with missing
//! answers and ties. `tests/parity/agreement.py` made `golden/agreement.json`.

#![allow(clippy::unwrap_used)] // a failed step fails the test

use laurel_server::quality::{
    alpha::{Coincidences, Distance, krippendorff_alpha},
    counts::{Counts, Met, Task, percent_agreement},
    kappa::{Judged, cohen_kappa, fleiss_kappa, usual_n_raters},
    sample::Sample,
    share::share,
    tau::{Taus, kendall_tau_b, mean_tau},
};
use serde::Deserialize;
use std::collections::BTreeMap;

const GOLDEN: &str = include_str!("golden/agreement.json");

#[derive(Deserialize)]
struct Golden {
    tables: Vec<Case>,
    ranks: Ranks,
    wilson: Vec<(u64, u64, f64, f64)>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// A row a thing, a column a person.
    table: Vec<Vec<Option<u8>>>,
    percent: f64,
    percent_interval: (f64, f64),
    fleiss: Fleiss,
    cohen: f64,
    alpha: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Fleiss {
    n_raters: u32,
    kappa: f64,
}

#[derive(Deserialize)]
struct Ranks {
    tasks: Vec<Vec<Option<Vec<u8>>>>,
    pairs: Vec<(Vec<u8>, Vec<u8>, f64)>,
    mean: f64,
}

impl Case {
    fn tasks(&self) -> Vec<Task> {
        let thing = |row: &Vec<Option<u8>>| vec![Counts::of(row.iter().flatten().copied())];
        self.table.iter().map(thing).collect()
    }

    fn of_two(&self) -> Vec<Vec<(u8, u8)>> {
        let both = |row: &Vec<Option<u8>>| Some(vec![(row[0]?, row[1]?)]);
        self.table.iter().filter_map(both).collect()
    }
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).unwrap()
}

#[track_caller]
fn same(ours: Option<f64>, theirs: f64, what: &str) {
    let ours = ours.unwrap();
    assert!((ours - theirs).abs() < 1e-12, "{what}: {ours}, not {theirs}");
}

#[test]
fn tables_with_missing_answers_give_the_libraries_figures() {
    for case in golden().tables {
        let tasks = case.tasks();
        let once = vec![1; tasks.len()];
        let name = &case.name;
        let met: Vec<Met> = tasks.iter().map(Met::of).collect();
        same(percent_agreement(&met, &once), case.percent, name);
        let n_raters = case.fleiss.n_raters;
        assert_eq!(usual_n_raters(&tasks), Some(n_raters), "{name}");
        let judged: Vec<Judged> = tasks.iter().map(|task| Judged::by(n_raters, task)).collect();
        same(fleiss_kappa(&judged, &once), case.fleiss.kappa, name);
        let coincidences: Vec<Coincidences> = tasks.iter().map(Coincidences::of).collect();
        let of_two = case.of_two();
        same(cohen_kappa(&of_two, &vec![1; of_two.len()]), case.cohen, name);
        for (level, distance) in [
            ("nominal", Distance::Nominal),
            ("ordinal", Distance::Ordinal),
            ("interval", Distance::Interval),
        ] {
            same(
                krippendorff_alpha(&coincidences, &once, distance),
                case.alpha[level],
                &format!("{name}, {level}"),
            );
        }
    }
}

#[test]
fn like_things_counted_once_give_the_same_figures() {
    for case in golden().tables {
        let estimate = Sample::merged(case.tasks())
            .map(Coincidences::of)
            .estimate(|tasks, times| krippendorff_alpha(tasks, times, Distance::Ordinal));
        same(
            estimate.map(|estimate| estimate.value),
            case.alpha["ordinal"],
            &case.name,
        );
    }
}

#[test]
fn intervals_are_those_of_an_independent_bootstrap() {
    for case in golden().tables {
        let estimate = Sample::merged(case.tasks())
            .map(Met::of)
            .estimate(percent_agreement)
            .unwrap();
        let (interval, (low, high)) = (estimate.interval.unwrap(), case.percent_interval);
        // Theirs has 20 000 resamples, ours 1000: the ends of ours have a standard error of about 0.005.
        assert!(
            (interval.low - low).abs() < 0.02,
            "{}: {interval:?}, not {low}",
            case.name
        );
        assert!(
            (interval.high - high).abs() < 0.02,
            "{}: {interval:?}, not {high}",
            case.name
        );
    }
}

#[test]
fn rankings_with_ties_give_scipys_tau_b() {
    let ranks = golden().ranks;
    assert!(ranks.pairs.len() > 50);
    for (first, second, tau) in &ranks.pairs {
        same(
            kendall_tau_b(first, second),
            *tau,
            &format!("{first:?}, {second:?}"),
        );
    }
    let of_task =
        |people: &Vec<Option<Vec<u8>>>| Taus::of(&people.iter().flatten().cloned().collect::<Vec<_>>());
    let taus: Vec<Taus> = ranks.tasks.iter().map(of_task).collect();
    same(mean_tau(&taus, &vec![1; taus.len()]), ranks.mean, "the mean");
}

#[test]
fn shares_have_statsmodels_wilson_interval() {
    for (n, of, low, high) in golden().wilson {
        let interval = share(n, of).unwrap().interval;
        same(Some(interval.low), low, &format!("{n} of {of}"));
        same(Some(interval.high), high, &format!("{n} of {of}"));
    }
}
