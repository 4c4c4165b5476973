//! The steps of sequences as rows, without the padding, and back.

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, CowArray, Ix2};

use crate::error::{Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The width of an array of sequences, and what its axes mean.
pub(super) type Axes = (usize, &'static str);

/// y of every step of `x` by a layer that makes it of rows; zero in the padding.
pub(super) fn forward<T: Float>(
    x: &Sequences<T>,
    of_x: Axes,
    layer: impl FnOnce(ArrayView2<'_, T>) -> Result<Array2<T>>,
) -> Result<Sequences<T>> {
    check("x", x, of_x, x.values().view())?;
    let y = layer(alive(x, x.values().view()).view())?;
    x.with_values(spread(x, y))
}

/// d_x from `d_y` at `x` by the backward pass of such a layer; zero in the padding, where `d_y` is not
/// read.
pub(super) fn backward<T: Float>(
    (x, of_x): (&Sequences<T>, Axes),
    (d_y, of_y): (ArrayView3<'_, T>, Axes),
    layer: impl FnOnce(ArrayView2<'_, T>, ArrayView2<'_, T>) -> Result<Array2<T>>,
) -> Result<Array3<T>> {
    check("x", x, of_x, x.values().view())?;
    check("d_y", x, of_y, d_y)?;
    let (rows, d_rows) = (alive(x, x.values().view()), alive(x, d_y));
    Ok(spread(x, layer(rows.view(), d_rows.view())?))
}

/// Fails unless `values` has a row of the given width for each step of `x`.
fn check<T: Float>(
    argument: &'static str,
    x: &Sequences<T>,
    (width, axes): Axes,
    values: ArrayView3<'_, T>,
) -> Result<()> {
    check_shape(argument, axes, &[x.time(), x.batch(), width], values.shape())
}

/// The rows of `values` [time, batch, width] that are steps of `x`, in the order of time; borrowed
/// where those are all.
pub(super) fn alive<'a, T: Float>(
    x: &Sequences<T>,
    values: ArrayView3<'a, T>,
) -> CowArray<'a, T, Ix2> {
    let width = values.dim().2;
    if is_full(x)
        && let Ok(rows) = values.into_shape_with_order((x.steps(), width))
    {
        return rows.into();
    }
    let mut rows = Vec::with_capacity(x.steps() * width);
    let values = values.as_standard_layout();
    for (t, step) in values.outer_iter().enumerate() {
        let steps = step.to_slice().unwrap_or_default().chunks_exact(width);
        for (row, _) in steps.zip(x.lengths()).filter(|(_, length)| t < **length) {
            rows.extend_from_slice(row);
        }
    }
    Array2::from_shape_vec((x.steps(), width), rows).unwrap_or_default().into()
}

/// The inverse of [`alive`], with zeros in the padding.
pub(super) fn spread<T: Float>(x: &Sequences<T>, rows: Array2<T>) -> Array3<T> {
    let shape = (x.time(), x.batch(), rows.ncols());
    if is_full(x) {
        return rows.into_shape_with_order(shape).unwrap_or_default();
    }
    let mut values = Array3::zeros(shape);
    let mut rows = rows.rows().into_iter();
    for (t, mut step) in values.outer_iter_mut().enumerate() {
        for (mut to, &length) in step.rows_mut().into_iter().zip(x.lengths()) {
            if t < length
                && let Some(from) = rows.next()
            {
                to.assign(&from);
            }
        }
    }
    values
}

/// Whether no sequence has padding.
fn is_full<T: Float>(x: &Sequences<T>) -> bool {
    x.lengths().iter().all(|&length| length == x.time())
}
