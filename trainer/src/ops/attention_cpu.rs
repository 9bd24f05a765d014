//! The fused attention: for each prompt group and key/value head, one task gathers and rotates its part of q,
//! k and v, and computes block by block with matrix products. The backward pass computes the probabilities
//! again, as FlashAttention does (Dao et al. 2022), so only q, k and v are kept. Tasks run in parallel, each
//! sums in a fixed order: the result does not depend on the number of threads.

use super::{
    attention::AttentionRule,
    elementwise::{Loop, dot, highest, sum, vectorised},
    exp::exp,
    matmul::{View, multiply_here},
    rope::Rope,
    soft_cap::cap_here,
    with_slices,
};
use crate::model::Group;
use candle_core::{Result, Tensor};
use rayon::prelude::*;

/// Widths of the three inputs in numbers.
#[derive(Clone, Copy)]
struct Widths {
    q: usize,
    kv: usize,
    head: usize,
    /// Query heads that share one key/value head.
    shared: usize,
}

/// What one task works on: the rows of a group, one key/value head and its query heads, rotated.
struct Part {
    /// Query heads one after the other, each `(rows, head_dim)`.
    q: Vec<f32>,
    /// `(rows, head_dim)`
    k: Vec<f32>,
    v: Vec<f32>,
}

/// A stretch of rows of a group that attends to `prompt` rows at the group's start and to itself.
#[derive(Clone, Copy)]
struct Stretch {
    prompt: usize,
    start: usize,
    n: usize,
}

pub(super) fn forward(inputs: [&Tensor; 3], rule: &AttentionRule, groups: &[Group]) -> Result<Tensor> {
    let (widths, rope) = (widths(inputs, &rule.rope)?, &rule.rope);
    let rows = inputs[0].dim(0)?;
    let inputs = contiguous(inputs)?;
    let out = with_slices([&inputs[0], &inputs[1], &inputs[2]], |slices| {
        let parts: Vec<Vec<f32>> = tasks(groups, widths)
            .into_par_iter()
            .map(|(group, kv_head)| {
                let part = gather(slices, group, kv_head, widths, rope);
                attend(&part, group, widths, rule)
            })
            .collect();
        let mut out = vec![0.0; rows * widths.q];
        for ((group, kv_head), part) in tasks(groups, widths).into_iter().zip(&parts) {
            scatter_heads(&mut out, part, group, kv_head, widths);
        }
        Ok(out)
    })?;
    Tensor::from_vec(out, (rows, widths.q), inputs[0].device())
}

/// Gradients of q, k and v.
pub(super) fn backward(
    inputs: [&Tensor; 3],
    gradient: &Tensor,
    rule: &AttentionRule,
    groups: &[Group],
) -> Result<[Tensor; 3]> {
    let (widths, rope) = (widths(inputs, &rule.rope)?, &rule.rope);
    let rows = inputs[0].dim(0)?;
    let [q, k, v] = contiguous(inputs)?;
    let gradient = gradient.contiguous()?;
    let (dq, dk, dv) = with_slices([&q, &k, &v, &gradient], |[q, k, v, gradient]| {
        let parts: Vec<Part> = tasks(groups, widths)
            .into_par_iter()
            .map(|(group, kv_head)| {
                let part = gather([q, k, v], group, kv_head, widths, rope);
                let upstream = gather_heads(gradient, group, kv_head, widths);
                let mut gradients = differentiate(&part, &upstream, group, widths, rule);
                unrotate(&mut gradients, group, widths, rope);
                gradients
            })
            .collect();
        let (mut dq, mut dk, mut dv) = (
            vec![0.0; rows * widths.q],
            vec![0.0; rows * widths.kv],
            vec![0.0; rows * widths.kv],
        );
        for ((group, kv_head), part) in tasks(groups, widths).into_iter().zip(&parts) {
            scatter_heads(&mut dq, &part.q, group, kv_head, widths);
            for (whole, part) in [(&mut dk, &part.k), (&mut dv, &part.v)] {
                for (row, numbers) in part.chunks_exact(widths.head).enumerate() {
                    let at = (group.start + row) * widths.kv + kv_head * widths.head;
                    whole[at..at + widths.head].copy_from_slice(numbers);
                }
            }
        }
        Ok((dq, dk, dv))
    })?;
    let device = q.device();
    Ok([
        Tensor::from_vec(dq, (rows, widths.q), device)?,
        Tensor::from_vec(dk, (rows, widths.kv), device)?,
        Tensor::from_vec(dv, (rows, widths.kv), device)?,
    ])
}

fn contiguous(inputs: [&Tensor; 3]) -> Result<[Tensor; 3]> {
    Ok([
        inputs[0].contiguous()?,
        inputs[1].contiguous()?,
        inputs[2].contiguous()?,
    ])
}

