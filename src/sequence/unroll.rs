//! One layer in one direction, forward and back: the heart of the engine.
//!
//! Forward, for the sequences of a block in chunks of steps: one product W_ih x + b for the whole
//! chunk, then the cell's step for each t, whose product alone depends on the step before.
//! Backward is forward read upwards: the cell's backward step for each t, then one product
//! d_x = W_ihᵀ d_a for each chunk. The gradients of the weights are one product each, at the end,
//! over all steps ([`Direction::accumulate`]).
//!
//! A sequence enters the walk with its initial state and leaves it with its final state: forward in
//! time all enter at step 0 and each leaves after its own last step; backward in time each enters
//! at its own last step and all leave after step 0.

use std::marker::PhantomData;
use std::ops::Range;

use ndarray::{Array1, Array2, ArrayView3};

use crate::cell::{BackwardStep, Cell, ForwardStep, MAX_STATES, Steps};
use crate::float::Float;
use crate::sequence::lengths::Block;
use crate::sequence::tape::{BlockTape, StepRows};
use crate::tensor::{Aligned, Gather, Packed, Rows, RowsMut, Simd, Start, lanes, product};

/// Rows of a chunk, at least: enough to use W_ih well once it is in the cache.
const CHUNK_ROWS: usize = 64;
/// Bytes of a chunk's gates: they stay in the second-level cache until their step reads them.
const CHUNK_BYTES: usize = 256 << 10;

/// The cell of one layer in one direction.
pub(crate) struct Direction<'a, T, C> {
    cell: &'a C,
    reverse: bool,
    element: PhantomData<T>,
}

/// What a walk of one block reads and writes, beside its tape. Frames are the steps' rows of the
/// block, [batch of the block, width]; `column` is where this direction begins in a row.
pub(crate) struct Walk<'a, T> {
    pub(crate) block: Block,
    /// Forward: the output, to write. Backward: the input's gradient, to add to.
    pub(crate) frames: Vec<&'a mut [T]>,
    /// Forward: the final states, to write. Backward: the initial states' gradients, to write.
    pub(crate) states: Vec<RowsMut<'a, T>>,
    /// Backward: where to write each step's gradients of the states after it, if asked for.
    pub(crate) recorded: Vec<Vec<&'a mut [T]>>,
    pub(crate) column: usize,
}

/// Weights laid out for walks in one direction of time.
#[derive(Debug)]
pub(crate) struct Weights<T: Float, P> {
    input: Packed<T>,
    bias: Option<Array1<T>>,
    pub(crate) recurrent: P,
}

impl<T: Float, P> Weights<T, P> {
    /// Forward: W_ih x + b. Backward: W_ihᵀ d_a. For rows of any number of steps.
    pub(crate) fn project<S: Simd>(&self, simd: S, rows: Rows<'_, T>, out: RowsMut<'_, T>) {
        product(simd, rows, &self.input, Start::bias(self.bias.as_ref()), out);
    }
}

impl<'a, T: Float, C: Cell<T>> Direction<'a, T, C> {
    pub(crate) fn new(cell: &'a C, reverse: bool) -> Self {
        Self { cell, reverse, element: PhantomData }
    }

    pub(crate) fn pack_forward<S: Simd>(&self, simd: S) -> Weights<T, C::Packed> {
        Weights {
            input: Packed::new(simd, self.cell.weight_ih().reversed_axes()),
            bias: self.cell.input_bias(),
            recurrent: self.cell.pack_forward(simd),
        }
    }

    pub(crate) fn pack_backward<S: Simd>(&self, simd: S) -> Weights<T, C::Packed> {
        let recurrent = self.cell.pack_backward(simd);
        Weights { input: Packed::new(simd, self.cell.weight_ih()), bias: None, recurrent }
    }

    /// The chunks of a block's steps in the order of the walk, and the most rows that one has.
    fn chunks(&self, block: &Block) -> (Vec<Range<usize>>, usize) {
        let row_bytes = self.cell.weight_ih().nrows() * size_of::<T>();
        let rows = CHUNK_ROWS.max(CHUNK_BYTES / row_bytes);
        let steps = (rows / block.batch()).max(1);
        let starts = (0..block.time()).step_by(steps);
        let mut chunks: Vec<_> =
            starts.map(|start| start..block.time().min(start + steps)).collect();
        if self.reverse {
            chunks.reverse();
        }
        let rows = |chunk: &Range<usize>| block.offset(chunk.end) - block.offset(chunk.start);
        let most = chunks.iter().map(rows).max().unwrap_or(0);
        (chunks, most)
    }

    /// The steps of a chunk, in the order of the walk.
    fn steps(&self, chunk: Range<usize>) -> impl DoubleEndedIterator<Item = usize> {
        let reverse = self.reverse;
        chunk.clone().map(move |t| if reverse { chunk.start + chunk.end - 1 - t } else { t })
    }

