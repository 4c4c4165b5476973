//! The one rule that decides on how many threads a piece of work runs.
//!
//! Work is split between independent rows, never within a sum, so results do not depend on the
//! number of threads. The threads are those of the `rayon` pool that the call runs in: the global
//! one (`RAYON_NUM_THREADS`), or another by `ThreadPool::install`.

/// Multiply-adds of a part, at least: some 100 µs of work, about what a sleeping thread takes to wake.
const MIN_WORK: usize = 1 << 23;

/// The cost of moving a value that is not in the first-level cache, in multiply-adds.
pub(crate) const COPY_WORK: usize = 16;

/// Into how many parts to split `items` independent items of `work` multiply-adds in all, where a
/// part of fewer than `min_items` items would run much slower per item.
pub(crate) fn parts(items: usize, min_items: usize, work: usize) -> usize {
    let most = (items / min_items.max(1)).min(work / MIN_WORK);
    // Asked for the number, rayon starts its threads.
    if most > 1 { most.min(rayon::current_num_threads()) } else { 1 }
}

/// Calls both, `b` on another thread if one is free. A thread from outside the pool does its own part
/// of the work: to hand over both, as `rayon::join` does there, takes a second thread to be woken.
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
