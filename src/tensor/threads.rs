//! The one rule that decides on how many threads a piece of work runs.
//!
//! Work is split between independent rows, never within a sum, so results do not depend on the
//! number of threads. The threads are those of the `rayon` pool that the call runs in: the global
//! one (`RAYON_NUM_THREADS`), or another by `ThreadPool::install`.

/// Multiply-adds below which a second thread costs more than it saves (some 40 µs of work).
const MIN_WORK: usize = 1 << 22;

/// What it costs to move a value that is not in the first-level cache, in multiply-adds.
pub(crate) const COPY_WORK: usize = 16;

/// Into how many parts to split `items` independent items of `work` multiply-adds in all, where a
/// part of fewer than `min_items` items would run much slower per item.
pub(crate) fn parts(items: usize, min_items: usize, work: usize) -> usize {
    let most = (items / min_items.max(1)).min(work / MIN_WORK);
    // Asked for the number, rayon starts its threads.
    if most > 1 { most.min(rayon::current_num_threads()) } else { 1 }
}
