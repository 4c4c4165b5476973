//! [`Reserve`]: memory that is kept from one call for the next.
//!
//! A sequence call needs megabytes for a moment. Fresh from the system, each of their pages costs more
//! than the arithmetic on it. While a [`Reserve`] lives, memory that the engine drops is kept for its
//! next call; without one it goes back to the allocator at once. [`Trainer`](crate::train::Trainer)
//! holds one while it trains; a training loop of your own holds one too:
//!
//! ```
//! use ndarray::Array3;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use recurrent::{Arrays, Lstm, Sequences, memory::Reserve};
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let lstm = Lstm::<f32>::builder(3, 8).build(&mut rng)?;
//! let x = Sequences::full(Array3::ones((10, 4, 3)))?;
//! let reserve = Reserve::default();
//! for _ in 0..3 {
//!     let (output, _, tape) = lstm.forward_train(&x, None, &mut rng)?;
//!     lstm.backward(tape, &output, None, &mut lstm.zeros_like())?;
//! }
//! drop(reserve); // releases what was kept
//! # Ok::<(), recurrent::Error>(())
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes below which the allocator alone is quick enough.
const MIN_BYTES: usize = 16 << 10;
/// The bound of [`Reserve::default`].
const DEFAULT_BYTES: usize = 256 << 20;

/// The memory that is kept of each element type.
pub(crate) static F32: Pool<f32> = Pool::new();
pub(crate) static F64: Pool<f64> = Pool::new();

/// The bounds of all reserves together.
static BOUND: AtomicUsize = AtomicUsize::new(0);

/// A permission to keep memory for the next call, as long as it lives; see the [module](self).
///
/// The memory is shared by all networks of the process. Several reserves add up; with the last one all
/// that is kept is released.
#[derive(Debug)]
pub struct Reserve {
    bytes: usize,
}

impl Reserve {
    /// Allows up to `bytes` for each element type.
    pub fn new(bytes: usize) -> Self {
        BOUND.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes }
    }
}

/// Allows up to 256 MB for each element type.
impl Default for Reserve {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES)
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        BOUND.fetch_sub(self.bytes, Ordering::Relaxed);
        F32.trim();
        F64.trim();
    }
}

/// Memory of one element type that was dropped and waits for its next use, the oldest first.
#[derive(Debug)]
pub struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// Locks the list. A thread that panicked while it held the lock has left whole vectors.
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the smallest vector of at least `len` values, unless it is more than twice as large.
    pub(crate) fn take(&self, len: usize) -> Option<Vec<T>> {
        if len * size_of::<T>() < MIN_BYTES || BOUND.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut free = self.lock();
        let fits = |data: &Vec<T>| (len..=2 * len).contains(&data.len());
        let candidates = free.iter().enumerate().filter(|(_, data)| fits(data));
        let best = candidates.min_by_key(|(_, data)| data.len())?.0;
        Some(free.swap_remove(best))
    }

    /// Keeps `data` where there is a reserve; the oldest memory gives way where there is too much.
    pub(crate) fn give(&self, data: Vec<T>) {
        let bound = BOUND.load(Ordering::Relaxed);
        if !(MIN_BYTES..=bound).contains(&size_of_val(&*data)) {
            return;
        }
        self.lock().push(data);
        self.trim();
    }

    /// Releases what exceeds the bound, the oldest first.
    fn trim(&self) {
        let mut free = self.lock();
        let bound = BOUND.load(Ordering::Relaxed);
        let mut kept: usize = free.iter().map(|data| size_of_val(&**data)).sum();
        let mut count = 0;
        while kept > bound {
            kept -= size_of_val(&*free[count]);
            count += 1;
        }
        let released: Vec<_> = free.drain(..count).collect();
        // The lock is not held while the allocator works.
        drop(free);
        drop(released);
    }
}
