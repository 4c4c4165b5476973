//! [`Aligned`]: values that begin at a cache line, so that no vector straddles two, in memory that
//! is used again.
//!
//! A sequence call needs megabytes for a moment. Fresh from the system, each of their pages costs
//! more than the arithmetic on it; so what is dropped is kept for the next call, up to
//! [`MOST_KEPT`] per element type.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use crate::float::Float;

/// Bytes of a cache line, and of the widest vector.
const LINE: usize = 64;
/// Bytes below which the allocator alone is quick enough.
const LEAST_KEPT: usize = 16 << 10;
/// Bytes that are kept for later, at most.
const MOST_KEPT: usize = 256 << 20;

/// Memory that was dropped and waits for its next use.
#[derive(Debug, Default)]
pub struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T: Float> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// The smallest vector of at least `len` values, unless it is more than twice as large.
    fn take(&self, len: usize) -> Option<Vec<T>> {
        let mut free = self.free.lock().ok()?;
        let fits = |data: &Vec<T>| (len..=2 * len).contains(&data.len());
        let candidates = free.iter().enumerate().filter(|(_, data)| fits(data));
        let best = candidates.min_by_key(|(_, data)| data.len())?.0;
        Some(free.swap_remove(best))
    }

    /// Keeps `data`; the oldest gives way where there is too much.
    fn give(&self, data: Vec<T>) {
        let bytes = |data: &Vec<T>| data.len() * size_of::<T>();
        if !(LEAST_KEPT..=MOST_KEPT).contains(&bytes(&data)) {
            return;
        }
        let Ok(mut free) = self.free.lock() else { return };
        free.push(data);
        let mut kept: usize = free.iter().map(bytes).sum();
        while kept > MOST_KEPT {
            kept -= bytes(&free.remove(0));
        }
    }
}

/// A fixed number of values whose first begins a cache line.
#[derive(Debug)]
pub(crate) struct Aligned<T: Float> {
    data: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Float> Aligned<T> {
    /// `len` values of no meaning, each to be written before it is read.
    pub(crate) fn stale(len: usize) -> Self {
        let room = len + LINE / size_of::<T>();
        let pooled = (room * size_of::<T>() >= LEAST_KEPT).then(|| T::pool().take(room)).flatten();
        let data = pooled.unwrap_or_else(|| vec![T::zero(); room]);
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
