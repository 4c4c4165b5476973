//! One layer in one direction, forward and backward through time: the core of the engine.
//!
//! Forward, a block takes its steps in chunks. One product computes W_ih x + b for the whole chunk. Then
//! the cell computes each step, whose product W_hh h' depends on the step before. In a large block, the
//! rows of a single step make good use of W_ih. There a chunk is one step, and both products are one sum
//! ([`ForwardStep::sum_gates`]), if the cell's first product sums all gates. In both cases b, W_ih x and
//! W_hh h' are added in this order, so the bits agree.
//!
//! Backward takes the chunks and steps in reverse: the cell's backward step for each t, then one product
//! d_x = W_ihᵀ d_a for each chunk. The gradients of the weights are one product each over all steps of a
//! part ([`sums`](super::sums)).
//!
//! In the direction forward in time, all sequences begin with their initial states at step 0, and each
//! ends after its own last step. In the reverse direction, each begins at its own last step, and all end
//! after step 0.
//!
//! Backpropagation through time for an LSTM, with the function that computes each line:
//!
//! ```text
//! ∂L/∂h_t += ∂L/∂y_t             BackwardIo::begin_step
//! d_a_t, d_c_t, ∂L/∂c_{t−1}      the cell's backward step
//! ∂L/∂h_{t−1} = W_hhᵀ d_a_t      BackwardStep::multiply_gates
//! ∂L/∂x_t += W_ihᵀ d_a_t         add_chunk, for each chunk
//! dW_ih, dW_hh, db               Direction::accumulate, for each part
//! ```

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, Array3};

use crate::cell::any::{AnyCell, Sizes};
use crate::cell::step::{Noise, reborrow};
use crate::cell::{BackwardStep, ForwardStep, MAX_STATES};
use crate::float::Float;
use crate::sequence::io::{BackwardIo, ForwardIo, add_chunk, step_mut, step_rows, step_tokens};
use crate::sequence::lengths::{Block, Order};
use crate::sequence::tape::BlockTape;
use crate::sequences::Input;
use crate::tensor::activation::flush_tiny_states;
use crate::tensor::projection::Projection;
use crate::tensor::{Accumulate, Aligned, Level, Operands, Packed, Precision, Rows, RowsMut};

/// The smallest number of rows of a chunk, before it is rounded down to whole steps: enough to make good
/// use of W_ih in the cache.
const CHUNK_ROWS: usize = 64;
/// The number of bytes of a larger chunk's gates, which stay in the second-level cache until their step.
const CHUNK_BYTES: usize = 256 << 10;

/// The number of bytes of a tape that stays in the last-level cache until the backward pass has read it.
const CACHE_BYTES: usize = 16 << 20;
/// The number of bytes of a part of a larger tape. A part is still in the second-level cache when its
/// weight gradients are summed.
const PART_BYTES: usize = 2 << 20;

/// The number of sequences of a block from which on W_ih x and W_hh h' are one sum.
const FUSED_ROWS: usize = 12;

/// The input of a layer, in the tape's order: [time, batch, width], or [time, batch] tokens.
pub(crate) type LayerInput<'a, T> = Input<&'a Array3<T>, &'a Array2<usize>>;

/// The cell of one layer in one direction.
pub(crate) struct Direction<'a, 'm, T: Float> {
    pub(crate) level: Level,
    pub(crate) cell: &'a dyn AnyCell<'m, T>,
    pub(crate) sizes: &'a Sizes,
    /// True if the walk goes backward in time.
    pub(crate) reverse: bool,
}

/// Weights packed for walks in one direction of time.
#[derive(Debug)]
pub(crate) struct Weights<'m, T: Float> {
    /// The product W_ih x + b of a forward walk, or W_ihᵀ d_a of a backward walk.
    pub(crate) input: Projection<'m, T>,
    pub(crate) recurrent: Vec<Packed<T>>,
}

impl<T: Float> Weights<'_, T> {
    /// Returns the weights in the given precision.
    pub(crate) fn reduced(mut self, precision: Precision) -> Self {
        self.recurrent.iter_mut().for_each(|weight| weight.reduce(precision));
        Self { input: self.input.reduced(precision), ..self }
    }

    /// Lets so many `threads` share each product. If the inputs are `dense`, packs their weights before
    /// several threads need them.
    pub(crate) fn share(&self, threads: usize, dense: bool) {
        if dense {
            self.input.packed().set_threads(threads);
        }
        self.recurrent.iter().for_each(|weight| weight.set_threads(threads));
    }

    /// Returns whether W_ih x + b and W_hh h' can be one sum: if the cell's first product sums all gates.
    pub(crate) fn is_one_sum(&self) -> bool {
        self.recurrent.first().is_some_and(|weight| weight.n() == self.input.packed().n())
    }

    /// Returns the first half of that sum, for [`ForwardStep::sum_gates`].
    pub(crate) fn input_sum<'s>(&'s self, x: Rows<'s, T>) -> (Operands<'s, T>, Accumulate<'s, T>) {
        (self.input.operands(x), self.input.start())
    }
}