fn widths([q, k, _]: [&Tensor; 3], rope: &Rope) -> Result<Widths> {
    let (q, kv) = (q.dim(1)?, k.dim(1)?);
    Ok(Widths {
        q,
        kv,
        head: rope.head_dim,
        shared: q / kv,
    })
}

fn tasks(groups: &[Group], widths: Widths) -> Vec<(&Group, usize)> {
    let n_kv = widths.kv / widths.head;
    groups
        .iter()
        .flat_map(|group| (0..n_kv).map(move |kv_head| (group, kv_head)))
        .collect()
}

fn stretches(group: &Group) -> Vec<Stretch> {
    let prompt = Stretch {
        prompt: 0,
        start: 0,
        n: group.prompt,
    };
    let branches = group.branches.iter().enumerate().map(|(branch, &n)| Stretch {
        prompt: group.prompt,
        start: group.branch_start(branch) - group.start,
        n,
    });
    std::iter::once(prompt)
        .chain(branches)
        .filter(|stretch| stretch.n > 0)
        .collect()
}

fn gather([q, k, v]: [&[f32]; 3], group: &Group, kv_head: usize, widths: Widths, rope: &Rope) -> Part {
    let take = |x: &[f32]| -> Vec<f32> {
        let mut rows = Vec::with_capacity(group.n_rows() * widths.head);
        for row in 0..group.n_rows() {
            let at = (group.start + row) * widths.kv + kv_head * widths.head;
            rows.extend_from_slice(&x[at..at + widths.head]);
        }
        rows
    };
    let mut part = Part {
        q: gather_heads(q, group, kv_head, widths),
        k: take(k),
        v: take(v),
    };
    let positions: Vec<usize> = group.positions().collect();
    for heads in [&mut part.q, &mut part.k] {
        for (at, head) in heads.chunks_exact_mut(widths.head).enumerate() {
            rope.turn(head, positions[at % positions.len()], 1.0);
        }
    }
    part
}

fn gather_heads(x: &[f32], group: &Group, kv_head: usize, widths: Widths) -> Vec<f32> {
    let mut heads = Vec::with_capacity(widths.shared * group.n_rows() * widths.head);
    for head in 0..widths.shared {
        for row in 0..group.n_rows() {
            let at = (group.start + row) * widths.q + (kv_head * widths.shared + head) * widths.head;
            heads.extend_from_slice(&x[at..at + widths.head]);
        }
    }
    heads
}

fn scatter_heads(whole: &mut [f32], part: &[f32], group: &Group, kv_head: usize, widths: Widths) {
    let n_rows = group.n_rows();
    for (at, numbers) in part.chunks_exact(widths.head).enumerate() {
        let (head, row) = (at / n_rows, at % n_rows);
        let to = (group.start + row) * widths.q + (kv_head * widths.shared + head) * widths.head;
        whole[to..to + widths.head].copy_from_slice(numbers);
    }
}

fn unrotate(gradients: &mut Part, group: &Group, widths: Widths, rope: &Rope) {
    let positions: Vec<usize> = group.positions().collect();
    for heads in [&mut gradients.q, &mut gradients.k] {
        for (at, head) in heads.chunks_exact_mut(widths.head).enumerate() {
            rope.turn(head, positions[at % positions.len()], -1.0);
        }
    }
}

/// Multiplies `left` by the rows of `right` that a stretch sees, transposed: the prompt's, then its own.
fn against_seen(target: &mut [f32], left: View<'_>, right: &[f32], stretch: Stretch, width: usize) {
    let Stretch { prompt, start, n } = stretch;
    let length = prompt + n;
    if prompt > 0 {
        multiply_here(
            target,
            length,
            false,
            1.0,
            left,
            View::new(right, prompt, width).transposed(),
        );
    }
    let own = View::new(&right[start * width..], n, width).transposed();
    multiply_here(&mut target[prompt..], length, false, 1.0, left, own);
}

/// The attention weights of one head's stretch, `(n, prompt + n)`: zero where a token is out of sight. Where
/// scores are capped and `bends` is given, it gets the cap's derivatives.
fn weights(
    q: &[f32],
    k: &[f32],
    stretch: Stretch,
    width: usize,
    rule: &AttentionRule,
    bends: Option<&mut Vec<f32>>,
) -> Vec<f32> {
    let Stretch { prompt, start, n } = stretch;
    let mut scores = vec![0.0; n * (prompt + n)];
    against_seen(
        &mut scores,
        View::new(&q[start * width..], n, width),
        k,
        stretch,
        width,
    );
    let mut factor = rule.factor as f32;
    if let Some(cap) = rule.cap {
        cap_here(&mut scores, factor, cap as f32, bends);
        factor = 1.0;
    }
    for (i, row) in scores.chunks_exact_mut(prompt + n).enumerate() {
        let (seen, later) = row.split_at_mut(prompt + i + 1);
        let (earlier, seen) = seen.split_at_mut(rule.first_seen(prompt + i));
        vectorised(Softmax {
            numbers: seen,
            factor,
        });
        earlier.fill(0.0);
        later.fill(0.0);
    }
    scores
}

