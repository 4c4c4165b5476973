//! Sums of outer products over the rows of many steps: the gradients of weights.
//!
//! A tile of the sum stays in vector registers during the loop over a block of rows. The right rows of
//! the block are packed in panels of a few vectors. A panel stays in the first-level cache while all
//! tiles of its columns are summed. The left rows are read in place unless packing them is cheaper.
//!
//! Each element is one chain of multiply-adds in the order of the rows (as in `kernel`). So the result
//! does not depend on the split of the rows among calls, nor on the number of threads.

use fearless_simd::{Level, Simd, SimdBase, SimdFloat};
use ndarray::ArrayViewMut2;

use crate::compiled;
use crate::float::{Float, per_float};
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel;
use crate::tensor::lanes::Vector;
use crate::tensor::rows::RowRefs;
use crate::tensor::shared::dismiss_helpers;
use crate::tensor::threads;

/// The number of rows of a tile.
const TILE_ROWS: usize = 6;
/// The approximate number of rows of a block. Each may lie in another page of memory, and the
/// first-level TLB holds fewer than a hundred pages.
const DEPTH: usize = 80;
/// The same if the left rows are packed.
const PACKED_DEPTH: usize = 240;
/// The number of bytes of the sums that stay in the second-level cache while all rows are added.
const BAND_BYTES: usize = 2 << 20;
/// The number of vectors of the right rows above which the left rows are packed. Each left value is then
/// used often enough.
const PACK_VECTORS: usize = 8;
/// The number of bytes of a left row from which on the left rows are packed: that of a page of memory.
const PAGE_BYTES: usize = 4096;
/// The numbers of left rows and of tiles that are packed together, few enough for the prefetcher.
const PACK_ROWS: usize = 16;
const PACK_TILES: usize = 8;

per_float! {
    /// Adds Σⱼ aⱼ ⊗ bⱼ to `out` [m, n] for each pair `(b, out)`, over the rows j of `a` [rows, m] and `b`
    /// [rows, n]. If `a` has the gradients of outputs and `b` the inputs, it is the gradient of a weight.
    ///
    /// `out` must be in standard layout. The sum continues from the value of `out` in the order of the
    /// rows, so its bits do not depend on the split of the rows among calls. Threads split the rows of
    /// `out`.
    pub fn add_outer_products<'a, T>(
        level: Level,
        a: &RowRefs<'_, T>,
        sums: &mut [(&RowRefs<'_, T>, ArrayViewMut2<'_, T>)],
    ) = add_pairs;
}

#[expect(clippy::expect_used, reason = "a sum is made in standard layout")]
fn add_pairs<T: Float>(
    level: Level,
    a: &RowRefs<'_, T>,
    sums: &mut [(&RowRefs<'_, T>, ArrayViewMut2<'_, T>)],
) {
    let (m, (lanes, _)) = (a.width(), kernel::panel_shape::<T>(level));
    // Rows narrower than a vector are padded to one.
    let mut wide: Vec<Option<Aligned<T>>> = Vec::with_capacity(sums.len());
    wide.resize_with(sums.len(), || None);
    let mut rights = Vec::with_capacity(sums.len());
    for ((b, out), wide) in sums.iter_mut().zip(&mut wide) {
        let n = b.width();
        debug_assert_eq!((m, n, a.rows().len()), (out.nrows(), out.ncols(), b.rows().len()));
        let out = out.as_slice_mut().expect("a sum in standard layout");
        if out.is_empty() {
            continue;
        }
        if n >= lanes {
            rights.push(Right { rows: b.rows(), width: n, out });
            continue;
        }
        let wide = wide.insert(Aligned::zeros(m * lanes));
        for (wide, out) in wide.chunks_exact_mut(lanes).zip(out.chunks_exact(n)) {
            wide[..n].copy_from_slice(out);
        }
        rights.push(Right { rows: b.rows(), width: lanes, out: wide });
    }
    let width: usize = rights.iter().map(|right| right.width).sum();
    let parts = threads::parts(m, 4 * TILE_ROWS, m * width * a.rows().len());
    if parts > 1 {
        dismiss_helpers::<T>();
    }
    add_on_threads(level, Left { rows: a.rows(), first: 0 }, m, rights, parts);
    for ((b, out), wide) in sums.iter_mut().zip(&wide) {
        let (Some(out), Some(wide)) = (out.as_slice_mut(), wide) else { continue };
        for (wide, out) in wide.chunks_exact(lanes).zip(out.chunks_exact_mut(b.width())) {
            out.copy_from_slice(&wide[..b.width()]);
        }
    }
}

