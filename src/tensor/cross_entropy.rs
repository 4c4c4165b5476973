//! The cross-entropy of one row of logits, with its gradient.

use fearless_simd::{Select, Simd, SimdBase, SimdFloat};

use crate::compiled;
use crate::float::Float;
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::{Vector, lanes};

compiled! {
    /// Returns −Σ_j t_j ln p_j with p = softmax(row), and replaces the row by the gradient with respect
    /// to it. `target` (y, w) adds the weight w at class y to t. `soft` is a further vector that is added
    /// to t, with the sum of its values.
    pub(crate) fn cross_entropy<'a, T>(
        row: &'a mut [T],
        target: (usize, f64),
        soft: Option<(&'a [T], f64)>,
    ) -> f64 = cross_entropy_on;
}

#[inline(always)]
fn cross_entropy_on<S: Simd, T: Float>(
    simd: S,
    row: &mut [T],
    (y, hard): (usize, f64),
    soft: Option<(&[T], f64)>,
) -> f64 {
    let zero = Vector::<S, T>::splat(simd, T::zero());
    let mut largest = Vector::<S, T>::splat(simd, T::neg_infinity());
    for l in lanes(simd, row.len()) {
        largest = largest.max(l.load(row));
    }
    // Relative to the largest logit, a large common offset costs no digits.
    let largest = largest.reduce_max();
    let own = (row[y] - largest).as_f64();
    let mut loss = if hard > 0.0 { -hard * own } else { 0.0 };
    let offset = Vector::<S, T>::splat(simd, largest);
    if let Some((soft, _)) = soft {
        let mut sum = zero;
        for l in lanes(simd, row.len()) {
            let weight = l.load(soft);
            sum += weight.simd_gt(zero).select(weight * (l.load(row) - offset), zero);
        }
        loss -= sum.reduce_sum().as_f64();
    }
    let mut sum = zero;
    for l in lanes(simd, row.len()) {
        let e = exp_nonpositive(l.load(row) - offset);
        sum += e;
        l.store(row, e);
    }
    let sum = sum.reduce_sum().as_f64();
    let scale = hard + soft.map_or(0.0, |(_, sum)| sum);
    let own = scale * (row[y].as_f64() / sum) - hard;
    let factor = Vector::<S, T>::splat(simd, T::from_f64(scale / sum));
    match soft {
        Some((soft, _)) => {
            for l in lanes(simd, row.len()) {
                l.store(row, l.load(row).mul_add(factor, -l.load(soft)));
            }
            row[y] = T::from_f64(own - soft[y].as_f64());
        }
        None => {
            for l in lanes(simd, row.len()) {
                l.store(row, l.load(row) * factor);
            }
            row[y] = T::from_f64(own);
        }
    }
    loss + scale * sum.ln()
}
