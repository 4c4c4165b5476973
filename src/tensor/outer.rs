//! Sums of outer products, once a sequence: the gradient of a weight.
//!
//! A tile of the sum stays in vector registers while a block of rows goes by. The right rows of the
//! block are laid out in panels of a few vectors, which stay in the first-level cache while all
//! tiles of their columns are summed. Left rows are read where they stand, as long as that is
//! cheaper than to lay them out too.
//!
//! Each element is one chain of multiply-adds over the rows in order (as in `kernel`), so a result
//! depends neither on how rows are shared out among calls nor on the number of threads.

use fearless_simd::{Simd, SimdBase, SimdFloat};
use ndarray::ArrayViewMut2;
use rayon::prelude::*;

use crate::float::Float;
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel;
use crate::tensor::lanes::Vector;
use crate::tensor::rows::Gather;
use crate::tensor::threads;

/// Rows of a tile.
const TILE_ROWS: usize = 6;
/// Rows of a block, more or less: a tile's values are each in a page of their own, and the first
/// level of address translation holds fewer than a hundred.
const DEPTH: usize = 80;
/// The same where the left rows are laid out.
const PACKED_DEPTH: usize = 160;
/// Bytes of a weight's gradient that stay in the second-level cache while all rows are summed.
const BAND_BYTES: usize = 1 << 20;
/// Left rows are laid out where right rows have more vectors than these, so that each value is used
/// often enough to pay for it,
const PACK_VECTORS: usize = 8;
/// or where left rows are as long as a page, so that no two values of a tile share one.
const PAGE_BYTES: usize = 4096;
/// Left rows and tiles that are laid out together: as few as the prefetcher can follow.
const PACK_ROWS: usize = 16;
const PACK_TILES: usize = 8;

/// `out += Σⱼ aⱼ ⊗ bⱼ` over the rows j of `a` [rows, m] and `b` [rows, n], for `out` [m, n]: the
/// gradient of a weight, from the gradients of its outputs and its inputs over a whole sequence.
///
/// `out` is in standard layout. The sum goes on from what stands in `out`, in the order of the
/// rows, so its bits do not depend on how the rows are shared out among calls. Threads take rows of
/// `out`.
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
        Some([]) | None => {}
        Some(out) if n >= lanes => add_on_threads(simd, a, b, out, n),
        // Less than a vector is filled up to one.
        Some(out) => {
            let mut wide = Aligned::zeros(m * lanes);
            for (wide, out) in wide.chunks_exact_mut(lanes).zip(out.chunks_exact(n)) {
                wide[..n].copy_from_slice(out);
            }
            add_on_threads(simd, a, b, &mut wide, lanes);
            for (wide, out) in wide.chunks_exact(lanes).zip(out.chunks_exact_mut(n)) {
                out.copy_from_slice(&wide[..n]);
            }
        }
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

/// A sum of outer products.
struct Sum<'a, S, T> {
    simd: S,
    a: &'a [&'a [T]],
    b: &'a [&'a [T]],
    /// Values of a row of the result.
    width: usize,
}

impl<S: Simd, T: Float> Sum<'_, S, T> {
    /// Adds to the rows of the result that `out` holds, from row `first` on.
    fn add_rows(&self, first: usize, out: &mut [T]) {
        let &Self { simd, width, .. } = self;
        let Some(row) = self.a.first() else { return };
        let (lanes, m) = (Vector::<S, T>::LEN, out.len() / width);
        let packs = width > PACK_VECTORS * lanes || size_of_val(*row) >= PAGE_BYTES;
        let (rows, usual) = (self.a.len(), if packs { PACKED_DEPTH } else { DEPTH });
        let depth = rows.div_ceil(((rows + usual / 2) / usual).max(1));
        let bands = size_of_val(out).div_ceil(BAND_BYTES).max(1);
        let band = m.div_ceil(bands).next_multiple_of(TILE_ROWS);
        let mut left = Aligned::stale(if packs { band * depth } else { 0 });
        let mut panel = Aligned::stale(kernel::panel_vectors::<S, T>() * lanes * depth);
        for (i, out) in out.chunks_mut(band * width).enumerate() {
            for (a, b) in self.a.chunks(depth).zip(self.b.chunks(depth)) {
                let block = Block { sum: Sum { simd, a, b, width }, first: first + i * band };
                simd.vectorize(
                    #[inline(always)]
                    || block.add(left.as_chunks_mut().0, &mut panel, out),
                );
            }
        }
    }
}

/// Some terms of a sum, for the rows of its result from `first` on.
struct Block<'a, S, T> {
    sum: Sum<'a, S, T>,
    first: usize,
}