/// The left operand: the columns of `rows` from `first` on.
#[derive(Clone, Copy)]
struct Left<'a, T> {
    rows: &'a [&'a [T]],
    first: usize,
}

/// A right operand, and the rows of its sum.
struct Right<'a, T> {
    rows: &'a [&'a [T]],
    /// The width of a row of the sum, at least that of a vector.
    width: usize,
    out: &'a mut [T],
}

impl<'a, T> Right<'a, T> {
    /// Splits the sum after its first `row` rows.
    fn split_at(self, row: usize) -> (Self, Self) {
        let (head, tail) = self.out.split_at_mut(row * self.width);
        (Self { out: head, ..self }, Self { out: tail, ..self })
    }
}

/// Adds to `m` rows of the sums, in `parts` parts on several threads.
fn add_on_threads<T: Float>(
    level: Level,
    left: Left<'_, T>,
    m: usize,
    rights: Vec<Right<'_, T>>,
    parts: usize,
) {
    if parts <= 1 {
        return add_rows(level, left, m, rights);
    }
    let middle = (m * (parts / 2) / parts).next_multiple_of(TILE_ROWS).min(m);
    let (head, tail) = rights.into_iter().map(|right| right.split_at(middle)).unzip();
    let below = Left { first: left.first + middle, ..left };
    threads::join(
        || add_on_threads(level, left, middle, head, parts / 2),
        || add_on_threads(level, below, m - middle, tail, parts - parts / 2),
    );
}

compiled! {
    /// Adds to `m` rows of the sums.
    fn add_rows<'a, T>(left: Left<'a, T>, m: usize, rights: Vec<Right<'a, T>>) = Left::add_rows;
}

impl<'a, T: Float> Left<'a, T> {
    #[inline(always)]
    fn add_rows<S: Simd>(simd: S, left: Self, m: usize, mut rights: Vec<Right<'a, T>>) {
        let Self { rows, first } = left;
        let Some(row) = rows.first() else { return };
        let lanes = Vector::<S, T>::LEN;
        let vectors: usize = rights.iter().map(|right| right.width.div_ceil(lanes)).sum();
        let packs = vectors > PACK_VECTORS || size_of_val(*row) >= PAGE_BYTES;
        let usual = if packs { PACKED_DEPTH } else { DEPTH };
        let depth = rows.len().div_ceil(((rows.len() + usual / 2) / usual).max(1));
        let bytes: usize = rights.iter().map(|right| size_of_val(right.out)).sum();
        let bands = bytes.div_ceil(BAND_BYTES).max(1);
        let band = m.div_ceil(bands).next_multiple_of(TILE_ROWS).max(TILE_ROWS);
        let mut packed = Aligned::stale(if packs { band * depth } else { 0 });
        let mut panel = Aligned::stale(kernel::panel_vectors::<S, T>() * lanes * depth);
        for start in (0..m).step_by(band) {
            let band = start..m.min(start + band);
            for (i, rows) in rows.chunks(depth).enumerate() {
                let block = Left { rows, first: first + start };
                let packed = packed.as_chunks_mut().0;
                if packs {
                    block.pack(band.len() / TILE_ROWS, packed);
                }
                for right in &mut rights {
                    let out = &mut right.out[band.start * right.width..band.end * right.width];
                    let rows = &right.rows[i * depth..][..rows.len()];
                    let right = Right { rows, out, width: right.width };
                    block.add(simd, packed, &mut panel, right);
                }
            }
        }
    }

