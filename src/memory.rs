//! [`Reserve`]: memory that is kept between calls.
//!
//! A call over sequences needs megabytes of temporary memory. A page that comes fresh from the operating
//! system costs more than the arithmetic on it. While a [`Reserve`] exists, memory that the engine frees
//! is kept for its next call. Otherwise it is returned to the allocator at once.
//! [`Trainer`](crate::train::Trainer) holds a reserve while it trains. Your own training loop should too:
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

/// The size in bytes below which the allocator is fast enough.
const MIN_BYTES: usize = 16 << 10;
/// The bound of [`Reserve::default`].
const DEFAULT_BYTES: usize = 256 << 20;

/// The memory that is kept for each element type.
pub(crate) static F32: Pool<f32> = Pool::new();
pub(crate) static F64: Pool<f64> = Pool::new();

/// The sum of the bounds of all reserves, in bytes.
static BOUND: AtomicUsize = AtomicUsize::new(0);

/// A permission to keep memory between calls for as long as the reserve exists; see the [module](self).
///
/// The kept memory is shared by all networks of the process. The bounds of several reserves add up. When
/// the last one is dropped, all kept memory is released.
#[derive(Debug)]
pub struct Reserve {
    bytes: usize,
}

impl Reserve {
    /// Creates a reserve of up to `bytes` bytes for each element type.
    pub fn new(bytes: usize) -> Self {
        BOUND.fetch_add(bytes, Ordering::Relaxed);
        Self { bytes }
    }
}

/// The default is a reserve of up to 256 MiB for each element type.
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

/// The free memory of one element type that is kept for its next use.
#[derive(Debug)]
pub struct Pool<T> {
    free: Mutex<Vec<Vec<T>>>,
}

impl<T> Pool<T> {
    pub(crate) const fn new() -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }

    /// Locks the list. It is consistent even if a thread panicked while it held the lock.
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

    /// Keeps `data` if there is a reserve, and releases the memory that exceeds the bound.
    pub(crate) fn give(&self, data: Vec<T>) {
        let bound = BOUND.load(Ordering::Relaxed);
        if !(MIN_BYTES..=bound).contains(&size_of_val(&*data)) {
            return;
        }
        self.lock().push(data);
        self.trim();
    }

    /// Releases vectors from the start of the list until the others are within the bound.
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
