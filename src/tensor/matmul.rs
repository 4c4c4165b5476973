//! Products of rows by a packed matrix, which run at every time step.
//!
//! Each element is one chain of multiply-adds in a fixed order (see `kernel`). So the result does not
//! depend on the split of the rows among calls and threads.

use std::ops::Range;

use fearless_simd::{Level, Simd};
use ndarray::Array1;

use crate::compiled;
use crate::float::Float;
use crate::tensor::kernel::{self, Tile};
use crate::tensor::lanes::{Lanes, Vector};
use crate::tensor::pack::Packed;
use crate::tensor::panels::Panels;
use crate::tensor::rows::{Rows, RowsMut};
use crate::tensor::{reduced, shared};

/// The number of rows that are computed before the weights are read again: few enough for the first-level
/// cache if an epilogue reads them, else for the second-level cache.
const BLOCK_ROWS: usize = 96;
const BLOCK_ROWS_ALONE: usize = 288;
/// The number of units that are computed before a call of the epilogue if there are few rows. It then
/// runs while the next panels are loaded from memory.
const EPILOGUE_UNITS: usize = 32;
/// The same for a single row, whose sums take little of the first-level cache.
const EPILOGUE_UNITS_OF_ONE: usize = 128;
/// The approximate number of rows of a panel that are computed before a call of the epilogue. They are
/// then still in the first-level cache, although each tile reads the panel through it.
const EPILOGUE_ROWS: usize = 18;

/// The value to which a product is added.
#[derive(Clone, Copy, Debug)]
pub enum Accumulate<'a, T> {
    /// Zero: `out = a · b`.
    Zero,
    /// The output: `out += a · b`.
    Output,
    /// The same row for all: `out = bias + a · b`.
    Bias(&'a [T]),
}

impl<'a, T: Float> Accumulate<'a, T> {
    /// Returns the bias if there is one, else zero.
    pub fn bias(bias: Option<&'a Array1<T>>) -> Self {
        bias.and_then(|bias| bias.as_slice()).map_or(Self::Zero, Self::Bias)
    }
}

/// The operands of one product.
#[derive(Clone, Copy, Debug)]
pub struct Operands<'a, T: Float> {
    /// The rows on the left.
    pub rows: Rows<'a, T>,
    /// The matrix on the right.
    pub weights: &'a Packed<T>,
}

/// A function that is called with each finished block of a product: its rows, its units of each gate,
/// and the output.
pub type Epilogue<'a, T> = dyn FnMut(Range<usize>, Range<usize>, &mut RowsMut<'_, T>) + 'a;

/// Computes `out = start + a · b` for `a` [rows, k], `b` [k, n] and `out` [rows, n].
///
/// The numbers of rows and the widths must agree. They are checked in debug builds only, because this
/// runs at every time step.
pub fn product<T: Float>(
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Accumulate<'_, T>,
    out: RowsMut<'_, T>,
) {
    let last = Operands { rows: a, weights: b };
    multiply(b.level(), start, None, last, out, None);
}

/// Computes `out = start + first + last`, where `first` may be absent. Calls `epilogue` with each block
/// of the result while it is still in the first-level cache. Each element is in one block.
pub fn product_then<T: Float>(
    first: Option<Operands<'_, T>>,
    last: Operands<'_, T>,
    start: Accumulate<'_, T>,
    mut out: RowsMut<'_, T>,
    epilogue: &mut Epilogue<'_, T>,
) {
    let level = last.weights.level();
    let (start, first) = match first {
        // The layouts differ if the cell multiplies some of the gates separately.
        Some(first) if !first.weights.is_like(last.weights) => {
            product(first.rows, first.weights, start, out.reborrow());
            (Accumulate::Output, None)
        }
        first => (start, first),
    };
    multiply(level, start, first, last, out, Some(epilogue));
}

