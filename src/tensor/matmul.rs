//! Products: rows by a packed matrix ([`product`], at every time step) and sums of outer products
//! ([`add_outer_products`], once a sequence, for the gradient of a weight).
//!
//! Each element is one chain of multiply-adds in a fixed order ([`kernel`](super::kernel)), so a
//! result depends neither on how rows are grouped into calls nor on the number of threads.

use fearless_simd::{Simd, SimdBase};
use ndarray::{ArrayViewMut2, Axis};
use rayon::prelude::*;

use crate::float::Float;
use crate::tensor::kernel::{self, PANEL_VECTORS};
use crate::tensor::lanes::Vector;
use crate::tensor::pack::Packed;
use crate::tensor::rows::{Gather, Rows, RowsMut};
use crate::tensor::threads;

/// Bytes of a panel that stay in the first-level cache while row tiles go by.
const PANEL_BYTES: usize = 24 << 10;

/// Rows that are summed between two visits to a weight's gradient.
const OUTER_ROWS: usize = 256;

/// Rows of a tile: as many as the registers hold (sixteen, or thirty-two where a vector has 64
/// bytes) beside the two vectors of the panel.
#[inline(always)]
const fn tile_rows<S: Simd, T: Float>() -> usize {
    if Vector::<S, T>::LEN * size_of::<T>() == 64 { 8 } else { 6 }
}

/// What a product starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// Zero: `out = a · b`.
    Zero,
    /// What stands in the output: `out += a · b`.
    Output,
    /// The same row for all: `out = bias + a · b`.
    Bias(&'a [T]),
}

/// `out = start + a · b`, for `a` [rows, k], `b` [k, n] and `out` [rows, n].
///
/// Row counts and widths must agree; they are checked in debug builds only, as this runs at every
/// time step.
#[inline(always)]
pub fn product<S: Simd, T: Float>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Start<'_, T>,
    out: RowsMut<'_, T>,
) {
    debug_assert_eq!((a.count(), a.width(), b.n()), (out.count(), b.k(), out.width()));
    debug_assert_eq!(b.panel_width(), PANEL_VECTORS * Vector::<S, T>::LEN);
    simd.vectorize(
        #[inline(always)]
        || blocked_product(simd, a, b, start, out),
    );
}

#[inline(always)]
fn blocked_product<S: Simd, T: Float>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    mut start: Start<'_, T>,
    mut out: RowsMut<'_, T>,
) {
    let depth = PANEL_BYTES / (b.panel_width() * size_of::<T>());
    let panels = b.panel_count();
    for k in (0..b.k()).step_by(depth) {
        let k = k..b.k().min(k + depth);
        let mut call = Call { simd, a: a.columns(k.clone()), b, k, start };
        let mut p = 0;
        // Few rows fill the pipelines only with several panels at once.
        while a.count() <= 2 && p + 4 <= panels {
            call.rows::<4>(p, &mut out);
            p += 4;
        }
        while p < panels {
            call.rows::<1>(p, &mut out);
            p += 1;
        }
        start = Start::Output;
    }
}

/// One block of k of a product.
struct Call<'a, S, T> {
    simd: S,
    a: Rows<'a, T>,
    b: &'a Packed<T>,
    k: std::ops::Range<usize>,
    start: Start<'a, T>,
}

