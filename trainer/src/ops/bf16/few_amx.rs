//! Few rows of activations with a weight as it is stored, on CPUs with AMX. What `vdpbf16ps` does not: on Intel's CPUs it is no
//! faster than f32. The result is computed turned, wᵀ standing on the left: 16 rows of a weight are a tile as they lie in
//! memory, and only the activations, of which there are few, are laid out anew.

use super::{
    amx::{self, Amx},
    panels::{self, LANES, Unit},
};
use half::bf16;
use std::arch::asm;

/// Numbers of a row in a tile.
const WIDE: usize = 2 * LANES;
/// Outputs of a block: two tiles.
const OUTPUTS: usize = 2 * LANES;
/// Pairs, or sums, of a tile.
const TILE: usize = LANES * LANES;

/// Activations, rounded to bf16: for each 16 rows, tile by tile, pairs of the inner dimension by rows.
pub struct Turned {
    tiles: Vec<u32>,
    n: usize,
    inner: usize,
}

impl Turned {
    /// `None` where the CPU has no tiles, or a row of the weight is not made of whole ones. Shape: x `(rows, inner)`.
    pub fn new(x: &[f32], inner: usize) -> Option<Self> {
        if !amx::is_there() || inner == 0 || !inner.is_multiple_of(WIDE) {
            return None;
        }
        let (n, stride) = (x.len() / inner, inner / 2);
        // SAFETY: where there is AMX the CPU has the instructions.
        let rows = unsafe { panels::rounded(x, inner, stride, n) };
        let mut tiles = vec![0; n.next_multiple_of(LANES) * stride];
        for (row, pairs) in rows.chunks_exact(stride).enumerate() {
            let block = &mut tiles[row / LANES * LANES * stride..];
            for (at, pair) in pairs.iter().enumerate() {
                block[at * LANES + row % LANES] = *pair;
            }
        }
        Some(Self { tiles, n, inner })
    }

    /// See [`super::few::Rounded::times`].
    pub fn times(&self, w: &[bf16], tell: &mut impl FnMut(usize, usize, f32)) {
        let whole = OUTPUTS * self.inner;
        Amx::begin();
        let mut blocks = w.chunks_exact(whole);
        let mut at = 0;
        for block in &mut blocks {
            self.block(block, (at, OUTPUTS), tell);
            at += OUTPUTS;
        }
        let rest = blocks.remainder();
        if !rest.is_empty() {
            let mut block = vec![bf16::ZERO; whole];
            block[..rest.len()].copy_from_slice(rest);
            self.block(&block, (at, rest.len() / self.inner), tell);
        }
        Amx::end();
    }

    /// Tells the products with the first `n` of 32 rows of a weight.
    fn block(&self, w: &[bf16], (first, n): (usize, usize), tell: &mut impl FnMut(usize, usize, f32)) {
        for (at, x) in self.tiles.chunks_exact(LANES * self.inner / 2).enumerate() {
            let mut sums = [0.0f32; 2 * TILE];
            sum(x, w, self.inner, &mut sums);
            let first_row = at * LANES;
            for (output, sums) in sums.chunks_exact(LANES).take(n).enumerate() {
                for (row, sum) in sums.iter().take(self.n - first_row).enumerate() {
                    tell(first_row + row, first + output, *sum);
                }
            }
        }
    }
}

/// 32 outputs by 16 rows. The registers of the thread are ready.
fn sum(x: &[u32], w: &[bf16], inner: usize, sums: &mut [f32; 2 * TILE]) {
    let n_steps = inner / WIDE;
    assert!(
        n_steps > 0 && x.len() == n_steps * TILE && w.len() == OUTPUTS * inner,
        "whole tiles"
    );
    let w = w.as_ptr();
    // SAFETY: checked above. Registers 0 and 1 are the sums, 4 and 5 hold rows of the weight, 6 pairs of the activations; a step
    // goes 64 bytes on in a row of the weight and a tile on in the activations. Meanwhile the next block of the weight is
    // fetched, in the order in which it lies in memory: what lies behind the weight may be asked for, too, and is not read.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm6, [{x} + {x_stride}]",
            "tileloadd tmm4, [{w} + {w_stride}]",
            "tileloadd tmm5, [{lower_w} + {w_stride}]",
            "mov {n_lines:e}, 8",
            "3:",
            "prefetcht1 [{next}]",
            "prefetcht1 [{next} + 64]",
            "prefetcht1 [{next} + 128]",
            "prefetcht1 [{next} + 192]",
            "add {next}, 256",
            "dec {n_lines:e}",
            "jnz 3b",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm5, tmm6",
            "add {x}, 1024",
            "add {w}, 64",
            "add {lower_w}, 64",
            "dec {n_steps}",
            "jnz 2b",
            "tilestored [{y} + {x_stride}], tmm0",
            "tilestored [{y} + {x_stride} + 1024], tmm1",
            x = inout(reg) x.as_ptr() => _,
            x_stride = in(reg) 64usize,
            w = inout(reg) w => _,
            lower_w = inout(reg) w.add(LANES * inner) => _,
            w_stride = in(reg) 2 * inner,
            next = inout(reg) w.wrapping_add(OUTPUTS * inner) => _,
            n_lines = out(reg) _,
            y = in(reg) sums.as_mut_ptr(),
            n_steps = inout(reg) n_steps => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack),
        );
    }
}
