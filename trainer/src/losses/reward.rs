//! Losses of a reward model r, from scores of completions. Each is a weighted sum over pairs, so that a caller can
//! average over pairs or over whole rankings, and add up passes: weights of a batch sum to 1.

use super::{log_sigmoid, smoothed};
use candle_core::{Result, Tensor};

/// Scored pairs; all `(pairs,)`.
pub struct Pairs<'a> {
    pub chosen: &'a Tensor,
    pub rejected: &'a Tensor,
    /// How much higher the chosen one should score; 0 for most.
    pub margin: &'a Tensor,
    /// 1 for a tie, else 0.
    pub tie: &'a Tensor,
    /// The pair's share in the sum. With `1 / (n · C(K, 2))` for each pair of a ranking of K among n it is
    /// InstructGPT's k-wise loss: Ouyang et al. 2022 (arXiv:2203.02155), equation 1.
    pub weight: &'a Tensor,
}

impl Pairs<'_> {
    /// `r_w - r_l - m`, `(pairs,)`.
    fn distance(&self) -> Result<Tensor> {
        (self.chosen - self.rejected)? - self.margin
    }

    /// The weighted sum of one loss for strict pairs and another for ties, both `(pairs,)`.
    fn sum(&self, strict: &Tensor, tied: &Tensor) -> Result<Tensor> {
        let loss = ((strict * (1.0 - self.tie)?)? + (tied * self.tie)?)?;
        (loss * self.weight)?.sum_all()
    }
}

/// Bradley-Terry with margins: the weighted sum of `-log σ(r_w - r_l - m)`. Bradley and Terry 1952; Christiano et
/// al. 2017 (arXiv:1706.03741), section 2.2.3; margins: Touvron et al. 2023 (arXiv:2307.09288), equation 2. With
/// `smoothing` ε, `-(1 - ε) log σ(…) - ε log σ(-…)`. A tie has no probability here: the caller leaves ties out.
pub fn bradley_terry(pairs: &Pairs<'_>, smoothing: f64) -> Result<Tensor> {
    (smoothed(&pairs.distance()?, smoothing)? * pairs.weight)?.sum_all()
}

/// Rao-Kupper: a difference must pass a threshold η = log θ to be seen, so with d = r_w - r_l - m
/// `P(w ≻ l) = σ(d - η)` and `P(tie) = (θ² - 1) σ(d - η) σ(-d - η)`; the weighted sum of `-log P`. Rao and Kupper
/// 1967, "Ties in paired-comparison experiments". `threshold` is η, above 0.
pub fn rao_kupper(pairs: &Pairs<'_>, threshold: f64) -> Result<Tensor> {
    let distance = pairs.distance()?;
    let above = log_sigmoid(&(&distance - threshold)?)?;
    let below = log_sigmoid(&(distance.neg()? - threshold)?)?;
    let constant = (2.0 * threshold).exp_m1().ln();
    pairs.sum(&above.neg()?, &((&above + below)? + constant)?.neg()?)
}

/// The η at which two equally good answers tie with probability `tie_share`: there
/// `P(tie) = (θ - 1) / (θ + 1) = tanh(η / 2)`.
pub fn rao_kupper_threshold(tie_share: f64) -> f64 {
    2.0 * tie_share.atanh()
}

/// Davidson: a tie has the geometric mean of both strengths, so with d = r_w - r_l - m and
/// `Z = e^(d/2) + e^(-d/2) + ν` the probabilities are `P(w ≻ l) = e^(d/2) / Z` and `P(tie) = ν / Z`; the weighted sum
/// of `-log P`. Davidson 1970, "On extending the Bradley-Terry model to accommodate ties".
pub fn davidson(pairs: &Pairs<'_>, nu: f64) -> Result<Tensor> {
    let half = (pairs.distance()? * 0.5)?;
    // log Z = h + log(1 + e^(-2h) + ν e^(-h)) with h = |d| / 2 cannot overflow.
    let sign = (half.detach().ge(0.0)?.to_dtype(half.dtype())? * 2.0)? - 1.0;
    let size = (&half * sign?)?;
    let decay = size.neg()?.exp()?;
    let inner = ((decay.sqr()? + (&decay * nu)?)? + 1.0)?;
    let log_z = (size + inner.log()?)?;
    pairs.sum(&(&log_z - half)?, &(&log_z - nu.ln())?)
}

