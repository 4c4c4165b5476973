//! Sums of outer products, once a sequence: the gradient of a weight.
//!
//! Each element is one chain of multiply-adds over the rows in order (see `kernel`), so a result
//! depends neither on how rows are shared out among calls nor on the number of threads.

use std::ops::Range;

use fearless_simd::{Simd, SimdBase};
use ndarray::{ArrayViewMut2, Axis};
use rayon::prelude::*;

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel;
use crate::tensor::lanes::Vector;
use crate::tensor::rows::Gather;
use crate::tensor::threads;

/// Rows that are summed between two visits to a weight's gradient.
const OUTER_ROWS: usize = 256;
/// Rows of a weight's gradient that stay in the second-level cache while all rows are summed.
const OUTER_BAND: usize = 512;

/// Rows of the tile of a sum of outer products, which is two vectors wide.
#[inline(always)]
const fn outer_rows<S: Simd, T: Float>() -> usize {
    if kernel::is_wide::<S, T>() { 8 } else { 6 }
}

/// `out += Σⱼ aⱼ ⊗ bⱼ` over the rows j of `a` [rows, m] and `b` [rows, n], for `out` [m, n]: the
/// gradient of a weight, from the gradients of its outputs and its inputs over a whole sequence.
///
/// `out` is in standard layout. The sum goes on from what stands in `out`, in the order of the rows, so
/// its bits do not depend on how the rows are shared out among calls.
/// Threads take rows of `out`.
pub fn add_outer_products<S: Simd, T: Float>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    let (m, n) = out.dim();
    debug_assert_eq!((a.width(), b.width(), a.rows().len()), (m, n, b.rows().len()));
    debug_assert!(out.is_standard_layout());
    let unit = outer_rows::<S, T>();
    let parts = threads::parts(m, 4 * unit, m * n * a.rows().len());
    if parts == 1 {
        return add_outer_block(simd, a, b, out);
    }
    let ranges = threads::ranges(m, parts, unit);
    let blocks = out.axis_chunks_iter_mut(Axis(0), ranges[0].len());
    blocks.zip(ranges).collect::<Vec<_>>().into_par_iter().for_each(|(block, range)| {
        add_outer_block(simd, &a.columns(range), b, block);
    });
}

fn add_outer_block<S: Simd, T: Float>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    out: ArrayViewMut2<'_, T>,
) {
    simd.vectorize(
        #[inline(always)]
        || {
            if kernel::is_wide::<S, T>() {
                add_outer_rows::<S, T, 8>(simd, a, b, out);
            } else {
                add_outer_rows::<S, T, 6>(simd, a, b, out);
            }
        },
    );
}

#[inline(always)]
fn add_outer_rows<S: Simd, T: Float, const R: usize>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    let (m, n) = out.dim();
    let lanes = Vector::<S, T>::LEN;
    let padded = n.next_multiple_of(lanes);
    let most = OUTER_ROWS.min(a.rows().len());
    let band = m.min(OUTER_BAND).next_multiple_of(R);
    let mut left = Aligned::stale(band * most);
    let mut right = Aligned::stale(2 * lanes * most);
    let mut sums = Aligned::stale(band * padded);
    for (first, mut out) in (0..m).step_by(band).zip(out.axis_chunks_iter_mut(Axis(0), band)) {
        let band = first..first + out.nrows();
        for (sums, out) in sums.chunks_exact_mut(padded).zip(out.rows()) {
            let (sums, padding) = sums.split_at_mut(n);
            sums.copy_from_slice(out.to_slice().unwrap_or_default());
            padding.fill(T::zero());
        }
        for (a, b) in a.rows().chunks(OUTER_ROWS).zip(b.rows().chunks(OUTER_ROWS)) {
            let left = &mut left[..band.len().next_multiple_of(R) * a.len()];
            pack_left(a, band.clone(), left.as_chunks_mut::<R>().0);
            let left = left.as_chunks::<R>().0;
            for column in (0..n).step_by(2 * lanes) {
                let columns = column..n.min(column + 2 * lanes);
                let vectors = columns.len().div_ceil(lanes);
                let right = &mut right[..vectors * lanes * b.len()];
                pack_right(b, columns, right);
                let tiles = sums.chunks_exact_mut(R * padded);
                match vectors {
                    2 => add_outer_panel::<S, T, R, 2>(simd, left, right, column, tiles),
                    _ => add_outer_panel::<S, T, R, 1>(simd, left, right, column, tiles),
                }
            }
        }
        for (mut out, sums) in out.rows_mut().into_iter().zip(sums.chunks_exact(padded)) {
            if let Some(out) = out.as_slice_mut() {
                out.copy_from_slice(&sums[..n]);
            }
        }
    }
}

/// One panel of columns of all sums.
#[inline(always)]
fn add_outer_panel<S: Simd, T: Float, const R: usize, const V: usize>(
    simd: S,
    left: &[[T; R]],
    panel: &[T],
    column: usize,
    tiles: std::slice::ChunksExactMut<'_, T>,
) {
    let depth = panel.len() / (V * Vector::<S, T>::LEN);
    for (left, rows) in left.chunks_exact(depth).zip(tiles) {
        let stride = rows.len() / R;
        let mut tile = kernel::zeros::<S, T, R, 1, V>(simd);
        for r in 0..R {
            let row = &rows[r * stride..][..stride];
            kernel::load::<S, T, V, true>(simd, row, column, &mut tile[r][0]);
        }
        kernel::multiply_add(simd, depth, left, [panel], &mut tile);
        for r in 0..R {
            let row = &mut rows[r * stride..][..stride];
            kernel::store::<S, T, V, true>(simd, row, column, &tile[r][0]);
        }
    }
}

/// Lays `columns` of `rows` out in panels of `R` columns, row by row, filled up with zeros. Panels
/// that share a cache line of the rows are filled together.
#[inline(always)]
fn pack_left<T: Float, const R: usize>(
    rows: &[&[T]],
    columns: Range<usize>,
    panels: &mut [[T; R]],
) {
    let together = (64 / (R * size_of::<T>())).max(1);
    for (first, group) in panels.chunks_mut(together * rows.len()).enumerate() {
        let first = columns.start + first * together * R;
        for (k, row) in rows.iter().enumerate() {
            let values = &row[first..columns.end.min(first + together * R)];
            let (whole, rest) = values.as_chunks::<R>();
            for (p, values) in whole.iter().enumerate() {
                group[p * rows.len() + k] = *values;
            }
            if !rest.is_empty() {
                let last = &mut group[whole.len() * rows.len() + k];
                *last = [T::zero(); R];
                last[..rest.len()].copy_from_slice(rest);
            }
        }
    }
}

/// Lays `columns` of `rows` out as one panel, row by row, each filled up with zeros.
#[inline(always)]
fn pack_right<T: Float>(rows: &[&[T]], columns: Range<usize>, panel: &mut [T]) {
    let width = panel.len() / rows.len();
    for (to, from) in panel.chunks_exact_mut(width).zip(rows) {
        let (to, padding) = to.split_at_mut(columns.len());
        to.copy_from_slice(&from[columns.clone()]);
        padding.fill(T::zero());
    }
}