    /// Adds to the sum of one right operand.
    #[inline(always)]
    fn add<S: Simd>(
        &self,
        simd: S,
        packed: &[[T; TILE_ROWS]],
        panel: &mut [T],
        mut right: Right<'_, T>,
    ) {
        let lanes = Vector::<S, T>::LEN;
        let (count, full) = (right.width.div_ceil(lanes), kernel::panel_vectors::<S, T>());
        let mut vector = 0;
        while vector < count {
            let rest = count - vector;
            // Panels of nearly equal width, the widest last: it must contain both the last vector and
            // the one before, which may overlap.
            let vectors = rest / rest.div_ceil(full);
            match vectors {
                4 if full == 4 => self.add_panel::<S, 4>(simd, vector, packed, panel, &mut right),
                3 if full == 4 => self.add_panel::<S, 3>(simd, vector, packed, panel, &mut right),
                2 => self.add_panel::<S, 2>(simd, vector, packed, panel, &mut right),
                _ => self.add_panel::<S, 1>(simd, vector, packed, panel, &mut right),
            }
            vector += vectors;
        }
    }

    /// Packs the left rows tile by tile, a few rows and tiles at a time.
    #[inline(always)]
    fn pack(&self, tiles: usize, packed: &mut [[T; TILE_ROWS]]) {
        let depth = self.rows.len();
        for (i, rows) in self.rows.chunks(PACK_ROWS).enumerate() {
            for tile in (0..tiles).step_by(PACK_TILES) {
                let columns = tile * TILE_ROWS..tiles.min(tile + PACK_TILES) * TILE_ROWS;
                for (k, row) in rows.iter().enumerate() {
                    let values = row[self.first..][columns.clone()].as_chunks().0;
                    for (t, values) in values.iter().enumerate() {
                        packed[(tile + t) * depth + i * PACK_ROWS + k] = *values;
                    }
                }
            }
        }
    }

    /// Adds to all rows of the result, in the columns of `V` vectors from `vector` on. The last vector
    /// of a row is shifted to the left to be whole. The columns that it shares with the vector before are
    /// computed twice, with the same bits.
    #[inline(never)]
    fn add_panel<S: Simd, const V: usize>(
        &self,
        simd: S,
        vector: usize,
        packed: &[[T; TILE_ROWS]],
        panel: &mut [T],
        right: &mut Right<'_, T>,
    ) {
        simd.vectorize(
            #[inline(always)]
            || self.add_panel_on::<S, V>(simd, vector, packed, panel, right),
        );
    }

    #[inline(always)]
    fn add_panel_on<S: Simd, const V: usize>(
        &self,
        simd: S,
        vector: usize,
        packed: &[[T; TILE_ROWS]],
        panel: &mut [T],
        right: &mut Right<'_, T>,
    ) {
        let &Self { rows: a, first } = self;
        let Right { rows: b, width, out } = right;
        let (width, mut out, lanes) = (*width, &mut **out, Vector::<S, T>::LEN);
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
                    Vector::<S, T>::from_slice(simd, from).store_slice(to);
                }
            }
        }
        let panel = Panel { simd, values: panel, columns, width };
        let (mut row, mut packed) = (first, packed.chunks_exact(a.len()));
        while !out.is_empty() {
            // The last eight rows are two tiles of four: tiles of one row leave the pipelines half empty.
            let rows = match out.len() / width {
                rest if const { kernel::is_lean::<S, T>() } => {
                    if rest < TILE_ROWS {
                        1
                    } else {
                        TILE_ROWS
                    }
                }
                8 => 4,
                TILE_ROWS.. => TILE_ROWS,
                4.. => 4,
                _ => 1,
            };
            let (tile, rest) = std::mem::take(&mut out).split_at_mut(rows * width);
            match (rows, packed.next()) {
                (TILE_ROWS, Some(packed)) => panel.add_tile(packed.iter(), tile),
                (TILE_ROWS, None) => panel.add_tile::<TILE_ROWS>(columns_of(a, row), tile),
                (4, _) if const { !kernel::is_lean::<S, T>() } => {
                    panel.add_tile::<4>(columns_of(a, row), tile);
                }
                _ => panel.add_tile::<1>(columns_of(a, row), tile),
            }
            row += rows;
            out = rest;
        }
    }
}

/// Returns an iterator over `R` values of each row, from `first` on.
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

/// A panel: `V` vectors of each right row of a block.
struct Panel<'a, S, T, const V: usize> {
    simd: S,
    values: &'a [T],
    /// The columns of the result at which the vectors begin.
    columns: [usize; V],
    width: usize,
}

impl<S: Simd, T: Float, const V: usize> Panel<'_, S, T, V> {
    /// Adds to `R` rows of the result. As in [`kernel::multiply_add`], the loop has no branch between the
    /// load of a left value and its use.
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
