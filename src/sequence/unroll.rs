//! One layer in one direction, forward and back: the heart of the engine.
//!
//! Forward, for the sequences of a block in chunks of steps: one product W_ih x + b for the whole
//! chunk, then the cell's step for each t, whose product alone depends on the step before. Where a
//! step has rows enough to use W_ih well, and the cell is [`FUSED`](Cell::FUSED), a chunk is one step
//! and both products are one, whose sums the cell meets while they are still in registers.
//! Backward is forward read upwards: the cell's backward step for each t, then one product
//! d_x = W_ihᵀ d_a for each chunk. The gradients of the weights are one product each, at the end,
//! over all steps ([`Direction::accumulate`]).
//!
//! A sequence enters the walk with its initial state and leaves it with its final state: forward in
//! time all enter at step 0 and each leaves after its own last step; backward in time each enters
//! at its own last step and all leave after step 0.
//!
//! A walk goes window by window: one window is everything, or with checkpoints the steps between
//! two of them. Between windows the states, and backward their gradients, stand in
//! [`Walk::states`]. Backward through a long window goes part by part, so that a part's gates'
//! gradients are summed before they leave the cache.
//!
//! One-hot inputs come as tokens and part from others where they are multiplied: forward in
//! [`Projection::product`], for the gradient of W_ih in [`Inputs::add_outer_products`]. They have no
//! gradient of their own.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, ArrayView3, ArrayViewMut3, Axis};

use crate::cell::{BackwardStep, Cell, ForwardStep, MAX_STATES, Steps};
use crate::float::Float;
use crate::sequence::lengths::{Block, Order};
use crate::sequence::tape::{BlockTape, StepRows};
use crate::sequence::zoneout::{Zoneout, restore};
use crate::sequences::Input;
use crate::tensor::activation::flush_tiny;
use crate::tensor::one_hot::{Operand, Projection};
use crate::tensor::{
    Aligned, Gather, Inputs, MAX_GATES, Rows, RowsMut, Simd, Start, lanes, threads,
};

/// Rows of a chunk, at least: enough to use W_ih well once it is in the cache.
const CHUNK_ROWS: usize = 64;
/// Bytes of a chunk's gates: they stay in the second-level cache until their step reads them.
const CHUNK_BYTES: usize = 256 << 10;

/// Bytes of a tape that stay in the last-level cache from forward to the end of backward,
const CACHE_BYTES: usize = 16 << 20;
/// and of a block's part that stay in nearer ones while its gradients are summed.
const PART_BYTES: usize = 2 << 20;

/// Sequences of a block from which on a fused cell's W_ih x is part of its step.
const FUSED_ROWS: usize = 12;

/// The cell of one layer in one direction.
pub(crate) struct Direction<'a, T, C> {
    cell: &'a C,
    reverse: bool,
    zoneout: Option<Zoneout>,
    element: PhantomData<T>,
}

/// What a walk reads and writes for its sequences, beside its tapes.
pub(crate) struct Walk<'a, T> {
    /// Forward: the output [time, batch, width], to write, if wanted. Backward: the input's
    /// gradient, to add to.
    frames: Option<ArrayViewMut3<'a, T>>,
    /// Where this direction begins in a row of the output.
    column: usize,
    /// Forward: the states before the window, which become those after it. Backward: the gradients
    /// of the states after the window, which become those of the states before it.
    states: [RowsMut<'a, T>; MAX_STATES],
    /// Backward: where to write each step's gradients of the states after it, if asked for.
    pub(crate) recorded: Vec<ArrayViewMut3<'a, T>>,
}

impl<'a, T: Float> Walk<'a, T> {
    pub(crate) fn new(
        frames: Option<ArrayViewMut3<'a, T>>,
        column: usize,
        states: &'a mut [Array2<T>],
    ) -> Self {
        Self { frames, column, states: state_rows(states), recorded: Vec::new() }
    }