    /// One block from `initial` states through all steps of `x` [time, batch, input]. With `keep`
    /// the tape has what backward needs.
    pub(crate) fn forward<S: Simd>(
        &self,
        simd: S,
        weights: &Weights<T, C::Packed>,
        x: ArrayView3<'_, T>,
        initial: &[Array2<T>],
        mut walk: Walk<'_, T>,
        keep: bool,
    ) -> BlockTape<T> {
        let (block, states) = (walk.block.clone(), C::STATE.len());
        let (chunks, chunk_rows) = self.chunks(&block);
        let mut tape = BlockTape::new(self.cell, block.clone(), self.reverse, keep, chunk_rows);
        let mut inputs = Aligned::stale(chunk_rows * x.dim().2);
        for s in 0..states {
            copy(block_rows(&initial[s], &block), &block.empty(), &mut walk.states[s], 0);
        }
        for chunk in chunks {
            let inputs = gather_inputs(x, &block, &chunk, &mut inputs);
            weights.project(simd, inputs, tape.begin_chunk(&chunk));
            for t in self.steps(chunk) {
                let entering = block.entering(t, self.reverse);
                for s in 0..states {
                    let mut to = tape.enter(t, &entering, s);
                    copy(block_rows(&initial[s], &block), &entering, &mut to, entering.start);
                }
                let StepRows { prev, mut next, gates, saved } = tape.rows_of(t);
                let (prev, next) = (&prev[..states], &mut next[..states]);
                let step = ForwardStep { prev, next: &mut *next, gates, saved };
                simd.vectorize(
                    #[inline(always)]
                    || self.cell.forward(simd, &weights.recurrent, step),
                );
                write_columns(next[0].as_rows(), walk.frames[t], block.batch(), walk.column);
                for s in 0..states {
                    let leaving = block.leaving(t, self.reverse);
                    copy(next[s].as_rows(), &leaving, &mut walk.states[s], 0);
                }
            }
        }
        tape
    }

