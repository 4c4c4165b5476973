//! Forward–backward over a linear chain of tags, in linear space.
//!
//! With s, M, f and u_t the exponentials of the scores of the start, the transitions, the end and step t, each
//! divided by its largest value, and L steps:
//!
//! ```text
//! a_0 = s ∘ u_0, a_t = (a_{t−1} M) ∘ u_t             each divided by its sum n_t
//! b_{L−1} = f, w_t = u_t ∘ b_t, b_{t−1} = M w_t      w_t divided by the sum of b_t
//! ln Z = Σ ln n_t + ln (a_{L−1}·f) + the logarithms of the divisors of s, M, f and u_t
//! p_t = a_t ∘ b_t / (a_t·b_t)                        the marginals
//! N = M ∘ Σ_t a_{t−1} ⊗ w_t / (a_{t−1}·b_{t−1})      the expected numbers of transitions
//! ```
//!
//! A value may underflow, and the paths through it are lost then. If all a_t of tags that can be reached are
//! above a bound, the forward pass loses nothing that counts. If a_t·b_t is above it at every step, the
//! backward pass does not either, because the sums of a_t and b_t are 1. Otherwise there is no result, and
//! the caller computes in logarithms.

use fearless_simd::{Simd, SimdBase, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::Aligned;
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::{Vector, lanes};

/// The size of the widest vector, in bytes.
const WIDEST: usize = 64;
/// The number of rows of a matrix that are multiplied at once.
const ROWS: usize = 4;
/// The bounds between which a product of sums is kept before its logarithm is taken.
const PRODUCT: std::ops::Range<f64> = 1e-150..1e150;

/// The exponentials of the scores of a chain, in rows of [`width`](Self::width) values that are zero from
/// the number of tags on.
#[derive(Debug)]
pub(crate) struct Chain<T: Float> {
    width: usize,
    start: Aligned<T>,
    end: Aligned<T>,
    /// M, and its transpose.
    forward: Aligned<T>,
    backward: Aligned<T>,
    /// The logarithms of the divisors of s and f together, and of M.
    ends: f64,
    each: f64,
    /// For each step: 0 for tags that can be reached, 1 for others. The last row is that of all later steps.
    slack: Vec<T>,
}

impl<T: Float> Chain<T> {
    /// Creates a chain from scores in which −∞ forbids. `transitions` has rows of as many values as `start`,
    /// and the sequences have at most `time` steps.
    pub(crate) fn new(start: &[f64], transitions: &[f64], end: &[f64], time: usize) -> Self {
        let tags = start.len();
        let width = tags.next_multiple_of(WIDEST / size_of::<T>());
        let largest = |scores: &[f64]| scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let of = [start, transitions, end].map(largest);
        // Without any, nothing is reached, and the divisor does not count.
        let [of_start, each, of_end] = of.map(|most| if most.is_finite() { most } else { 0.0 });
        let row = |scores: &[f64], most: f64| {
            let mut row = Aligned::zeros(width);
            let exp = |score: &f64| T::from_f64((score - most).exp());
            row.iter_mut().zip(scores.iter().map(exp)).for_each(|(to, value)| *to = value);
            row
        };
        let rows = tags.next_multiple_of(ROWS) * width;
        let (mut forward, mut backward) = (Aligned::zeros(rows), Aligned::zeros(rows));
        for (i, scores) in transitions.chunks_exact(tags).enumerate() {
            for (j, score) in scores.iter().enumerate() {
                let value = T::from_f64((score - each).exp());
                forward[i * width + j] = value;
                backward[j * width + i] = value;
            }
        }
        Self {
            width,
            start: row(start, of_start),
            end: row(end, of_end),
            forward,
            backward,
            ends: of_start + of_end,
            each,
            slack: slack(start, transitions, width, time),
        }
    }

    /// Returns the number of values of a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    fn slack_at(&self, t: usize) -> &[T] {
        let row = t.min(self.slack.len() / self.width - 1);
        &self.slack[row * self.width..][..self.width]
    }
}

