//! The number of threads of a computation, and fork-join.
//!
//! Work is split between independent rows, never within a sum, so results do not depend on the
//! number of threads. The threads are those of the `rayon` pool that the call runs in: the global
//! pool (`RAYON_NUM_THREADS`), or that of `ThreadPool::install`.

/// The smallest number of multiply-adds of a part: about 100 µs of work, the time that a sleeping thread
/// takes to wake.
const MIN_WORK: usize = 1 << 23;

/// The cost of moving a value that is not in the first-level cache, in multiply-adds.
pub(crate) const COPY_WORK: usize = 16;

/// Returns the number of parts into which to split `items` independent items, of `work` multiply-adds in
/// total. A part gets at least `min_items` items, because fewer would take longer per item.
pub(crate) fn parts(items: usize, min_items: usize, work: usize) -> usize {
    let most = (items / min_items.max(1)).min(work / MIN_WORK);
    // `current_num_threads` starts rayon's threads, so it is called only if it matters.
    if most > 1 { most.min(rayon::current_num_threads()) } else { 1 }
}

/// Calls `a` and `b`, the latter on another thread if one is free. A thread outside the pool calls `a`
/// itself. `rayon::join` would move both to the pool there, and so wake a second thread.
pub(crate) fn join(a: impl FnOnce() + Send, b: impl FnOnce() + Send) {
    if rayon::current_thread_index().is_some() {
        rayon::join(a, b);
        return;
    }
    rayon::in_place_scope(|scope| {
        scope.spawn(|_| b());
        a();
    });
}
