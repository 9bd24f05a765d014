//! Causal attention over a pack: each sequence sees itself and the prompt that it continues, nothing else.
//! Rotary embedding is part of it. Grouped queries: several query heads share one key/value head. Some models
//! let a token see no farther back than a window, and cap the scores.

use super::{
    attention_cpu, fuses,
    rope::Rope,
    soft_cap,
    tape::{Tape, Traced},
};
use crate::model::Group;
use candle_core::{DType, Result, Tensor};
use std::sync::Arc;

/// How a block's attention makes its scores, and how far it sees.
#[derive(Clone)]
pub struct AttentionRule {
    pub rope: Rope,
    /// Of the products of queries and keys; mostly 1 / √head_dim.
    pub factor: f64,
    /// Scores become `cap · tanh(score / cap)`.
    pub cap: Option<f64>,
    /// How many tokens one sees, itself included; all before it where there is no window.
    pub window: Option<usize>,
}

impl AttentionRule {
    /// The first position that the token at `position` sees.
    #[inline]
    pub(crate) fn first_seen(&self, position: usize) -> usize {
        self.window
            .map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Shapes: q `(rows, heads · head_dim)`, k and v `(rows, kv_heads · head_dim)`, to the shape of q.
pub fn attention(
    tape: &Tape,
    (q, k, v): (&Traced, &Traced, &Traced),
    rule: &AttentionRule,
    groups: &Arc<[Group]>,
) -> Result<Traced> {
    let longest = groups.iter().map(Group::longest).max().unwrap_or(0);
    let n_positions = rule.rope.n_positions();
    if longest > n_positions {
        candle_core::bail!("a sequence of {longest} tokens is longer than the model's {n_positions}");
    }
    let (rule, groups) = (rule.clone(), groups.clone());
    if !fuses(&[&q.value, &k.value, &v.value]) {
        return tape.composed(&[q, k, v], move |t| {
            composed([&t[0], &t[1], &t[2]], &rule, &groups)
        });
    }
    let value = attention_cpu::forward([&q.value, &k.value, &v.value], &rule, &groups)?;
    let inputs = [q.clone(), k.clone(), v.clone()];
    Ok(tape.record_from(value, &[q, k, v], move |gradient, out| {
        let values = [&inputs[0].value, &inputs[1].value, &inputs[2].value];
        let gradients = attention_cpu::backward(values, &gradient, &rule, &groups)?;
        for (input, gradient) in inputs.iter().zip(gradients) {
            out.add(input, gradient)?;
        }
        Ok(())
    }))
}

/// The composed form: sequence by sequence, in candle's operations.
fn composed([q, k, v]: [&Tensor; 3], rule: &AttentionRule, groups: &[Group]) -> Result<Tensor> {
    let rope = &rule.rope;
    let mut rows = Vec::new();
    for group in groups {
        let take = |x: &Tensor| x.narrow(0, group.start, group.n_rows());
        let positions: Vec<u32> = group.positions().map(|position| position as u32).collect();
        let positions = Tensor::new(positions, q.device())?;
        let q = heads(&rope.composed(&take(q)?, &positions)?, rope.head_dim)?; // (heads, rows, head_dim)
        let k = heads(&rope.composed(&take(k)?, &positions)?, rope.head_dim)?; // (kv_heads, rows, head_dim)
        let v = heads(&take(v)?, rope.head_dim)?;
        rows.push(sequence([&q, &k, &v], rule, 0, 0, group.prompt)?);
        for (branch, &n) in group.branches.iter().enumerate().filter(|(_, n)| **n > 0) {
            let start = group.branch_start(branch) - group.start;
            rows.push(sequence([&q, &k, &v], rule, group.prompt, start, n)?);
        }
    }
    Tensor::cat(&rows, 0)
}

/// Attention of rows `start..start + n` to the first `prompt` rows and to themselves.
fn sequence(
    [q, k, v]: [&Tensor; 3],
    rule: &AttentionRule,
    prompt: usize,
    start: usize,
    n: usize,
) -> Result<Tensor> {
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
    let mut hidden = vec![f32::NEG_INFINITY; n * length];
    for (i, row) in hidden.chunks_exact_mut(length).enumerate() {
        row[rule.first_seen(prompt + i)..=prompt + i].fill(0.0);
    }
    let mask = Tensor::from_vec(hidden, (n, length), q.device())?;
    let q = q.narrow(1, start, n)?.contiguous()?;
    let mut scores = (q.matmul(&k.t()?.contiguous()?)? * rule.factor)?; // (heads, n, length)
    if let Some(cap) = rule.cap {
        scores = soft_cap::composed(&scores, cap)?;
    }
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
        ops::frequencies,
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

    /// Plain; with a window, a cap, a factor of its own and a part of each head that does not turn.
    fn rules() -> [AttentionRule; 2] {
        let rule = |rotary_dim, factor, cap, window| AttentionRule {
            rope: Rope::new(&frequencies(1e4, rotary_dim), 6, 16, &Device::Cpu, DType::F32).unwrap(),
            factor,
            cap,
            window,
        };
        [rule(6, 0.4, None, None), rule(4, 0.7, Some(1.5), Some(3))]
    }

    #[test]
    fn fused_attention_equals_composed_attention_and_finite_differences() {
        for rule in rules() {
            let fused = {
                let (rule, groups) = (rule.clone(), groups());
                move |tape: &Tape, x: &[Traced]| attention(tape, (&x[0], &x[1], &x[2]), &rule, &groups)
            };
            let (groups, inputs) = (groups(), inputs());
            finite_differences(&inputs, &fused);
            same(&inputs, &fused, &move |tape, x| {
                let (rule, groups) = (rule.clone(), groups.clone());
                tape.composed(&[&x[0], &x[1], &x[2]], move |t| {
                    composed([&t[0], &t[1], &t[2]], &rule, &groups)
                })
            });
        }
    }

    #[test]
    fn a_window_hides_what_lies_before_it() {
        let [_, rule] = rules();
        let mut pack = Pack::default();
        pack.push(&[0; 4], &[&[0; 2]]);
        let groups: Arc<[Group]> = pack.groups.into();
        let run = |inputs: [Tensor; 3]| {
            let [q, k, v] = inputs.map(Traced::constant);
            let out = attention(&Tape::off(), (&q, &k, &v), &rule, &groups).unwrap();
            out.value.get(5).unwrap()
        };
        let inputs = inputs().map(|x| x.narrow(0, 0, 6).unwrap());
        let moved = |row: usize| {
            inputs.clone().map(|x| {
                let mut numbers = x.to_vec2::<f32>().unwrap();
                numbers[row].iter_mut().for_each(|x| *x += 1.0);
                Tensor::new(numbers, &Device::Cpu).unwrap()
            })
        };
        let base = run(inputs.clone());
        assert_eq!(distance(&run(moved(2)), &base), 0.0, "row 2 is out of sight");
        assert!(distance(&run(moved(3)), &base) > 1e-3, "row 3 is within it");
    }

    #[test]
    fn a_branch_gives_what_the_whole_sequence_alone_gives() {
        for rule in rules() {
            let run = |inputs: [Tensor; 3], pack: Pack| {
                let [q, k, v] = inputs.map(Traced::constant);
                attention(&Tape::off(), (&q, &k, &v), &rule, &pack.groups.into())
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
}
