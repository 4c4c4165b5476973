//! The steps of sequences as rows, without the padding, and back.

use ndarray::{Array2, Array3, ArrayView3, CowArray, Ix2};

use crate::float::Float;
use crate::sequences::Sequences;

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
