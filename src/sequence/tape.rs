//! [`Tape`]: the rows that a walk through time keeps. Training keeps them for the backward pass, inference
//! only for the next step.
//!
//! The states of a block are stored at the boundaries between its steps. Boundary 0 has a row for each
//! sequence, boundary t + 1 a row for each sequence alive at step t. A walk forward in time reads
//! boundary t and writes t + 1 at step t; a walk backward in time reads t + 1 and writes t. So one
//! layout serves both directions, and the states before or after any step are a slice of it.
//!
//! A tape holds a span of steps: all of them, or those between two checkpoints. Its first boundary has a
//! row for each sequence. It is where sequences without a step in the span keep their state.

use std::ops::Range;
use std::sync::Arc;

use ndarray::{Array2, Array3};

use crate::cell::MAX_STATES;
use crate::cell::any::Sizes;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequence::lengths::{Block, Order};
use crate::sequence::state::State;
use crate::sequences::Input;
use crate::tensor::aligned::{self, Aligned};
use crate::tensor::{Rows, RowsMut};

/// The values that training keeps of each layer for [`backward`](super::Recurrent::backward), in addition
/// to the layer's input. [`forward_train_with`](super::Recurrent::forward_train_with) compares the costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompute {
    /// The gates, the states and the cell's saved values of every step.
    #[default]
    Store,
    /// The states before every k-th step. The backward pass computes k steps forward again at a time.
    Every(usize),
    /// The states before every ⌈√T⌉-th of T steps.
    Sqrt,
}

impl Recompute {
    /// Replaces `Sqrt` by the equivalent `Every`, for sequences of at most `time` steps.
    pub(crate) fn resolved(self, time: usize) -> Result<Self> {
        match self {
            Self::Every(0) => Err(Error::argument("recompute", "at least every step", 0)),
            Self::Sqrt => Ok(Self::Every((time.max(1) as f64).sqrt().ceil() as usize)),
            other => Ok(other),
        }
    }
}

/// The rows that one direction of one layer keeps of one block of sequences.
#[derive(Debug)]
pub(crate) struct BlockTape<T: Float> {
    pub(crate) block: Arc<Block>,
    reverse: bool,
    /// True if all of the span is kept, false if only two boundaries and one chunk of steps are.
    keep: bool,
    /// The current span of steps.
    pub(crate) span: Range<usize>,
    /// The first row of the current span, or of the current chunk.
    base: usize,
    gates: Buffer<T>,
    saved: Buffer<T>,
    states: Vec<Buffer<T>>,
    /// Memory for copies of the inputs of a chunk.
    pub(crate) inputs: Aligned<T>,
}

/// An owned buffer of rows of one width.
#[derive(Debug)]
struct Buffer<T: Float> {
    data: Aligned<T>,
    width: usize,
    stride: usize,
}

impl<T: Float> Buffer<T> {
    fn new(rows: usize, width: usize) -> Self {
        let stride = aligned::stride::<T>(width);
        Self { data: Aligned::stale(rows * stride), width, stride }
    }

    #[inline(always)]
    fn range(&self, rows: Range<usize>) -> Range<usize> {
        rows.start * self.stride..rows.end * self.stride
    }

    fn rows(&self, rows: Range<usize>) -> Rows<'_, T> {
        Rows::strided(&self.data[self.range(rows)], self.width, self.stride)
    }

    fn rows_mut(&mut self, rows: Range<usize>) -> RowsMut<'_, T> {
        let range = self.range(rows);
        RowsMut::strided(&mut self.data[range], self.width, self.stride)
    }

    /// Returns two ranges of rows that do not overlap, the first to read and the second to write.
    #[inline(always)]
    fn pair(&mut self, read: Range<usize>, write: Range<usize>) -> (Rows<'_, T>, RowsMut<'_, T>) {
        let (width, stride) = (self.width, self.stride);
        let (read, write) = (self.range(read), self.range(write));
        let (read, write) = if read.start < write.start {
            let (low, high) = self.data.split_at_mut(write.start);
            (&low[read], &mut high[..write.len()])
        } else {
            let (low, high) = self.data.split_at_mut(read.start);
            (&high[..read.len()], &mut low[write])
        };
        (Rows::strided(read, width, stride), RowsMut::strided(write, width, stride))
    }
}