impl<'m, T: Float> Direction<'_, 'm, T> {
    pub(crate) fn pack_forward(&self) -> Weights<'m, T> {
        let recurrent = self.cell.pack_forward(self.level);
        // In the same layout, so that both products can be one sum.
        let whole = recurrent.first().filter(|weight| weight.n() == self.sizes.gates);
        let gates = whole.map_or(1, Packed::gate_count);
        let weight_ih = self.cell.weight_ih().reversed_axes();
        let input = Projection::new(self.level, weight_ih, gates, self.cell.input_bias());
        Weights { input, recurrent }
    }

    pub(crate) fn pack_backward(&self) -> Weights<'m, T> {
        let input = Projection::new(self.level, self.cell.weight_ih(), 1, None);
        Weights { input, recurrent: self.cell.pack_backward(self.level) }
    }

    /// Returns the number of steps of a chunk.
    fn chunk_steps(&self, block: &Block) -> usize {
        let row_bytes = self.sizes.gates * size_of::<T>();
        let rows = CHUNK_ROWS.max(CHUNK_BYTES / row_bytes);
        (rows / block.batch()).max(1)
    }

    /// Returns the number of steps of a part. It is all of them if the whole tape stays in the last-level
    /// cache or the sums alone exceed a part. Otherwise it is as many as stay in the second-level cache
    /// until they are summed.
    pub(crate) fn part_steps(&self, order: &Order, blocks: usize) -> usize {
        let Sizes { input, gates, saved, .. } = *self.sizes;
        let states: usize = self.sizes.states().iter().sum();
        let row_bytes = (gates + states + saved) * size_of::<T>();
        let sum_bytes = gates * (input + self.sizes.output()) * size_of::<T>();
        if order.steps() * row_bytes <= CACHE_BYTES || sum_bytes > PART_BYTES {
            return usize::MAX;
        }
        (PART_BYTES * blocks / row_bytes).max(1).div_ceil(order.batch())
    }

    /// Returns a tape for the walk of `block`, as in [`BlockTape::new`].
    pub(crate) fn tape(&self, block: Arc<Block>, keep: Option<usize>) -> BlockTape<T> {
        let chunk_rows = block.offset(self.chunk_steps(&block));
        BlockTape::new(self.sizes, block, self.reverse, keep, chunk_rows)
    }

    /// Divides `steps` into ranges of `length` steps, counted from the first, in the order of the walk:
    /// spans, chunks, parts or single steps.
    pub(crate) fn pieces(
        &self,
        steps: Range<usize>,
        length: usize,
    ) -> impl DoubleEndedIterator<Item = Range<usize>> + use<T> {
        let (reverse, count) = (self.reverse, steps.len().div_ceil(length));
        (0..count).map(move |i| {
            let i = if reverse { count - 1 - i } else { i };
            let start = steps.start + i * length;
            start..steps.end.min(start.saturating_add(length))
        })
    }

    /// Returns the steps of a chunk, in the order of the walk.
    pub(crate) fn steps(
        &self,
        chunk: Range<usize>,
    ) -> impl DoubleEndedIterator<Item = usize> + use<T> {
        self.pieces(chunk, 1).map(|step| step.start)
    }

    /// Walks one block through a span of the steps of `x`.
    pub(crate) fn forward(
        &self,
        weights: &Weights<'_, T>,
        x: LayerInput<'_, T>,
        span: &Range<usize>,
        mut io: ForwardIo<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        let block = tape.block.clone();
        tape.enter(span, &mut io.states);
        // Taken out so that the tape can be borrowed, and put back below for the next span.
        let mut inputs = std::mem::take(&mut tape.inputs);
        let (fused, chunk_steps) = match x {
            Input::Dense(x) if block.batch() >= FUSED_ROWS && weights.is_one_sum() => {
                (Some(x.view()), 1)
            }
            Input::Dense(_) => (None, self.chunk_steps(&block)),
            Input::Tokens(_) => (None, 1),
        };
        // The tape's span ends with the block's own longest sequence.
        for chunk in self.pieces(tape.span.clone(), chunk_steps) {
            let gates = tape.begin_chunk(&chunk);
            if fused.is_none() {
                let inputs = gather_inputs(x, &block, &chunk, chunk_steps, &mut inputs);
                weights.input.product(inputs, gates);
            }
            for t in self.steps(chunk) {
                let noise = Noise { seed: io.noise, t, place: block.places.start };
                let mut step = ForwardStep::new(self.level, noise);
                (step.gates, step.saved) = tape.rows_of(t, |s, prev, next| {
                    (step.prev[s], step.next[s]) = (prev, next);
                });
                step.product = fused.map(|x| weights.input_sum(step_rows(x, t, &block)));
                self.step_forward(&weights.recurrent, &mut step);
                io.write(t, tape.next(t, 0));
            }
        }
        tape.inputs = inputs;
        tape.leave(&mut io.states);
    }

    /// Computes one step of the cell from its input `x`.
    pub(crate) fn step_from<'s>(
        &self,
        weights: &'s Weights<'_, T>,
        x: Input<Rows<'s, T>, &[usize]>,
        step: &mut ForwardStep<'s, T>,
    ) {
        match x {
            Input::Dense(x) if weights.is_one_sum() => step.product = Some(weights.input_sum(x)),
            x => weights.input.product(x, step.gates.reborrow()),
        }
        self.step_forward(&weights.recurrent, step);
    }

    /// Computes one step of the cell, and replaces tiny states by zero.
    pub(crate) fn step_forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        self.cell.forward(packed, step);
        self.flush(&mut step.next);
    }

    /// Computes one step of the cell backward, and replaces tiny gradients of the states by zero.
    pub(crate) fn step_backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        self.cell.backward(packed, step);
        self.flush(&mut step.d_state);
    }

    /// Replaces tiny states, or gradients of states, by zero, before they decay to subnormal numbers.
    fn flush(&self, states: &mut [RowsMut<'_, T>; MAX_STATES]) {
        let mut states = reborrow(states);
        flush_tiny_states(self.level, &mut states[..self.sizes.states().len()]);
    }

    /// Walks one block backward through some of the steps of its tape. The gates of these steps become
    /// ∂L/∂(W_ih x + b).
    pub(crate) fn backward(
        &self,
        weights: &Weights<'_, T>,
        steps: &Range<usize>,
        mut io: BackwardIo<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        let block = tape.block.clone();
        let steps = steps.start.min(tape.span.end)..steps.end.min(tape.span.end);
        let chunk_steps = self.chunk_steps(&block);
        let width = self.sizes.input;
        let rows = if io.d_x.is_some() { block.offset(chunk_steps) } else { 0 };
        let mut d_inputs = Aligned::stale(rows * width);
        for chunk in self.pieces(steps, chunk_steps).rev() {
            for t in self.steps(chunk.clone()).rev() {
                self.backward_at(weights, t, &mut io, tape);
            }
            let Some(d_x) = &mut io.d_x else { continue };
            let d_gates = tape.gates_of(&chunk);
            let d_inputs = &mut d_inputs[..d_gates.count() * width];
            weights.input.product(Input::Dense(d_gates), RowsMut::new(d_inputs, width));
            add_chunk(d_x, chunk, &block, Rows::new(d_inputs, width));
        }
    }

    /// Computes step `t` backward.
    fn backward_at(
        &self,
        weights: &Weights<'_, T>,
        t: usize,
        io: &mut BackwardIo<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        io.begin_step(self.level, t, &tape.block);
        let alive = tape.block.alive(t);
        let noise = Noise { seed: io.noise, t, place: tape.block.places.start };
        let mut step = BackwardStep::new(self.level, noise);
        for (rows, all) in step.d_state.iter_mut().zip(&mut io.d_states) {
            *rows = all.first_mut(alive);
        }
        let states = io.recorded.len() / 2;
        for (rows, all) in step.total.iter_mut().zip(io.recorded.iter_mut().skip(states)) {
            *rows = step_mut(all, t);
        }
        (step.gates, step.saved) = tape.rows_of(t, |s, prev, next| {
            (step.prev[s], step.next[s]) = (prev, next.into_rows());
        });
        self.step_backward(&weights.recurrent, &mut step);
    }
}

