//! How far an ensemble of heads disagrees about a task: BALD, the mutual information between the answer and the head
//! (Houlsby et al. 2011, equation 2; for preference pairs Muldrew et al. 2024). In nats, 0 to ln 2.
//!
//! It is large where each head is sure and they contradict each other, and 0 where all say the same: also where all say
//! "one half", for such a pair is a coin's throw that no label makes any surer.

use super::heads::Ensemble;
use std::collections::HashMap;

/// The uncertainty of a task from the features of its completions: the mean over their pairs, `None` for fewer than two.
pub fn uncertainty(ensemble: &Ensemble, completions: &[&[f32]]) -> Option<f64> {
    let scores: Vec<Vec<f64>> = completions
        .iter()
        .map(|features| ensemble.scores(features))
        .collect();
    let mut pairs = Vec::new();
    for (at, first) in scores.iter().enumerate() {
        for second in &scores[at + 1..] {
            let margins: Vec<f64> = first.iter().zip(second).map(|(a, b)| a - b).collect();
            pairs.push(bald(&margins));
        }
    }
    match pairs.len() {
        0 => None,
        n => Some(pairs.iter().sum::<f64>() / n as f64),
    }
}

/// Takes down what is the second of its prompt to a half, the third to a third and so on, the most uncertain first: labels of
/// one prompt teach much the same, and between two scorings many are given. Each entry is a prompt and an uncertainty.
pub fn spread_over_prompts(tasks: &mut [(i64, f64)]) {
    let mut order: Vec<usize> = (0..tasks.len()).collect();
    order.sort_by(|a, b| tasks[*b].1.total_cmp(&tasks[*a].1).then(a.cmp(b)));
    let mut n_seen: HashMap<i64, f64> = HashMap::new();
    for at in order {
        let (prompt, uncertainty) = &mut tasks[at];
        let place = n_seen.entry(*prompt).or_insert(0.0);
        *place += 1.0;
        *uncertainty /= *place;
    }
}

/// H(mean of p) − mean of H(p) over the heads' probabilities p = σ(margin) that the first completion is better.
pub fn bald(margins: &[f64]) -> f64 {
    let n = margins.len().max(1) as f64;
    let shares = margins.iter().map(|margin| sigmoid(*margin));
    let mean = shares.clone().sum::<f64>() / n;
    let within = shares.map(entropy).sum::<f64>() / n;
    (entropy(mean) - within).max(0.0)
}

/// Of a coin with this probability, in nats.
fn entropy(p: f64) -> f64 {
    let part = |p: f64| if p > 0.0 { -p * p.ln() } else { 0.0 };
    part(p) + part(1.0 - p)
}

pub(super) fn sigmoid(x: f64) -> f64 {
    match x >= 0.0 {
        true => 1.0 / (1.0 + (-x).exp()),
        false => x.exp() / (1.0 + x.exp()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_that_agree_are_not_uncertain_however_close_the_pair() {
        for margin in [-30.0, -1.0, 0.0, 2.0] {
            assert!(bald(&[margin; 5]).abs() < 1e-12);
        }
    }

    #[test]
    fn heads_that_are_sure_of_opposite_sides_are_as_uncertain_as_can_be() {
        let most = std::f64::consts::LN_2;
        assert!((bald(&[50.0, -50.0]) - most).abs() < 1e-9);
        assert!(bald(&[1.0, -1.0]) < bald(&[3.0, -3.0]));
        assert!(bald(&[800.0, -800.0]).is_finite());
    }

    #[test]
    fn who_is_shown_first_does_not_matter() {
        let margins = [0.3, -1.2, 2.5, 0.9];
        let swapped = margins.map(|margin| -margin);
        assert!((bald(&margins) - bald(&swapped)).abs() < 1e-12);
    }

    #[test]
    fn later_tasks_of_a_prompt_count_less_and_others_as_they_are() {
        let mut tasks = [(1, 0.3), (1, 0.6), (2, 0.5), (1, 0.3)];
        spread_over_prompts(&mut tasks);
        assert_eq!(
            tasks.map(|(_, uncertainty)| uncertainty),
            [0.15, 0.6, 0.5, 0.3 / 3.0]
        );
    }

    #[test]
    fn it_equals_numpys_figure() {
        // p = 1/(1+exp(-m)); h = lambda p: -p*log(p)-(1-p)*log(1-p); h(p.mean())-h(p).mean()
        let figure = bald(&[1.0, -0.5, 2.0]);
        assert!((figure - 0.102_141_3).abs() < 1e-6, "{figure}");
    }
}
