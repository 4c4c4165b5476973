//! The arrays that a walk reads and writes in addition to its tapes, and their split into blocks.

use std::ops::Range;

use ndarray::{Array2, ArrayView3, ArrayViewMut3, Axis};

use crate::cell::MAX_STATES;
use crate::float::Float;
use crate::sequence::lengths::Block;
use crate::sequence::tape::BlockTape;
use crate::tensor::reduce::add_rows;
use crate::tensor::{Level, Rows, RowsMut, threads};

/// The arrays that a walk forward writes, split by block: row 0 is the block's first sequence.
pub(crate) struct ForwardIo<'a, T> {
    /// The output [time, batch, width], unless it has been written before.
    pub(crate) output: Option<ArrayViewMut3<'a, T>>,
    /// The column at which this direction begins in a row of the output.
    pub(crate) column: usize,
    /// The states before the span, which become those after it.
    pub(crate) states: [RowsMut<'a, T>; MAX_STATES],
    /// The seed of the noise of this call.
    pub(crate) noise: Option<u64>,
}

/// The arrays that a walk backward reads and writes. All but `d_output` are split by block: row 0 is the
/// block's first sequence.
pub(crate) struct BackwardIo<'a, T> {
    /// ∂L/∂output [time, batch, width], of all sequences.
    pub(crate) d_output: ArrayView3<'a, T>,
    /// The column at which this direction begins in a row of the output.
    pub(crate) column: usize,
    /// ∂L/∂x [time, batch, width], to add to; `None` for tokens.
    pub(crate) d_x: Option<ArrayViewMut3<'a, T>>,
    /// The gradients of the states. Step t replaces those of the states after it by those of the states
    /// before it. The rows of sequences that are not alive are unchanged.
    pub(crate) d_states: [RowsMut<'a, T>; MAX_STATES],
    /// The gradients of the states after each step, if they are recorded: of each state the part that comes
    /// from the steps after, then of each state all.
    pub(crate) recorded: Vec<ArrayViewMut3<'a, T>>,
    /// The seed of the noise of this call.
    pub(crate) noise: Option<u64>,
}

/// A bundle of arrays that can be split between the first `count` sequences and the others.
pub(crate) trait SplitBatch: Send + Sized {
    fn split_at(self, count: usize) -> (Self, Self);
}

fn split_states<T: Float>(
    states: [RowsMut<'_, T>; MAX_STATES],
    count: usize,
) -> ([RowsMut<'_, T>; MAX_STATES], [RowsMut<'_, T>; MAX_STATES]) {
    let (mut head, mut tail): ([_; MAX_STATES], [_; MAX_STATES]) = Default::default();
    for (s, rows) in states.into_iter().enumerate() {
        (head[s], tail[s]) = rows.split_at(count);
    }
    (head, tail)
}

impl<T: Float> SplitBatch for ForwardIo<'_, T> {
    fn split_at(self, count: usize) -> (Self, Self) {
        let (output, rest) = self.output.map(|output| output.split_at(Axis(1), count)).unzip();
        let (head, tail) = split_states(self.states, count);
        (Self { output, states: head, ..self }, Self { output: rest, states: tail, ..self })
    }
}

impl<T: Float> SplitBatch for BackwardIo<'_, T> {
    fn split_at(self, count: usize) -> (Self, Self) {
        let (d_x, rest) = self.d_x.map(|d_x| d_x.split_at(Axis(1), count)).unzip();
        let (head, tail) = split_states(self.d_states, count);
        let recorded = self.recorded.into_iter().map(|steps| steps.split_at(Axis(1), count));
        let (recorded, others) = recorded.unzip();
        (
            Self { d_x, d_states: head, recorded, ..self },
            Self { d_x: rest, d_states: tail, recorded: others, ..self },
        )
    }
}

impl<T: Float> ForwardIo<'_, T> {
    /// Writes the output of step `t`.
    pub(crate) fn write(&mut self, t: usize, output: Rows<'_, T>) {
        if let Some(to) = &mut self.output {
            write(to, t, self.column, output);
        }
    }
}

