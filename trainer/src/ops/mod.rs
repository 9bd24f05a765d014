//! Differentiable operations of the decoder.
//!
//! Each has a form fused for the CPU (f32, several threads) with a backward pass of its own, and a form
//! composed of candle's operations for every other device; the tests hold fused, composed and finite
//! differences against one another. What is differentiated is recorded on a [`Tape`] instead of candle's
//! graph: candle would also compute the gradients of the frozen weights, fill and add a zero tensor for each
//! operand, and keep every activation until the end.

mod attention;
mod attention_cpu;
mod bf16;
mod blocks;
mod dora;
mod dropout;
pub(crate) mod elementwise;
mod entropy;
pub(crate) mod exp;
mod few_rows;
mod gated;
pub(crate) mod integer;
mod linear;
mod logprob;
mod matmul;
mod matrix;
mod norm;
mod rope;
mod soft_cap;
mod split;
mod tape;

pub use attention::{AttentionRule, attention};
pub use dora::{dora, weight_norm};
pub use dropout::{Dropout, Mask};
pub use entropy::entropy;
pub(crate) use few_rows::{MOST_ROWS, multiply_each};
pub(crate) use gated::gate_in_place;
pub use gated::{Activation, gated, gated_value};
pub use linear::{LowRank, add, linear, lora, scale};
pub use logprob::{CHUNK as LOGIT_ROWS, Head, log_softmax, token_logprobs};
pub use matmul::{
    few_rows_transposed, matmul, matmul_transposed, times, times_transposed, transposed_matmul,
};
pub use matrix::{FIRST_NUMBERS, Matrix, PANEL};
pub use norm::{rms_norm, rms_norm_value};
pub use rope::{Rope, frequencies};
pub use soft_cap::soft_cap_value;
pub use split::split;
pub use tape::{Gradients, Recording, Tape, Traced, gather_rows};

#[cfg(test)]
pub(crate) fn matrix_types() -> [candle_core::quantized::GgmlDType; 13] {
    matrix::tests::TYPES
}

use candle_core::{DType, Device, Result, Storage, Tensor, bail};
use matrix::Held;

/// Whether the fused form can take these tensors.
pub(crate) fn fuses(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|tensor| matches!(tensor.device(), Device::Cpu) && tensor.dtype() == DType::F32)
}

/// The same for a product of activations with a frozen weight, which may be in bf16 or quantised.
pub(crate) fn fuses_with_weight(x: &Tensor, weight: &Matrix) -> bool {
    fuses(&[x])
        && match &weight.held {
            Held::Tensor(tensor) => {
                fuses(&[tensor]) || (tensor.device().is_cpu() && tensor.dtype() == DType::BF16)
            }
            Held::Blocks(_) => weight.device().is_cpu(),
        }
}

/// Runs `body` on the numbers of contiguous f32 tensors in main memory, without a copy.
pub(crate) fn with_slices<const N: usize, T>(
    tensors: [&Tensor; N],
    body: impl FnOnce([&[f32]; N]) -> Result<T>,
) -> Result<T> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let Storage::Cpu(storage) = &**storage else {
            bail!("a fused operation met a tensor that is not in main memory");
        };
        let Some((from, to)) = layout.contiguous_offsets() else {
            bail!("a fused operation met a tensor that is not contiguous: {layout:?}");
        };
        *slice = &storage.as_slice::<f32>()?[from..to];
    }
    body(slices)
}
