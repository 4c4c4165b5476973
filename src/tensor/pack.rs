//! [`Packed`]: a matrix laid out once for the micro-kernel, then used at every time step.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use fearless_simd::{Level, Simd, SimdBase};
use ndarray::{ArrayView2, Axis, Slice};
use rayon::prelude::*;

use crate::float::{Float, per_float};
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel::panel_shape;
use crate::tensor::lanes::{Lanes, Vector};
use crate::tensor::threads;

/// The most gates that can stand side by side in a panel.
pub const MAX_GATES: usize = 4;

/// Rows of a panel that are filled together.
const BLOCK: usize = 64;
/// Bytes of panels that stay in the second-level cache, whatever else passes through it.
const CACHE_BYTES: usize = 512 << 10;

/// The right operand [k, n] of a product, cut into panels of a few native vectors' columns. A panel
/// holds its columns row by row (k-major), so the kernel reads it once, in order.
///
/// The columns are gates of equal width, or one alone; a panel has the same units of each, gate by
/// gate, in whole vectors. The last panel has as many as are left, and is filled up with zeros.
#[derive(Debug)]
pub struct Packed<T: Float> {
    level: Level,
    panels: Aligned<T>,
    k: usize,
    gates: usize,
    /// Columns of a gate.
    units: usize,
    /// The same, filled up to whole vectors.
    padded: usize,
    /// Units of every panel but the last.
    width: usize,
    panel_count: usize,
    /// Whether the next walk begins with the last panel.
    back: AtomicBool,
}

per_float! {
    fn pack<'a, T>(level: Level, matrix: ArrayView2<'_, T>, gates: usize) -> Packed<T> = pack_gates;
}

fn pack_gates<T: Float>(level: Level, matrix: ArrayView2<'_, T>, gates: usize) -> Packed<T> {
    let fits = (1..=MAX_GATES).contains(&gates) && matrix.ncols().is_multiple_of(gates);
    let gates = if fits { gates } else { 1 };
    let (lanes, vectors) = panel_shape::<T>(level);
    let k = matrix.nrows();
    let units = matrix.ncols() / gates;
    let padded = units.next_multiple_of(lanes);
    let width = lanes * (vectors / gates).max(1);
    let panels = Aligned::zeros(gates * padded * k);
    let mut packed = Packed {
        level,
        panels,
        k,
        gates,
        units,
        padded,
        width,
        panel_count: padded.div_ceil(width),
        back: AtomicBool::new(false),
    };
    let fill = |(p, panel): (usize, &mut [T])| {
        let start = p * width;
        let end = padded.min(start + width);
        for gate in 0..gates {
            let from = gate * units + start..gate * units + end.min(units);
            let first = gate * (end - start);
            pack_columns(matrix, from, panel, first, gates * (end - start));
        }
    };
    let (count, values) = (packed.panel_count(), (gates * width * k).max(1));
    if threads::parts(count, 1, matrix.len() * threads::COPY_WORK) > 1 {
        packed.panels.par_chunks_mut(values).enumerate().for_each(fill);
    } else {
        packed.panels.chunks_mut(values).enumerate().for_each(fill);
    }
    packed
}

impl<T: Float> Packed<T> {
    /// Packs `matrix` [k, n] for the instruction set `level`. For y = x·Wᵀ pack `weight.t()`.
    pub fn new(level: Level, matrix: ArrayView2<'_, T>) -> Self {
        Self::gates(level, matrix, 1)
    }

    /// As [`new`](Self::new), for `gates` parts of equal width whose columns of one unit are needed
    /// together. More than [`MAX_GATES`] are laid out as one.
    pub fn gates(level: Level, matrix: ArrayView2<'_, T>, gates: usize) -> Self {
        pack(level, matrix, gates)
    }