impl<T: Float> BackwardIo<'_, T> {
    /// Adds the gradient of step `t`'s output to that of the first state. Records the states' gradients
    /// before and after it.
    pub(crate) fn begin_step(&mut self, level: Level, t: usize, block: &Block) {
        let states = self.recorded.len() / 2;
        let (carried, total) = self.recorded.split_at_mut(states);
        let record = |to: &mut [ArrayViewMut3<'_, T>], states: &mut [RowsMut<'_, T>]| {
            for (to, rows) in to.iter_mut().zip(states) {
                write(to, t, 0, rows.first_mut(block.alive(t)).as_rows());
            }
        };
        record(carried, &mut self.d_states);
        let mut d_h = self.d_states[0].first_mut(block.alive(t));
        let columns = self.column..self.column + d_h.width();
        let d_output = step_rows(self.d_output, t, block).columns(columns);
        add_rows(level, d_output, d_h.reborrow());
        record(total, &mut self.d_states);
    }
}

/// Adds the rows of a chunk of steps to `steps` [time, batch of the block, width].
pub(crate) fn add_chunk<T: Float>(
    steps: &mut ArrayViewMut3<'_, T>,
    chunk: Range<usize>,
    block: &Block,
    rows: Rows<'_, T>,
) {
    let mut rows = rows.iter();
    for t in chunk {
        let mut to = step_mut(steps, t);
        for (r, from) in (0..block.alive(t)).zip(&mut rows) {
            to.row_mut(r).iter_mut().zip(from).for_each(|(to, &from)| *to += from);
        }
    }
}

/// Calls `walk` for each block with its part of `io`. Several blocks run on several threads.
pub(crate) fn for_blocks<T: Float, Io: SplitBatch>(
    blocks: &mut [BlockTape<T>],
    io: Io,
    walk: &(dyn Fn(&mut BlockTape<T>, Io) + Sync),
) {
    match blocks {
        [] => {}
        [block] => walk(block, io),
        _ => {
            let (head, tail) = blocks.split_at_mut(blocks.len() / 2);
            let (left, right) = io.split_at(head.iter().map(|tape| tape.block.batch()).sum());
            threads::join(|| for_blocks(head, left, walk), || for_blocks(tail, right, walk));
        }
    }
}

/// Sets `rows` to those of each state, of [batch, width].
pub(crate) fn set_rows<'a, T: Float>(
    rows: &mut [Rows<'a, T>; MAX_STATES],
    states: &'a [Array2<T>],
) {
    rows.iter_mut().zip(states).for_each(|(rows, array)| *rows = Rows::of(array));
}

/// Sets `rows` to the same rows, to write.
pub(crate) fn set_rows_mut<'a, T: Float>(
    rows: &mut [RowsMut<'a, T>; MAX_STATES],
    states: &'a mut [Array2<T>],
) {
    rows.iter_mut().zip(states).for_each(|(rows, array)| *rows = RowsMut::of(array));
}

/// Returns the rows of each state, of [batch, width], mutably.
pub(crate) fn state_rows_mut<T: Float>(states: &mut [Array2<T>]) -> [RowsMut<'_, T>; MAX_STATES] {
    let mut rows = Default::default();
    set_rows_mut(&mut rows, states);
    rows
}

/// Returns step `t` of the array `of` [time, batch of the block, width].
#[expect(clippy::expect_used, reason = "the engine makes these arrays in standard layout")]
pub(crate) fn step_mut<'a, T>(of: &'a mut ArrayViewMut3<'_, T>, t: usize) -> RowsMut<'a, T> {
    let step = of.index_axis_mut(Axis(0), t);
    let width = step.ncols();
    RowsMut::new(step.into_slice().expect("the rows of a step are contiguous"), width)
}

/// Writes each row to the columns from `column` on of the same row of step `t` of `steps`.
fn write<T: Float>(steps: &mut ArrayViewMut3<'_, T>, t: usize, column: usize, rows: Rows<'_, T>) {
    let mut to = step_mut(steps, t);
    for (r, row) in rows.iter().enumerate() {
        to.row_mut(r)[column..column + row.len()].copy_from_slice(row);
    }
}

/// Returns the rows of the block's sequences that are alive at step `t`, of `values`
/// [time, batch, width].
#[expect(clippy::expect_used, reason = "sequences are in standard layout")]
pub(crate) fn step_rows<'a, T>(values: ArrayView3<'a, T>, t: usize, block: &Block) -> Rows<'a, T> {
    let (_, batch, width) = values.dim();
    let start = (t * batch + block.places.start) * width;
    let all = values.to_slice().expect("sequences are in standard layout");
    Rows::new(&all[start..start + block.alive(t) * width], width)
}

/// Returns the tokens of the block's sequences that are alive at step `t`, of `tokens` [time, batch].
pub(crate) fn step_tokens<'a>(tokens: &'a Array2<usize>, t: usize, block: &Block) -> &'a [usize] {
    step_rows(tokens.view().insert_axis(Axis(2)), t, block).contiguous()
}
