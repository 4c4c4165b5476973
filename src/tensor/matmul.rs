//! Products of rows by a packed matrix: [`product`], at every time step.
//!
//! Each element is one chain of multiply-adds in a fixed order (see `kernel`), so a
//! result depends neither on how rows are grouped into calls nor on the number of threads.

use std::ops::Range;

use fearless_simd::Simd;
use ndarray::Array1;

use crate::float::Float;
use crate::tensor::kernel::{self, Tile};
use crate::tensor::lanes::{Lanes, Vector};
use crate::tensor::pack::{MAX_GATES, Packed};
use crate::tensor::rows::{Rows, RowsMut};

/// Rows of a product that are finished before the weights are read again.
const BLOCK_ROWS: usize = 96;

/// What a product starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T: Float> {
    /// Zero: `out = a · b`.
    Zero,
    /// What stands in the output: `out += a · b`.
    Output,
    /// The same row for all: `out = bias + a · b`.
    Bias(&'a [T]),
    /// Another product of as many rows: `out = bias + rows · weights + a · b`.
    Product {
        /// Its left operand.
        rows: Rows<'a, T>,
        /// Its right operand, packed as `b` is.
        weights: &'a Packed<T>,
        /// The same row for all, or zero.
        bias: Option<&'a [T]>,
    },
}

impl<'a, T: Float> Start<'a, T> {
    /// The bias where there is one, else zero.
    pub fn bias(bias: Option<&'a Array1<T>>) -> Self {
        bias.and_then(|bias| bias.as_slice()).map_or(Self::Zero, Self::Bias)
    }
}

/// `out = start + a · b`, for `a` [rows, k], `b` [k, n] and `out` [rows, n].
///
/// Row counts and widths must agree; they are checked in debug builds only, as this runs at every
/// time step.
pub fn product<S: Simd, T: Float>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Start<'_, T>,
    out: RowsMut<'_, T>,
) {
    sum_then(
        simd,
        a,
        b,
        start,
        out,
        #[inline(always)]
        |_, _, [sum]: [_; 1]| [sum],
    );
}

/// As [`product`] by weights of `G` [gates](Packed::gates), where the sums pass through `then` while
/// they are still in registers: it gets the number of a row, a place among the units and the gates'
/// sums there, and returns what to write for each gate.
///
/// Mark the closure `#[inline(always)]`: it is compiled for each instruction set.
#[inline(always)]
pub fn product_then<S: Simd, T: Float, const G: usize>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Start<'_, T>,
    out: RowsMut<'_, T>,
    then: impl FnMut(usize, Lanes<S, T>, [Vector<S, T>; G]) -> [Vector<S, T>; G],
) {
    const { assert!(0 < G && G <= MAX_GATES) };
    debug_assert_eq!(b.gate_count(), G);
    sum_then(simd, a, b, start, out, then);
}

/// The same; where nothing is done to the sums, `G` = 1 serves any number of gates.
#[inline(always)]
fn sum_then<S: Simd, T: Float, const G: usize>(
    simd: S,
    a: Rows<'_, T>,
    b: &Packed<T>,
    start: Start<'_, T>,
    mut out: RowsMut<'_, T>,
    mut then: impl FnMut(usize, Lanes<S, T>, [Vector<S, T>; G]) -> [Vector<S, T>; G],
) {
    debug_assert_eq!((a.count(), a.width(), b.n()), (out.count(), b.k(), out.width()));
    let (first, start) = match start {
        Start::Product { rows, weights, bias } => {
            debug_assert_eq!((rows.count(), rows.width()), (a.count(), weights.k()));
            debug_assert_eq!((weights.n(), weights.gate_count()), (b.n(), b.gate_count()));
            (Some(Term { rows, weights }), bias.map_or(Start::Zero, Start::Bias))
        }
        start => (None, start),
    };
    let sum = Sum { simd, start, first, last: Term { rows: a, weights: b } };
    simd.vectorize(
        #[inline(always)]
        || sum.run(&mut out, &mut then),
    );
}

/// What becomes of the gates' sums, as in [`product_then`].
trait Then<S: Simd, T: Float, const G: usize>:
    FnMut(usize, Lanes<S, T>, [Vector<S, T>; G]) -> [Vector<S, T>; G]
{
}

impl<S: Simd, T: Float, const G: usize, F> Then<S, T, G> for F where
    F: FnMut(usize, Lanes<S, T>, [Vector<S, T>; G]) -> [Vector<S, T>; G]
{
}

/// The rows of a left operand times weights.
#[derive(Clone, Copy)]
struct Term<'a, T: Float> {
    rows: Rows<'a, T>,
    weights: &'a Packed<T>,
}

/// `start` and one product, or two.
struct Sum<'a, S, T: Float> {
    simd: S,
    start: Start<'a, T>,
    first: Option<Term<'a, T>>,
    last: Term<'a, T>,
}