/// Returns the inputs of a chunk of at most `most` steps, one step after the other. If their rows are not
/// contiguous in `x`, they are copied to `to`. A chunk of tokens is one step.
#[expect(clippy::expect_used, reason = "sequences are in standard layout")]
fn gather_inputs<'a, T: Float>(
    x: LayerInput<'a, T>,
    block: &Block,
    chunk: &Range<usize>,
    most: usize,
    to: &'a mut Aligned<T>,
) -> Input<Rows<'a, T>, &'a [usize]> {
    let x = match x {
        Input::Dense(x) => x,
        Input::Tokens(tokens) => return Input::Tokens(step_tokens(tokens, chunk.start, block)),
    };
    let (_, batch, width) = x.dim();
    if block.alive(chunk.end - 1) == batch {
        let all = x.as_slice().expect("inputs in standard layout");
        let rows = &all[chunk.start * batch * width..chunk.end * batch * width];
        return Input::Dense(Rows::new(rows, width));
    }
    if to.is_empty() {
        *to = Aligned::stale(block.offset(most) * width);
    }
    let first = block.offset(chunk.start);
    for t in chunk.clone() {
        let start = (block.offset(t) - first) * width;
        let rows = step_rows(x.view(), t, block);
        to[start..start + rows.count() * width].copy_from_slice(rows.contiguous());
    }
    Input::Dense(Rows::new(&to[..(block.offset(chunk.end) - first) * width], width))
}