/// Softmax of `factor` times the numbers, in their place.
struct Softmax<'a> {
    numbers: &'a mut [f32],
    factor: f32,
}

impl Loop for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let highest = highest(self.numbers);
        for x in self.numbers.iter_mut() {
            *x = exp((*x - highest) * self.factor);
        }
        let inverse = 1.0 / sum(self.numbers);
        for x in self.numbers {
            *x *= inverse;
        }
    }
}

/// The gradient by the weights becomes the one by the scores, in its place.
struct SoftmaxSlope<'a> {
    slope: &'a mut [f32],
    weight: &'a [f32],
}

impl Loop for SoftmaxSlope<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let mean = dot(self.slope, self.weight);
        for (slope, weight) in self.slope.iter_mut().zip(self.weight) {
            *slope = weight * (*slope - mean);
        }
    }
}

fn attend(part: &Part, group: &Group, widths: Widths, rule: &AttentionRule) -> Vec<f32> {
    let width = widths.head;
    let mut out = vec![0.0; part.q.len()];
    for (q, out) in heads(&part.q, group, width).zip(out.chunks_exact_mut(group.n_rows() * width)) {
        for stretch in stretches(group) {
            let Stretch { prompt, start, n } = stretch;
            let weights = weights(q, &part.k, stretch, width, rule, None);
            let target = &mut out[start * width..(start + n) * width];
            if prompt > 0 {
                let left = View::strided(&weights, n, prompt, prompt + n);
                multiply_here(target, width, false, 1.0, left, View::new(&part.v, prompt, width));
            }
            let left = View::strided(&weights[prompt..], n, n, prompt + n);
            let own = View::new(&part.v[start * width..], n, width);
            multiply_here(target, width, prompt > 0, 1.0, left, own);
        }
    }
    out
}

fn heads<'a>(q: &'a [f32], group: &Group, width: usize) -> impl Iterator<Item = &'a [f32]> {
    q.chunks_exact(group.n_rows() * width)
}

/// With P the weights and G the upstream gradient: `dV = Pᵀ G`, `dS = P ∘ (G Vᵀ - rowsum(P ∘ G Vᵀ))`,
/// times the cap's derivative where there is one; `dQ = f dS K`, `dK = f dSᵀ Q` with f the scores' factor.
fn differentiate(part: &Part, upstream: &[f32], group: &Group, widths: Widths, rule: &AttentionRule) -> Part {
    let (width, factor) = (widths.head, rule.factor as f32);
    let mut bends = Vec::new();
    let mut gradients = Part {
        q: vec![0.0; part.q.len()],
        k: vec![0.0; part.k.len()],
        v: vec![0.0; part.v.len()],
    };
    let head_size = group.n_rows() * width;
    for (head, (q, upstream)) in heads(&part.q, group, width)
        .zip(heads(upstream, group, width))
        .enumerate()
    {
        let dq = &mut gradients.q[head * head_size..(head + 1) * head_size];
        for stretch in stretches(group) {
            let Stretch { prompt, start, n } = stretch;
            let length = prompt + n;
            let (rows, own) = (start * width..(start + n) * width, start * width);
            let weights = weights(q, &part.k, stretch, width, rule, Some(&mut bends));
            let upstream = View::new(&upstream[rows.clone()], n, width);
            let mut slopes = vec![0.0; n * length];
            against_seen(&mut slopes, upstream, &part.v, stretch, width);
            for (slope, weight) in slopes.chunks_exact_mut(length).zip(weights.chunks_exact(length)) {
                vectorised(SoftmaxSlope { slope, weight });
            }
            if rule.cap.is_some() {
                slopes.iter_mut().zip(&bends).for_each(|(s, bend)| *s *= bend);
            }
            let q = View::new(&q[rows.clone()], n, width);
            let dq = &mut dq[rows];
            if prompt > 0 {
                let (weights, slopes) = (
                    View::strided(&weights, n, prompt, length),
                    View::strided(&slopes, n, prompt, length),
                );
                multiply_here(&mut gradients.v, width, true, 1.0, weights.transposed(), upstream);
                multiply_here(dq, width, true, factor, slopes, View::new(&part.k, prompt, width));
                multiply_here(&mut gradients.k, width, true, factor, slopes.transposed(), q);
            }
            let (weights, slopes) = (
                View::strided(&weights[prompt..], n, n, length),
                View::strided(&slopes[prompt..], n, n, length),
            );
            multiply_here(
                &mut gradients.v[own..],
                width,
                true,
                1.0,
                weights.transposed(),
                upstream,
            );
            multiply_here(
                dq,
                width,
                true,
                factor,
                slopes,
                View::new(&part.k[own..], n, width),
            );
            multiply_here(
                &mut gradients.k[own..],
                width,
                true,
                factor,
                slopes.transposed(),
                q,
            );
        }
    }
    gradients
}
