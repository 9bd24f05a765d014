//! Losses of direct preference optimisation, which measure the policy from a reference. In all of them
//! ρ = log π(y|x) - log π_ref(y|x) is a completion's log-ratio and Δ = ρ(y_w) - ρ(y_l) the pair's margin. Each gives
//! the loss of every pair, `(pairs,)`; a batch's is their mean ([`super::mean`]).

use super::smoothed;
use candle_core::{Result, Tensor};

/// Summed log-probabilities of the completions of a batch, all `(pairs,)`.
pub struct PairLogps<'a> {
    pub chosen: &'a Tensor,
    pub rejected: &'a Tensor,
    pub ref_chosen: &'a Tensor,
    pub ref_rejected: &'a Tensor,
}

/// How many tokens the completions of a batch have, both `(pairs,)`.
pub struct PairTokens<'a> {
    pub chosen: &'a Tensor,
    pub rejected: &'a Tensor,
}

impl PairLogps<'_> {
    /// Δ of each pair, `(pairs,)`.
    fn margin(&self) -> Result<Tensor> {
        (self.chosen - self.ref_chosen)? - (self.rejected - self.ref_rejected)?
    }

    /// Δ of log-ratios that are averaged over each completion's tokens, `(pairs,)`.
    fn mean_margin(&self, n_tokens: &PairTokens<'_>) -> Result<Tensor> {
        let chosen = ((self.chosen - self.ref_chosen)? / n_tokens.chosen)?;
        chosen - ((self.rejected - self.ref_rejected)? / n_tokens.rejected)?
    }
}

/// DPO: `-log σ(β Δ)`. Rafailov et al. 2023 (arXiv:2305.18290), equation 7.
/// With `smoothing` ε it is conservative DPO, `-(1 - ε) log σ(β Δ) - ε log σ(-β Δ)` (Mitchell 2023, "A
/// note on DPO with noisy preferences"; eric-mitchell/direct-preference-optimization).
pub fn dpo_sigmoid(logps: &PairLogps<'_>, beta: f64, smoothing: f64) -> Result<Tensor> {
    smoothed(&(logps.margin()? * beta)?, smoothing)
}

/// DPO with log-ratios averaged over the tokens, Δ = ρ(y_w)/|y_w| - ρ(y_l)/|y_l|: `-log σ(β Δ)`.
/// TRL's `sigmoid_norm`; Lambert et al. 2024 (Tülu 3, arXiv:2411.15124). Smoothing as in [`dpo_sigmoid`].
pub fn dpo_sigmoid_norm(
    logps: &PairLogps<'_>,
    n_tokens: &PairTokens<'_>,
    beta: f64,
    smoothing: f64,
) -> Result<Tensor> {
    smoothed(&(logps.mean_margin(n_tokens)? * beta)?, smoothing)
}

/// SLiC's hinge on DPO's margin: `max(0, 1 - β Δ)`. Zhao et al. 2023 (arXiv:2305.10425); in this form
/// Liu et al. 2024 (RSO, arXiv:2309.06657), and TRL's `hinge`.
pub fn dpo_hinge(logps: &PairLogps<'_>, beta: f64) -> Result<Tensor> {
    let short = (1.0 - (logps.margin()? * beta)?)?;
    // By a constant mask: candle's relu has slope 1 at 0, PyTorch's 0.
    let active = short.detach().gt(0.0)?.to_dtype(short.dtype())?;
    short * active
}

/// IPO: `(Δ - 1/(2τ))²` with log-ratios averaged over the tokens, as the authors computed it and TRL
/// does; `tau` is the round's β. Azar et al. 2023 (arXiv:2310.12036), equation 17.
pub fn dpo_ipo(logps: &PairLogps<'_>, n_tokens: &PairTokens<'_>, tau: f64) -> Result<Tensor> {
    (logps.mean_margin(n_tokens)? - 1.0 / (2.0 * tau))?.sqr()
}

/// Robust DPO, without bias under labels that are flipped with probability ε (`flips`, below 1/2):
/// `(-(1 - ε) log σ(β Δ) + ε log σ(-β Δ)) / (1 - 2ε)`. Chowdhury et al. 2024 (arXiv:2403.00409).
pub fn dpo_robust(logps: &PairLogps<'_>, beta: f64, flips: f64) -> Result<Tensor> {
    let margin = (logps.margin()? * beta)?;
    let clean = (smoothed(&margin, 0.0)? * (1.0 - flips))?;
    let flipped = (smoothed(&margin.neg()?, 0.0)? * flips)?;
    (clean - flipped)? / (1.0 - 2.0 * flips)
}