    /// The walk of the first `count` sequences, and that of the others.
    fn split_at(self, count: usize) -> (Self, Self) {
        let split = |frames: ArrayViewMut3<'a, T>| frames.split_at(Axis(1), count);
        let mut head = Self { states: Default::default(), ..self };
        let mut tail = Self::new(None, self.column, &mut []);
        (head.frames, tail.frames) = head.frames.map(split).unzip();
        (head.recorded, tail.recorded) = head.recorded.into_iter().map(split).unzip();
        for (s, rows) in self.states.into_iter().enumerate() {
            (head.states[s], tail.states[s]) = rows.split_at(count);
        }
        (head, tail)
    }
}

/// The rows of each state, of [batch, width].
pub(crate) fn state_rows<T: Float>(states: &mut [Array2<T>]) -> [RowsMut<'_, T>; MAX_STATES] {
    let mut rows: [RowsMut<'_, T>; MAX_STATES] = Default::default();
    for (rows, array) in rows.iter_mut().zip(states) {
        let width = array.ncols();
        *rows = RowsMut::new(array.as_slice_mut().unwrap_or_default(), width);
    }
    rows
}

/// Calls `step` for each block with its part of `walk`, on a thread each where there are several.
pub(crate) fn for_blocks<'a, T: Float>(
    blocks: &mut [BlockTape<T>],
    walk: Walk<'a, T>,
    step: &(impl Fn(&mut BlockTape<T>, Walk<'a, T>) + Sync),
) {
    match blocks {
        [] => {}
        [block] => step(block, walk),
        _ => {
            let (head, tail) = blocks.split_at_mut(blocks.len() / 2);
            let (left, right) = walk.split_at(head.iter().map(|tape| tape.block.batch()).sum());
            threads::join(|| for_blocks(head, left, step), || for_blocks(tail, right, step));
        }
    }
}

/// Weights laid out for walks in one direction of time.
#[derive(Debug)]
pub(crate) struct Weights<'a, T: Float, P> {
    /// Forward: W_ih x + b. Backward: W_ihᵀ d_a. For rows of any number of steps.
    pub(crate) input: Projection<'a, T>,
    pub(crate) recurrent: P,
}

impl<T: Float, P> Weights<'_, T, P> {
    /// Packs what walks over `x` will read, before several threads want it.
    pub(crate) fn prepare<S: Simd>(&self, simd: S, x: Input<'_, T>) {
        if let Input::Values(_) = x {
            self.input.packed(simd);
        }
    }
}

impl<'a, T: Float, C: Cell<T>> Direction<'a, T, C> {
    pub(crate) fn new(cell: &'a C, reverse: bool, zoneout: Option<Zoneout>) -> Self {
        Self { cell, reverse, zoneout, element: PhantomData }
    }

