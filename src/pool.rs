//! [`Pool`]: memory that is used again.
//!
//! A sequence call needs megabytes for a moment. Fresh from the system, each of their pages costs
//! more than the arithmetic on it; so what is dropped is kept for the next call, up to
//! [`MOST_KEPT`] bytes per element type. Arrays that the caller gets are the caller's to drop: that
//! their memory stays with the process is left to the allocator ([`keep_freed_memory`]).

use std::hint::black_box;
use std::sync::{Mutex, Once};

/// Bytes below which the allocator alone is quick enough.
const LEAST_KEPT: usize = 16 << 10;
/// Bytes that are kept for later, at most.
const MOST_KEPT: usize = 256 << 20;

/// The largest block that glibc takes for an example, less what it adds of its own.
const EXAMPLE: usize = (32 << 20) - (64 << 10);

/// Has the allocator keep what is freed for later.
///
/// glibc returns free memory to the system where more than twice the largest block ever freed lies
/// together, be it needed again a moment later. So one large block is freed before all others: from
/// then on 64 MB stay. Where `MALLOC_TRIM_THRESHOLD_` or `MALLOC_MMAP_THRESHOLD_` is set, that
/// holds; to other allocators it is a block like any other.
fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(EXAMPLE))));
}

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
        keep_freed_memory();
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