impl<S: Simd, T: Float> Call<'_, S, T> {
    /// All rows of the result in panels `p..p + P`.
    #[inline(always)]
    fn rows<const P: usize>(&mut self, p: usize, out: &mut RowsMut<'_, T>) {
        let count = self.a.count();
        let mut r = 0;
        if P == 1 {
            while tile_rows::<S, T>() == 8 && r + 8 <= count {
                self.tile::<8, P>(r, p, out);
                r += 8;
            }
            // Eight left are two tiles of four: a tile of two keeps the pipelines half empty.
            while tile_rows::<S, T>() == 6 && r + 6 <= count && count - r != 8 {
                self.tile::<6, P>(r, p, out);
                r += 6;
            }
            while r + 4 <= count {
                self.tile::<4, P>(r, p, out);
                r += 4;
            }
        }
        while r + 2 <= count {
            self.tile::<2, P>(r, p, out);
            r += 2;
        }
        if r < count {
            self.tile::<1, P>(r, p, out);
        }
    }

    #[inline(always)]
    fn tile<const R: usize, const P: usize>(&self, r: usize, p: usize, out: &mut RowsMut<'_, T>) {
        let Self { simd, a, b, .. } = *self;
        let depth = self.k.len();
        let (mut panels, mut left) = ([[].as_slice(); P], [[].as_slice(); R]);
        let mut tile = kernel::zero_tile::<S, T, R, P>(simd);
        let mut places = [kernel::places::<S, T>(simd, 0, 0); P];
        for i in 0..P {
            panels[i] = b.panel(p + i, self.k.clone());
            places[i] = kernel::places::<S, T>(simd, (p + i) * b.panel_width(), b.n());
        }
        for i in 0..R {
            left[i] = &a.row(r + i)[..depth];
            let start = match self.start {
                Start::Zero => continue,
                Start::Output => out.row(r + i),
                Start::Bias(bias) => bias,
            };
            kernel::load(&places, start, &mut tile[i]);
        }
        kernel::multiply_add(simd, left, panels, &mut tile);
        for i in 0..R {
            kernel::store(&places, &tile[i], out.row_mut(r + i));
        }
    }
}

/// `out += Σⱼ aⱼ ⊗ bⱼ` over the rows j of `a` [rows, m] and `b` [rows, n], for `out` [m, n]: the
/// gradient of a weight, from the gradients of its outputs and its inputs over a whole sequence.
///
/// The sum runs in the order of the rows. Threads take rows of `out`.
pub fn add_outer_products<S: Simd, T: Float>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    let (m, n) = out.dim();
    debug_assert_eq!((a.width(), b.width(), a.rows().len()), (m, n, b.rows().len()));
    let unit = tile_rows::<S, T>();
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
        || match tile_rows::<S, T>() {
            8 => add_outer_tiles::<S, T, 8>(simd, a, b, out),
            _ => add_outer_tiles::<S, T, 6>(simd, a, b, out),
        },
    );
}

#[inline(always)]
fn add_outer_tiles<S: Simd, T: Float, const R: usize>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    mut out: ArrayViewMut2<'_, T>,
) {
    let (m, n) = out.dim();
    let panel_width = PANEL_VECTORS * Vector::<S, T>::LEN;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (a, b) in a.rows().chunks(OUTER_ROWS).zip(b.rows().chunks(OUTER_ROWS)) {
        pack_rows(a, m, R, &mut left);
        pack_rows(b, n, panel_width, &mut right);
        let panels = right.chunks_exact(a.len() * panel_width);
        for (panel, column) in panels.zip((0..n).step_by(panel_width)) {
            let places = [kernel::places::<S, T>(simd, column, n)];
            for (left, row) in left.chunks_exact(a.len() * R).zip((0..m).step_by(R)) {
                let mut tile = kernel::zero_tile::<S, T, R, 1>(simd);
                for r in 0..R {
                    let Some(row) = row_of(&mut out, row + r) else { break };
                    kernel::load(&places, row, &mut tile[r]);
                }
                kernel::multiply_add(simd, left.as_chunks::<R>().0, [panel], &mut tile);
                for r in 0..R {
                    let Some(row) = row_of(&mut out, row + r) else { break };
                    kernel::store(&places, &tile[r], row);
                }
            }
        }
    }
}

/// Row `r` of a weight's gradient, where there is one: the last tile may reach past the end.
#[inline(always)]
fn row_of<'a, T>(out: &'a mut ArrayViewMut2<'_, T>, r: usize) -> Option<&'a mut [T]> {
    let n = out.ncols();
    let all = out.as_slice_mut()?;
    all.get_mut(r * n..(r + 1) * n)
}

/// Lays `rows` of `width` values out in panels of `panel_width` columns, row by row, filled up with zeros.
#[inline(always)]
fn pack_rows<T: Float>(rows: &[&[T]], width: usize, panel_width: usize, packed: &mut Vec<T>) {
    packed.clear();
    packed.resize(width.div_ceil(panel_width) * panel_width * rows.len(), T::zero());
    let panels = packed.chunks_exact_mut((rows.len() * panel_width).max(1));
    for (panel, column) in panels.zip((0..width).step_by(panel_width)) {
        let columns = column..width.min(column + panel_width);
        for (to, from) in panel.chunks_exact_mut(panel_width).zip(rows) {
            to[..columns.len()].copy_from_slice(&from[columns.clone()]);
        }
    }
}
