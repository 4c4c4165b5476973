//! [`Packed`]: a matrix in the layout of the micro-kernel, packed once and used at every time step.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use fearless_simd::Level;
use ndarray::{ArrayView2, Axis, Slice};

use crate::float::{Float, per_float};
use crate::tensor::aligned::Aligned;
use crate::tensor::kernel::panel_shape;
use crate::tensor::panels::{Layout, Panels};
use crate::tensor::precision::Precision;
use crate::tensor::reduced::Reduced;
use crate::tensor::threads;

/// The largest number of gates in a panel.
pub const MAX_GATES: usize = 4;

/// The number of rows of a panel that are packed together.
const BLOCK: usize = 64;
/// The number of columns that are packed together.
const TOGETHER: usize = 8;
/// The number of bytes of panels that stay in the second-level cache between two products.
const CACHE_BYTES: usize = 512 << 10;

/// The right operand [k, n] of a product, divided into panels whose width is a few native vectors. A
/// panel stores its columns row by row (k-major), so the kernel reads it once, in order.
///
/// The columns are one gate or several gates of equal width. A panel has the same units of each gate,
/// gate by gate, in whole vectors. The last panel has the remaining units, padded with zeros.
#[derive(Debug)]
pub struct Packed<T: Float> {
    level: Level,
    layout: Layout,
    values: Arc<Values<T>>,
    /// True if the next walk begins with the last panel.
    back: AtomicBool,
    /// The largest number of threads that share a product.
    threads: AtomicUsize,
}

/// The values of a packed matrix, which threads share.
#[derive(Debug, Default)]
pub(super) struct Values<T: Float> {
    panels: Aligned<T>,
    /// The values in fewer bits, in place of `panels`.
    reduced: Option<Reduced>,
}

impl<T: Float> Values<T> {
    /// Returns the panels of the given layout.
    #[inline(always)]
    pub(super) fn panels(self: &Arc<Self>, layout: Layout) -> Panels<'_, T> {
        let Self { panels, reduced } = &**self;
        Panels { layout, values: panels, reduced: reduced.as_ref(), source: self }
    }
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
    let size = gates * padded * k;
    let mut panels = if padded == units { Aligned::stale(size) } else { Aligned::zeros(size) };
    let count = padded.div_ceil(width);
    let layout = Layout { k, gates, units, padded, width, count, ..Layout::default() };
    let fill = |p: usize, panel: &mut [T]| {
        let start = p * width;
        let end = padded.min(start + width);
        for gate in 0..gates {
            let from = gate * units + start..gate * units + end.min(units);
            let first = gate * (end - start);
            pack_columns(matrix, from, panel, first, gates * (end - start));
        }
    };
    let values = (gates * width * k).max(1);
    // A value is both read and written outside the first-level cache.
    let parts = threads::parts(count, 1, 2 * matrix.len() * threads::COPY_WORK);
    threads::for_chunks(&mut panels, values, parts, &fill);
    let values = Arc::new(Values { panels, reduced: None });
    let (back, threads) = (AtomicBool::new(false), AtomicUsize::new(1));
    Packed { level, layout, values, back, threads }
}

impl<T: Float> Packed<T> {
    /// Packs `matrix` [k, n] for the instruction set `level`. For y = x·Wᵀ, pack `weight.t()`.
    pub fn new(level: Level, matrix: ArrayView2<'_, T>) -> Self {
        Self::gates(level, matrix, 1)
    }

    /// Packs `matrix` as `gates` gates of equal width, with the columns of a unit in all gates in the same
    /// panel. More than [`MAX_GATES`] gates, or gates of unequal width, are packed as one.
    pub fn gates(level: Level, matrix: ArrayView2<'_, T>, gates: usize) -> Self {
        pack(level, matrix, gates)
    }

