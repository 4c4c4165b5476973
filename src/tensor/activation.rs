//! sigmoid, tanh, relu and exp: vectorised, for f32 and f64, with stated error bounds.
//!
//! All rest on one reduction: y = n·ln 2 + r with |r| ≤ ½·ln 2, and with c = r·coth(r/2)
//!
//! ```text
//! e^y = 2ⁿ·(c + r) / (c − r)
//! ```
//!
//! c is even in r, so a polynomial in r² with half the terms of one for e^r gives it; its division
//! costs nothing, for the functions are quotients themselves:
//!
//! ```text
//! σ(x)    = (c − r) / ((c − r) + 2ⁿ·(c + r))                                 y = −x
//! tanh(x) = ± d / (d + 2·(c − r))       d = c·(2ⁿ − 1) + r·(2ⁿ + 1)          y = 2·|x|
//! e^x     = 2ⁿ·(1 + r + r·(2 − c + r) / (c − r))                             y = x
//! ```
//!
//! No difference here loses digits: small arguments keep theirs. n·ln 2 is subtracted in two parts,
//! of which the first is exact (Cody and Waite, *Software Manual for the Elementary Functions*,
//! 1980); c is the even function in fdlibm's `exp`, with coefficients of its own here
//! ([`Float::COTH`]). What counts beside the number of operations is the length of their chain: a
//! processor that waits for results holds only a few vectors' operations at a time.
//!
//! NaN stays NaN, infinities give the limits, ±0 keeps its sign where the function is odd. exp and
//! sigmoid of x below [`Float::MIN_EXP`] are zero: their results are never subnormal.
//! `tests/tensor/activations.rs` in the repository checks all of this, the bounds over the whole range.

use fearless_simd::{Select, Simd, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::lanes::lanes;
use crate::tensor::rows::RowsMut;

/// The largest error of [`exp_nonpositive`], in units of the last place of the exact value, for f32
/// and f64 on every instruction set. Found over all f32: 1.23; f64 is held to the same bound over
/// a dense grid.
pub const EXP_MAX_ULP: f64 = 1.25;
/// The largest error of [`sigmoid`], as [`EXP_MAX_ULP`]. Found over all f32: 2.44.
pub const SIGMOID_MAX_ULP: f64 = 3.0;
/// The largest error of [`tanh`], as [`EXP_MAX_ULP`]. Found over all f32: 2.37.
pub const TANH_MAX_ULP: f64 = 3.0;

#[inline(always)]
fn splat<S: Simd, V: SimdFloat<S, Element: Float>>(like: V, value: f64) -> V {
    V::splat(like.token(), V::Element::from_f64(value))
}

/// The lesser of each lane and `limit`; NaN stays NaN.
#[inline(always)]
fn at_most<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, limit: f64) -> V {
    let limit = splat(x, limit);
    // Vectors of more than 16 bytes are those of AVX, whose minimum is its second operand where
    // one of the two is NaN.
    if size_of::<V>() > 16 { limit.min(x) } else { x.simd_gt(limit).select(limit, x) }
}

/// 2ⁿ, c and r of e^(k·x) = 2ⁿ·(c + r) / (c − r), with c and r divided by k; n must be an exponent
/// of the type. The parts of `ln_2` sum up to ln 2.
#[inline(always)]
fn exp_parts<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, k: f64, ln_2: &[f64]) -> (V, V, V) {
    // Added to 1.5·2^SIGNIFICAND_BITS + bias, k·x·log₂e loses its fraction, and the lowest bits of
    // the sum are n + bias: shifted, they are the exponent of 2ⁿ.
    let bits = V::Element::SIGNIFICAND_BITS;
    let shift = splat(x, V::Element::EXPONENT_BIAS + 1.5 * (1_u64 << bits) as f64);
    let shifted = x.mul_add(splat(x, k * std::f64::consts::LOG2_E), shift);
    let n = shifted - shift;
    let mut r = x;
    for part in ln_2 {
        r = n.mul_add(splat(x, -part / k), r);
    }
    let coefficient = |i: usize| V::Element::COTH[i] * (0.5 * k).powi(2 * i as i32 - 1);
    let square = r * r;
    let last = V::Element::COTH.len() - 1;
    let mut c = splat(x, coefficient(last));
    for i in (0..last).rev() {
        c = c.mul_add(square, splat(x, coefficient(i)));
    }
    (V::from_bits(shifted.to_bits() << bits), c, r)
}

