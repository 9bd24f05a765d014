//! Intervals of contests and points of ladders against those of numpy, scipy and statsmodels. `tests/parity/contest.py` made
//! `golden/contest.json`.

#![allow(clippy::unwrap_used)] // a failed step fails the test

use laurel_server::quality::{bradley_terry::Games, ladder, sequential::Scores};
use serde::Deserialize;

const GOLDEN: &str = include_str!("golden/contest.json");

#[derive(Deserialize)]
struct Golden {
    intervals: Vec<Case>,
    ladders: Ladders,
}

#[derive(Deserialize)]
struct Case {
    scores: Vec<f64>,
    alpha: f64,
    interval: (f64, f64),
}

#[derive(Deserialize)]
struct Ladders {
    small: Small,
    many: Many,
}

/// First, second, wins of the first, ties, wins of the second.
type Game = (usize, usize, u32, u32, u32);

#[derive(Deserialize)]
struct Small {
    games: Vec<Game>,
    points: Vec<f64>,
    errors: Vec<f64>,
}

#[derive(Deserialize)]
struct Many {
    games: Vec<Game>,
    differences: Vec<f64>,
    errors: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(GOLDEN).unwrap()
}

fn games(games: &[Game]) -> Vec<Games> {
    let game = |&(first, second, wins, ties, losses): &Game| Games {
        first,
        second,
        wins: f64::from(wins) + f64::from(ties) / 2.0,
        n: f64::from(wins + ties + losses),
    };
    games.iter().map(game).collect()
}

#[test]
fn intervals_are_those_of_the_capital_multiplied_observation_by_observation() {
    for case in golden().intervals {
        let scores: Scores = case.scores.iter().copied().collect();
        let found = scores.interval(case.alpha);
        let (low, high) = case.interval;
        assert!((found.low - low).abs() < 1e-7, "{found:?} {low}");
        assert!((found.high - high).abs() < 1e-7, "{found:?} {high}");
    }
}

#[test]
fn points_and_their_errors_are_those_of_the_penalised_likelihood() {
    let small = golden().ladders.small;
    let fitted = ladder::fit(4, &games(&small.games));
    for (at, (points, error)) in fitted.iter().enumerate() {
        assert!((points - small.points[at]).abs() < 0.01, "{fitted:?}");
        assert!((error - small.errors[at]).abs() < 0.01, "{fitted:?}");
    }
}

#[test]
fn of_many_games_differences_are_those_of_a_logistic_regression() {
    let many = golden().ladders.many;
    let fitted = ladder::fit(4, &games(&many.games));
    for (at, difference) in many.differences.iter().enumerate() {
        // The prior's one game of each weighs less than a hundredth of a point beside 100 000.
        let own = fitted[at + 1].0 - fitted[0].0;
        assert!((own - difference).abs() < 0.01, "{own} {difference}");
        assert!(many.errors[at] < 2.0 * fitted[at + 1].1.max(fitted[0].1));
    }
}
