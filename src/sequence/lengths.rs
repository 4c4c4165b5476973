//! The order of sequences from long to short, so that those alive at a step come first.

use std::ops::Range;

use ndarray::{
    Array3, ArrayView, ArrayView3, ArrayViewMut, ArrayViewMut3, Axis, CowArray, Ix3, RemoveAxis,
};

use crate::float::Float;
use crate::tensor::threads;

/// The fewest rows of a block. With fewer, a product loses more per row than a second thread gains.
const MIN_BLOCK_ROWS: usize = 4;

/// The order of a batch from long to short; sequences of equal length keep their order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// The sequence at each place.
    sequences: Vec<usize>,
    /// The length of the sequence at each place.
    lengths: Vec<usize>,
    pub(crate) time: usize,
}

/// The direction of a copy between two orders.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Towards {
    /// From the caller's order to the order from long to short.
    Walk,
    /// From the order from long to short to the caller's order.
    Caller,
}

impl Order {
    pub(crate) fn new(time: usize, lengths: &[usize]) -> Self {
        let mut sequences: Vec<usize> = (0..lengths.len()).collect();
        sequences.sort_by_key(|&b| std::cmp::Reverse(lengths[b]));
        let lengths = sequences.iter().map(|&b| lengths[b]).collect();
        Self { sequences, lengths, time }
    }

    pub(crate) fn batch(&self) -> usize {
        self.sequences.len()
    }

    /// Returns the sequence at `place`, in the caller's numbering.
    pub(crate) fn sequence(&self, place: usize) -> usize {
        self.sequences[place]
    }

    /// Returns the greatest length.
    pub(crate) fn longest(&self) -> usize {
        self.lengths.first().copied().unwrap_or(0)
    }

    /// Returns the number of steps of all sequences together.
    pub(crate) fn steps(&self) -> usize {
        self.lengths.iter().sum()
    }

    pub(crate) fn is_caller_order(&self) -> bool {
        self.sequences.is_sorted()
    }

    /// Copies `from` to `to`, from one order of the axis `batch` to the other. A single sequence in `from`
    /// is copied to each in `to`.
    pub(crate) fn copy<T: Clone, D: RemoveAxis>(
        &self,
        from: ArrayView<'_, T, D>,
        mut to: ArrayViewMut<'_, T, D>,
        batch: Axis,
        towards: Towards,
    ) {
        if self.is_caller_order() || from.len_of(batch) == 1 {
            return to.assign(&from);
        }
        for (place, &b) in self.sequences.iter().enumerate() {
            let (source, target) = match towards {
                Towards::Walk => (b, place),
                Towards::Caller => (place, b),
            };
            to.index_axis_mut(batch, target).assign(&from.index_axis(batch, source));
        }
    }

    /// Copies values [time, batch, width] in the same way. Threads share the steps.
    pub(crate) fn copy_steps<T: Float>(
        &self,
        from: ArrayView3<'_, T>,
        to: ArrayViewMut3<'_, T>,
        towards: Towards,
    ) {
        let time = from.len_of(Axis(0));
        if threads::parts(time, 1, from.len() * threads::COPY_WORK) <= 1 {
            return self.copy(from, to, Axis(1), towards);
        }
        let (first, last) = from.split_at(Axis(0), time / 2);
        let (to_first, to_last) = to.split_at(Axis(0), time / 2);
        threads::join(
            || self.copy_steps(first, to_first, towards),
            || self.copy_steps(last, to_last, towards),
        );
    }

    /// Returns `values` [time, batch, width], given in the caller's order, in this order.
    pub(crate) fn sorted<'a, T: Float>(&self, values: ArrayView3<'a, T>) -> CowArray<'a, T, Ix3> {
        if self.is_caller_order() && values.is_standard_layout() {
            return values.into();
        }
        let mut sorted = Array3::zeros(values.dim());
        self.copy_steps(values, sorted.view_mut(), Towards::Walk);
        sorted.into()
    }

    /// Returns `values` [time, batch, width], given in this order, in the caller's order.
    pub(crate) fn unsorted<T: Float>(&self, values: Array3<T>) -> Array3<T> {
        if self.is_caller_order() {
            return values;
        }
        let mut unsorted = Array3::zeros(values.dim());
        self.copy_steps(values.view(), unsorted.view_mut(), Towards::Caller);
        unsorted
    }

    /// Divides the order into blocks of consecutive places, at most one for each thread, with about equal
    /// numbers of steps. `work` is the number of multiply-adds of the whole walk.
    pub(crate) fn blocks(&self, work: usize) -> Vec<Block> {
        let parts = threads::parts(self.batch(), MIN_BLOCK_ROWS, work);
        let share = self.steps().div_ceil(parts).max(1);
        let (mut blocks, mut start, mut steps) = (Vec::with_capacity(parts), 0, 0);
        for place in 0..self.batch() {
            steps += self.lengths[place];
            let last = place + 1 == self.batch();
            if last || (steps >= share && blocks.len() + 1 < parts) {
                blocks.push(Block::new(start..place + 1, &self.lengths[start..place + 1]));
                (start, steps) = (place + 1, 0);
            }
        }
        blocks
    }
}

/// Consecutive places of an [`Order`], which are computed together.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// The places of the block.
    pub(crate) places: Range<usize>,
    /// The number of sequences alive at each step up to the greatest length. They are the first ones.
    alive: Vec<usize>,
    /// The number of rows of all steps before each step, then that of all steps.
    offset: Vec<usize>,
}

impl Block {
    fn new(places: Range<usize>, lengths: &[usize]) -> Self {
        let time = lengths.first().copied().unwrap_or(0);
        let alive: Vec<usize> =
            (0..time).map(|t| lengths.partition_point(|&length| length > t)).collect();
        let mut offset = vec![0; time + 1];
        for t in 0..time {
            offset[t + 1] = offset[t] + alive[t];
        }
        Self { places, alive, offset }
    }

    /// Returns the number of sequences, empty ones included.
    pub(crate) fn batch(&self) -> usize {
        self.places.len()
    }

    /// Returns the greatest length.
    pub(crate) fn time(&self) -> usize {
        self.alive.len()
    }

    /// Returns the number of sequences that are alive at step `t`.
    pub(crate) fn alive(&self, t: usize) -> usize {
        self.alive.get(t).copied().unwrap_or(0)
    }

    /// Returns the length of the sequence in row `r`.
    pub(crate) fn length(&self, r: usize) -> usize {
        self.alive.partition_point(|&alive| alive > r)
    }

    /// Returns the number of rows of the steps before `t`. Each step has one row for each sequence alive.
    pub(crate) fn offset(&self, t: usize) -> usize {
        self.offset[t.min(self.time())]
    }
}
