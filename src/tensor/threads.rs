//! The number of threads of a computation, and fork-join.
//!
//! Work is split between independent rows or columns, never within a sum, so results do not depend on the
//! number of threads. Their number is that of the `rayon` pool that the call runs in: the global pool
//! (`RAYON_NUM_THREADS`), or that of `ThreadPool::install`.
//!
//! The threads themselves are those of a pool of this crate, in which nothing but its own work runs. A
//! worker of another pool that waited in `rayon` would run other tasks of that pool meanwhile. Such a
//! task can need a lock that the waiting call holds, and the two would wait for each other.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The smallest number of multiply-adds of a part: about 100 µs of work, the time that a sleeping thread
/// takes to wake.
const MIN_WORK: usize = 1 << 23;

/// The cost of moving a value that is not in the first-level cache, in multiply-adds.
pub(crate) const COPY_WORK: usize = 16;

/// The pool of this crate, or `None` if the system refuses its threads.
static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();

/// Returns the number of parts into which to split `items` independent items, of `work` multiply-adds in
/// total. A part gets at least `min_items` items, because fewer would take longer per item.
pub(crate) fn parts(items: usize, min_items: usize, work: usize) -> usize {
    let most = (items / min_items.max(1)).min(work / MIN_WORK);
    // `current_num_threads` starts rayon's threads, so it is called only if it matters.
    if most > 1 { most.min(rayon::current_num_threads()) } else { 1 }
}

/// Returns the number of threads that share the products of one of `blocks` blocks, of `work` multiply-adds in
/// total: those that the division into blocks leaves idle.
pub(crate) fn spare(blocks: usize, work: usize) -> usize {
    // A call does not wait for these threads to wake, so less work pays.
    parts(usize::MAX, 1, 16 * work) / blocks.max(1)
}

/// Returns the pool of this crate. It has a thread for each core, or for each thread of the pool of the first
/// call if these are more. Those that a call does not use sleep.
fn pool() -> Option<&'static ThreadPool> {
    let build = || {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = cores.max(rayon::current_num_threads());
        let builder = ThreadPoolBuilder::new().num_threads(threads);
        builder.thread_name(|i| format!("recurrent-{i}")).build().ok()
    };
    POOL.get_or_init(build).as_ref()
}

/// Calls `f` on a thread of the pool of this crate, as soon as one is free.
pub(super) fn spawn(f: impl FnOnce() + Send + 'static) {
    if let Some(pool) = pool() {
        pool.spawn(f);
    }
}

/// Calls `a` and `b`, the latter on another thread if one is free. No task of the caller runs meanwhile on
/// the caller's thread.
///
/// A thread outside any pool calls `a` itself. `rayon::join` would move both to the pool there, and so wake
/// a second thread. A worker of another pool would wait in `rayon` by running tasks of its pool, so it
/// waits for a thread that does not belong to one.
pub(crate) fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    // Behind trait objects, so that the rest is compiled once and not for each caller.
    let (mut a, mut b) = (Some(a), Some(b));
    let mut first = || a.take().map_or((), |a| a());
    let mut second = || b.take().map_or((), |b| b());
    join_tasks(&mut first, &mut second);
}

type Task<'a> = &'a mut (dyn FnMut() + Send);

fn join_tasks(a: Task<'_>, b: Task<'_>) {
    let Some(pool) = pool() else {
        a();
        return b();
    };
    if pool.current_thread_index().is_some() {
        rayon::join(a, b);
    } else if rayon::current_thread_index().is_some() {
        outside(&mut || in_place(pool, a, b));
    } else {
        in_place(pool, a, b);
    }
}

fn in_place(pool: &ThreadPool, a: Task<'_>, b: Task<'_>) {
    pool.in_place_scope(|scope| {
        scope.spawn(|_| b());
        a();
    });
}

/// Calls `f` on a new thread, or on this one if there can be no other.
fn outside(f: Task<'_>) {
    let task = Mutex::new(Some(f));
    let run = || {
        let f = task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(f) = f {
            f();
        }
    };
    thread::scope(|scope| match thread::Builder::new().spawn_scoped(scope, run) {
        Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
        Err(_) => run(),
    });
}

/// Calls `f` with each of `blocks` on a thread of its own, if so many are free. Returns the results in order.
pub(crate) fn map<B: Send, R: Send>(blocks: Vec<B>, f: impl Fn(B) -> R + Sync) -> Vec<R> {
    let mut slots: Vec<_> = blocks.into_iter().map(|block| (Some(block), None)).collect();
    let count = slots.len();
    for_chunks(&mut slots, 1, count, &|_, slots| {
        slots.iter_mut().for_each(|(block, result)| *result = block.take().map(&f));
    });
    slots.into_iter().filter_map(|(_, result)| result).collect()
}

/// Calls `f` with each chunk of `length` values and its number. The chunks are shared by `parts` threads.
pub(crate) fn for_chunks<T: Send>(
    values: &mut [T],
    length: usize,
    parts: usize,
    f: &(impl Fn(usize, &mut [T]) + Sync),
) {
    chunks_from(0, values, length, parts, f);
}

/// Calls `f` as [`for_chunks`] does, where `first` is the number of the first chunk.
fn chunks_from<T: Send>(
    first: usize,
    values: &mut [T],
    length: usize,
    parts: usize,
    f: &(impl Fn(usize, &mut [T]) + Sync),
) {
    if parts <= 1 {
        let chunks = values.chunks_mut(length).enumerate();
        return chunks.for_each(|(i, chunk)| f(first + i, chunk));
    }
    let middle = values.len().div_ceil(length) * (parts / 2) / parts;
    let (head, tail) = values.split_at_mut(middle * length);
    join(
        || chunks_from(first, head, length, parts / 2, f),
        || chunks_from(first + middle, tail, length, parts - parts / 2, f),
    );
}