impl<T: Float> BlockTape<T> {
    /// Creates a tape for `block` that keeps spans of up to `keep` steps. Without `keep`, it keeps at most
    /// `chunk_rows` rows at a time.
    pub(crate) fn new(
        sizes: &Sizes,
        block: Arc<Block>,
        reverse: bool,
        keep: Option<usize>,
        chunk_rows: usize,
    ) -> Self {
        let rows = keep.map_or(chunk_rows, |steps| block.offset(steps));
        let boundary_rows = block.batch() + if keep.is_some() { rows } else { block.batch() };
        let states = sizes.states().iter().map(|&width| Buffer::new(boundary_rows, width));
        Self {
            reverse,
            keep: keep.is_some(),
            span: 0..0,
            base: 0,
            gates: Buffer::new(rows, sizes.gates),
            saved: Buffer::new(rows, sizes.saved),
            states: states.collect(),
            inputs: Aligned::default(),
            block,
        }
    }

    /// Releases the memory that the backward pass does not need, if there will be one.
    pub(crate) fn release(&mut self, keep: Option<Recompute>) {
        if keep.is_some() {
            self.inputs = Aligned::default();
        }
        if let Some(Recompute::Every(_)) = keep {
            let buffers = [&mut self.gates, &mut self.saved].into_iter().chain(&mut self.states);
            buffers.for_each(|buffer| buffer.data = Aligned::default());
        }
    }

    /// Returns the number of values of the buffers.
    pub(crate) fn len(&self) -> usize {
        let buffers = [&self.gates, &self.saved].into_iter().chain(&self.states);
        buffers.map(|buffer| buffer.data.len()).sum()
    }

    /// Returns the rows of step `t` among those of the span, or of the current chunk.
    fn step(&self, t: usize) -> Range<usize> {
        let start = self.block.offset(t) - self.base;
        start..start + self.block.alive(t)
    }

    /// Returns the first row of boundary `k`.
    fn boundary(&self, k: usize) -> usize {
        match (self.keep, k) {
            (true, k) if k == self.span.start => 0,
            (true, k) => self.block.batch() + self.block.offset(k - 1) - self.base,
            (false, k) => k % 2 * self.block.batch(),
        }
    }

    /// Returns the rows of the states before and after step `t`, in the order of the walk.
    fn boundaries(&self, t: usize) -> (Range<usize>, Range<usize>) {
        let rows = |k: usize| self.boundary(k)..self.boundary(k) + self.block.alive(t);
        if self.reverse { (rows(t + 1), rows(t)) } else { (rows(t), rows(t + 1)) }
    }

    /// Returns the row of the state of sequence `r` when the walk is at boundary `k`. A step writes only the
    /// rows of the sequences alive, so the state of a sequence that is not alive there is at the boundary
    /// after its last step.
    fn place(&self, r: usize, k: usize) -> usize {
        self.boundary(self.block.length(r).clamp(self.span.start, k)) + r
    }

    /// Begins a span of steps from `states`, which have one row for each sequence.
    pub(crate) fn enter(&mut self, span: &Range<usize>, states: &mut [RowsMut<'_, T>; MAX_STATES]) {
        let time = self.block.time();
        self.span = span.start.min(time)..span.end.min(time);
        self.base = self.block.offset(self.span.start);
        let end = if self.reverse { self.span.end } else { self.span.start };
        self.for_each_state(end, states, |kept, state| kept.copy_from_slice(state));
    }

    /// Ends the span and sets `states` to those after it, in the order of the walk.
    pub(crate) fn leave(&mut self, states: &mut [RowsMut<'_, T>; MAX_STATES]) {
        let end = if self.reverse { self.span.start } else { self.span.end };
        self.for_each_state(end, states, |kept, state| state.copy_from_slice(kept));
    }

    /// Calls `f` with each state of each sequence when the walk is at boundary `k`, and with its row of
    /// `states`.
    fn for_each_state(
        &mut self,
        k: usize,
        states: &mut [RowsMut<'_, T>; MAX_STATES],
        f: impl Fn(&mut [T], &mut [T]),
    ) {
        for r in 0..self.block.batch() {
            let row = self.place(r, k);
            for (kept, state) in self.states.iter_mut().zip(states.iter_mut()) {
                f(kept.rows_mut(row..row + 1).row_mut(0), state.row_mut(r));
            }
        }
    }

    /// Begins a chunk of steps, and returns its gates for the product of the inputs. It must be called for
    /// each chunk, because a tape that holds one chunk moves to this one.
    pub(crate) fn begin_chunk(&mut self, steps: &Range<usize>) -> RowsMut<'_, T> {
        let rows = self.block.offset(steps.start)..self.block.offset(steps.end);
        if !self.keep {
            self.base = rows.start;
        }
        self.gates.rows_mut(rows.start - self.base..rows.end - self.base)
    }

    /// Calls `states` with each state's index and its rows before and after step `t`, and returns the rows
    /// of the gates and of the saved values. A caller puts them where they are read: a copy of all rows
    /// takes as long as a small step.
    #[inline(always)]
    pub(crate) fn rows_of<'s>(
        &'s mut self,
        t: usize,
        mut states: impl FnMut(usize, Rows<'s, T>, RowsMut<'s, T>),
    ) -> (RowsMut<'s, T>, RowsMut<'s, T>) {
        let (step, (before, after)) = (self.step(t), self.boundaries(t));
        for (s, state) in self.states.iter_mut().enumerate() {
            let (prev, next) = state.pair(before.clone(), after.clone());
            states(s, prev, next);
        }
        (self.gates.rows_mut(step.clone()), self.saved.rows_mut(step))
    }

    /// Returns the gates of step `t`, or after the backward pass ∂L/∂(W_ih x + b).
    pub(crate) fn gates(&self, t: usize) -> Rows<'_, T> {
        self.gates.rows(self.step(t))
    }

