//! [`Panels`]: the panels of a packed matrix that one thread multiplies.

use std::ops::Range;

use fearless_simd::{Simd, SimdBase};

use crate::float::Float;
use crate::tensor::lanes::{Lanes, Vector};
use crate::tensor::reduced::Reduced;

/// All panels of a [`Packed`](crate::tensor::Packed), or some consecutive ones. It is the matrix of the
/// columns in these panels, so units are counted from the first of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panels<'a, T> {
    pub(super) values: &'a [T],
    pub(super) k: usize,
    pub(super) gates: usize,
    /// The number of columns of a gate.
    pub(super) units: usize,
    /// The same, rounded up to whole vectors.
    pub(super) padded: usize,
    /// The number of units of every panel but the last.
    pub(super) width: usize,
    pub(super) count: usize,
    /// True if the first walk begins with the last panel.
    pub(super) back: bool,
    /// True if the direction changes from walk to walk.
    pub(super) turns: bool,
    /// The values in fewer bits, in place of `values`, and the number of panels before the first.
    pub(super) reduced: Option<(&'a Reduced, usize)>,
}

impl<'a, T: Float> Panels<'a, T> {
    /// Returns the number of rows of the matrix.
    #[inline(always)]
    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Returns the number of columns of the matrix.
    #[inline(always)]
    pub(crate) fn n(&self) -> usize {
        self.gates * self.units
    }

    /// Returns the number of columns of a gate.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    /// Returns the number of panels.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns some of the panels alone, and their units.
    pub(crate) fn range(&self, panels: Range<usize>) -> (Self, Range<usize>) {
        let (start, end) = (panels.start * self.width, self.padded.min(panels.end * self.width));
        let units = start.min(self.units)..end.min(self.units);
        let (values, reduced) = match self.reduced {
            None => (&self.values[self.gates * start * self.k..self.gates * end * self.k], None),
            Some((reduced, before)) => (self.values, Some((reduced, before + panels.start))),
        };
        let (padded, count) = (end - start, panels.len());
        let part = Self { values, units: units.len(), padded, count, reduced, ..*self };
        (part, units)
    }

    /// Returns an iterator over all panels, each alone or in `pairs`, in the direction of walk `index`.
    #[inline(always)]
    pub(crate) fn walk(
        &self,
        index: usize,
        pairs: bool,
    ) -> impl Iterator<Item = Range<usize>> + use<T> {
        let (count, back) = (self.count, self.back ^ (self.turns && index % 2 == 1));
        let (groups, together) = if pairs { (count.div_ceil(2), 2) } else { (count, 1) };
        (0..groups).map(move |i| {
            let first = if back { groups - 1 - i } else { i } * together;
            first..count.min(first + together)
        })
    }

    /// Returns the union of the units of `panels` and the units `others`, which are adjacent or empty.
    pub(crate) fn units_with(&self, panels: &Range<usize>, others: &Range<usize>) -> Range<usize> {
        let (first, last) = (self.units_of(panels.start), self.units_of(panels.end - 1));
        let units = first.start..last.end.min(self.units);
        if others.is_empty() {
            return units;
        }
        units.start.min(others.start)..units.end.max(others.end)
    }

    /// Returns the units of panel `index`, rounded up to whole vectors.
    #[inline(always)]
    pub(super) fn units_of(&self, index: usize) -> Range<usize> {
        index * self.width..self.padded.min((index + 1) * self.width)
    }

    /// Returns the values of panel `index`.
    #[inline(always)]
    pub(crate) fn panel(&self, index: usize) -> &'a [T] {
        let Range { start, end } = self.units_of(index);
        &self.values[self.gates * start * self.k..self.gates * end * self.k]
    }

    /// Returns the number of values in a row of panel `index`.
    #[inline(always)]
    pub(crate) fn width_of(&self, index: usize) -> usize {
        self.gates * self.units_of(index).len()
    }

    /// Returns the number of vectors in a row of panel `index`.
    #[inline(always)]
    pub(crate) fn vectors_of<S: Simd>(&self, index: usize) -> usize {
        self.width_of(index) / Vector::<S, T>::LEN
    }

    /// Returns whether panel `index` has no padding.
    #[inline(always)]
    pub(crate) fn is_whole(&self, index: usize) -> bool {
        self.units_of(index).end <= self.units
    }

    /// Returns the positions of the `V` vectors of panel `index` in a row of the result. If `WHOLE`, the
    /// panel has no padding.
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