/// Computes `out = start + first + last` on the threads that may share the product.
fn multiply<'a, T: Float>(
    level: Level,
    start: Accumulate<'a, T>,
    first: Option<Operands<'a, T>>,
    last: Operands<'a, T>,
    out: RowsMut<'_, T>,
    epilogue: Option<&mut Epilogue<'_, T>>,
) {
    let block = if epilogue.is_some() { BLOCK_ROWS } else { BLOCK_ROWS_ALONE };
    let walks = out.count().div_ceil(block);
    let term =
        |Operands { rows, weights }: Operands<'a, T>| Term { rows, panels: weights.panels(walks) };
    let sum = ProductTiles { block, start, first: first.map(term), last: term(last) };
    match last.weights.threads() {
        1 => run(level, &sum, out, epilogue),
        threads => shared::multiply(level, &sum, out, epilogue, threads),
    }
}

/// Computes a product on this thread.
pub(super) fn run<T: Float>(
    level: Level,
    sum: &ProductTiles<'_, T>,
    mut out: RowsMut<'_, T>,
    epilogue: Option<&mut Epilogue<'_, T>>,
) {
    match epilogue {
        _ if sum.last.panels.reduced.is_some() => reduced::multiply(level, sum, out, epilogue),
        None => product_tiles(level, sum, &mut out.reborrow(), None),
        // Named, so that the lifetime of the trait object becomes that of the reference.
        Some(epilogue) => product_tiles(level, sum, &mut out.reborrow(), Some(epilogue)),
    }
}

compiled! {
    fn product_tiles<'a, T>(
        sum: &'a ProductTiles<'a, T>,
        out: &'a mut RowsMut<'a, T>,
        epilogue: Option<&'a mut Epilogue<'a, T>>,
    ) = ProductTiles::run;
}

/// The rows and the panels of one product.
#[derive(Clone, Copy)]
pub(super) struct Term<'a, T: Float> {
    pub(super) rows: Rows<'a, T>,
    pub(super) panels: Panels<'a, T>,
}

/// The sum of one or two products and the value that they are added to.
#[derive(Clone, Copy)]
pub(super) struct ProductTiles<'a, T: Float> {
    /// The number of rows of a block.
    pub(super) block: usize,
    pub(super) start: Accumulate<'a, T>,
    pub(super) first: Option<Term<'a, T>>,
    pub(super) last: Term<'a, T>,
}