impl<S: Simd, T: Float> Sum<'_, S, T> {
    #[inline(always)]
    fn run<const G: usize>(&self, out: &mut RowsMut<'_, T>, then: &mut impl Then<S, T, G>) {
        let (count, weights) = (out.count(), self.last.weights);
        for first in (0..count).step_by(BLOCK_ROWS) {
            let rows = first..count.min(first + BLOCK_ROWS);
            // One row fills the pipelines only with two panels at once.
            for panels in weights.walk(if count == 1 { 2 } else { 1 }) {
                let (first, vectors) = (panels.start, weights.vectors_of::<S>(panels.start));
                let same =
                    |panel| weights.is_whole(panel) && weights.vectors_of::<S>(panel) == vectors;
                if panels.len() == 2 && same(first + 1) {
                    match vectors {
                        4 => self.pair::<G, 4>(first, out, then),
                        3 => self.pair::<G, 3>(first, out, then),
                        2 => self.pair::<G, 2>(first, out, then),
                        _ => self.pair::<G, 1>(first, out, then),
                    }
                    continue;
                }
                for panel in panels {
                    match weights.vectors_of::<S>(panel) {
                        4 => self.rows::<G, 4>(rows.clone(), panel, out, then),
                        3 => self.rows::<G, 3>(rows.clone(), panel, out, then),
                        2 => self.rows::<G, 2>(rows.clone(), panel, out, then),
                        _ => self.rows::<G, 1>(rows.clone(), panel, out, then),
                    }
                }
            }
        }
    }

    /// The only row in two panels of full width.
    #[inline(always)]
    fn pair<const G: usize, const V: usize>(
        &self,
        panel: usize,
        out: &mut RowsMut<'_, T>,
        then: &mut impl Then<S, T, G>,
    ) {
        if const { kernel::has_panel::<S, T>(G, V) } {
            self.tile::<G, 1, 2, V, true>(0, panel, out, then);
        }
    }

    /// A block of rows of the result in one panel.
    #[inline(always)]
    fn rows<const G: usize, const V: usize>(
        &self,
        rows: Range<usize>,
        panel: usize,
        out: &mut RowsMut<'_, T>,
        then: &mut impl Then<S, T, G>,
    ) {
        if const { !kernel::has_panel::<S, T>(G, V) } {
            return;
        }
        if !self.last.weights.is_whole(panel) {
            let singles = rows.start + rows.len() / 4 * 4..rows.end;
            let fours = (rows.start..singles.start).step_by(4);
            fours.for_each(|r| self.last_tile::<G, 4, V>(r, panel, out, then));
            return singles.for_each(|r| self.last_tile::<G, 1, V>(r, panel, out, then));
        }
        // As few tiles as can be, nearly alike: short ones keep the pipelines half empty.
        let tiles = rows.len().div_ceil(kernel::tile_rows::<S, T>(V));
        let (height, taller) = (rows.len() / tiles, rows.len() % tiles);
        let mut r = rows.start;
        for tile in 0..tiles {
            let height = height + usize::from(tile < taller);
            match height {
                6 if const { kernel::tile_rows::<S, T>(V) == 6 } => {
                    self.tile::<G, 6, 1, V, true>(r, panel, out, then);
                }
                5 if const { kernel::tile_rows::<S, T>(V) == 6 } => {
                    self.tile::<G, 5, 1, V, true>(r, panel, out, then);
                }
                4 => self.tile::<G, 4, 1, V, true>(r, panel, out, then),
                3 => self.tile::<G, 3, 1, V, true>(r, panel, out, then),
                2 => self.tile::<G, 2, 1, V, true>(r, panel, out, then),
                _ => self.tile::<G, 1, 1, V, true>(r, panel, out, then),
            }
            r += height;
        }
    }

    /// A tile that ends with the matrix, in the middle of a vector. It stands apart, because what
    /// it takes to cut a vector would push the sums of other tiles out of their registers.
    #[inline(never)]
    fn last_tile<const G: usize, const R: usize, const V: usize>(
        &self,
        r: usize,
        panel: usize,
        out: &mut RowsMut<'_, T>,
        then: &mut impl Then<S, T, G>,
    ) {
        self.simd.vectorize(
            #[inline(always)]
            || self.tile::<G, R, 1, V, false>(r, panel, out, then),
        );
    }

    #[inline(always)]
    fn tile<const G: usize, const R: usize, const P: usize, const V: usize, const WHOLE: bool>(
        &self,
        r: usize,
        panel: usize,
        out: &mut RowsMut<'_, T>,
        then: &mut impl Then<S, T, G>,
    ) {
        let simd = self.simd;
        let mut tile = kernel::zeros::<S, T, R, P, V>(simd);
        let mut places = [[Lanes::new(simd, 0, 0); V]; P];
        for p in 0..P {
            places[p] = self.last.weights.places::<S, V, WHOLE>(simd, panel + p);
        }
        match self.start {
            Start::Output => {
                for i in 0..R {
                    load::<S, T, P, V, WHOLE>(out.row(r + i), &places, &mut tile[i]);
                }
            }
            Start::Bias(bias) => {
                load::<S, T, P, V, WHOLE>(bias, &places, &mut tile[0]);
                tile = [tile[0]; R];
            }
            _ => {}
        }
        // In a loop over both the tile would stand in memory.
        if let Some(first) = &self.first {
            first.add(simd, r, panel, &mut tile);
        }
        self.last.add(simd, r, panel, &mut tile);
        // The vectors of a gate stand side by side in a panel.
        let per_gate = V / G;
        for i in 0..R {
            for p in 0..P {
                for u in 0..per_gate {
                    let mut gates = [tile[i][p][u]; G];
                    for g in 1..G {
                        gates[g] = tile[i][p][g * per_gate + u];
                    }
                    let gates = then(r + i, places[p][u].known::<WHOLE>(), gates);
                    let row = out.row_mut(r + i);
                    for g in 0..G {
                        places[p][g * per_gate + u].known::<WHOLE>().store(row, gates[g]);
                    }
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
            panels[p] = self.weights.panel(panel + p);
        }
        for i in 0..R {
            // Were their distance known, the rows would be reached by a chain of additions from
            // the first, at every k.
            left[i] = std::hint::black_box(self.rows.row(r + i));
        }
        kernel::multiply_add(simd, self.rows.width(), left, panels, tile);
    }
}

/// What stands in `row` at the places of a tile's vectors.
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
