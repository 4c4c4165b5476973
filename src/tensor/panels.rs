//! [`Panels`]: the panels of a packed matrix that one thread multiplies.

use std::ops::Range;
use std::sync::Arc;

use fearless_simd::{Simd, SimdBase};

use crate::float::Float;
use crate::tensor::lanes::{Lanes, Vector};
use crate::tensor::pack::Values;
use crate::tensor::reduced::Reduced;

/// The sizes of a [`Packed`](crate::tensor::Packed), and the panels of it that a thread multiplies.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layout {
    /// The number of rows of the matrix.
    pub(super) k: usize,
    pub(super) gates: usize,
    /// The number of columns of a gate.
    pub(super) units: usize,
    /// The same, rounded up to whole vectors.
    pub(super) padded: usize,
    /// The number of units of every panel but the last.
    pub(super) width: usize,
    /// The first of these panels.
    pub(super) first: usize,
    /// The number of these panels.
    pub(super) count: usize,
    /// True if the first walk begins with the last panel.
    pub(super) back: bool,
    /// True if the direction changes from walk to walk.
    pub(super) turns: bool,
}

impl Layout {
    /// Returns the number of columns of the matrix.
    #[inline(always)]
    pub(super) fn n(&self) -> usize {
        self.gates * self.units
    }

    /// Returns the layout of some of the panels alone, counted from the first.
    pub(super) fn part(self, panels: Range<usize>) -> Self {
        Self { first: self.first + panels.start, count: panels.len(), ..self }
    }

    /// Returns the units of panel `index`, rounded up to whole vectors.
    #[inline(always)]
    pub(super) fn units_of(&self, index: usize) -> Range<usize> {
        index * self.width..self.padded.min((index + 1) * self.width)
    }

    /// Returns the units of these panels.
    pub(super) fn all_units(&self) -> Range<usize> {
        self.first * self.width..self.units.min((self.first + self.count) * self.width)
    }

    /// Copies the columns of these panels from one row of the result to another.
    pub(super) fn copy<T: Copy>(&self, from: &[T], to: &mut [T]) {
        let units = self.all_units();
        for (from, to) in from.chunks_exact(self.units).zip(to.chunks_exact_mut(self.units)) {
            to[units.clone()].copy_from_slice(&from[units.clone()]);
        }
    }
}

/// All panels of a [`Packed`](crate::tensor::Packed), or some consecutive ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a, T: Float> {
    pub(super) layout: Layout,
    pub(super) values: &'a [T],
    /// The values in fewer bits, in place of `values`.
    pub(super) reduced: Option<&'a Reduced>,
    /// The owner of both.
    pub(super) source: &'a Arc<Values<T>>,
}

impl<'a, T: Float> Panels<'a, T> {
    /// Returns the number of rows of the matrix.
    #[inline(always)]
    pub(crate) fn k(&self) -> usize {
        self.layout.k
    }

    /// Returns the number of columns of the matrix.
    #[inline(always)]
    pub(crate) fn n(&self) -> usize {
        self.layout.n()
    }

    /// Returns the number of columns of a gate.
    pub(crate) fn units(&self) -> usize {
        self.layout.units
    }

    /// Returns the number of panels.
    pub(crate) fn count(&self) -> usize {
        self.layout.count
    }

    /// Returns some of the panels alone.
    pub(super) fn part(self, panels: Range<usize>) -> Self {
        Self { layout: self.layout.part(panels), ..self }
    }

    /// Returns an iterator over all panels, each alone or in `pairs`, in the direction of walk `index`.
    #[inline(always)]
    pub(crate) fn walk(
        &self,
        index: usize,
        pairs: bool,
    ) -> impl Iterator<Item = Range<usize>> + use<T> {
        let Layout { first, count, back, turns, .. } = self.layout;
        let back = back ^ (turns && index % 2 == 1);
        let (groups, together) = if pairs { (count.div_ceil(2), 2) } else { (count, 1) };
        (0..groups).map(move |i| {
            let start = if back { groups - 1 - i } else { i } * together;
            first + start..first + count.min(start + together)
        })
    }

    /// Returns the union of the units of `panels` and the units `others`, which are adjacent or empty.
    pub(crate) fn units_with(&self, panels: &Range<usize>, others: &Range<usize>) -> Range<usize> {
        let (first, last) =
            (self.layout.units_of(panels.start), self.layout.units_of(panels.end - 1));
        let units = first.start..last.end.min(self.layout.units);
        if others.is_empty() {
            return units;
        }
        units.start.min(others.start)..units.end.max(others.end)
    }

    /// Returns the values of panel `index`.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize) -> &'a [T] {
        let Range { start, end } = self.layout.units_of(index);
        &self.values
            [self.layout.gates * start * self.layout.k..self.layout.gates * end * self.layout.k]
    }

    /// Returns the number of values in a row of panel `index`.
    #[inline(always)]
    pub(crate) fn width_of(&self, index: usize) -> usize {
        self.layout.gates * self.layout.units_of(index).len()
    }

    /// Returns the number of vectors in a row of panel `index`.
    #[inline(always)]
    pub(crate) fn vectors_of<S: Simd>(&self, index: usize) -> usize {
        self.width_of(index) / Vector::<S, T>::LEN
    }

    /// Returns whether panel `index` has no padding.
    #[inline(always)]
    pub(crate) fn is_whole(&self, index: usize) -> bool {
        self.layout.units_of(index).end <= self.layout.units
    }

    /// Returns the positions of the `V` vectors of panel `index` in a row of the result. If `WHOLE`, the
    /// panel has no padding.
    #[inline(always)]
    pub(crate) fn places<S: Simd, const V: usize, const WHOLE: bool>(
        &self,
        simd: S,
        index: usize,
    ) -> [Lanes<S, T>; V] {
        let (lanes, units) = (Vector::<S, T>::LEN, self.layout.units_of(index));
        let (mut gate, mut unit) = (0, units.start);
        let mut places = [Lanes::new(simd, 0, 0); V];
        for v in 0..V {
            let count = if WHOLE { lanes } else { lanes.min(self.layout.units - unit) };
            places[v] = Lanes::new(simd, gate + unit, count);
            unit += lanes;
            if unit == units.end {
                (gate, unit) = (gate + self.layout.units, units.start);
            }
        }
        places
    }
}
