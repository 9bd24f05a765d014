//! Columns of a matrix as matrices of their own: a linear layer in which several lie side by side (Phi-3's
//! `qkv_proj` and `gate_up_proj`) is one product, and its result is split.

use super::tape::{Tape, Traced};
use candle_core::{Result, Tensor};

/// Shape: `(rows, sum of widths)`, to `(rows, width)` each.
pub fn split<const N: usize>(tape: &Tape, x: &Traced, widths: [usize; N]) -> Result<[Traced; N]> {
    let values = split_value(&x.value, widths)?;
    let total: usize = widths.iter().sum();
    let mut from = 0;
    let mut at = 0;
    Ok(values.map(|value| {
        let (start, width, input) = (from, widths[at], x.place());
        from += width;
        at += 1;
        tape.record_from(value, &[x], move |gradient, out| {
            let padded = gradient.pad_with_zeros(1, start, total - start - width)?;
            out.add_at(input, padded)
        })
    }))
}

/// The values alone, for passes that need no gradient.
fn split_value<const N: usize>(x: &Tensor, widths: [usize; N]) -> Result<[Tensor; N]> {
    let total: usize = widths.iter().sum();
    if x.dim(1)? != total {
        candle_core::bail!("{:?} cannot be split into columns of {widths:?}", x.dims());
    }
    let mut from = 0;
    let mut parts = Vec::with_capacity(N);
    for width in widths {
        parts.push(x.narrow(1, from, width)?.contiguous()?);
        from += width;
    }
    Ok(parts.try_into().expect("one part for each width"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tape::check::{finite_differences, numbers, same};

    #[test]
    fn split_columns_equal_composed_ones_and_finite_differences() {
        let inputs = [numbers(&[4, 9], 1)];
        let ours = |tape: &Tape, x: &[Traced]| {
            let [a, b, c] = split(tape, &x[0], [4, 4, 1])?;
            let sum = crate::ops::add(tape, &a, &b)?;
            tape.composed(&[&sum, &c], |t| t[0].sqr()?.broadcast_mul(&t[1]))
        };
        finite_differences(&inputs, &ours);
        same(&inputs, &ours, &|tape, x| {
            tape.composed(&[&x[0]], |t| {
                let sum = (t[0].narrow(1, 0, 4)? + t[0].narrow(1, 4, 4)?)?;
                sum.sqr()?.broadcast_mul(&t[0].narrow(1, 8, 1)?)
            })
        });
        assert!(split_value(&inputs[0], [4, 4]).is_err());
    }
}
