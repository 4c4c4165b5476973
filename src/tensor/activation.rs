//! sigmoid, tanh, relu and exp: vectorised, for f32 and f64, with stated error bounds.
//!
//! All rest on one reduction of eˣ for x ≤ 0: x = n·ln 2 + r with |r| ≤ ½·ln 2, then
//! eˣ = 2ⁿ·(1 + p(r)) with the power series p(r) = r + r²/2! + r³/3! + …, cut where the next term
//! no longer changes a result ([`Float::EXP_SERIES`]). n·ln 2 is subtracted in two parts, of which
//! the first is exact (Cody and Waite, *Software Manual for the Elementary Functions*, 1980).
//!
//! - sigmoid(x) = e / (1 + e) for x < 0 and 1 / (1 + e) for x ≥ 0, with e = e^−|x|.
//! - tanh(x) = ± (1 − e) / (1 + e) with e = e^(−2|x|), through 1 − e = −(2ⁿ·p + (2ⁿ − 1)), which
//!   keeps small arguments exact.
//!
//! NaN stays NaN, infinities give the limits, ±0 keeps its sign where the function is odd. exp and
//! sigmoid of x below [`Float::MIN_EXP`] are zero: their results are never subnormal.
//! `tests/activations.rs` in the repository checks all of this, the bounds over the whole range.

use fearless_simd::{Select, Simd, SimdFloat};

use crate::float::Float;
use crate::tensor::lanes::lanes;

/// The largest error of [`exp_nonpositive`], in units of the last place of the exact value, for f32
/// and f64 on every instruction set. Found over all f32: 1.09; f64 is held to the same bound over
/// a dense grid.
pub const EXP_MAX_ULP: f64 = 1.25;
/// The largest error of [`sigmoid`], as [`EXP_MAX_ULP`]. Found over all f32: 2.42.
pub const SIGMOID_MAX_ULP: f64 = 3.0;
/// The largest error of [`tanh`], as [`EXP_MAX_ULP`]. Found over all f32: 2.52.
pub const TANH_MAX_ULP: f64 = 3.0;

/// eˣ for x ≤ 0 as its factors: 2ⁿ, and p = e^r − 1.
#[inline(always)]
fn exp_parts<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> (V, V) {
    let least = splat(x, V::Element::MIN_EXP);
    let x = x.simd_lt(least).select(least, x);
    // Added to 1.5·2^SIGNIFICAND_BITS + bias, x·log₂e loses its fraction, and the lowest bits of
    // the sum are n + bias: shifted, they are the exponent of 2ⁿ.
    let bits = V::Element::SIGNIFICAND_BITS;
    let shift = splat(x, V::Element::EXPONENT_BIAS + 1.5 * (1_u64 << bits) as f64);
    let shifted = x.mul_add(splat(x, std::f64::consts::LOG2_E), shift);
    let n = shifted - shift;
    let r = n.mul_add(splat(x, -V::Element::LN_2_HIGH), x);
    let r = n.mul_add(splat(x, -V::Element::LN_2_LOW), r);
    // Even and odd terms apart: two short chains of multiply-adds instead of a long one.
    let square = r * r;
    let [rest @ .., last] = V::Element::EXP_SERIES else { return (n, r) };
    let (mut even, mut odd) = (splat(x, last[0]), splat(x, last[1]));
    for &[even_term, odd_term] in rest.iter().rev() {
        even = even.mul_add(square, splat(x, even_term));
        odd = odd.mul_add(square, splat(x, odd_term));
    }
    let p = square.mul_add(odd.mul_add(r, even), r);
    (V::from_bits(shifted.to_bits() << bits), p)
}

#[inline(always)]
fn splat<S: Simd, V: SimdFloat<S, Element: Float>>(like: V, value: f64) -> V {
    V::splat(like.token(), V::Element::of(value))
}

/// n / d of each lane for 1 ≤ d ≤ 2. AVX-512 has 1/d to 14 bits; a Newton step on the quotient
/// doubles them, and leaves the divider, the slowest unit of all, alone.
#[inline(always)]
fn divide<S: Simd, V: SimdFloat<S, Element: Float>>(n: V, d: V) -> V {
    if V::LEN != 16 || V::Element::SIGNIFICAND_BITS != 23 {
        return n / d;
    }
    let y = d.approximate_recip();
    let q = n * y;
    (-d).mul_add(q, n).mul_add(y, q)
}

/// eˣ of each lane for x ≤ 0; 1 for x > 0.
#[inline(always)]
pub fn exp_nonpositive<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let zero = splat(x, 0.0);
    exp(x.simd_gt(zero).select(zero, x))
}

/// eˣ of each lane, which must be ≤ 0.
#[inline(always)]
fn exp<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let (scale, p) = exp_parts(x);
    let tiny = x.simd_lt(splat(x, V::Element::MIN_EXP));
    tiny.select(splat(x, 0.0), scale.mul_add(p, scale))
}

/// σ(x) = 1 / (1 + e^−x) of each lane.
#[inline(always)]
pub fn sigmoid<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let one = splat(x, 1.0);
    let e = exp(x.copysign(-one));
    divide(x.simd_lt(splat(x, 0.0)).select(e, one), e + one)
}

/// tanh(x) of each lane.
#[inline(always)]
pub fn tanh<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let one = splat(x, 1.0);
    let (scale, p) = exp_parts((x + x).copysign(-one));
    let e_minus_1 = scale.mul_add(p, scale - one);
    divide(e_minus_1, e_minus_1 + splat(x, 2.0)).copysign(x)
}

/// max(x, 0) of each lane; NaN stays NaN.
#[inline(always)]
pub fn relu<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let zero = splat(x, 0.0);
    x.simd_lt(zero).select(zero, x)
}

/// Each lane, or zero where its magnitude is below `least`; NaN stays NaN.
#[inline(always)]
pub(crate) fn zero_below<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, least: f64) -> V {
    x.abs().simd_lt(splat(x, least)).select(splat(x, 0.0), x)
}

/// Replaces by zero each value so small that its product with an ordinary weight would be
/// subnormal, below 10⁻³¹ in f32: arithmetic on those takes many times as long. NaN stays NaN.
#[inline(always)]
pub fn flush_tiny<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    let least = (T::min_positive_value() / T::epsilon()).f64();
    for l in lanes(simd, values.len()) {
        l.store(values, zero_below(l.load(values), least));
    }
}

/// Replaces each value by its [`sigmoid`].
#[inline(always)]
pub fn sigmoid_slice<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, sigmoid(l.load(values)));
    }
}

/// Replaces each value by its [`tanh`].
#[inline(always)]
pub fn tanh_slice<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, tanh(l.load(values)));
    }
}

/// Replaces each value by its [`relu`].
#[inline(always)]
pub fn relu_slice<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, relu(l.load(values)));
    }
}