impl<'a, T: Float> ProductTiles<'a, T> {
    /// Returns the products.
    pub(super) fn terms(&self) -> impl Iterator<Item = &Term<'a, T>> {
        self.first.iter().chain([&self.last])
    }

    /// Returns the sum for the given rows alone.
    pub(super) fn range(&self, rows: Range<usize>) -> Self {
        self.map(|term| Term { rows: term.rows.range(rows.clone()), ..term })
    }

    /// Returns the sum for the given panels alone.
    pub(super) fn part(&self, panels: Range<usize>) -> Self {
        self.map(|term| Term { panels: term.panels.part(panels.clone()), ..term })
    }

    /// Returns the sum of other products.
    fn map(&self, of: impl Fn(Term<'a, T>) -> Term<'a, T>) -> Self {
        Self { first: self.first.map(&of), last: of(self.last), ..*self }
    }

    #[inline(always)]
    fn run<S: Simd>(
        simd: S,
        sum: &'a Self,
        out: &'a mut RowsMut<'a, T>,
        mut epilogue: Option<&'a mut Epilogue<'a, T>>,
    ) {
        let (count, last) = (out.count(), &sum.last.panels);
        debug_assert_eq!((sum.last.rows.count(), last.n()), (count, out.width()));
        debug_assert_eq!(sum.last.rows.width(), last.k());
        let (mut rows, mut walk) = (0..0, 0);
        while rows.end < count {
            rows = rows.end..count.min(rows.end + sum.block);
            let parts = match epilogue {
                Some(_) => rows.len().div_ceil(EPILOGUE_ROWS),
                None => 1,
            };
            let units = if rows.len() == 1 { EPILOGUE_UNITS_OF_ONE } else { EPILOGUE_UNITS };
            let mut finished: Range<usize> = 0..0;
            // One row fills the pipelines only if two panels are computed at once.
            for panels in last.walk(walk, count == 1) {
                if parts == 1 {
                    sum.panels(simd, rows.clone(), panels.clone(), out);
                    finished = last.units_with(&panels, &finished);
                    if let (Some(epilogue), true) = (&mut epilogue, finished.len() >= units) {
                        epilogue(rows.clone(), std::mem::take(&mut finished), out);
                    }
                    continue;
                }
                let place = |part| rows.start + rows.len() * part / parts;
                for part in 0..parts {
                    let rows = place(part)..place(part + 1);
                    sum.panels(simd, rows.clone(), panels.clone(), out);
                    if let Some(epilogue) = &mut epilogue {
                        epilogue(rows, last.units_with(&panels, &(0..0)), out);
                    }
                }
            }
            if let (Some(epilogue), false) = (&mut epilogue, finished.is_empty()) {
                epilogue(rows.clone(), finished, out);
            }
            walk += 1;
        }
    }

    /// Computes the given rows in one panel or two.
    #[inline(always)]
    fn panels<S: Simd>(
        &self,
        simd: S,
        rows: Range<usize>,
        panels: Range<usize>,
        out: &mut RowsMut<'_, T>,
    ) {
        let weights = &self.last.panels;
        let (first, vectors) = (panels.start, weights.vectors_of::<S>(panels.start));
        let same = |panel| weights.is_whole(panel) && weights.vectors_of::<S>(panel) == vectors;
        if const { !kernel::is_lean::<S, T>() } && panels.len() == 2 && same(first + 1) {
            match vectors {
                4 => self.tile::<S, 1, 2, 4, true>(simd, 0, first, out),
                3 => self.tile::<S, 1, 2, 3, true>(simd, 0, first, out),
                2 => self.tile::<S, 1, 2, 2, true>(simd, 0, first, out),
                _ => self.tile::<S, 1, 2, 1, true>(simd, 0, first, out),
            }
            return;
        }
        for panel in panels {
            match weights.vectors_of::<S>(panel) {
                4 => self.rows::<S, 4>(simd, rows.clone(), panel, out),
                3 => self.rows::<S, 3>(simd, rows.clone(), panel, out),
                2 => self.rows::<S, 2>(simd, rows.clone(), panel, out),
                _ => self.rows::<S, 1>(simd, rows.clone(), panel, out),
            }
        }
    }

    /// Computes a block of rows in one panel. Each width is compiled as a separate function, because one
    /// function for all widths would take long to compile.
    #[inline(never)]
    fn rows<S: Simd, const V: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        panel: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        simd.vectorize(
            #[inline(always)]
            || self.rows_on::<S, V>(simd, rows, panel, out),
        );
    }

    #[inline(always)]
    fn rows_on<S: Simd, const V: usize>(
        &self,
        simd: S,
        rows: Range<usize>,
        panel: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        if !self.last.panels.is_whole(panel) {
            let fours = if const { kernel::is_lean::<S, T>() } { 0 } else { rows.len() / 4 };
            let singles = rows.start + 4 * fours..rows.end;
            for r in (rows.start..singles.start).step_by(4) {
                self.last_tile::<S, 4, V>(simd, r, panel, out);
            }
            return singles.for_each(|r| self.last_tile::<S, 1, V>(simd, r, panel, out));
        }
        // As few tiles as possible, of nearly equal height: short ones leave the pipelines half empty.
        let tiles = rows.len().div_ceil(kernel::tile_rows::<S, T>(V));
        let (height, taller) = (rows.len() / tiles, rows.len() % tiles);
        let mut r = rows.start;
        for tile in 0..tiles {
            let height = height + usize::from(tile < taller);
            match height {
                6 if const { kernel::tile_rows::<S, T>(V) == 6 } => {
                    self.tile::<S, 6, 1, V, true>(simd, r, panel, out);
                }
                5 if const { kernel::tile_rows::<S, T>(V) == 6 } => {
                    self.tile::<S, 5, 1, V, true>(simd, r, panel, out);
                }
                4 if const { kernel::tile_rows::<S, T>(V) >= 4 } => {
                    self.tile::<S, 4, 1, V, true>(simd, r, panel, out);
                }
                3 => self.tile::<S, 3, 1, V, true>(simd, r, panel, out),
                2 if const { !kernel::is_lean::<S, T>() } => {
                    self.tile::<S, 2, 1, V, true>(simd, r, panel, out);
                }
                2 => {
                    self.tile::<S, 1, 1, V, true>(simd, r, panel, out);
                    self.tile::<S, 1, 1, V, true>(simd, r + 1, panel, out);
                }
                _ => self.tile::<S, 1, 1, V, true>(simd, r, panel, out),
            }
            r += height;
        }
    }

    /// Computes a tile at the end of the matrix, whose last vector is partial. It is not inlined, because
    /// its code for partial vectors would spill the sums of other tiles from their registers.
    #[inline(never)]
    fn last_tile<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        r: usize,
        panel: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        simd.vectorize(
            #[inline(always)]
            || self.tile::<S, R, 1, V, false>(simd, r, panel, out),
        );
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const P: usize, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        r: usize,
        panel: usize,
        out: &mut RowsMut<'_, T>,
    ) {
        let mut tile = kernel::zeros::<S, T, R, P, V>(simd);
        let mut places = [[Lanes::new(simd, 0, 0); V]; P];
        for p in 0..P {
            places[p] = self.last.panels.places::<S, V, WHOLE>(simd, panel + p);
        }
        match self.start {
            Accumulate::Output => {
                for i in 0..R {
                    load::<S, T, P, V, WHOLE>(out.row(r + i), &places, &mut tile[i]);
                }
            }
            Accumulate::Bias(bias) => {
                load::<S, T, P, V, WHOLE>(bias, &places, &mut tile[0]);
                tile = [tile[0]; R];
            }
            Accumulate::Zero => {}
        }
        // A loop over both products would keep the tile in memory.
        if let Some(first) = &self.first {
            first.add(simd, r, panel, &mut tile);
        }
        self.last.add(simd, r, panel, &mut tile);
        for i in 0..R {
            let row = out.row_mut(r + i);
            for p in 0..P {
                for v in 0..V {
                    places[p][v].known::<WHOLE>().store(row, tile[i][p][v]);
                }
            }
        }
    }
}

impl<T: Float> Term<'_, T> {
    #[inline(always)]
    fn add<S: Simd, const R: usize, const P: usize, const V: usize>(
        &self,
        simd: S,
        r: usize,
        panel: usize,
        tile: &mut Tile<S, T, R, P, V>,
    ) {
        let (mut left, mut panels) = ([[].as_slice(); R], [[].as_slice(); P]);
        for p in 0..P {
            panels[p] = self.panels.panel(panel + p);
        }
        for i in 0..R {
            // If the compiler knew the distance of the rows, it would compute their addresses by a
            // chain of additions from the first row, at every k.
            left[i] = std::hint::black_box(self.rows.row(r + i));
        }
        kernel::multiply_add(simd, self.rows.width(), left, panels, tile);
    }
}

/// Loads the values of `row` at the positions of a tile's vectors.
#[inline(always)]
fn load<S: Simd, T: Float, const P: usize, const V: usize, const WHOLE: bool>(
    row: &[T],
    places: &[[Lanes<S, T>; V]; P],
    sums: &mut [[Vector<S, T>; V]; P],
) {
    for p in 0..P {
        for v in 0..V {
            sums[p][v] = places[p][v].known::<WHOLE>().load(row);
        }
    }
}
