//! Rows of equal width at a fixed stride, borrowed from one slice: what cells and kernels see.
//!
//! An `ArrayView2` may have any strides; a kernel needs each row contiguous. These views promise
//! that by construction, so no row access can fail for a layout's sake.

use std::ops::Range;

/// Rows to read. Row `r` is `data[r * stride + first ..][.. width]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rows<'a, T> {
    data: &'a [T],
    count: usize,
    stride: usize,
    first: usize,
    width: usize,
}

impl<'a, T> Rows<'a, T> {
    /// The rows of `data`, which holds whole rows of `width`, one after the other.
    pub fn new(data: &'a [T], width: usize) -> Self {
        debug_assert_eq!(data.len() % width.max(1), 0);
        Self::strided(data, width, width)
    }

    /// The rows of `data` of which each begins `stride` values after the one before.
    pub(crate) fn strided(data: &'a [T], width: usize, stride: usize) -> Self {
        Self { data, count: data.len() / stride.max(1), stride, first: 0, width }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `r`.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &'a [T] {
        &self.data[r * self.stride + self.first..][..self.width]
    }

    /// The same rows, of which only `columns` are seen.
    pub fn columns(self, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.width);
        Self { first: self.first + columns.start, width: columns.len(), ..self }
    }

    /// All values, of rows that follow each other without a gap.
    pub(crate) fn contiguous(self) -> &'a [T] {
        debug_assert_eq!(self.stride, self.width);
        self.data
    }

    /// All rows in order.
    pub fn iter(self) -> impl Iterator<Item = &'a [T]> {
        (0..self.count).map(move |r| self.row(r))
    }
}

/// Rows to read and write, laid out as in [`Rows`].
#[derive(Debug, Default)]
pub struct RowsMut<'a, T> {
    data: &'a mut [T],
    count: usize,
    stride: usize,
    first: usize,
    width: usize,
}

impl<'a, T> RowsMut<'a, T> {
    /// The rows of `data`, which holds whole rows of `width`, one after the other.
    pub fn new(data: &'a mut [T], width: usize) -> Self {
        debug_assert_eq!(data.len() % width.max(1), 0);
        Self::strided(data, width, width)
    }

    /// The rows of `data` of which each begins `stride` values after the one before.
    pub(crate) fn strided(data: &'a mut [T], width: usize, stride: usize) -> Self {
        let count = data.len() / stride.max(1);
        Self { data, count, stride, first: 0, width }
    }

    /// How many rows there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `r`, to read.
    #[inline(always)]
    pub fn row(&self, r: usize) -> &[T] {
        &self.data[r * self.stride + self.first..][..self.width]
    }

    /// Row `r`, to write.
    #[inline(always)]
    pub fn row_mut(&mut self, r: usize) -> &mut [T] {
        &mut self.data[r * self.stride + self.first..][..self.width]
    }

    /// Row `r` cut into `N` parts of equal width, to write: the gates of one sequence.
    #[inline(always)]
    pub fn parts_mut<const N: usize>(&mut self, r: usize) -> [&mut [T]; N] {
        let part = self.width / N;
        let mut rest = self.row_mut(r);
        std::array::from_fn(|_| {
            let (head, tail) = std::mem::take(&mut rest).split_at_mut(part);
            rest = tail;
            head
        })
    }

    /// The same rows, to read.
    #[inline(always)]
    pub fn as_rows(&self) -> Rows<'_, T> {
        Rows {
            data: self.data,
            count: self.count,
            stride: self.stride,
            first: self.first,
            width: self.width,
        }
    }

    /// The same rows for a shorter time, of which only `columns` are seen.
    pub fn columns_mut(&mut self, columns: Range<usize>) -> RowsMut<'_, T> {
        debug_assert!(columns.end <= self.width);
        RowsMut {
            data: self.data,
            count: self.count,
            stride: self.stride,
            first: self.first + columns.start,
            width: columns.len(),
        }
    }

    /// The first `count` rows for a shorter time.
    pub(crate) fn first_mut(&mut self, count: usize) -> RowsMut<'_, T> {
        debug_assert!(count <= self.count);
        RowsMut { count, ..self.reborrow() }
    }

    /// The first `count` of rows that follow each other without a gap, and the rest.
    pub(crate) fn split_at(self, count: usize) -> (Self, Self) {
        debug_assert_eq!(self.stride, self.width);
        let (head, tail) = self.data.split_at_mut(count * self.width);
        (Self::new(head, self.width), Self::new(tail, self.width))
    }

    /// The same rows for a shorter time.
    pub fn reborrow(&mut self) -> RowsMut<'_, T> {
        let width = self.width;
        self.columns_mut(0..width)
    }
}

/// Rows of equal width from anywhere, in a stated order: what a sum over a whole sequence reads.
#[derive(Clone, Debug)]
pub struct Gather<'a, T> {
    rows: Vec<&'a [T]>,
    width: usize,
}

impl<'a, T> Gather<'a, T> {
    /// The given rows, each of `width` values.
    pub fn new(rows: Vec<&'a [T]>, width: usize) -> Self {
        debug_assert!(rows.iter().all(|row| row.len() == width));
        Self { rows, width }
    }

    /// The rows.
    pub fn rows(&self) -> &[&'a [T]] {
        &self.rows
    }

    /// How many values a row has.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The same rows, of which only `columns` are seen.
    pub fn columns(&self, columns: Range<usize>) -> Self {
        let width = columns.len();
        Self { rows: self.rows.iter().map(|row| &row[columns.clone()]).collect(), width }
    }
}