/// Returns the rows of [`Chain::slack`], up to the first that repeats its predecessor.
fn slack<T: Float>(start: &[f64], transitions: &[f64], width: usize, time: usize) -> Vec<T> {
    let tags = start.len();
    let mut reached: Vec<bool> = start.iter().map(|&score| score > f64::NEG_INFINITY).collect();
    let mut rows = Vec::new();
    for _ in 0..time.max(1) {
        let row = (0..width).map(|j| reached.get(j).copied().unwrap_or(false));
        rows.extend(row.map(|reached| if reached { T::zero() } else { T::one() }));
        let from = |j: usize| {
            (0..tags).any(|i| reached[i] && transitions[i * tags + j] > f64::NEG_INFINITY)
        };
        let next: Vec<bool> = (0..tags).map(from).collect();
        if next == reached {
            break;
        }
        reached = next;
    }
    rows
}

compiled! {
    /// Returns ln Z of one sequence. `emissions` has the scores of each step in a row of the chain, −∞ from
    /// the number of tags on, and becomes the marginals. `counts` [tags, tags], with rows of the width of
    /// the chain, becomes the expected numbers of transitions. Without a result, both are unspecified.
    pub(crate) fn forward_backward<'a, T>(
        chain: &'a Chain<T>,
        emissions: &'a mut [T],
        counts: &'a mut [T],
    ) -> Option<f64> = forward_backward_on;
}

/// A product of positive numbers, as its logarithm.
struct LogProduct {
    product: f64,
    log: f64,
}

impl LogProduct {
    /// Multiplies by a factor within the lower bound of [`least`] and the number of tags.
    fn multiply(&mut self, factor: f64) {
        self.product *= factor;
        if !PRODUCT.contains(&self.product) {
            self.log += self.product.ln();
            self.product = 1.0;
        }
    }
}

/// Returns the bound from which on a sum is exact in spite of terms that underflow.
fn least<T: Float>() -> T {
    (T::min_positive_value() / T::epsilon()).max(T::from_f64(1e-140))
}

#[inline(always)]
fn forward_backward_on<S: Simd, T: Float>(
    simd: S,
    chain: &Chain<T>,
    u: &mut [T],
    counts: &mut [T],
) -> Option<f64> {
    let width = chain.width;
    let mut a = Aligned::stale(u.len());
    let z = forward(simd, chain, u, &mut a)?;
    let (mut b, mut w) = (Aligned::stale(width), Aligned::zeros(width));
    b.copy_from_slice(&chain.end);
    counts.fill(T::zero());
    let rows = a.chunks_exact(width).zip(u.chunks_exact_mut(width));
    for (t, (a, u)) in rows.enumerate().rev() {
        let (sum, norm) = sums(simd, a, &b);
        if !(sum >= least() && norm >= least() && norm >= least::<T>() * sum) {
            return None;
        }
        // w is zero at the last step.
        add_outer(simd, (a, norm.recip()), &w, counts);
        combine(simd, (a, norm.recip()), (&b, sum.recip()), u, &mut w);
        if t > 0 {
            multiply(simd, &w, &chain.backward, &mut b);
        }
    }
    for (count, m) in counts.chunks_exact_mut(width).zip(chain.forward.chunks_exact(width)) {
        for l in lanes(simd, width) {
            l.store(count, l.load(count) * l.load(m));
        }
    }
    Some(z)
}

/// Returns ln Z. Replaces the scores `u` by their exponentials, and writes the rows of `a`.
#[inline(always)]
fn forward<S: Simd, T: Float>(simd: S, chain: &Chain<T>, u: &mut [T], a: &mut [T]) -> Option<f64> {
    let width = chain.width;
    let steps = u.len() / width;
    let mut log = LogProduct { product: 1.0, log: chain.ends + (steps - 1) as f64 * chain.each };
    for (t, u) in u.chunks_exact_mut(width).enumerate() {
        log.log += exp_row(simd, u).as_f64();
        let (before, row) = a.split_at_mut(t * width);
        let row = &mut row[..width];
        match t.checked_sub(1) {
            None => row.copy_from_slice(&chain.start),
            Some(before_t) => {
                multiply(simd, &before[before_t * width..][..width], &chain.forward, row)
            }
        }
        let n = weigh(simd, row, u);
        if n.is_nan() || n < least() || scale(simd, row, n.recip(), chain.slack_at(t)) < least() {
            return None;
        }
        log.multiply(n.as_f64());
    }
    let end = sums(simd, &a[(steps - 1) * width..], &chain.end).1;
    if end.is_nan() || end < least() {
        return None;
    }
    log.multiply(end.as_f64());
    Some(log.log + log.product.ln())
}

