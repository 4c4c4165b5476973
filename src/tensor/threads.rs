//! The one rule that decides on how many threads a piece of work runs.
//!
//! Work is split between independent rows, never within a sum, so results do not depend on the
//! number of threads. The threads are those of the `rayon` pool that the call runs in: the global
//! one (`RAYON_NUM_THREADS`), or another by `ThreadPool::install`.

use std::ops::Range;

/// Multiply-adds below which a second thread costs more than it saves (some 40 µs of work).
const MIN_WORK: usize = 1 << 22;

/// Into how many parts to split `items` independent items of `work` multiply-adds in all, where a
/// part of fewer than `min_items` items would run much slower per item.
pub(crate) fn parts(items: usize, min_items: usize, work: usize) -> usize {
    let most = (items / min_items.max(1)).min(work / MIN_WORK);
    most.min(rayon::current_num_threads()).max(1)
}

/// `0..items` in `parts` ranges of nearly equal length, in multiples of `unit` but for the last.
pub(crate) fn ranges(items: usize, parts: usize, unit: usize) -> Vec<Range<usize>> {
    let step = items.div_ceil(parts.max(1)).next_multiple_of(unit.max(1));
    (0..items).step_by(step.max(1)).map(|start| start..items.min(start + step)).collect()
}
