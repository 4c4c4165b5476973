//! Sums, softmax and normalisation over rows, in a fixed order.

use fearless_simd::{Level, Simd, SimdBase, SimdFloat};
use ndarray::{ArrayViewMut1, Axis};

use crate::compiled;
use crate::float::{Float, per_float};
use crate::tensor::activation::exp_nonpositive;
use crate::tensor::lanes::{Vector, lanes};
use crate::tensor::rows::{RowRefs, Rows, RowsMut};
use crate::tensor::threads;

/// The smallest number of columns that a thread sums: a few cache lines of each row.
const MIN_COLUMNS: usize = 64;
/// The number of rows that are added to the sums of a vector of columns before those of the next.
const ROWS_TOGETHER: usize = 8;

per_float! {
    /// Adds Σⱼ rowⱼ to each of `sums`, in the order of the rows: the gradient of a bias, or of two biases
    /// that are added. The rows are read once. Threads split the columns.
    pub fn add_column_sums<'a, T>(
        level: Level,
        rows: &RowRefs<'_, T>,
        sums: Vec<ArrayViewMut1<'_, T>>,
    ) = add_all_columns;
}

fn add_all_columns<T: Float>(level: Level, rows: &RowRefs<'_, T>, sums: Vec<ArrayViewMut1<'_, T>>) {
    // The rows are mostly in a far cache.
    let work = 2 * rows.rows().len() * rows.width() * threads::COPY_WORK;
    let parts = threads::parts(rows.width(), MIN_COLUMNS, work);
    add_columns(level, rows.rows(), 0, sums, parts);
}

/// Adds the columns from `first` on, in `parts` parts on several threads.
fn add_columns<T: Float>(
    level: Level,
    rows: &[&[T]],
    first: usize,
    sums: Vec<ArrayViewMut1<'_, T>>,
    parts: usize,
) {
    if parts <= 1 {
        return add_columns_part(level, rows, first, sums);
    }
    let count = sums.first().map_or(0, |sums| sums.len());
    let middle = count * (parts / 2) / parts;
    let halves = sums.into_iter().map(|sums| sums.split_at(Axis(0), middle));
    let (left, right) = halves.unzip();
    threads::join(
        || add_columns(level, rows, first, left, parts / 2),
        || add_columns(level, rows, first + middle, right, parts - parts / 2),
    );
}

compiled! {
    fn add_columns_part<'a, T>(
        rows: &'a [&'a [T]],
        first: usize,
        sums: Vec<ArrayViewMut1<'a, T>>,
    ) = add_columns_on;

    /// Returns the Euclidean norm. It is not finite if a value is not. If the sum of squares overflows or
    /// is very small, the values are divided by the largest magnitude and summed again.
    pub(crate) fn norm<'a, T>(values: &'a [T]) -> f64 = norm_on;

    /// Adds each row of `from` to the same row of `to`.
    pub(crate) fn add_rows<'a, T>(from: Rows<'a, T>, to: RowsMut<'a, T>) = add_rows_on;

    /// Adds Σⱼ aⱼ ∘ bⱼ to `sums`, in the order of the rows: the gradient of a vector that is multiplied
    /// elementwise.
    pub fn add_column_products<'a, T>(
        a: &'a RowRefs<'a, T>,
        b: &'a RowRefs<'a, T>,
        sums: ArrayViewMut1<'a, T>,
    ) = add_column_products_on;

    /// Replaces a row by its softmax, eˣ / Σ eˣ, and returns ln Σ eˣ.
    ///
    /// The largest value is subtracted first, so a finite row does not overflow. A row with NaN or +∞, or
    /// with −∞ alone, becomes NaN.
    pub fn softmax<'a, T>(row: &'a mut [T]) -> T = softmax_on;

    /// Replaces each row x of `width` values by x̂ = (x − mean) / √(variance + epsilon), and returns
    /// 1 / √(variance + epsilon) of each row. The variance is a sum of squares divided by `width`.
    pub(crate) fn normalize_rows<'a, T>(values: &'a mut [T], width: usize, epsilon: T) -> Vec<T> =
        normalize_rows_on;

    /// Replaces each row d_x̂ of `width` values by d_x, the gradient of the input of [`normalize_rows`].
    /// `normalized` and `scales` are the results of that function.
    pub(crate) fn normalize_rows_backward<'a, T>(
        d: &'a mut [T],
        width: usize,
        normalized: &'a [T],
        scales: &'a [T],
    ) = normalize_rows_backward_on;
}

#[inline(always)]
fn add_rows_on<S: Simd, T: Float>(simd: S, from: Rows<'_, T>, mut to: RowsMut<'_, T>) {
    for r in 0..to.count() {
        let (to, from) = (to.row_mut(r), from.row(r));
        for l in lanes(simd, to.len()) {
            l.store(to, l.load(to) + l.load(from));
        }
    }
}

#[inline(always)]
fn add_columns_on<S: Simd, T: Float>(
    simd: S,
    rows: &[&[T]],
    first: usize,
    mut sums: Vec<ArrayViewMut1<'_, T>>,
) {
    for rows in rows.chunks(ROWS_TOGETHER) {
        for sums in &mut sums {
            let columns = first..first + sums.len();
            let Some(sums) = sums.as_slice_mut() else {
                for row in rows {
                    let row = &row[columns.clone()];
                    sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += value);
                }
                continue;
            };
            let mut together = [[].as_slice(); ROWS_TOGETHER];
            together.iter_mut().zip(rows).for_each(|(to, row)| *to = &row[columns.clone()]);
            for l in lanes(simd, sums.len()) {
                let mut sum = l.load(sums);
                for row in &together[..rows.len()] {
                    sum += l.load(row);
                }
                l.store(sums, sum);
            }
        }
    }
}

