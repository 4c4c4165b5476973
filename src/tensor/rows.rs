//! Rows of equal width at a fixed stride, borrowed from one slice: the arguments of cells and kernels.
//!
//! An `ArrayView2` may have any strides, but kernels need contiguous rows. The rows of these views are
//! contiguous by construction, so access to them cannot fail because of the layout.

use std::ops::Range;

use ndarray::{ArrayBase, Data, DataMut, Ix2};

/// Rows to read. Row `r` is `data[r * stride ..][.. width]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows<'a, T> {
    data: &'a [T],
    count: usize,
    stride: usize,
    width: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Creates rows from `data`, which holds whole rows of `width` values without gaps.
    pub fn new(data: &'a [T], width: usize) -> Self {
        debug_assert_eq!(data.len() % width.max(1), 0);
        Self::strided(data, width, width)
    }

    /// Creates rows from an array in standard layout.
    #[expect(clippy::expect_used, reason = "callers give arrays in standard layout")]
    pub(crate) fn of<S: Data<Elem = T>>(array: &'a ArrayBase<S, Ix2>) -> Self {
        let (count, width) = array.dim();
        let data = array.as_slice().expect("an array in standard layout");
        Self { data, count, stride: width, width }
    }

    /// Creates rows of `width` values whose starts are `stride` values apart.
    pub(crate) fn strided(data: &'a [T], width: usize, stride: usize) -> Self {
        Self { data, count: count_of(data, stride), stride, width }
    }

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns row `r`.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &'a [T] {
        &self.data[r * self.stride..][..self.width]
    }

    /// Returns the same rows, restricted to `columns`.
    pub fn columns(self, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.width);
        Self {
            data: &self.data[columns.start.min(self.data.len())..],
            width: columns.len(),
            ..self
        }
    }

    /// Returns the given rows alone.
    #[inline(always)]
    pub fn range(self, rows: Range<usize>) -> Self {
        debug_assert!(rows.end <= self.count || self.stride == 0);
        Self { data: &self.data[rows.start * self.stride..], count: rows.len(), ..self }
    }

    /// Returns all values of rows without gaps.
    pub(crate) fn contiguous(self) -> &'a [T] {
        debug_assert_eq!(self.stride, self.width);
        &self.data[..self.count * self.width]
    }

    /// Returns an iterator over the rows in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [T]> {
        (0..self.count).map(move |r| self.row(r))
    }
}

/// Returns the number of rows of the given stride. One row needs no division.
#[inline(always)]
fn count_of<T>(data: &[T], stride: usize) -> usize {
    if data.len() == stride { 1 } else { data.len() / stride.max(1) }
}

/// Rows to read and write, in the layout of [`Rows`].
#[derive(Debug, Default)]
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    count: usize,
    stride: usize,
    width: usize,
}

impl<'a, T> RowsMut<'a, T> {
    /// Creates rows from `data`, which holds whole rows of `width` values without gaps.
    pub fn new(data: &'a mut [T], width: usize) -> Self {
        debug_assert_eq!(data.len() % width.max(1), 0);
        Self::strided(data, width, width)
    }

    /// Creates rows from an array in standard layout.
    #[expect(clippy::expect_used, reason = "callers give arrays in standard layout")]
    pub(crate) fn of<S: DataMut<Elem = T>>(array: &'a mut ArrayBase<S, Ix2>) -> Self {
        let (count, width) = array.dim();
        let data = array.as_slice_mut().expect("an array in standard layout");
        Self { data, count, stride: width, width }
    }

    /// Creates rows of `width` values whose starts are `stride` values apart.
    pub(crate) fn strided(data: &'a mut [T], width: usize, stride: usize) -> Self {
        let count = count_of(data, stride);
        Self { data, count, stride, width }
    }