impl<S: Simd, T: Float> Block<'_, S, T> {
    #[inline(always)]
    fn add(&self, left: &mut [[T; TILE_ROWS]], panel: &mut [T], out: &mut [T]) {
        let (width, lanes) = (self.sum.width, Vector::<S, T>::LEN);
        if !left.is_empty() {
            self.pack(out.len() / width / TILE_ROWS, left);
        }
        let (count, full) = (width.div_ceil(lanes), kernel::panel_vectors::<S, T>());
        let mut vector = 0;
        while vector < count {
            let rest = count - vector;
            // Panels of nearly the same width. The last one is the widest: it has the last vector and
            // the one before.
            let vectors = rest / rest.div_ceil(full);
            match vectors {
                4 if full == 4 => self.add_panel::<4>(vector, left, panel, out),
                3 if full == 4 => self.add_panel::<3>(vector, left, panel, out),
                2 => self.add_panel::<2>(vector, left, panel, out),
                _ => self.add_panel::<1>(vector, left, panel, out),
            }
            vector += vectors;
        }
    }

    /// Lays the left rows out tile by tile, a few rows and tiles at a time.
    #[inline(always)]
    fn pack(&self, tiles: usize, left: &mut [[T; TILE_ROWS]]) {
        let depth = self.sum.a.len();
        for (i, rows) in self.sum.a.chunks(PACK_ROWS).enumerate() {
            for tile in (0..tiles).step_by(PACK_TILES) {
                let columns = tile * TILE_ROWS..tiles.min(tile + PACK_TILES) * TILE_ROWS;
                for (k, row) in rows.iter().enumerate() {
                    let values = row[self.first..][columns.clone()].as_chunks().0;
                    for (t, values) in values.iter().enumerate() {
                        left[(tile + t) * depth + i * PACK_ROWS + k] = *values;
                    }
                }
            }
        }
    }

    /// All rows of the result, in the columns of `V` vectors from `vector` on. The last vector of a
    /// row begins early enough to be a whole one: what it shares with the one before is summed
    /// twice, to the same bits.
    #[inline(always)]
    fn add_panel<const V: usize>(
        &self,
        vector: usize,
        left: &[[T; TILE_ROWS]],
        panel: &mut [T],
        mut out: &mut [T],
    ) {
        let (Sum { simd, a, b, width }, lanes) = (&self.sum, Vector::<S, T>::LEN);
        let mut columns = [0; V];
        for v in 0..V {
            columns[v] = ((vector + v) * lanes).min(width - lanes);
        }
        let panel = &mut panel[..b.len() * V * lanes];
        for (to, from) in panel.chunks_exact_mut(V * lanes).zip(*b) {
            for v in 0..V {
                let to = &mut to[v * lanes..][..lanes];
                if from.len() < lanes {
                    to[..from.len()].copy_from_slice(from);
                    to[from.len()..].fill(T::zero());
                } else {
                    let from = &from[columns[v]..][..lanes];
                    Vector::<S, T>::from_slice(*simd, from).store_slice(to);
                }
            }
        }
        let panel = Panel { simd: *simd, values: panel, columns, width: *width };
        let (mut row, mut packed) = (self.first, left.chunks_exact(a.len()));
        while !out.is_empty() {
            // Eight left are two tiles of four: tiles of one row keep the pipelines half empty.
            let rows = match out.len() / width {
                8 => 4,
                TILE_ROWS.. => TILE_ROWS,
                4.. => 4,
                _ => 1,
            };
            let (tile, rest) = std::mem::take(&mut out).split_at_mut(rows * width);
            match (rows, packed.next()) {
                (TILE_ROWS, Some(left)) => panel.add_tile(left.iter(), tile),
                (TILE_ROWS, None) => panel.add_tile::<TILE_ROWS>(columns_of(a, row), tile),
                (4, _) => panel.add_tile::<4>(columns_of(a, row), tile),
                _ => panel.add_tile::<1>(columns_of(a, row), tile),
            }
            row += rows;
            out = rest;
        }
    }
}

/// `R` values of each row, from `first` on.
#[inline(always)]
fn columns_of<'a, T, const R: usize>(
    rows: &'a [&'a [T]],
    first: usize,
) -> impl Iterator<Item = &'a [T; R]> {
    rows.iter().map(
        #[inline(always)]
        move |row| &row[first..first + R].as_chunks().0[0],
    )
}

/// `V` vectors of each right row of a block.
struct Panel<'a, S, T, const V: usize> {
    simd: S,
    values: &'a [T],
    /// Where the vectors begin in a row of the result.
    columns: [usize; V],
    width: usize,
}

impl<S: Simd, T: Float, const V: usize> Panel<'_, S, T, V> {
    /// Adds to `R` rows of the result. No branch stands in the loop between the reading of a value
    /// and its use, so a value comes as a broadcast from memory, which costs no vector port.
    #[inline(always)]
    fn add_tile<'t, const R: usize>(&self, left: impl Iterator<Item = &'t [T; R]>, out: &mut [T]) {
        let &Self { simd, values, columns, width } = self;
        let lanes = Vector::<S, T>::LEN;
        let mut sums = [[Vector::<S, T>::splat(simd, T::zero()); V]; R];
        for r in 0..R {
            let out = &out[r * width..][..width];
            for v in 0..V {
                sums[r][v] = Vector::<S, T>::from_slice(simd, &out[columns[v]..][..lanes]);
            }
        }
        for (left, values) in left.zip(values.chunks_exact(V * lanes)) {
            let mut right = [Vector::<S, T>::splat(simd, T::zero()); V];
            for v in 0..V {
                right[v] = Vector::<S, T>::from_slice(simd, &values[v * lanes..][..lanes]);
            }
            for r in 0..R {
                let left = Vector::<S, T>::splat(simd, left[r]);
                for v in 0..V {
                    sums[r][v] = left.mul_add(right[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            let out = &mut out[r * width..][..width];
            for v in 0..V {
                sums[r][v].store_slice(&mut out[columns[v]..][..lanes]);
            }
        }
    }
}
