//! The Bradley-Terry model: contender i beats j with the probability p_i / (p_i + p_j). The strengths p are fitted by
//! minorisation-maximisation (Hunter 2004, "MM algorithms for generalized Bradley-Terry models", equation 3), a tie as half
//! a win of each.
//!
//! Each contender also has [`PRIOR`] games against one of strength 1, half of them won: so that nobody who has not lost yet
//! is infinitely strong, groups that never met have one scale, and few games move little.

/// Games of the prior, of each contender.
pub(super) const PRIOR: f64 = 1.0;
const MAX_STEPS: usize = 1_000;
/// Of a logarithm of a strength.
const TOLERANCE: f64 = 1e-8;

/// Games of two contenders, by number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Games {
    pub first: usize,
    pub second: usize,
    /// Of the first; a tie is half a win.
    pub wins: f64,
    pub n: f64,
}

/// The natural logarithms of the strengths of so many contenders; their mean is 0.
pub fn fit(n_contenders: usize, games: &[Games]) -> Vec<f64> {
    let mut wins = vec![PRIOR / 2.0; n_contenders];
    for game in games {
        wins[game.first] += game.wins;
        wins[game.second] += game.n - game.wins;
    }
    let mut logs = vec![0.0; n_contenders];
    for _ in 0..MAX_STEPS {
        let next = balanced(step(&logs, &wins, games));
        let change = next.iter().zip(&logs).map(|(new, old)| (new - old).abs());
        let largest = change.fold(0.0, f64::max);
        logs = next;
        if largest < TOLERANCE {
            break;
        }
    }
    let mean = logs.iter().sum::<f64>() / n_contenders.max(1) as f64;
    logs.iter().map(|log| log - mean).collect()
}

fn step(logs: &[f64], wins: &[f64], games: &[Games]) -> Vec<f64> {
    let strengths: Vec<f64> = logs.iter().map(|log| log.exp()).collect();
    let mut expected: Vec<f64> = strengths.iter().map(|own| PRIOR / (own + 1.0)).collect();
    for game in games {
        let each = game.n / (strengths[game.first] + strengths[game.second]);
        expected[game.first] += each;
        expected[game.second] += each;
    }
    wins.iter()
        .zip(&expected)
        .map(|(wins, sum)| (wins / sum).ln())
        .collect()
}

/// The games leave a common factor open, which the prior alone fixes: the steps would come near it as slowly as the prior is
/// weak. So each step is followed by one of Newton's towards the factor at which half of the prior's games are won.
fn balanced(mut logs: Vec<f64>) -> Vec<f64> {
    let shift = newton(&logs, 0.0);
    for log in &mut logs {
        *log += shift;
    }
    logs
}

/// What is added to the logarithms, so that half of the prior's games are won.
pub(super) fn shift_of_prior(logs: &[f64]) -> f64 {
    let mut shift = 0.0;
    for _ in 0..MAX_STEPS {
        let step = newton(logs, shift);
        shift += step;
        if step.abs() < TOLERANCE {
            break;
        }
    }
    shift
}

fn newton(logs: &[f64], shift: f64) -> f64 {
    let shares = logs.iter().map(|log| 1.0 / (1.0 + (-log - shift).exp()));
    let (won, slope) = shares.fold((0.0, 0.0), |(won, slope), share| {
        (won + share, slope + share * (1.0 - share))
    });
    match slope > 0.0 {
        true => ((logs.len() as f64 / 2.0 - won) / slope).clamp(-1.0, 1.0),
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn game(first: usize, second: usize, wins: f64, n: f64) -> Games {
        Games {
            first,
            second,
            wins,
            n,
        }
    }

    #[test]
    fn many_games_of_two_give_the_odds_of_their_wins() {
        let logs = fit(2, &[game(0, 1, 75_000.0, 100_000.0)]);
        assert!((logs[0] - logs[1] - 3.0_f64.ln()).abs() < 1e-3, "{logs:?}");
    }

    /// p = (w + ½) / (n / (p + q) + 1 / (p + 1)) and the same for q has p q = 1, so that with p = x:
    /// (w + ½) = n x² / (x² + 1) + x / (x + 1). Of three games, all won, the root is 3.224 …
    #[test]
    fn who_has_not_lost_yet_is_not_infinitely_strong() {
        let logs = fit(2, &[game(0, 1, 3.0, 3.0)]);
        let x = (logs[0] - logs[1]).exp().sqrt();
        let left = 3.0 * x * x / (x * x + 1.0) + x / (x + 1.0);
        assert!((left - 3.5).abs() < 1e-6, "{left}");
        assert!((x - 3.224_170).abs() < 1e-5, "{x}");
    }

    #[test]
    fn strengths_that_made_the_games_come_back() {
        let truth = [0.8_f64, 0.1, -0.9];
        let wins = |a: usize, b: usize| 1e7 / (1.0 + (truth[b] - truth[a]).exp());
        let games = [
            game(0, 1, wins(0, 1), 1e7),
            game(1, 2, wins(1, 2), 1e7),
            game(0, 2, wins(0, 2), 1e7),
        ];
        for (found, true_log) in fit(3, &games).iter().zip(truth) {
            assert!((found - true_log).abs() < 1e-5, "{found} {true_log}");
        }
    }

    #[test]
    fn the_likelihood_has_its_top_at_the_fit() {
        let games = [
            game(0, 1, 4.5, 7.0),
            game(1, 2, 2.0, 3.0),
            game(2, 3, 5.0, 5.0),
            game(0, 3, 0.5, 2.0),
        ];
        let logs = fit(4, &games);
        // The prior fixes the scale, so that the fit is known up to a common factor alone: look at differences.
        let penalised = |shift: f64, at: usize, by: f64| {
            let log = |who: usize| logs[who] + shift + if who == at { by } else { 0.0 };
            let of_games: f64 = games
                .iter()
                .map(|game| {
                    let difference = log(game.first) - log(game.second);
                    game.wins * difference - game.n * difference.exp().ln_1p()
                })
                .sum();
            let of_prior: f64 = (0..4).map(|who| log(who) / 2.0 - log(who).exp().ln_1p()).sum();
            of_games + of_prior
        };
        let shift = (-400..400)
            .map(|at| f64::from(at) / 200.0)
            .max_by(|a, b| penalised(*a, 0, 0.0).total_cmp(&penalised(*b, 0, 0.0)))
            .unwrap();
        let top = penalised(shift, 0, 0.0);
        for who in 0..4 {
            for by in [-0.05, 0.05] {
                assert!(penalised(shift, who, by) < top, "{who} {by}");
            }
        }
    }

    #[test]
    fn nobody_and_no_games_are_no_error() {
        assert!(fit(0, &[]).is_empty());
        assert_eq!(fit(3, &[]), [0.0; 3]);
    }
}