    pub(crate) fn pack_forward<S: Simd>(&self, simd: S) -> Weights<'a, T, C::Packed> {
        const { assert!(!C::FUSED || C::GATES.len() <= MAX_GATES, "too many gates to be fused") };
        let gates = if C::FUSED { C::GATES.len() } else { 1 };
        let weight = self.cell.weight_ih().reversed_axes();
        let input = Projection::new(weight, gates, self.cell.input_bias());
        Weights { input, recurrent: self.cell.pack_forward(simd) }
    }

    pub(crate) fn pack_backward<S: Simd>(&self, simd: S) -> Weights<'a, T, C::Packed> {
        let input = Projection::new(self.cell.weight_ih(), 1, None);
        Weights { input, recurrent: self.cell.pack_backward(simd) }
    }

    /// Steps of a chunk.
    fn chunk_steps(&self, block: &Block) -> usize {
        let row_bytes = self.cell.weight_ih().nrows() * size_of::<T>();
        let rows = CHUNK_ROWS.max(CHUNK_BYTES / row_bytes);
        (rows / block.batch()).max(1)
    }

    /// Steps that are walked backward before their gradients are summed. All of them, if they stay in
    /// the cache or the sums themselves do not; else as many as stay there until they are summed.
    pub(crate) fn part_steps(&self, order: &Order, blocks: usize) -> usize {
        let (gates, input) = self.cell.weight_ih().dim();
        let states: usize = (0..C::STATE.len()).map(|s| self.cell.state_size(s)).sum();
        let row_bytes = (gates + states + self.cell.saved_size()) * size_of::<T>();
        let sum_bytes = gates * (input + self.cell.state_size(0)) * size_of::<T>();
        if order.steps() * row_bytes <= CACHE_BYTES || sum_bytes > PART_BYTES {
            return usize::MAX;
        }
        (PART_BYTES * blocks / row_bytes).max(1).div_ceil(order.batch())
    }

    /// A tape for the walk of `block`, as in [`BlockTape::new`].
    pub(crate) fn tape(&self, block: Arc<Block>, keep: Option<usize>) -> BlockTape<T> {
        let chunk_rows = block.offset(self.chunk_steps(&block));
        BlockTape::new(self.cell, block, self.reverse, keep, chunk_rows, self.zoneout)
    }

    /// `steps` in pieces of `length`, cut at its multiples from the first on, in the order of the
    /// walk: windows, chunks, single steps.
    pub(crate) fn pieces(
        &self,
        steps: Range<usize>,
        length: usize,
    ) -> impl DoubleEndedIterator<Item = Range<usize>> + use<T, C> {
        let (reverse, count) = (self.reverse, steps.len().div_ceil(length));
        (0..count).map(move |i| {
            let start = steps.start + if reverse { count - 1 - i } else { i } * length;
            start..steps.end.min(start.saturating_add(length))
        })
    }

    /// The steps of a chunk, in the order of the walk.
    fn steps(&self, chunk: Range<usize>) -> impl DoubleEndedIterator<Item = usize> + use<T, C> {
        self.pieces(chunk, 1).map(|step| step.start)
    }

    /// One block through a window of steps of `x`.
    pub(crate) fn forward<S: Simd>(
        &self,
        simd: S,
        weights: &Weights<'_, T, C::Packed>,
        x: Input<'_, T>,
        window: &Range<usize>,
        mut walk: Walk<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        let (block, states) = (tape.block.clone(), C::STATE.len());
        tape.enter(window, &mut walk.states);
        let mut inputs = std::mem::take(&mut tape.inputs);
        let (fused, chunk_steps) = match x {
            Input::Values(x) if C::FUSED && block.batch() >= FUSED_ROWS => (Some(x.view()), 1),
            Input::Values(_) => (None, self.chunk_steps(&block)),
            Input::Tokens(_) => (None, 1),
        };
        for chunk in self.pieces(tape.window.clone(), chunk_steps) {
            let gates = tape.begin_chunk(&chunk);
            if fused.is_none() {
                let inputs = gather_inputs(x, &block, (&chunk, chunk_steps), &mut inputs);
                weights.input.product(simd, inputs, gates);
            }
            for t in self.steps(chunk) {
                let zoneout = tape.zoneout;
                let StepRows { prev, mut next, kept, gates, saved } = tape.rows_of(t);
                let (prev, mut next) = (&prev[..states], &mut next[..states]);
                let product = |x| weights.input.start(simd, step_rows(x, t, &block));
                let input = fused.map_or(Start::Output, product);
                let step = ForwardStep { prev, next: &mut *next, input, gates, saved };
                step_forward(simd, self.cell, &weights.recurrent, step);
                let mut kept = zoneout.zip(kept);
                if let Some((zoneout, kept)) = &mut kept {
                    zoneout.mix((t, block.places.start), prev, next, &mut kept[..states]);
                    flush(simd, &mut kept[..states]);
                    next = &mut kept[..states];
                }
                write(walk.frames.as_mut(), t, walk.column, next[0].as_rows());
            }
        }
        tape.inputs = inputs;
        tape.leave(&mut walk.states);
    }

    /// One block backward through some of the steps that its tape holds, from the gradients of the
    /// output [time, batch, width]. Afterwards the tape's gates are ∂L/∂(W_ih x + b) there.
    pub(crate) fn backward<S: Simd>(
        &self,
        simd: S,
        weights: &Weights<'_, T, C::Packed>,
        d_output: ArrayView3<'_, T>,
        steps: &Range<usize>,
        mut walk: Walk<'_, T>,
        tape: &mut BlockTape<T>,
    ) {
        let (block, states) = (tape.block.clone(), C::STATE.len());
        let steps = steps.start.min(tape.window.end)..steps.end.min(tape.window.end);
        let width = walk.frames.as_ref().map_or(0, |d_x| d_x.dim().2);
        let chunk_steps = self.chunk_steps(&block);
        let mut d_inputs = Aligned::stale(block.offset(chunk_steps) * width);
        for chunk in self.pieces(steps, chunk_steps).rev() {
            for t in self.steps(chunk.clone()).rev() {
                let mut d_state: [RowsMut<'_, T>; MAX_STATES] = Default::default();
                for (s, rows) in walk.states.iter_mut().enumerate().take(states) {
                    let mut rows = rows.first_mut(block.alive(t));
                    if s == 0 {
                        add_output(simd, d_output, t, &block, walk.column, &mut rows);
                    }
                    write(walk.recorded.get_mut(s), t, 0, rows.as_rows());
                    d_state[s] = rows;
                }
                let place = (t, block.places.start);
                let skipped = tape.zoneout.map(|zone| zone.part(place, &mut d_state[..states]));
                let StepRows { prev, next, gates, saved, .. } = tape.rows_of(t);
                let next: [Rows<'_, T>; MAX_STATES] = std::array::from_fn(|s| next[s].as_rows());
                let d_state = &mut d_state[..states];
                simd.vectorize(
                    #[inline(always)]
                    || {
                        let (prev, next) = (&prev[..states], &next[..states]);
                        let step =
                            BackwardStep { prev, next, gates, saved, d_state: &mut *d_state };
                        self.cell.backward(simd, &weights.recurrent, step);
                        flush(simd, d_state);
                    },
                );
                skipped.into_iter().for_each(|skipped| restore(skipped, d_state));
            }
            if width == 0 {
                continue;
            }
            let d_gates = tape.gates_of(&chunk);
            let d_inputs = &mut d_inputs[..d_gates.count() * width];
            weights.input.product(simd, Operand::Rows(d_gates), RowsMut::new(d_inputs, width));
            let mut rows = Rows::new(d_inputs, width).iter();
            for t in chunk {
                let Some(mut d_x) = frame(walk.frames.as_mut(), t) else { continue };
                for (r, from) in (0..block.alive(t)).zip(&mut rows) {
                    d_x.row_mut(r).iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                }
            }
        }
    }

    /// Adds the gradients of the cell's parameters over a window of steps of all blocks of `tapes`,
    /// row by row from the step walked last to the first: an order that depends neither on how the
    /// batch was cut into blocks nor on how the steps were cut into windows.
    pub(crate) fn accumulate<S: Simd>(
        &self,
        simd: S,
        x: Input<'_, T>,
        window: &Range<usize>,
        tapes: &[BlockTape<T>],
        grad: &mut C,
    ) {
        let rows = |block: &Block| block.offset(window.end) - block.offset(window.start);
        let rows = tapes.iter().map(|tape| rows(&tape.block)).sum();
        let all = || {
            let steps = self.steps(window.clone()).rev();
            steps.flat_map(|t| tapes.iter().map(move |tape| (tape, t)))
        };
        let of_states = |rows_of: fn(&BlockTape<T>, usize, usize) -> Rows<'_, T>| {
            let of_state = |s| {
                let width = self.cell.state_size(s);
                gather(all(), rows, width, move |tape, t| rows_of(tape, t, s))
            };
            (0..C::STATE.len()).map(of_state).collect()
        };
        let x = match x {
            Input::Values(x) => {
                let rows_of = |tape: &BlockTape<T>, t| step_rows(x.view(), t, &tape.block);
                Inputs::Rows(gather(all(), rows, x.dim().2, rows_of))
            }
            Input::Tokens(x) => {
                let mut tokens = Vec::with_capacity(rows);
                all().for_each(|(tape, t)| tokens.extend(step_tokens(x, t, &tape.block)));
                Inputs::OneHot(tokens)
            }
        };
        let steps = Steps {
            x,
            d_gates: gather(all(), rows, self.cell.weight_ih().nrows(), BlockTape::gates),
            saved: gather(all(), rows, self.cell.saved_size(), BlockTape::saved),
            prev: of_states(BlockTape::prev),
            next: of_states(BlockTape::made),
        };
        self.cell.accumulate(simd, &steps, grad);
    }
}

