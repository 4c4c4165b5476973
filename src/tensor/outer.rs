//! Sums of outer products, once a sequence: the gradient of a weight.
//!
//! Each element is one chain of multiply-adds over the rows in order (see `kernel`), so a result
//! depends neither on how rows are shared out among calls nor on the number of threads.

use std::hint::black_box;

use fearless_simd::{Simd, SimdBase, SimdFloat};
use ndarray::ArrayViewMut2;
use rayon::prelude::*;

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel;
use crate::tensor::lanes::Vector;
use crate::tensor::rows::Gather;
use crate::tensor::threads;

/// Rows, more or less, that are summed between two visits to a part of a weight's gradient.
const DEPTH: usize = 96;
/// Bytes of a weight's gradient that stay in the second-level cache while all rows are summed.
const BAND_BYTES: usize = 1 << 20;
/// Rows of a tile.
const TILE_ROWS: usize = 6;
const LINE: usize = 64;

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
    let lanes = Vector::<S, T>::LEN;
    match out.as_slice_mut() {
        Some(out) if n >= lanes => add_on_threads(simd, a, b, out, n),
        // Less than a vector is filled up to one.
        Some(out) if n > 0 => {
            let mut wide = Aligned::zeros(m * lanes);
            for (wide, out) in wide.chunks_exact_mut(lanes).zip(out.chunks_exact(n)) {
                wide[..n].copy_from_slice(out);
            }
            add_on_threads(simd, a, b, &mut wide, lanes);
            for (wide, out) in wide.chunks_exact(lanes).zip(out.chunks_exact_mut(n)) {
                out.copy_from_slice(&wide[..n]);
            }
        }
        _ => {}
    }
}

/// The same for rows of `out` of `width` values, a vector or more.
fn add_on_threads<S: Simd, T: Float>(
    simd: S,
    a: &Gather<'_, T>,
    b: &Gather<'_, T>,
    out: &mut [T],
    width: usize,
) {
    let m = a.width();
    let parts = threads::parts(m, 4 * TILE_ROWS, m * width * a.rows().len());
    let sum = Sum { simd, a: a.rows(), b: b.rows(), width };
    if parts <= 1 {
        return sum.add_rows(0, out);
    }
    let step = threads::ranges(m, parts, TILE_ROWS)[0].len();
    out.par_chunks_mut(step * width).enumerate().for_each(|(p, out)| sum.add_rows(p * step, out));
}

struct Sum<'a, S, T> {
    simd: S,
    a: &'a [&'a [T]],
    b: &'a [&'a [T]],
    /// Values of a row of the result.
    width: usize,
}

impl<S: Simd, T: Float> Sum<'_, S, T> {
    /// The rows of the result that `out` holds, from row `first` on.
    fn add_rows(&self, first: usize, out: &mut [T]) {
        let rows = self.a.len();
        let depth = rows.div_ceil(((rows + DEPTH / 2) / DEPTH).max(1)).max(1);
        let m = out.len() / self.width;
        let bands = (out.len() * size_of::<T>()).div_ceil(BAND_BYTES).max(1);
        let band = m.div_ceil(bands).next_multiple_of(TILE_ROWS);
        let width = kernel::panel_vectors::<S, T>() * Vector::<S, T>::LEN;
        let mut panel = Aligned::stale(depth * width);
        for (i, out) in out.chunks_mut(band * self.width).enumerate() {
            for from in (0..rows).step_by(depth) {
                let rows = from..rows.min(from + depth);
                let (a, b) = (&self.a[rows.clone()], &self.b[rows.clone()]);
                let block = Block {
                    simd: self.simd,
                    a,
                    b,
                    next: &self.a[rows.end..],
                    first: first + i * band,
                    width: self.width,
                };
                self.simd.vectorize(
                    #[inline(always)]
                    || block.add_panels(&mut panel, out),
                );
            }
        }
    }
}

/// Some rows of a sum, for some rows of its result.
struct Block<'a, S, T> {
    simd: S,
    a: &'a [&'a [T]],
    b: &'a [&'a [T]],
    /// The rows of `a` that come after.
    next: &'a [&'a [T]],
    /// The first row of the result.
    first: usize,
    width: usize,
}

