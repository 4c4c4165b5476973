//! Sums, softmax and normalisation over rows, in a fixed order.

use fearless_simd::{Simd, SimdBase};
use ndarray::{ArrayViewMut1, Axis};

use crate::float::Float;
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::{Vector, lanes};
use crate::tensor::rows::Gather;
use crate::tensor::threads;

/// Columns that a thread sums, at least: a few cache lines of each row.
const MIN_COLUMNS: usize = 64;

/// `sums += Σⱼ rowⱼ` for each of `sums`, in the order of the rows, which are read once: the gradient
/// of a bias, or of two that act alike. Threads take columns.
pub fn add_column_sums<S: Simd, T: Float, const N: usize>(
    simd: S,
    rows: &Gather<'_, T>,
    sums: [ArrayViewMut1<'_, T>; N],
) {
    let work = rows.rows().len() * rows.width() * threads::COPY_WORK;
    let parts = threads::parts(rows.width(), MIN_COLUMNS, work);
    add_columns(simd, rows.rows(), 0, sums.into_iter().collect(), parts);
}

/// The same for the columns from `first` on, on so many threads.
fn add_columns<S: Simd, T: Float>(
    simd: S,
    rows: &[&[T]],
    first: usize,
    mut sums: Vec<ArrayViewMut1<'_, T>>,
    parts: usize,
) {
    let count = sums.first().map_or(0, |sums| sums.len());
    if parts > 1 {
        let middle = count * (parts / 2) / parts;
        let halves = sums.into_iter().map(|sums| sums.split_at(Axis(0), middle));
        let (left, right) = halves.unzip();
        threads::join(
            || add_columns(simd, rows, first, left, parts / 2),
            || add_columns(simd, rows, first + middle, right, parts - parts / 2),
        );
        return;
    }
    let columns = first..first + count;
    simd.vectorize(
        #[inline(always)]
        || {
            for row in rows {
                let row = &row[columns.clone()];
                for sums in &mut sums {
                    let Some(sums) = sums.as_slice_mut() else {
                        sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
                        continue;
                    };
                    for l in lanes(simd, sums.len()) {
                        l.store(sums, l.load(sums) + l.load(row));
                    }
                }
            }
        },
    );
}

/// `sums += Σⱼ aⱼ ∘ bⱼ`, in the order of the rows: the gradient of a vector that multiplies
/// elementwise.
#[inline(always)]
pub fn add_column_products<S: Simd, T: Float>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    mut sums: ArrayViewMut1<'_, T>,
) {
    let Some(sums) = sums.as_slice_mut() else {
        for (a, b) in a.rows().iter().zip(b.rows()) {
            sums.iter_mut().zip(a.iter().zip(*b)).for_each(|(sum, (&a, &b))| *sum += a * b);
        }
        return;
    };
    simd.vectorize(
        #[inline(always)]
        || {
            for (a, b) in a.rows().iter().zip(b.rows()) {
                for l in lanes(simd, sums.len()) {
                    l.store(sums, l.load(sums) + l.load(a) * l.load(b));
                }
            }
        },
    );
}

/// Replaces a row x by x̂ = (x − mean) / √(variance + epsilon), and returns 1 / √(variance + epsilon).
/// The variance is the mean square distance from the mean.
#[inline(always)]
pub fn normalize<S: Simd, T: Float>(simd: S, row: &mut [T], epsilon: T) -> T {
    let count = T::of(row.len() as f64);
    let mut sum = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        sum += l.load(row);
    }
    let mean = Vector::<S, T>::splat(simd, sum.reduce_sum() / count);
    for l in lanes(simd, row.len()) {
        l.store(row, l.load(row) - mean);
    }
    let mut squares = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        squares += l.load(row) * l.load(row);
    }
    let scale = (squares.reduce_sum() / count + epsilon).sqrt().recip();
    for l in lanes(simd, row.len()) {
        l.store(row, l.load(row) * Vector::<S, T>::splat(simd, scale));
    }
    scale
}

/// Replaces d_x̂ by d_x = scale · (d_x̂ − mean(d_x̂) − x̂ ∘ mean(d_x̂ ∘ x̂)), the way back through
/// [`normalize`], which gave `normalized` and `scale`.
#[inline(always)]
pub fn normalize_backward<S: Simd, T: Float>(simd: S, d: &mut [T], normalized: &[T], scale: T) {
    let count = T::of(d.len() as f64);
    let zero = Vector::<S, T>::splat(simd, T::zero());
    let (mut sum, mut products) = (zero, zero);
    for l in lanes(simd, d.len()) {
        sum += l.load(d);
        products += l.load(d) * l.load(normalized);
    }
    let mean = Vector::<S, T>::splat(simd, sum.reduce_sum() / count);
    let slope = Vector::<S, T>::splat(simd, products.reduce_sum() / count);
    let scale = Vector::<S, T>::splat(simd, scale);
    for l in lanes(simd, d.len()) {
        l.store(d, scale * (l.load(d) - mean - l.load(normalized) * slope));
    }
}

/// Replaces a row by its softmax, eˣ / Σ eˣ, and returns ln Σ eˣ.
///
/// The largest value is subtracted first, so no finite row overflows. A row with NaN or +∞, or of −∞
/// alone, becomes NaN.
#[inline(always)]
pub fn softmax<S: Simd, T: Float>(simd: S, row: &mut [T]) -> T {
    let largest = row.iter().copied().fold(T::neg_infinity(), T::max);
    row.iter_mut().for_each(|value| *value -= largest);
    for l in lanes(simd, row.len()) {
        l.store(row, exp_nonpositive(l.load(row)));
    }
    let sum = row.iter().copied().fold(T::zero(), |sum, value| sum + value);
    for value in row.iter_mut() {
        *value /= sum;
    }
    largest + sum.ln()
}
