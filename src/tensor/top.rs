//! ln Σ eˣ of a row, and the largest values of a row: what a choice among many tokens needs.

use std::cmp::Ordering;

use fearless_simd::{Simd, SimdBase, SimdMask};

use crate::compiled;
use crate::float::Float;
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::{Vector, lanes};

/// The number of values up to which the largest so far are kept in order.
const FEW: usize = 32;

compiled! {
    /// Returns the largest value m of a row, and ln Σ e^(x − m), which is at least 0. The sum is NaN if a
    /// value is NaN or ∞, or all are −∞. The length must be a multiple of the widest vector.
    pub(crate) fn log_sum_exp<'a, T>(row: &'a [T]) -> (T, f64) = log_sum_exp_on;

    /// Replaces `best` by the `k` largest values of a row with their places, from large to small; of
    /// equal values the first. Values of −∞ are left out. The length must be a multiple of the widest
    /// vector, and no value NaN.
    pub(crate) fn top_k<'a, T>(row: &'a [T], k: usize, best: &'a mut Vec<(T, usize)>) = top_k_on;
}

#[inline(always)]
fn log_sum_exp_on<S: Simd, T: Float>(simd: S, row: &[T]) -> (T, f64) {
    let mut largest = Vector::<S, T>::splat(simd, T::neg_infinity());
    for l in lanes(simd, row.len()) {
        largest = largest.max(l.load(row));
    }
    let largest = largest.reduce_max();
    let offset = Vector::<S, T>::splat(simd, largest);
    let mut sum = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        sum += exp_nonpositive(l.load(row) - offset);
    }
    (largest, sum.reduce_sum().as_f64().ln())
}

#[inline(always)]
fn top_k_on<S: Simd, T: Float>(simd: S, row: &[T], k: usize, best: &mut Vec<(T, usize)>) {
    best.clear();
    // The k-th largest value so far. A later value must exceed it.
    let mut least = T::neg_infinity();
    for (i, l) in lanes(simd, row.len()).enumerate() {
        let bound = Vector::<S, T>::splat(simd, least);
        if !l.load(row).simd_gt(bound).any_true() {
            continue;
        }
        let start = i * Vector::<S, T>::LEN;
        for (place, &value) in row.iter().enumerate().skip(start).take(Vector::<S, T>::LEN) {
            if value > least && (1..=FEW).contains(&k) {
                let at = best.partition_point(|other| other.0 >= value);
                best.insert(at, (value, place));
                best.truncate(k);
                least = if best.len() == k { best[k - 1].0 } else { least };
            } else if value > least {
                best.push((value, place));
            }
        }
        if best.len() >= k.saturating_mul(2) {
            least = keep_largest(best, k).unwrap_or(least);
        }
    }
    keep_largest(best, k);
    best.sort_unstable_by(larger_first);
}

/// Keeps the `k` largest of `best`, and returns the least of them if there are so many.
#[inline(never)]
fn keep_largest<T: Float>(best: &mut Vec<(T, usize)>, k: usize) -> Option<T> {
    let last = k.checked_sub(1)?;
    if best.len() <= last {
        return None;
    }
    let least = best.select_nth_unstable_by(last, larger_first).1.0;
    best.truncate(k);
    Some(least)
}

fn larger_first<T: Float>(a: &(T, usize), b: &(T, usize)) -> Ordering {
    let values = b.0.partial_cmp(&a.0).unwrap_or(Ordering::Equal);
    values.then(a.1.cmp(&b.1))
}