    /// Returns the gates of several steps.
    pub(crate) fn gates_of(&self, steps: &Range<usize>) -> Rows<'_, T> {
        let rows = self.block.offset(steps.start)..self.block.offset(steps.end);
        self.gates.rows(rows.start - self.base..rows.end - self.base)
    }

    /// Returns the values that step `t` saved in addition to the gates.
    pub(crate) fn saved(&self, t: usize) -> Rows<'_, T> {
        self.saved.rows(self.step(t))
    }

    /// Returns state `s` before step `t`, in the order of the walk.
    pub(crate) fn prev(&self, t: usize, s: usize) -> Rows<'_, T> {
        self.states[s].rows(self.boundaries(t).0)
    }

    /// Returns state `s` after step `t`, in the order of the walk.
    pub(crate) fn next(&self, t: usize, s: usize) -> Rows<'_, T> {
        self.states[s].rows(self.boundaries(t).1)
    }
}

/// The rows that one layer keeps.
#[derive(Debug)]
pub(crate) struct LayerTape<T: Float> {
    /// The layer's input in the tape's order, after dropout: [time, batch, width], or tokens
    /// [time, batch]. `None` if inference reads the caller's array.
    pub(crate) x: Option<Input<Array3<T>, Array2<usize>>>,
    /// The factors of dropout on the input, if there was any.
    pub(crate) mask: Option<Array3<T>>,
    pub(crate) directions: Vec<DirectionTape<T>>,
}

/// The rows that one direction of one layer keeps.
#[derive(Debug)]
pub(crate) struct DirectionTape<T: Float> {
    pub(crate) blocks: Vec<BlockTape<T>>,
    /// The number of threads that share the products of a block.
    pub(crate) threads: usize,
    /// The seed of this call's noise, if the cell has noise.
    pub(crate) noise: Option<u64>,
    /// The checkpoints: the states before each span, in the order of the walk, each [batch, width].
    pub(crate) checkpoints: Vec<Vec<Array2<T>>>,
}

/// The record of a [`forward_train`](super::Recurrent::forward_train), which
/// [`backward`](super::Recurrent::backward) consumes.
///
/// If it stores every step, [`gate`](Tape::gate) and [`state`](Tape::state) return the gates and states.
#[derive(Debug)]
pub struct Tape<T: Float> {
    pub(crate) order: Order,
    /// The length of each sequence, in the caller's order.
    pub(crate) lengths: Vec<usize>,
    pub(crate) gate_names: &'static [&'static str],
    pub(crate) state_names: &'static [&'static str],
    /// The widths of the rows, layer by layer and direction by direction.
    pub(crate) sizes: Vec<Sizes>,
    /// True if the initial state was the network's learned one.
    pub(crate) learned_initial: bool,
    /// The seed of recurrent dropout, if there was any.
    pub(crate) drop_seed: Option<u64>,
    pub(crate) keep: Recompute,
    pub(crate) layers: Vec<LayerTape<T>>,
}

impl<T: Float> Tape<T> {
    /// Sets `state` to the states before step `t`, or to the final state of a sequence that ends before.
    /// The tape must be one of a network of one direction that stores every step.
    pub(crate) fn state_before(&self, t: usize, state: &mut State<T>) {
        for (part, layer) in state.parts_mut().iter_mut().zip(&self.layers) {
            for tape in &layer.directions[0].blocks {
                for place in tape.block.places.clone() {
                    let row = tape.place(place - tape.block.places.start, t);
                    for (s, values) in part.iter_mut().enumerate() {
                        let from = tape.states[s].rows(row..row + 1);
                        let mut to = values.row_mut(self.order.sequence(place));
                        to.iter_mut().zip(from.row(0)).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        }
    }
}
