//! sigmoid, tanh, relu and exp: vectorised, for f32 and f64, with documented error bounds.
//!
//! All but relu use one range reduction, y = n·ln 2 + r with |r| ≤ ½·ln 2. With c = r·coth(r/2),
//!
//! ```text
//! e^y = 2ⁿ·(c + r) / (c − r)
//! ```
//!
//! c is even in r, so its polynomial in r² has half the terms of a polynomial for e^r. The division
//! costs nothing more, because the functions are quotients themselves:
//!
//! ```text
//! σ(x)    = (c − r) / ((c − r) + 2ⁿ·(c + r))                                 y = −x
//! tanh(x) = ± d / (d + 2·(c − r))       d = c·(2ⁿ − 1) + r·(2ⁿ + 1)          y = 2·|x|
//! e^x     = 2ⁿ·(1 + r + r·(2 − c + r) / (c − r))                             y = x
//! ```
//!
//! None of these differences cancels digits, so results for small arguments are accurate too. n·ln 2 is
//! subtracted in two terms, of which the first is exact (Cody and Waite, *Software Manual for the
//! Elementary Functions*, 1980). c is the even function of fdlibm's `exp`, with other coefficients
//! ([`Float::COTH`]). The formulas also keep the chain of dependent operations short, because a
//! processor can overlap the operations of only a few vectors.
//!
//! NaN stays NaN, infinities give the limits, and tanh keeps the sign of ±0. exp and sigmoid are zero for
//! x below [`Float::MIN_EXP`], so their results are never subnormal. `tests/tensor/activations.rs` in the
//! repository tests all of this, and the error bounds over the whole range.

use fearless_simd::{Select, Simd, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::lanes::lanes;
use crate::tensor::rows::RowsMut;

/// The largest error of [`exp_nonpositive`], in units of the last place of the exact value, for f32
/// and f64 on every instruction set. The error measured over all f32 is 1.23. For f64 the bound is
/// tested on a dense grid.
pub const EXP_MAX_ULP: f64 = 1.25;
/// The largest error of [`sigmoid`], as in [`EXP_MAX_ULP`]. The error measured over all f32 is 2.44.
pub const SIGMOID_MAX_ULP: f64 = 3.0;
/// The largest error of [`tanh`], as in [`EXP_MAX_ULP`]. The error measured over all f32 is 2.37.
pub const TANH_MAX_ULP: f64 = 3.0;

#[inline(always)]
fn splat<S: Simd, V: SimdFloat<S, Element: Float>>(like: V, value: f64) -> V {
    V::splat(like.token(), V::Element::from_f64(value))
}

/// Returns the lesser of each lane and `limit`. NaN stays NaN.
#[inline(always)]
fn at_most<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, limit: f64) -> V {
    let limit = splat(x, limit);
    // Vectors of more than 16 bytes are those of AVX, whose minimum returns its second operand if
    // either is NaN.
    if size_of::<V>() > 16 { limit.min(x) } else { x.simd_gt(limit).select(limit, x) }
}

/// Returns 2ⁿ, c and r of e^(k·x) = 2ⁿ·(c + r) / (c − r), with c and r divided by k. n must be an
/// exponent of the type. The values of `ln_2` add up to ln 2.
#[inline(always)]
fn exp_parts<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, k: f64, ln_2: &[f64]) -> (V, V, V) {
    // The addition of 1.5·2^SIGNIFICAND_BITS + bias rounds k·x·log₂e to an integer n. The lowest bits
    // of the sum are n + bias. Shifted, they are the exponent of 2ⁿ.
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

/// Returns n / d of each lane. AVX-512 approximates 1/d to 14 bits, and a Newton step on the quotient
/// doubles them. This is faster than the divider.
#[inline(always)]
fn divide<S: Simd, V: SimdFloat<S, Element: Float>>(n: V, d: V) -> V {
    if V::LEN != 16 || V::Element::SIGNIFICAND_BITS != 23 {
        return n / d;
    }
    let y = d.approximate_recip();
    let q = n * y;
    (-d).mul_add(q, n).mul_add(y, q)
}

/// Returns `y`, or zero where eˣ could be subnormal.
#[inline(always)]
fn zero_if_tiny<S: Simd, V: SimdFloat<S, Element: Float>>(x: V, y: V) -> V {
    x.simd_lt(splat(x, V::Element::MIN_EXP)).select(splat(x, 0.0), y)
}

/// Returns eˣ of each lane for x ≤ 0, and 1 for x > 0.
#[inline(always)]
pub fn exp_nonpositive<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let x = at_most(x, 0.0);
    let (scale, c, r) = exp_parts(x, 1.0, &V::Element::LN_2_PARTS);
    let p = divide(splat(x, 2.0) - c + r, c - r).mul_add(r, r);
    zero_if_tiny(x, scale.mul_add(p, scale))
}

/// Returns m and n of e^x = m·2ⁿ for finite x ≤ 0, of any size: ⅓ < m ≤ 1, and n is an integer.
#[inline(always)]
pub(crate) fn exp_split<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> (V, V) {
    let n = (x * splat(x, std::f64::consts::LOG2_E)).ceil();
    let mut r = x;
    for part in V::Element::LN_2_PARTS {
        r = n.mul_add(splat(x, -part), r);
    }
    // r is the difference of two numbers near x, so of a huge x it has no digit that is certain.
    (exp_nonpositive(r.max(splat(x, -1.0))), n)
}

/// Returns σ(x) = 1 / (1 + e^−x) of each lane.
#[inline(always)]
pub fn sigmoid<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let minus_x = -at_most(x, -V::Element::MIN_EXP);
    let (scale, c, r) = exp_parts(minus_x, 1.0, &V::Element::LN_2_PARTS);
    zero_if_tiny(x, divide(c - r, scale.mul_add(c + r, c - r)))
}

/// Returns tanh(x) of each lane.
#[inline(always)]
pub fn tanh<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let one = splat(x, 1.0);
    // tanh rounds to ±1 from |x| = SIGNIFICAND_BITS / 2 on. For large n the result hardly depends on
    // e^y, so a single value of ln 2 is precise enough.
    let magnitude = at_most(x.abs(), 0.5 * f64::from(V::Element::SIGNIFICAND_BITS));
    let (scale, c, r) = exp_parts(magnitude, 2.0, &[std::f64::consts::LN_2]);
    let difference = c.mul_add(scale - one, r * (scale + one));
    divide(difference, (c - r).mul_add(splat(x, 2.0), difference)).copysign(x)
}

/// Returns max(x, 0) of each lane. NaN stays NaN.
#[inline(always)]
pub fn relu<S: Simd, V: SimdFloat<S, Element: Float>>(x: V) -> V {
    let zero = splat(x, 0.0);
    x.simd_lt(zero).select(zero, x)
}

/// Returns each lane, or zero where its magnitude is below `least`. NaN stays NaN.
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
    /// Replaces tiny values by zero in each row, as [`flush_tiny`] does.
    pub(crate) fn flush_tiny_rows<'a, T>(rows: RowsMut<'a, T>) = flush_tiny_rows_on;
    /// Replaces tiny values by zero in the rows of several states.
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

/// Replaces values by zero whose product with an ordinary weight could be subnormal: those below about
/// 10⁻³¹ in f32. Arithmetic on subnormal numbers takes many times as long. NaN stays NaN.
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
