//! Sums and softmax over rows, in a fixed order.

use fearless_simd::Simd;
use ndarray::ArrayViewMut1;

use crate::float::Float;
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::lanes;
use crate::tensor::rows::Gather;

/// `sums += Σⱼ rowⱼ`, in the order of the rows: the gradient of a bias.
#[inline(always)]
pub fn add_column_sums<S: Simd, T: Float>(
    simd: S,
    rows: &Gather<'_, T>,
    mut sums: ArrayViewMut1<'_, T>,
) {
    let Some(sums) = sums.as_slice_mut() else {
        for row in rows.rows() {
            sums.iter_mut().zip(*row).for_each(|(sum, &value)| *sum += value);
        }
        return;
    };
    simd.vectorize(
        #[inline(always)]
        || {
            for row in rows.rows() {
                for l in lanes(simd, sums.len()) {
                    l.store(sums, l.load(sums) + l.load(row));
                }
            }
        },
    );
}

/// Replaces a row by its softmax, eˣ / Σ eˣ, and returns ln Σ eˣ.
///
/// The largest value is subtracted first, so no finite row overflows. A row with NaN or +∞, or of −∞
/// alone, becomes NaN.
#[inline(always)]
pub fn softmax<S: Simd, T: Float>(simd: S, row: &mut [T]) -> T {
    let largest = row.iter().copied().fold(T::neg_infinity(), T::max);
    for l in lanes(simd, row.len()) {
        let shifted = l.load(row) - l.splat(largest.f64());
        l.store(row, exp_nonpositive(shifted));
    }
    let sum = row.iter().copied().fold(T::zero(), |sum, value| sum + value);
    for value in row.iter_mut() {
        *value /= sum;
    }
    largest + sum.ln()
}