    /// The instruction set that the matrix is laid out for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether products by both can be summed in one: they have the same columns in the same layout.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let layout = |packed: &Self| (packed.gates, packed.units, packed.padded, packed.width);
        layout(self) == layout(other)
    }

    /// Rows of the matrix: the width of the left operand.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix: the width of the result.
    pub fn n(&self) -> usize {
        self.gates * self.units
    }

    /// How many gates the columns are.
    pub(crate) fn gate_count(&self) -> usize {
        self.gates
    }

    /// The units of `panels`, and `others`, which are next to them or none.
    pub(crate) fn units_with(&self, panels: &Range<usize>, others: &Range<usize>) -> Range<usize> {
        let (first, last) = (self.units_of(panels.start), self.units_of(panels.end - 1));
        let units = first.start..last.end.min(self.units);
        if others.is_empty() {
            return units;
        }
        units.start.min(others.start)..units.end.max(others.end)
    }

    /// How many panels there are.
    #[inline(always)]
    pub(crate) fn panel_count(&self) -> usize {
        self.panel_count
    }

    /// All panels, each alone or in `pairs`. Where they do not all stay in the second-level cache each walk
    /// goes the way of the one before backward, and meets first what that one left there.
    #[inline(always)]
    pub(crate) fn walk(&self, pairs: bool) -> impl Iterator<Item = Range<usize>> + use<T> {
        let (count, large) = (self.panel_count(), size_of_val(&*self.panels) > CACHE_BYTES);
        // Walks of several threads at once may take any direction: each panel stands alone.
        let back = large && self.back.load(Ordering::Relaxed);
        if large {
            self.back.store(!back, Ordering::Relaxed);
        }
        let (groups, together) = if pairs { (count.div_ceil(2), 2) } else { (count, 1) };
        (0..groups).map(move |i| {
            let first = if back { groups - 1 - i } else { i } * together;
            first..count.min(first + together)
        })
    }

    /// The units of panel `index`, filled up to whole vectors.
    #[inline(always)]
    pub(crate) fn units_of(&self, index: usize) -> Range<usize> {
        index * self.width..self.padded.min((index + 1) * self.width)
    }

    /// The values of panel `index`.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize) -> &[T] {
        let Range { start, end } = self.units_of(index);
        &self.panels[self.gates * start * self.k..self.gates * end * self.k]
    }

    /// How many vectors stand side by side in panel `index`.
    #[inline(always)]
    pub(crate) fn vectors_of<S: Simd>(&self, index: usize) -> usize {
        self.gates * self.units_of(index).len() / Vector::<S, T>::LEN
    }

    /// Whether no vector of panel `index` is filled up.
    #[inline(always)]
    pub(crate) fn is_whole(&self, index: usize) -> bool {
        self.units_of(index).end <= self.units
    }

    /// Where the `V` vectors of panel `index` stand in a row of the result, of which a `WHOLE` panel
    /// has all values.
    #[inline(always)]
    pub(crate) fn places<S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        index: usize,
    ) -> [Lanes<S, T>; V] {
        let (lanes, units) = (Vector::<S, T>::LEN, self.units_of(index));
        let (mut gate, mut unit) = (0, units.start);
        let mut places = [Lanes::new(simd, 0, 0); V];
        for v in 0..V {
            let count = if WHOLE { lanes } else { lanes.min(self.units - unit) };
            places[v] = Lanes::new(simd, gate + unit, count);
            unit += lanes;
            if unit == units.end {
                (gate, unit) = (gate + self.units, units.start);
            }
        }
        places
    }
}

/// Writes `columns` of `matrix` to the columns from `first` on of `panel`, which has `width`.
fn pack_columns<T: Float>(
    matrix: ArrayView2<'_, T>,
    columns: Range<usize>,
    panel: &mut [T],
    first: usize,
    width: usize,
) {
    if matrix.strides()[1] == 1 {
        for (to, from) in panel.chunks_exact_mut(width).zip(matrix.rows()) {
            let from = from.iter().skip(columns.start).take(columns.len());
            to[first..first + columns.len()]
                .iter_mut()
                .zip(from)
                .for_each(|(to, &from)| *to = from);
        }
        return;
    }
    // A block of the panel at a time, so that it stays in the first-level cache.
    for (block, rows) in panel.chunks_mut(BLOCK * width).enumerate() {
        let source = Slice::from(block * BLOCK..matrix.nrows().min((block + 1) * BLOCK));
        let source = matrix.slice_axis(Axis(0), source);
        for (column, j) in (first..).zip(columns.clone()) {
            let to = rows[column..].iter_mut().step_by(width);
            to.zip(source.column(j)).for_each(|(to, &from)| *to = from);
        }
    }
}
