//! Causal attention over a pack: each sequence sees itself and the prompt that it continues, nothing else.
//! Rotary embedding is part of it. Grouped queries: several query heads share one key/value head.

use super::{
    attention_cpu, fuses,
    rope::Rope,
    tape::{Tape, Traced},
};
use crate::model::Group;
use candle_core::{DType, Result, Tensor};
use std::sync::Arc;

/// Shapes: q `(rows, heads · head_dim)`, k and v `(rows, kv_heads · head_dim)`, to the shape of q.
pub fn attention(
    tape: &Tape,
    (q, k, v): (&Traced, &Traced, &Traced),
    rope: &Rope,
    groups: &Arc<[Group]>,
) -> Result<Traced> {
    let longest = groups.iter().map(Group::longest).max().unwrap_or(0);
    if longest > rope.n_positions() {
        candle_core::bail!(
            "a sequence of {longest} tokens is longer than the model's {}",
            rope.n_positions()
        );
    }
    let (rope, groups) = (rope.clone(), groups.clone());
    if !fuses(&[&q.value, &k.value, &v.value]) {
        return tape.composed(&[q, k, v], move |t| {
            composed([&t[0], &t[1], &t[2]], &rope, &groups)
        });
    }
    let value = attention_cpu::forward([&q.value, &k.value, &v.value], &rope, &groups)?;
    let inputs = [q.clone(), k.clone(), v.clone()];
    Ok(tape.record_from(value, &[q, k, v], move |gradient, out| {
        let values = [&inputs[0].value, &inputs[1].value, &inputs[2].value];
        let gradients = attention_cpu::backward(values, &gradient, &rope, &groups)?;
        for (input, gradient) in inputs.iter().zip(gradients) {
            out.add(input, gradient)?;
        }
        Ok(())
    }))
}

/// The composed form: sequence by sequence, in candle's operations.
fn composed([q, k, v]: [&Tensor; 3], rope: &Rope, groups: &[Group]) -> Result<Tensor> {
    let mut rows = Vec::new();
    for group in groups {
        let take = |x: &Tensor| x.narrow(0, group.start, group.n_rows());
        let positions: Vec<u32> = group.positions().map(|position| position as u32).collect();
        let positions = Tensor::new(positions, q.device())?;
        let q = heads(&rope.composed(&take(q)?, &positions)?, rope.head_dim)?; // (heads, rows, head_dim)
        let k = heads(&rope.composed(&take(k)?, &positions)?, rope.head_dim)?; // (kv_heads, rows, head_dim)
        let v = heads(&take(v)?, rope.head_dim)?;
        rows.push(sequence(&q, &k, &v, 0, 0, group.prompt)?);
        for (branch, &n) in group.branches.iter().enumerate().filter(|(_, n)| **n > 0) {
            let start = group.branch_start(branch) - group.start;
            rows.push(sequence(&q, &k, &v, group.prompt, start, n)?);
        }
    }
    Tensor::cat(&rows, 0)
}

/// Attention of rows `start..start + n` to the first `prompt` rows and to themselves.
fn sequence(q: &Tensor, k: &Tensor, v: &Tensor, prompt: usize, start: usize, n: usize) -> Result<Tensor> {
    let (n_heads, _, head_dim) = q.dims3()?;
    let seen = |x: &Tensor| -> Result<Tensor> {
        let own = x.narrow(1, start, n)?;
        let all = match prompt {
            0 => own,
            _ => Tensor::cat(&[x.narrow(1, 0, prompt)?, own], 1)?,
        };
        let (n_kv, length, _) = all.dims3()?;
        let shape = (n_kv, n_heads / n_kv, length, head_dim);
        all.unsqueeze(1)?
            .broadcast_as(shape)?
            .contiguous()?
            .reshape((n_heads, length, head_dim))
    };
    let (k, v) = (seen(k)?, seen(v)?);
    let length = prompt + n;
    let hidden: Vec<f32> = (0..n)
        .flat_map(|i| (0..length).map(move |j| if j > prompt + i { f32::NEG_INFINITY } else { 0.0 }))
        .collect();
    let mask = Tensor::from_vec(hidden, (n, length), q.device())?;
    let q = q.narrow(1, start, n)?.contiguous()?;
    let scores = (q.matmul(&k.t()?.contiguous()?)? / (head_dim as f64).sqrt())?; // (heads, n, length)
    let scores = scores.to_dtype(DType::F32)?.broadcast_add(&mask)?;
    let weights = super::log_softmax(&scores)?.exp()?.to_dtype(v.dtype())?;
    let out = weights.matmul(&v)?; // (heads, n, head_dim)
    out.transpose(0, 1)?
        .contiguous()?
        .reshape((n, n_heads * head_dim))
}

/// `(rows, heads · head_dim)` to `(heads, rows, head_dim)`.
fn heads(x: &Tensor, head_dim: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    x.reshape((rows, width / head_dim, head_dim))?
        .transpose(0, 1)?
        .contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Pack,
        ops::tape::check::{distance, finite_differences, numbers, same},
    };
    use candle_core::Device;

    /// A lone sequence, a prompt with two completions (one of them empty), and a prompt of one token.
    fn groups() -> Arc<[Group]> {
        let mut pack = Pack::default();
        pack.push(&[0; 5], &[]);
        pack.push(&[0; 3], &[&[0; 4], &[], &[0; 2]]);
        pack.push(&[0; 1], &[&[0; 3], &[0; 3]]);
        pack.groups.into()
    }

    fn inputs() -> [Tensor; 3] {
        [
            numbers(&[21, 4 * 6], 1),
            numbers(&[21, 2 * 6], 2),
            numbers(&[21, 2 * 6], 3),
        ]
    }

    #[test]
    fn fused_attention_equals_composed_attention_and_finite_differences() {
        let rope = Rope::new(1e4, 6, 16, &Device::Cpu, DType::F32).unwrap();
        let fused = {
            let (rope, groups) = (rope.clone(), groups());
            move |tape: &Tape, x: &[Traced]| attention(tape, (&x[0], &x[1], &x[2]), &rope, &groups)
        };
        let (groups, inputs) = (groups(), inputs());
        finite_differences(&inputs, &fused);
        same(&inputs, &fused, &move |tape, x| {
            let (rope, groups) = (rope.clone(), groups.clone());
            tape.composed(&[&x[0], &x[1], &x[2]], move |t| {
                composed([&t[0], &t[1], &t[2]], &rope, &groups)
            })
        });
    }

    #[test]
    fn a_branch_gives_what_the_whole_sequence_alone_gives() {
        let rope = Rope::new(1e4, 6, 16, &Device::Cpu, DType::F32).unwrap();
        let run = |inputs: [Tensor; 3], pack: Pack| {
            let [q, k, v] = inputs.map(Traced::constant);
            attention(&Tape::off(), (&q, &k, &v), &rope, &pack.groups.into())
                .unwrap()
                .value
        };
        let mut shared = Pack::default();
        shared.push(&[0; 3], &[&[0; 4], &[0; 2]]);
        let mut alone = Pack::default();
        alone.push(&[0; 5], &[]);
        let rows = Tensor::new(&[0u32, 1, 2, 7, 8], &Device::Cpu).unwrap();
        let [q, k, v] = inputs().map(|x| x.narrow(0, 0, 9).unwrap());
        let packed = run([q.clone(), k.clone(), v.clone()], shared)
            .index_select(&rows, 0)
            .unwrap();
        let single = run([q, k, v].map(|x| x.index_select(&rows, 0).unwrap()), alone);
        assert!(distance(&packed, &single) < 1e-6);
    }
}
