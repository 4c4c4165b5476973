//! [`Pool`]: memory that is used again.
//!
//! A sequence call needs megabytes for a moment. Fresh from the system, each of their pages costs
//! more than the arithmetic on it; so what is dropped is kept for the next call, up to
//! [`MOST_KEPT`] bytes per element type.

use std::sync::Mutex;

/// Bytes below which the allocator alone is quick enough.
const LEAST_KEPT: usize = 16 << 10;
/// Bytes that are kept for later, at most.
const MOST_KEPT: usize = 256 << 20;

/// Memory that was dropped and waits for its next use.
#[derive(Debug)]
pub struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// The smallest vector of at least `len` values, unless it is more than twice as large.
    pub(crate) fn take(&self, len: usize) -> Option<Vec<T>> {
        if len * size_of::<T>() < LEAST_KEPT {
            return None;
        }
        let mut free = self.free.lock().ok()?;
        let fits = |data: &Vec<T>| (len..=2 * len).contains(&data.len());
        let candidates = free.iter().enumerate().filter(|(_, data)| fits(data));
        let best = candidates.min_by_key(|(_, data)| data.len())?.0;
        Some(free.swap_remove(best))
    }

    /// Keeps `data`; the oldest gives way where there is too much.
    pub(crate) fn give(&self, data: Vec<T>) {
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
