//! [`Aligned`]: a buffer that begins at a cache line, so that no vector straddles two lines. Its memory
//! is reused through [`memory`](crate::memory).

use std::ops::{Deref, DerefMut};

use crate::float::Float;

/// The number of bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
/// The length in cache lines from which on [`stride`] pads rows.
const SPREAD_LINES: usize = 8;

/// Returns the distance in values between the starts of two rows of `width` values. For long rows it is
/// an odd number of cache lines: rows at a distance of a power of two would map to a few sets of the
/// cache and evict each other.
pub(crate) fn stride<T>(width: usize) -> usize {
    let (line, lines) = (LINE / size_of::<T>(), (width * size_of::<T>()).div_ceil(LINE));
    if lines < SPREAD_LINES { width } else { (lines | 1) * line }
}

/// Returns `width` rounded up to whole vectors of any instruction set.
pub(crate) fn padded<T>(width: usize) -> usize {
    width.next_multiple_of(LINE / size_of::<T>())
}

/// A buffer of fixed length whose first value begins a cache line. The default is empty.
#[derive(Debug, Default)]
pub(crate) struct Aligned<T: Float> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Float> Aligned<T> {
    /// Creates a buffer of `len` unspecified values. Each must be written before it is read.
    pub(crate) fn stale(len: usize) -> Self {
        let room = len + LINE / size_of::<T>();
        let data = T::pool().take(room).unwrap_or_else(|| vec![T::zero(); room]);
        let start = data.as_ptr().align_offset(LINE).min(LINE / size_of::<T>());
        Self { data, start, len }
    }

    /// Creates a buffer of `len` zeros.
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
