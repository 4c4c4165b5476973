//! The sums of attention over the rows of one memory, each a vector.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::activation::tanh;
use crate::tensor::lanes::{Vector, lanes};
use crate::tensor::rows::{Rows, RowsMut};

compiled! {
    /// Sets each of `dots` to the scalar product of `x` and the row of the same index.
    pub(crate) fn row_dots<'a, T>(x: &'a [T], rows: Rows<'a, T>, dots: &'a mut [T]) = row_dots_on;

    /// Adds Σ_s `weights[s]`·row_s to `sum`.
    pub(crate) fn add_weighted_sum<'a, T>(weights: &'a [T], rows: Rows<'a, T>, sum: &'a mut [T]) =
        add_weighted_sum_on;

    /// Sets each of `scores` to v · tanh(q + key_s).
    pub(crate) fn additive_scores<'a, T>(
        q: &'a [T],
        keys: Rows<'a, T>,
        v: &'a [T],
        scores: &'a mut [T],
    ) = additive_scores_on;

    /// Adds the gradients of [`additive_scores`] from `d_scores` to those of v, q and the keys.
    pub(crate) fn add_additive_gradients<'a, T>(
        q: &'a [T],
        keys: Rows<'a, T>,
        v: &'a [T],
        d_scores: &'a [T],
        d_v: &'a mut [T],
        d_q: &'a mut [T],
        d_keys: RowsMut<'a, T>,
    ) = add_additive_gradients_on;

    /// Replaces d_α by α ∘ (d_α − Σ α ∘ d_α), the gradient of the input of the softmax α.
    pub(crate) fn softmax_gradient<'a, T>(weights: &'a [T], d: &'a mut [T]) = softmax_gradient_on;
}

#[inline(always)]
fn dot<S: Simd, T: Float>(simd: S, a: &[T], b: &[T]) -> T {
    let mut sum = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, a.len()) {
        sum = l.load(a).mul_add(l.load(b), sum);
    }
    sum.reduce_sum()
}

#[inline(always)]
fn row_dots_on<S: Simd, T: Float>(simd: S, x: &[T], rows: Rows<'_, T>, dots: &mut [T]) {
    for (s, to) in dots.iter_mut().enumerate() {
        *to = dot(simd, x, rows.row(s));
    }
}

#[inline(always)]
fn add_weighted_sum_on<S: Simd, T: Float>(
    simd: S,
    weights: &[T],
    rows: Rows<'_, T>,
    sum: &mut [T],
) {
    for l in lanes(simd, sum.len()) {
        let mut total = l.load(sum);
        for (s, &weight) in weights.iter().enumerate() {
            total = l.load(rows.row(s)).mul_add(Vector::<S, T>::splat(simd, weight), total);
        }
        l.store(sum, total);
    }
}

#[inline(always)]
fn additive_scores_on<S: Simd, T: Float>(
    simd: S,
    q: &[T],
    keys: Rows<'_, T>,
    v: &[T],
    scores: &mut [T],
) {
    for (s, score) in scores.iter_mut().enumerate() {
        let key = keys.row(s);
        let mut sum = Vector::<S, T>::splat(simd, T::zero());
        for l in lanes(simd, q.len()) {
            sum = tanh(l.load(q) + l.load(key)).mul_add(l.load(v), sum);
        }
        *score = sum.reduce_sum();
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "three operands with a gradient each")]
fn add_additive_gradients_on<S: Simd, T: Float>(
    simd: S,
    q: &[T],
    keys: Rows<'_, T>,
    v: &[T],
    d_scores: &[T],
    d_v: &mut [T],
    d_q: &mut [T],
    mut d_keys: RowsMut<'_, T>,
) {
    for l in lanes(simd, q.len()) {
        let (q, v) = (l.load(q), l.load(v));
        let (mut sum_v, mut sum_q) = (l.load(d_v), l.load(d_q));
        for (s, &d) in d_scores.iter().enumerate() {
            let d = Vector::<S, T>::splat(simd, d);
            // Computed again: it takes less time than to store and read it.
            let y = tanh(q + l.load(keys.row(s)));
            let d_sum = d * v * (-y).mul_add(y, l.splat(1.0));
            sum_v = d.mul_add(y, sum_v);
            sum_q += d_sum;
            let d_key = d_keys.row_mut(s);
            l.store(d_key, l.load(d_key) + d_sum);
        }
        l.store(d_v, sum_v);
        l.store(d_q, sum_q);
    }
}

#[inline(always)]
fn softmax_gradient_on<S: Simd, T: Float>(simd: S, weights: &[T], d: &mut [T]) {
    let mean = Vector::<S, T>::splat(simd, dot(simd, weights, d));
    for l in lanes(simd, d.len()) {
        l.store(d, l.load(weights) * (l.load(d) - mean));
    }
}
