//! The exponential and what is made of it, for slices. The library's `exp` is a call for each number; this polynomial (after Cephes'
//! `expf`, relative error below 2e-7) is straight-line code that the compiler turns into vector instructions.

/// e^x. Below -87.3 it is 0, above 88.3 infinity.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, so that x - n ln 2 loses nothing.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 · 2^23 rounds to the nearest integer n, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = clamped - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4_f32;
    p = p * r + 1.398_2e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_65;
    p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    // 2^n. A conversion to an integer would keep the compiler from making vectors.
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    let value = p * power;
    let value = if x < -87.3 { 0.0 } else { value };
    // A comparison with NaN is false: NaN stays NaN through `clamped`.
    if x > 88.3 { f32::INFINITY } else { value }
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// tanh x, after Cephes' `tanhf`: a polynomial near 0, where the quotient would lose digits.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let square = x * x;
    let mut p = -5.704_988_7e-3_f32;
    p = p * square + 2.063_909e-2;
    p = p * square - 5.373_971_6e-2;
    p = p * square + 1.333_144_2e-1;
    p = p * square - 3.333_328e-1;
    let near = p * square * x + x;
    let size = x.abs();
    let far = (1.0 - 2.0 / (exp(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomial_agrees_with_the_library_to_seven_digits() {
        for at in -870_000..=880_000 {
            let x = at as f32 * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "at {x}");
        }
        assert_eq!(
            (exp(-1e9), exp(f32::NEG_INFINITY), exp(100.0), exp(0.0)),
            (0.0, 0.0, f32::INFINITY, 1.0)
        );
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_agrees_with_the_library_to_six_digits() {
        for at in -200_000..=200_000 {
            let x = at as f32 * 1e-4;
            let exact = f64::from(x).tanh();
            assert!((f64::from(tanh(x)) - exact).abs() <= 4e-7 * exact.abs(), "at {x}");
        }
        assert_eq!((tanh(1e9), tanh(f32::NEG_INFINITY), tanh(0.0)), (1.0, -1.0, 0.0));
        assert!(tanh(f32::NAN).is_nan());
    }
}