#[inline(always)]
fn normalize_rows_on<S: Simd, T: Float>(
    simd: S,
    values: &mut [T],
    width: usize,
    epsilon: T,
) -> Vec<T> {
    values.chunks_exact_mut(width).map(|row| normalize(simd, row, epsilon)).collect()
}

#[inline(always)]
fn normalize_rows_backward_on<S: Simd, T: Float>(
    simd: S,
    d: &mut [T],
    width: usize,
    normalized: &[T],
    scales: &[T],
) {
    let rows = d.chunks_exact_mut(width).zip(normalized.chunks_exact(width));
    for ((d, normalized), &scale) in rows.zip(scales) {
        normalize_backward(simd, d, normalized, scale);
    }
}

#[inline(always)]
fn add_column_products_on<S: Simd, T: Float>(
    simd: S,
    a: &RowRefs<'_, T>,
    b: &RowRefs<'_, T>,
    mut sums: ArrayViewMut1<'_, T>,
) {
    let Some(sums) = sums.as_slice_mut() else {
        for (a, b) in a.rows().iter().zip(b.rows()) {
            sums.iter_mut().zip(a.iter().zip(*b)).for_each(|(sum, (&a, &b))| *sum += a * b);
        }
        return;
    };
    for (a, b) in a.rows().iter().zip(b.rows()) {
        for l in lanes(simd, sums.len()) {
            l.store(sums, l.load(sums) + l.load(a) * l.load(b));
        }
    }
}

/// Replaces a row x by x̂ = (x − mean) / √(variance + epsilon), and returns 1 / √(variance + epsilon).
/// The variance is a sum of squares divided by the length of the row. It may overflow; x̂ does not.
#[inline(always)]
pub fn normalize<S: Simd, T: Float>(simd: S, row: &mut [T], epsilon: T) -> T {
    let count = T::from_f64(row.len() as f64);
    let (mut total, mut unit) = (sum(simd, row), T::one());
    if !total.is_finite() {
        unit = shrink(row);
        total = sum(simd, row);
    }
    let mean = Vector::<S, T>::splat(simd, total / count);
    for l in lanes(simd, row.len()) {
        l.store(row, l.load(row) - mean);
    }
    let mut squares = sum_of_squares(simd, row);
    if !squares.is_finite() {
        unit *= shrink(row);
        squares = sum_of_squares(simd, row);
    }
    let scale = (squares / count + epsilon * unit * unit).sqrt().recip();
    for l in lanes(simd, row.len()) {
        l.store(row, l.load(row) * Vector::<S, T>::splat(simd, scale));
    }
    scale * unit
}

#[inline(always)]
fn sum<S: Simd, T: Float>(simd: S, row: &[T]) -> T {
    let mut sum = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        sum += l.load(row);
    }
    sum.reduce_sum()
}

#[inline(always)]
fn sum_of_squares<S: Simd, T: Float>(simd: S, row: &[T]) -> T {
    let mut squares = Vector::<S, T>::splat(simd, T::zero());
    for l in lanes(simd, row.len()) {
        squares += l.load(row) * l.load(row);
    }
    squares.reduce_sum()
}

/// Divides a row by the largest of its absolute values, if it is finite. Returns the factor.
#[cold]
fn shrink<T: Float>(row: &mut [T]) -> T {
    let most = row.iter().fold(T::zero(), |most, value| most.max(value.abs()));
    if !most.is_finite() || most == T::zero() {
        return T::one();
    }
    row.iter_mut().for_each(|value| *value /= most);
    most.recip()
}

/// Replaces d_x̂ by d_x = scale · (d_x̂ − mean(d_x̂) − x̂ ∘ mean(d_x̂ ∘ x̂)), the gradient of the input of
/// [`normalize`]. `normalized` and `scale` are the results of that function.
#[inline(always)]
pub fn normalize_backward<S: Simd, T: Float>(simd: S, d: &mut [T], normalized: &[T], scale: T) {
    let count = T::from_f64(d.len() as f64);
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

#[inline(always)]
fn softmax_on<S: Simd, T: Float>(simd: S, row: &mut [T]) -> T {
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

#[inline(always)]
fn norm_on<S: Simd, T: Float>(simd: S, values: &[T]) -> f64 {
    let zero = Vector::<S, T>::splat(simd, T::zero());
    let mut squares = zero;
    for l in lanes(simd, values.len()) {
        squares = l.load(values).mul_add(l.load(values), squares);
    }
    let squares = squares.reduce_sum();
    if squares.is_finite() && squares > T::min_positive_value() / T::epsilon().powi(2) {
        return squares.as_f64().sqrt();
    }
    let mut largest = zero;
    for l in lanes(simd, values.len()) {
        largest = largest.max(l.load(values).abs());
    }
    let largest = largest.reduce_max().as_f64();
    if largest == 0.0 {
        return squares.as_f64();
    }
    let relative = |g: &T| (g.as_f64() / largest).powi(2);
    largest * values.iter().map(relative).sum::<f64>().sqrt()
}