/// Replaces a row x by e^(x − max x), and returns max x.
#[inline(always)]
fn exp_row<S: Simd, T: Float>(simd: S, row: &mut [T]) -> T {
    let mut largest = Vector::<S, T>::splat(simd, T::neg_infinity());
    for l in lanes(simd, row.len()) {
        largest = largest.max(l.load(row));
    }
    let largest = largest.reduce_max();
    let offset = Vector::<S, T>::splat(simd, largest);
    for l in lanes(simd, row.len()) {
        l.store(row, exp_nonpositive(l.load(row) - offset));
    }
    largest
}

/// Writes x·m to `y`. The rows of `m` are as long as `y`; those past the last whole group of `x` are zero.
#[inline(always)]
fn multiply<S: Simd, T: Float>(simd: S, x: &[T], m: &[T], y: &mut [T]) {
    let width = y.len();
    for l in lanes(simd, width) {
        let mut sums = [Vector::<S, T>::splat(simd, T::zero()); ROWS];
        for (x, m) in x.chunks_exact(ROWS).zip(m.chunks_exact(ROWS * width)) {
            for k in 0..ROWS {
                let row = l.load(&m[k * width..][..width]);
                sums[k] = Vector::<S, T>::splat(simd, x[k]).mul_add(row, sums[k]);
            }
        }
        l.store(y, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    }
}

/// Multiplies `row` by `u`, and returns the sum.
#[inline(always)]
fn weigh<S: Simd, T: Float>(simd: S, row: &mut [T], u: &[T]) -> T {
    let mut sum = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        let value = l.load(row) * l.load(u);
        sum += value;
        l.store(row, value);
    }
    sum.reduce_sum()
}

/// Multiplies `row` by `factor`, and returns the least of its values with `slack` added.
#[inline(always)]
fn scale<S: Simd, T: Float>(simd: S, row: &mut [T], factor: T, slack: &[T]) -> T {
    let factor = Vector::<S, T>::splat(simd, factor);
    let mut smallest = Vector::<S, T>::splat(simd, T::one());
    for l in lanes(simd, row.len()) {
        let value = l.load(row) * factor;
        smallest = smallest.min(value + l.load(slack));
        l.store(row, value);
    }
    smallest.reduce_min()
}

/// Returns Σ b and a·b.
#[inline(always)]
fn sums<S: Simd, T: Float>(simd: S, a: &[T], b: &[T]) -> (T, T) {
    let zero = Vector::<S, T>::splat(simd, T::zero());
    let (mut sum, mut product) = (zero, zero);
    for l in lanes(simd, b.len()) {
        sum += l.load(b);
        product = l.load(a).mul_add(l.load(b), product);
    }
    (sum.reduce_sum(), product.reduce_sum())
}

/// Writes u ∘ b, divided by the sum of b, to `w`, and a ∘ b, divided by its sum, to `u`.
#[inline(always)]
fn combine<S: Simd, T: Float>(
    simd: S,
    (a, of_a): (&[T], T),
    (b, of_b): (&[T], T),
    u: &mut [T],
    w: &mut [T],
) {
    let (of_a, of_b) = (Vector::<S, T>::splat(simd, of_a), Vector::<S, T>::splat(simd, of_b));
    for l in lanes(simd, u.len()) {
        let b = l.load(b);
        l.store(w, l.load(u) * (b * of_b));
        l.store(u, l.load(a) * b * of_a);
    }
}

/// Adds (a·factor) ⊗ w to the rows of `sums`.
#[inline(always)]
fn add_outer<S: Simd, T: Float>(simd: S, (a, factor): (&[T], T), w: &[T], sums: &mut [T]) {
    for (row, &a) in sums.chunks_exact_mut(w.len()).zip(a) {
        let a = Vector::<S, T>::splat(simd, a * factor);
        for l in lanes(simd, w.len()) {
            l.store(row, a.mul_add(l.load(w), l.load(row)));
        }
    }
}
