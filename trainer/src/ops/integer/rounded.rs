//! Activations in two times 8 bits, by pieces: 8 bits alone moved the default model's log-probabilities by 0.07 in the mean,
//! and the time of a step is mostly that of reading the weights.

use super::PIECE;
use crate::ops::elementwise::{Loop, vectorised};
use rayon::prelude::*;

/// Numbers that are not worth a second thread.
const SMALL: usize = 1 << 15;

/// 32 numbers of a row as multiples of a scale.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Piece {
    pub numbers: [i8; PIECE],
    pub scale: f32,
    /// Of `numbers`.
    pub sum: i32,
    /// Of the first half of them.
    pub half: i32,
    /// Of what they stand for.
    pub total: f32,
}

/// Rows in pieces, those of all rows at the same place side by side: `(inner / PIECE, rows)`. Each row of the activations
/// is two rows here: itself rounded, and what that leaves.
pub struct Rounded {
    pub rows: usize,
    pub pieces: Vec<Piece>,
}

impl Rounded {
    pub fn of(x: &[f32], inner: usize) -> Self {
        let rows = x.len() / inner;
        let empty = Piece {
            numbers: [0; PIECE],
            scale: 0.0,
            sum: 0,
            half: 0,
            total: 0.0,
        };
        let rows = 2 * rows;
        let mut pieces = vec![empty; 2 * (x.len() / PIECE)];
        let round = |(place, pieces): (usize, &mut [Piece])| {
            vectorised(Round {
                x: &x[place * PIECE..],
                inner,
                pieces,
            });
        };
        match x.len() <= SMALL {
            true => pieces.chunks_exact_mut(rows.max(1)).enumerate().for_each(round),
            false => pieces.par_chunks_exact_mut(rows).enumerate().for_each(round),
        }
        Self { rows, pieces }
    }
}

/// The pieces of all rows at one place; x begins there.
struct Round<'a> {
    x: &'a [f32],
    inner: usize,
    pieces: &'a mut [Piece],
}

impl Loop for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (x, pieces) in self.x.chunks(self.inner).zip(self.pieces.chunks_exact_mut(2)) {
            let x: &[f32; PIECE] = x.first_chunk().expect("rows are whole pieces");
            pieces[0] = rounded(x);
            let mut rest = *x;
            for (rest, number) in rest.iter_mut().zip(pieces[0].numbers) {
                *rest -= pieces[0].scale * f32::from(number);
            }
            pieces[1] = rounded(&rest);
        }
    }
}

#[inline(always)]
fn rounded(x: &[f32; PIECE]) -> Piece {
    // By their bits: what is no number is above all numbers, and stays none as the scale.
    let highest = x
        .iter()
        .fold(0, |highest, x| highest.max(x.to_bits() & 0x7fff_ffff));
    let highest = f32::from_bits(highest);
    let inverse = if highest == 0.0 { 0.0 } else { 127.0 / highest };
    let mut numbers = [0; PIECE];
    for (number, x) in numbers.iter_mut().zip(x) {
        // The sum with 1.5 · 2^23 has the nearest whole number in its lowest bits.
        *number = (x * inverse + 12_582_912.0).to_bits() as i8;
    }
    let sum = |numbers: &[i8]| numbers.iter().map(|&number| i32::from(number)).sum::<i32>();
    let (first, second) = numbers.split_at(PIECE / 2);
    let (half, scale) = (sum(first), highest / 127.0);
    let sum = half + sum(second);
    Piece {
        numbers,
        scale,
        sum,
        half,
        total: scale * sum as f32,
    }
}