/// One step of `cell`, at whose end no state is subnormal.
pub(crate) fn step_forward<S: Simd, T: Float, C: Cell<T>>(
    simd: S,
    cell: &C,
    packed: &C::Packed,
    ForwardStep { prev, next, input, gates, saved }: ForwardStep<'_, '_, T>,
) {
    simd.vectorize(
        #[inline(always)]
        || {
            let step = ForwardStep { prev, next: &mut *next, input, gates, saved };
            cell.forward(simd, packed, step);
            flush(simd, next);
        },
    );
}

/// Ends the decay of a state, or of its gradient, before it reaches the subnormal numbers.
#[inline(always)]
pub(crate) fn flush<S: Simd, T: Float>(simd: S, states: &mut [RowsMut<'_, T>]) {
    for state in states {
        for r in 0..state.count() {
            flush_tiny(simd, state.row_mut(r));
        }
    }
}

/// The rows of all the given steps, so many of them, in order.
fn gather<'a, T: Float>(
    steps: impl Iterator<Item = (&'a BlockTape<T>, usize)>,
    count: usize,
    width: usize,
    rows_of: impl Fn(&'a BlockTape<T>, usize) -> Rows<'a, T>,
) -> Gather<'a, T> {
    let mut rows = Vec::with_capacity(count);
    rows.extend(steps.flat_map(|(tape, t)| rows_of(tape, t).iter()));
    Gather::new(rows, width)
}

/// Step `t` of `frames` [time, batch of the block, width], where there are any.
fn frame<'a, T>(frames: Option<&'a mut ArrayViewMut3<'_, T>>, t: usize) -> Option<RowsMut<'a, T>> {
    let step = frames?.index_axis_mut(Axis(0), t);
    let width = step.ncols();
    Some(RowsMut::new(step.into_slice()?, width))
}

/// Writes each row to the columns from `column` on of the same row of step `t` of `frames`.
fn write<T: Float>(
    frames: Option<&mut ArrayViewMut3<'_, T>>,
    t: usize,
    column: usize,
    rows: Rows<'_, T>,
) {
    let Some(mut to) = frame(frames, t) else { return };
    for (r, row) in rows.iter().enumerate() {
        to.row_mut(r)[column..column + row.len()].copy_from_slice(row);
    }
}

/// The rows of the block's sequences that are alive at step `t`, of `values` [time, batch, width].
fn step_rows<'a, T>(values: ArrayView3<'a, T>, t: usize, block: &Block) -> Rows<'a, T> {
    let (_, batch, width) = values.dim();
    let start = (t * batch + block.places.start) * width;
    let all = values.to_slice().unwrap_or_default();
    Rows::new(&all[start..start + block.alive(t) * width], width)
}