/// The ν at which two equally good answers tie with probability `tie_share`: there `P(tie) = ν / (2 + ν)`.
pub fn davidson_nu(tie_share: f64) -> f64 {
    2.0 * tie_share / (1.0 - tie_share)
}

/// Choices of one completion among several, as a ranking makes them one after another.
pub struct Stages<'a> {
    /// Scores, `(stages, width)`; column 0 is the one that was chosen.
    pub scores: &'a Tensor,
    /// 1 where a score takes part, 0 where a narrower stage is filled up, `(stages, width)`.
    pub present: &'a Tensor,
    /// Each stage's share in the sum, `(stages,)`.
    pub weight: &'a Tensor,
}

/// Plackett-Luce, the likelihood of a ranking as repeated choice of the best of what is left: the weighted sum of
/// `-(r_1 - log Σ_j e^(r_j))` over its stages. Plackett 1975, "The analysis of permutations"; Luce 1959; for rankings
/// of answers Rafailov et al. 2023 (arXiv:2305.18290), appendix A.3. Two completions make it Bradley-Terry. Where
/// answers tie, each is chosen from itself and what is ranked below it, so a tie says nothing about its two.
pub fn plackett_luce(stages: &Stages<'_>) -> Result<Tensor> {
    let absent = ((1.0 - stages.present)? * -1e30)?;
    let scores = ((stages.scores * stages.present)? + absent)?;
    let highest = scores.detach().max_keepdim(1)?;
    let sums = scores.broadcast_sub(&highest)?.exp()?.sum_keepdim(1)?;
    let log_sums = (sums.log()? + highest)?.squeeze(1)?; // (stages,)
    let chosen = stages.scores.narrow(1, 0, 1)?.squeeze(1)?; // (stages,)
    ((log_sums - chosen)? * stages.weight)?.sum_all()
}

/// Keeps scores around 0: the weighted sum of `(r_w + r_l)²`, to be added with a small factor. Eisenstein et al.
/// 2023 (arXiv:2312.09244), equation 2; TRL's `center_rewards_coefficient`.
pub fn center_rewards(pairs: &Pairs<'_>) -> Result<Tensor> {
    ((pairs.chosen + pairs.rejected)?.sqr()? * pairs.weight)?.sum_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn equally_good_answers_tie_as_often_as_asked_and_win_equally_often() {
        let one = Tensor::ones(1, DType::F64, &Device::Cpu).unwrap();
        let zero = one.zeros_like().unwrap();
        let probability =
            |share: f64, tie: &Tensor, by: fn(&Pairs<'_>, f64) -> Result<Tensor>, parameter: f64| {
                let pairs = Pairs {
                    chosen: &one,
                    rejected: &one,
                    margin: &zero,
                    tie,
                    weight: &one,
                };
                let loss = by(&pairs, parameter).unwrap().to_scalar::<f64>().unwrap();
                assert!(loss.is_finite(), "{share}");
                (-loss).exp()
            };
        for share in [0.01, 0.3, 0.9] {
            let (eta, nu) = (rao_kupper_threshold(share), davidson_nu(share));
            for (by, parameter) in [(rao_kupper as fn(&Pairs<'_>, f64) -> _, eta), (davidson, nu)] {
                assert!((probability(share, &one, by, parameter) - share).abs() < 1e-12);
                assert!((probability(share, &zero, by, parameter) - (1.0 - share) / 2.0).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn far_apart_scores_overflow_nothing() {
        let tensor = |x: f32| Tensor::new(&[x], &Device::Cpu).unwrap();
        for tie in [0.0, 1.0] {
            let (chosen, rejected, margin, tie) = (tensor(-400.0), tensor(400.0), tensor(0.0), tensor(tie));
            let pairs = Pairs {
                chosen: &chosen,
                rejected: &rejected,
                margin: &margin,
                tie: &tie,
                weight: &tensor(1.0),
            };
            for loss in [rao_kupper(&pairs, 0.6), davidson(&pairs, 0.8)] {
                assert!(loss.unwrap().to_scalar::<f32>().unwrap() < 1e4);
            }
        }
    }
}