    /// Returns the instruction set that the matrix is packed for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns whether both have the same columns in the same layout, so that their products can be one
    /// sum.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let columns =
            |Self { layout, .. }: &Self| (layout.gates, layout.units, layout.padded, layout.width);
        columns(self) == columns(other)
    }

    /// Returns the number of rows of the matrix: the width of the left operand.
    pub fn k(&self) -> usize {
        self.layout.k
    }

    /// Returns the number of columns of the matrix: the width of the result.
    pub fn n(&self) -> usize {
        self.layout.n()
    }

    /// Returns the number of gates.
    pub(crate) fn gate_count(&self) -> usize {
        self.layout.gates
    }

    /// Sets the largest number of threads that share a product. It is 1 for a new matrix.
    pub(crate) fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Ordering::Relaxed);
    }

    /// Returns the number set by [`set_threads`](Self::set_threads).
    #[inline(always)]
    pub(crate) fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    /// Returns the panels for a product of `walks` walks over them. If they do not fit in the second-level
    /// cache, each walk has the opposite direction of the one before, so that it begins with the panels
    /// that are still cached.
    #[inline(always)]
    pub(crate) fn panels(&self, walks: usize) -> Panels<'_, T> {
        let turns = size_of_val(&*self.values.panels) > CACHE_BYTES;
        // If several products run at once, the direction is arbitrary. Results do not depend on it.
        let back = turns && self.back.load(Ordering::Relaxed);
        if turns {
            self.back.store(back ^ (walks % 2 == 1), Ordering::Relaxed);
        }
        self.values.panels(Layout { back, turns, ..self.layout })
    }

    /// Replaces the values by those of the given precision, of f32 weights.
    pub(crate) fn reduce(&mut self, precision: Precision) {
        if precision != Precision::Full && self.values.reduced.is_none() {
            let (lanes, _) = panel_shape::<T>(self.level);
            let reduced = Some(Reduced::new(&self.panels(0), lanes, precision));
            self.values = Arc::new(Values { reduced, panels: Aligned::default() });
        }
    }

    /// Returns the values of reduced precision, if the matrix has them, with the panels that they are in.
    pub(super) fn reduced(&self) -> Option<(&Reduced, Panels<'_, T>)> {
        let panels = self.panels(0);
        panels.reduced.map(|reduced| (reduced, panels))
    }
}

/// Copies `columns` of `matrix` to the columns from `first` on of `panel`, which is `width` wide.
#[expect(clippy::expect_used, reason = "the stride of the rows is 1")]
fn pack_columns<T: Float>(
    matrix: ArrayView2<'_, T>,
    columns: Range<usize>,
    panel: &mut [T],
    first: usize,
    width: usize,
) {
    if matrix.strides()[1] == 1 {
        for (to, from) in panel.chunks_exact_mut(width).zip(matrix.rows()) {
            let from = &from.to_slice().expect("a row of stride 1")[columns.clone()];
            to[first..first + columns.len()].copy_from_slice(from);
        }
        return;
    }
    // One block of rows of the panel at a time stays in the first-level cache.
    for (block, rows) in panel.chunks_mut(BLOCK * width).enumerate() {
        let source = Slice::from(block * BLOCK..matrix.nrows().min((block + 1) * BLOCK));
        let source = matrix.slice_axis(Axis(0), source);
        let (mut column, mut j) = (first, columns.start);
        while j < columns.end {
            if let Some(from) = slices(source, j..columns.end) {
                for (i, to) in rows.chunks_exact_mut(width).enumerate() {
                    let to = &mut to[column..column + TOGETHER];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = from[i]);
                }
                (column, j) = (column + TOGETHER, j + TOGETHER);
                continue;
            }
            let to = rows[column..].iter_mut().step_by(width);
            to.zip(source.column(j)).for_each(|(to, &from)| *to = from);
            (column, j) = (column + 1, j + 1);
        }
    }
}

/// Returns the first of `columns`, if there are so many and each is contiguous.
fn slices<'a, T>(matrix: ArrayView2<'a, T>, columns: Range<usize>) -> Option<[&'a [T]; TOGETHER]> {
    if columns.len() < TOGETHER || matrix.strides()[0] != 1 {
        return None;
    }
    let mut slices = [[].as_slice(); TOGETHER];
    for (slice, j) in slices.iter_mut().zip(columns) {
        *slice = matrix.index_axis_move(Axis(1), j).to_slice()?;
    }
    Some(slices)
}