impl<S: Simd, T: Float> Block<'_, S, T> {
    #[inline(always)]
    fn add_panels(&self, panel: &mut [T], out: &mut [T]) {
        let m = out.len() / self.width;
        let lanes = Vector::<S, T>::LEN;
        let (count, full) = (self.width.div_ceil(lanes), kernel::panel_vectors::<S, T>());
        let line = LINE / size_of::<T>();
        let next = &self.next[..self.next.len().min(self.a.len())];
        let tiles = m.div_ceil(TILE_ROWS) * count.div_ceil(full);
        let share = (next.len() * m.div_ceil(line)).div_ceil(tiles);
        let mut ahead =
            next.iter().flat_map(|row| row[self.first..self.first + m].iter().step_by(line));
        let mut vector = 0;
        while vector < count {
            let left = count - vector;
            let vectors = left / left.div_ceil(full);
            match vectors {
                4 if full == 4 => self.add_panel::<4>(vector, panel, out, &mut ahead, share),
                3 if full == 4 => self.add_panel::<3>(vector, panel, out, &mut ahead, share),
                2 => self.add_panel::<2>(vector, panel, out, &mut ahead, share),
                _ => self.add_panel::<1>(vector, panel, out, &mut ahead, share),
            }
            vector += vectors;
        }
    }

    #[inline(always)]
    fn add_panel<'t, const V: usize>(
        &self,
        vector: usize,
        panel: &mut [T],
        mut out: &mut [T],
        ahead: &mut impl Iterator<Item = &'t T>,
        share: usize,
    ) where
        T: 't,
    {
        let lanes = Vector::<S, T>::LEN;
        let mut columns = [0; V];
        for v in 0..V {
            columns[v] = ((vector + v) * lanes).min(self.width - lanes);
        }
        let panel = &mut panel[..self.b.len() * V * lanes];
        for (to, from) in panel.chunks_exact_mut(V * lanes).zip(self.b) {
            for v in 0..V {
                let to = &mut to[v * lanes..][..lanes];
                if from.len() < lanes {
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(T::zero());
                } else {
                    Vector::<S, T>::from_slice(self.simd, &from[columns[v]..][..lanes])
                        .store_slice(to);
                }
            }
        }
        let mut row = self.first;
        while !out.is_empty() {
            ahead.take(share).for_each(|value| {
                black_box(*value);
            });
            let left = out.len() / self.width;
            let rows = if left >= TILE_ROWS && left != 8 {
                TILE_ROWS
            } else if left >= 4 {
                4
            } else {
                1
            };
            let (tile, rest) = std::mem::take(&mut out).split_at_mut(rows * self.width);
            match rows {
                TILE_ROWS => self.add_tile::<TILE_ROWS, V>(row, panel, columns, tile),
                4 => self.add_tile::<4, V>(row, panel, columns, tile),
                _ => self.add_tile::<1, V>(row, panel, columns, tile),
            }
            row += rows;
            out = rest;
        }
    }

    #[inline(always)]
    fn add_tile<const R: usize, const V: usize>(
        &self,
        row: usize,
        panel: &[T],
        columns: [usize; V],
        out: &mut [T],
    ) {
        let lanes = Vector::<S, T>::LEN;
        let mut sums = [[Vector::<S, T>::splat(self.simd, T::zero()); V]; R];
        for r in 0..R {
            let out = &out[r * self.width..][..self.width];
            for v in 0..V {
                sums[r][v] = Vector::<S, T>::from_slice(self.simd, &out[columns[v]..][..lanes]);
            }
        }
        for (a, b) in self.a.iter().zip(panel.chunks_exact(V * lanes)) {
            let a = &a[row..row + R];
            let mut right = [Vector::<S, T>::splat(self.simd, T::zero()); V];
            for v in 0..V {
                right[v] = Vector::<S, T>::from_slice(self.simd, &b[v * lanes..][..lanes]);
            }
            for r in 0..R {
                let left = Vector::<S, T>::splat(self.simd, a[r]);
                for v in 0..V {
                    sums[r][v] = left.mul_add(right[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            let out = &mut out[r * self.width..][..self.width];
            for v in 0..V {
                sums[r][v].store_slice(&mut out[columns[v]..][..lanes]);
            }
        }
    }
}