    /// Returns the number of rows.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the number of values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns row `r`.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &[T] {
        &self.data[r * self.stride..][..self.width]
    }

    /// Returns row `r`, mutably.
    #[inline(always)]
    pub fn row_mut(&mut self, r: usize) -> &mut [T] {
        &mut self.data[r * self.stride..][..self.width]
    }

    /// Divides row `r` into `N` slices of equal width: the gates of one sequence.
    #[inline(always)]
    pub fn row_parts_mut<const N: usize>(&mut self, r: usize) -> [&mut [T]; N] {
        let part = self.width / N;
        let mut rest = self.row_mut(r);
        std::array::from_fn(|_| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(part);
            rest = tail;
            head
        })
    }

    /// Returns the given units of each of the `N` gates of row `r`.
    #[inline(always)]
    pub fn parts_mut<const N: usize>(&mut self, r: usize, units: &Range<usize>) -> [&mut [T]; N] {
        self.row_parts_mut(r).map(|part| &mut part[units.clone()])
    }

    /// Reborrows the rows, to read.
    #[inline(always)]
    pub fn as_rows(&self) -> Rows<'_, T> {
        Rows { data: self.data, count: self.count, stride: self.stride, width: self.width }
    }

    /// Returns the same rows, to read.
    #[inline(always)]
    pub(crate) fn into_rows(self) -> Rows<'a, T> {
        Rows { data: self.data, count: self.count, stride: self.stride, width: self.width }
    }

    /// Reborrows the rows, restricted to `columns`.
    pub fn columns_mut(&mut self, columns: Range<usize>) -> RowsMut<'_, T> {
        debug_assert!(columns.end <= self.width);
        let start = columns.start.min(self.data.len());
        let data = &mut self.data[start..];
        RowsMut { data, count: self.count, stride: self.stride, width: columns.len() }
    }

    /// Reborrows the first `count` rows.
    #[inline(always)]
    pub(crate) fn first_mut(&mut self, count: usize) -> RowsMut<'_, T> {
        debug_assert!(count <= self.count || self.stride == 0);
        RowsMut { count, ..self.reborrow() }
    }

    /// Reborrows the given rows alone.
    #[inline(always)]
    pub fn range_mut(&mut self, rows: Range<usize>) -> RowsMut<'_, T> {
        debug_assert!(rows.end <= self.count || self.stride == 0);
        let data = &mut self.data[rows.start * self.stride..];
        RowsMut { data, count: rows.len(), stride: self.stride, width: self.width }
    }

    /// Splits the rows into the first `count`, or all if there are fewer, and the others.
    pub(crate) fn split_at(self, count: usize) -> (Self, Self) {
        let count = count.min(self.count);
        let (head, tail) = self.data.split_at_mut(self.data.len().min(count * self.stride));
        (Self { data: head, count, ..self }, Self { data: tail, count: self.count - count, ..self })
    }

    /// Restricts the rows to the first `columns`, and returns the width before.
    pub(crate) fn narrow(&mut self, columns: Range<usize>) -> usize {
        debug_assert!(columns.start == 0 && columns.end <= self.width);
        std::mem::replace(&mut self.width, columns.end)
    }

    /// Restores the width before [`narrow`](Self::narrow).
    pub(crate) fn widen(&mut self, width: usize) {
        self.width = width;
    }

    /// Reborrows the rows.
    #[inline(always)]
    pub fn reborrow(&mut self) -> RowsMut<'_, T> {
        RowsMut { data: self.data, count: self.count, stride: self.stride, width: self.width }
    }
}

/// References to rows of equal width, in a given order: the operands of sums over the steps.
#[derive(Clone, Debug)]
pub struct RowRefs<'a, T> {
    rows: Vec<&'a [T]>,
    width: usize,
}

impl<'a, T> RowRefs<'a, T> {
    /// Creates the references from rows of `width` values each.
    pub fn new(rows: Vec<&'a [T]>, width: usize) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == width));
        Self { rows, width }
    }

    /// Returns the rows.
    pub fn rows(&self) -> &[&'a [T]] {
        &self.rows
    }

    /// Returns the number of values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Returns the same rows, restricted to `columns`.
    pub fn columns(&self, columns: Range<usize>) -> Self {
        let width = columns.len();
        Self { rows: self.rows.iter().map(|row| &row[columns.clone()]).collect(), width }
    }
}