/// The same of `tokens` [time, batch].
fn step_tokens<'a>(tokens: &'a Array2<usize>, t: usize, block: &Block) -> &'a [usize] {
    step_rows(tokens.view().insert_axis(Axis(2)), t, block).contiguous()
}

/// The inputs of a chunk, of as many steps as given at most, one below the other: as they stand in `x`
/// if they do, else copied. Of tokens a chunk is one step.
fn gather_inputs<'a, T: Float>(
    x: Input<'a, T>,
    block: &Block,
    (chunk, most): (&Range<usize>, usize),
    to: &'a mut Aligned<T>,
) -> Operand<'a, T> {
    let x = match x {
        Input::Values(x) => x.view(),
        Input::Tokens(tokens) => return Operand::OneHot(step_tokens(tokens, chunk.start, block)),
    };
    let (_, batch, width) = x.dim();
    if block.alive(chunk.end - 1) == batch {
        let all = x.to_slice().unwrap_or_default();
        let rows = &all[chunk.start * batch * width..chunk.end * batch * width];
        return Operand::Rows(Rows::new(rows, width));
    }
    if to.is_empty() {
        *to = Aligned::stale(block.offset(most) * width);
    }
    let first = block.offset(chunk.start);
    for t in chunk.clone() {
        let start = (block.offset(t) - first) * width;
        let rows = step_rows(x, t, block);
        to[start..start + rows.count() * width].copy_from_slice(rows.contiguous());
    }
    Operand::Rows(Rows::new(&to[..(block.offset(chunk.end) - first) * width], width))
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