    /// One block backward through all steps, from the gradients of the output [time, batch, width]
    /// and of the final states. Afterwards the tape's gates are ∂L/∂(W_ih x + b).
    pub(crate) fn backward<S: Simd>(
        &self,
        simd: S,
        weights: &Weights<T, C::Packed>,
        d_output: ArrayView3<'_, T>,
        d_final: &[Array2<T>],
        mut walk: Walk<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        let (block, states) = (walk.block.clone(), C::STATE.len());
        let mut d_states: Vec<Aligned<T>> =
            (0..states).map(|s| Aligned::zeros(block.batch() * self.cell.state_size(s))).collect();
        for s in 0..states {
            copy(block_rows(&d_final[s], &block), &block.empty(), &mut walk.states[s], 0);
        }
        let (chunks, chunk_rows) = self.chunks(&block);
        let width = self.cell.weight_ih().ncols();
        let mut d_inputs = Aligned::stale(chunk_rows * width);
        for chunk in chunks.into_iter().rev() {
            for t in self.steps(chunk.clone()).rev() {
                let mut d_state: [RowsMut<'_, T>; MAX_STATES] = Default::default();
                for (s, values) in d_states.iter_mut().enumerate() {
                    let width = self.cell.state_size(s);
                    let mut rows = RowsMut::new(&mut values[..block.alive(t) * width], width);
                    let entering = block.leaving(t, self.reverse);
                    copy(block_rows(&d_final[s], &block), &entering, &mut rows, 0);
                    if s == 0 {
                        add_output(simd, d_output, t, &block, walk.column, &mut rows);
                    }
                    if let Some(frames) = walk.recorded.get_mut(s) {
                        write_columns(rows.as_rows(), frames[t], block.batch(), 0);
                    }
                    d_state[s] = rows;
                }
                let StepRows { prev, next, gates, saved } = tape.rows_of(t);
                let next: [Rows<'_, T>; MAX_STATES] = std::array::from_fn(|s| next[s].as_rows());
                let step = BackwardStep {
                    prev: &prev[..states],
                    next: &next[..states],
                    gates,
                    saved,
                    d_state: &mut d_state[..states],
                };
                simd.vectorize(
                    #[inline(always)]
                    || self.cell.backward(simd, &weights.recurrent, step),
                );
                let leaving = block.entering(t, self.reverse);
                for s in 0..states {
                    copy(d_state[s].as_rows(), &leaving, &mut walk.states[s], 0);
                }
            }
            let d_gates = tape.gates_of(&chunk);
            let d_inputs = &mut d_inputs[..d_gates.count() * width];
            weights.project(simd, d_gates, RowsMut::new(d_inputs, width));
            let mut rows = Rows::new(d_inputs, width).iter();
            for t in chunk {
                for to in walk.frames[t].chunks_exact_mut(width).take(block.alive(t)) {
                    let Some(from) = rows.next() else { break };
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                }
            }
        }
    }

    /// Adds the gradients of the cell's parameters, over the steps of all blocks of `tapes`, in an
    /// order that does not depend on how the batch was cut into blocks.
    pub(crate) fn accumulate<S: Simd>(
        &self,
        simd: S,
        x: ArrayView3<'_, T>,
        tapes: &[BlockTape<T>],
        grad: &mut C,
    ) {
        let time = tapes.iter().map(|tape| tape.block().time()).max().unwrap_or(0);
        let at = |t: usize| {
            tapes.iter().filter(move |tape| t < tape.block().time()).map(move |tape| (t, tape))
        };
        let all: Vec<(usize, &BlockTape<T>)> = (0..time).flat_map(at).collect();
        let states = 0..C::STATE.len();
        let width = |s| self.cell.state_size(s);
        let steps = Steps {
            x: gather(&all, x.dim().2, |tape, t| step_rows(x, t, tape.block())),
            d_gates: gather(&all, self.cell.weight_ih().nrows(), |tape, t| tape.gates(t)),
            saved: gather(&all, self.cell.saved_size(), |tape, t| tape.saved(t)),
            prev: states
                .clone()
                .map(|s| gather(&all, width(s), |tape, t| tape.prev(t, s)))
                .collect(),
            next: states.map(|s| gather(&all, width(s), |tape, t| tape.next(t, s))).collect(),
        };
        self.cell.accumulate(simd, &steps, grad);
    }
}

/// The rows of all the given steps, in order.
fn gather<'a, T: Float>(
    steps: &[(usize, &'a BlockTape<T>)],
    width: usize,
    rows_of: impl Fn(&'a BlockTape<T>, usize) -> Rows<'a, T>,
) -> Gather<'a, T> {
    Gather::new(steps.iter().flat_map(|&(t, tape)| rows_of(tape, t).iter()).collect(), width)
}

/// The rows of the block's sequences that are alive at step `t`, of `values` [time, batch, width].
fn step_rows<'a, T: Float>(values: ArrayView3<'a, T>, t: usize, block: &Block) -> Rows<'a, T> {
    let (_, batch, width) = values.dim();
    let start = (t * batch + block.places.start) * width;
    let all = values.to_slice().unwrap_or_default();
    Rows::new(&all[start..start + block.alive(t) * width], width)
}

/// The inputs of a chunk of steps, copied one below the other.
fn gather_inputs<'a, T: Float>(
    x: ArrayView3<'_, T>,
    block: &Block,
    chunk: &Range<usize>,
    to: &'a mut [T],
) -> Rows<'a, T> {
    let width = x.dim().2;
    let first = block.offset(chunk.start);
    for t in chunk.clone() {
        let start = (block.offset(t) - first) * width;
        let rows = step_rows(x, t, block);
        to[start..start + rows.count() * width].copy_from_slice(rows.contiguous());
    }
    Rows::new(&to[..(block.offset(chunk.end) - first) * width], width)
}

/// Writes rows to the columns from `column` on of a frame of `batch` rows.
fn write_columns<T: Float>(rows: Rows<'_, T>, frame: &mut [T], batch: usize, column: usize) {
    let frame_width = frame.len() / batch;
    for (to, from) in frame.chunks_exact_mut(frame_width).zip(rows.iter()) {
        to[column..column + from.len()].copy_from_slice(from);
    }
}

/// Adds the gradient of step `t`'s output to that of the first state.
fn add_output<S: Simd, T: Float>(
    simd: S,
    d_output: ArrayView3<'_, T>,
    t: usize,
    block: &Block,
    column: usize,
    d_h: &mut RowsMut<'_, T>,
) {
    let columns = column..column + d_h.width();
    let d_output = step_rows(d_output, t, block).columns(columns);
    simd.vectorize(
        #[inline(always)]
        || {
            for r in 0..d_h.count() {
                let (to, from) = (d_h.row_mut(r), d_output.row(r));
                for l in lanes(simd, to.len()) {
                    l.store(to, l.load(to) + l.load(from));
                }
            }
        },
    );
}

/// The rows of the block's sequences among those of the whole batch.
fn block_rows<'a, T: Float>(values: &'a Array2<T>, block: &Block) -> Rows<'a, T> {
    let width = values.ncols();
    let all = values.as_slice().unwrap_or_default();
    Rows::new(&all[block.places.start * width..block.places.end * width], width)
}

/// Copies rows `which` to rows `which` of `to`, whose first row has the number `first`.
fn copy<T: Float>(from: Rows<'_, T>, which: &Range<usize>, to: &mut RowsMut<'_, T>, first: usize) {
    for r in which.clone() {
        to.row_mut(r - first).copy_from_slice(from.row(r));
    }
}
