//! [`Aligned`]: values that begin at a cache line, so that no vector straddles two, in memory from
//! [memory](crate::memory) that was used before.

use std::ops::{Deref, DerefMut};

use crate::float::Float;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
/// Lines of the shortest row that [`stride`] fills up.
const SPREAD_LINES: usize = 8;

/// Values from the beginning of a row of `width` values to that of the next: for long rows an odd
/// number of cache lines. Rows at a power of two would share a few sets of the cache, and drive
/// each other out of it.
pub(crate) fn stride<T>(width: usize) -> usize {
    let (line, lines) = (LINE / size_of::<T>(), (width * size_of::<T>()).div_ceil(LINE));
    if lines < SPREAD_LINES { width } else { (lines | 1) * line }
}

/// A fixed number of values whose first begins a cache line; none by default.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T: Float> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Float> Aligned<T> {
    /// `len` values of no meaning, each to be written before it is read.
    pub(crate) fn stale(len: usize) -> Self {
        let room = len + LINE / size_of::<T>();
        let data = T::pool().take(room).unwrap_or_else(|| vec![T::zero(); room]);
        let start = data.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { data, start, len }
    }

    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut zeros = Self::stale(len);
        zeros.fill(T::zero());
        zeros
    }
}

impl<T: Float> Drop for Aligned<T> {
    fn drop(&mut self) {
        T::pool().give(std::mem::take(&mut self.data));
    }
}

impl<T: Float> Deref for Aligned<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        &self.data[self.start..self.start + self.len]
    }
}

impl<T: Float> DerefMut for Aligned<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.data[self.start..self.start + self.len]
    }
}