/// n / d of each lane. AVX-512 has 1/d to 14 bits; a Newton step on the quotient doubles them, and
/// leaves the divider, the slowest unit of all, alone.
#[inline(always)]
fn divide<S: Simd, V: SimdFloat<S, Element: Float>>(n: V, d: V) -> V {
    if V::LEN != 16 || V::Element::SIGNIFICAND_BITS != 23 {
        return n / d;
    }
    let y = d.approximate_recip();
    let q = n * y;
    (-d).mul_add(q, n).mul_add(y, q)
}

/// `y`, or zero where eˣ might be subnormal.
#[inline(always)]
fn zero_if_tiny<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, y: V) -> V {
    x.simd_lt(splat(x, V::Element::MIN_EXP)).select(splat(x, 0.0), y)
}

/// eˣ of each lane for x ≤ 0; 1 for x > 0.
#[inline(always)]
pub fn exp_nonpositive<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let x = at_most(x, 0.0);
    let (scale, c, r) = exp_parts(x, 1.0, &V::Element::LN_2_PARTS);
    let p = divide(splat(x, 2.0) - c + r, c - r).mul_add(r, r);
    zero_if_tiny(x, scale.mul_add(p, scale))
}

/// σ(x) = 1 / (1 + e^−x) of each lane.
#[inline(always)]
pub fn sigmoid<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let minus_x = -at_most(x, -V::Element::MIN_EXP);
    let (scale, c, r) = exp_parts(minus_x, 1.0, &V::Element::LN_2_PARTS);
    zero_if_tiny(x, divide(c - r, scale.mul_add(c + r, c - r)))
}

/// tanh(x) of each lane.
#[inline(always)]
pub fn tanh<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let one = splat(x, 1.0);
    // From half as many as the bits of the significand on, tanh is ±1. Where n is large, it hardly
    // depends on e^y, so n·ln 2 needs but one part.
    let magnitude = at_most(x.abs(), 0.5 * f64::from(V::Element::SIGNIFICAND_BITS));
    let (scale, c, r) = exp_parts(magnitude, 2.0, &[std::f64::consts::LN_2]);
    let difference = c.mul_add(scale - one, r * (scale + one));
    divide(difference, (c - r).mul_add(splat(x, 2.0), difference)).copysign(x)
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

compiled! {
    /// Replaces each value by its [`sigmoid`].
    pub fn sigmoid_slice<'a, T>(values: &'a mut [T]) = sigmoid_slice_on;
    /// Replaces each value by its [`tanh`].
    pub fn tanh_slice<'a, T>(values: &'a mut [T]) = tanh_slice_on;
    /// Replaces each value by its [`relu`].
    pub fn relu_slice<'a, T>(values: &'a mut [T]) = relu_slice_on;
    /// Replaces tiny values by zero in each of the rows, as [`flush_tiny`] does.
    pub(crate) fn flush_tiny_rows<'a, T>(rows: RowsMut<'a, T>) = flush_tiny_rows_on;
    /// The same in the rows of several states.
    pub(crate) fn flush_tiny_states<'a, T>(states: &'a mut [RowsMut<'a, T>]) =
        flush_tiny_states_on;
}

#[inline(always)]
fn flush_tiny_rows_on<S: Simd, T: Float>(simd: S, mut rows: RowsMut<'_, T>) {
    for r in 0..rows.count() {
        flush_tiny(simd, rows.row_mut(r));
    }
}

#[inline(always)]
fn flush_tiny_states_on<S: Simd, T: Float>(simd: S, states: &mut [RowsMut<'_, T>]) {
    for state in states {
        flush_tiny_rows_on(simd, state.reborrow());
    }
}

/// Replaces by zero each value so small that its product with an ordinary weight would be
/// subnormal, below 10⁻³¹ in f32: arithmetic on those takes many times as long. NaN stays NaN.
#[inline(always)]
pub fn flush_tiny<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    let least = (T::min_positive_value() / T::epsilon()).as_f64();
    for l in lanes(simd, values.len()) {
        l.store(values, zero_below(l.load(values), least));
    }
}

#[inline(always)]
fn sigmoid_slice_on<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, sigmoid(l.load(values)));
    }
}

#[inline(always)]
fn tanh_slice_on<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, tanh(l.load(values)));
    }
}

#[inline(always)]
fn relu_slice_on<S: Simd, T: Float>(simd: S, values: &mut [T]) {
    for l in lanes(simd, values.len()) {
        l.store(values, relu(l.load(values)));
    }
}
