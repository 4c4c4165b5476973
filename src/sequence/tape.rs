//! What a walk through time keeps: for backward when training, for the next step alone otherwise.
//!
//! A block's states stand at the boundaries between its steps: boundary 0 has a row for each
//! sequence, boundary t + 1 a row for each sequence alive at step t. A walk forward in time reads
//! boundary t and writes t + 1 at step t; a walk backward in time reads t + 1 and writes t. So one
//! layout serves both directions, and all states before all steps are slices of it.

use std::ops::Range;

use ndarray::{Array3, Axis};

use crate::cell::{Cell, MAX_STATES};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequence::lengths::{Block, Order};
use crate::sequence::state::{State, index_of};
use crate::tensor::{Aligned, Rows, RowsMut};

/// What one direction of one layer keeps of one block of sequences.
#[derive(Debug)]
pub(crate) struct BlockTape<T: Float> {
    block: Block,
    reverse: bool,
    /// Whether everything is kept, or only two boundaries and one chunk of steps.
    keep: bool,
    /// The first row of the chunk at hand, where not everything is kept.
    base: usize,
    gates: Buffer<T>,
    saved: Buffer<T>,
    states: Vec<Buffer<T>>,
}

/// Rows of one width, owned.
#[derive(Debug)]
struct Buffer<T: Float> {
    data: Aligned<T>,
    width: usize,
}

impl<T: Float> Buffer<T> {
    fn new(rows: usize, width: usize) -> Self {
        Self { data: Aligned::stale(rows * width), width }
    }

    fn rows(&self, rows: Range<usize>) -> Rows<'_, T> {
        Rows::new(&self.data[rows.start * self.width..rows.end * self.width], self.width)
    }

    fn rows_mut(&mut self, rows: Range<usize>) -> RowsMut<'_, T> {
        let data = &mut self.data[rows.start * self.width..rows.end * self.width];
        RowsMut::new(data, self.width)
    }

    /// Two ranges of rows that do not overlap, the first to read and the second to write.
    fn pair(&mut self, read: Range<usize>, write: Range<usize>) -> (Rows<'_, T>, RowsMut<'_, T>) {
        let width = self.width;
        let cut = read.start.max(write.start) * width;
        let (low, high) = self.data.split_at_mut(cut);
        let (read_len, write_len) = (read.len() * width, write.len() * width);
        let (read, write) = if read.start < write.start {
            (&low[read.start * width..][..read_len], &mut high[..write_len])
        } else {
            (&high[..read_len], &mut low[write.start * width..][..write_len])
        };
        (Rows::new(read, width), RowsMut::new(write, width))
    }
}

/// The rows of one step, of one block.
pub(crate) struct StepRows<'a, T> {
    pub(crate) prev: [Rows<'a, T>; MAX_STATES],
    pub(crate) next: [RowsMut<'a, T>; MAX_STATES],
    pub(crate) gates: RowsMut<'a, T>,
    pub(crate) saved: RowsMut<'a, T>,
}

impl<T: Float> BlockTape<T> {
    /// A tape for `block`; with `keep` of all steps, else of at most `chunk_rows` rows at a time.
    pub(crate) fn new<C: Cell<T>>(
        cell: &C,
        block: Block,
        reverse: bool,
        keep: bool,
        chunk_rows: usize,
    ) -> Self {
        let rows = if keep { block.rows() } else { chunk_rows };
        let boundary_rows = block.batch() + if keep { block.rows() } else { block.batch() };
        let state = |s| Buffer::new(boundary_rows, cell.state_size(s));
        Self {
            reverse,
            keep,
            base: 0,
            gates: Buffer::new(rows, cell.weight_ih().nrows()),
            saved: Buffer::new(rows, cell.saved_size()),
            states: (0..C::STATE.len()).map(state).collect(),
            block,
        }
    }

    pub(crate) fn block(&self) -> &Block {
        &self.block
    }

    /// The rows of step `t` among those of all steps, or of the chunk at hand.
    fn step(&self, t: usize) -> Range<usize> {
        let start = self.block.offset(t) - self.base;
        start..start + self.block.alive(t)
    }

    /// The first row of boundary `k`.
    fn boundary(&self, k: usize) -> usize {
        match (self.keep, k) {
            (true, 0) => 0,
            (true, k) => self.block.batch() + self.block.offset(k - 1),
            (false, k) => k % 2 * self.block.batch(),
        }
    }

    /// The rows of the states before and after step `t`, in the order of the walk.
    fn boundaries(&self, t: usize) -> (Range<usize>, Range<usize>) {
        let rows = |k: usize| self.boundary(k)..self.boundary(k) + self.block.alive(t);
        if self.reverse { (rows(t + 1), rows(t)) } else { (rows(t), rows(t + 1)) }
    }

    /// Begins a chunk of steps: its gates, for the input projection.
    pub(crate) fn begin_chunk(&mut self, steps: &Range<usize>) -> RowsMut<'_, T> {
        let rows = self.block.offset(steps.start)..self.block.offset(steps.end);
        self.base = if self.keep { 0 } else { rows.start };
        self.gates.rows_mut(rows.start - self.base..rows.end - self.base)
    }

    /// The states before step `t` of the sequences `entering` there, to be set.
    pub(crate) fn enter(&mut self, t: usize, entering: &Range<usize>, s: usize) -> RowsMut<'_, T> {
        let start = self.boundaries(t).0.start;
        self.states[s].rows_mut(start + entering.start..start + entering.end)
    }

    /// What a cell sees of step `t`.
    pub(crate) fn rows_of(&mut self, t: usize) -> StepRows<'_, T> {
        let (step, (before, after)) = (self.step(t), self.boundaries(t));
        let (mut prev, mut next) = ([Rows::default(); MAX_STATES], Default::default());
        let next_rows: &mut [RowsMut<'_, T>; MAX_STATES] = &mut next;
        for (s, state) in self.states.iter_mut().enumerate() {
            (prev[s], next_rows[s]) = state.pair(before.clone(), after.clone());
        }
        let saved = if self.saved.width == 0 { 0..0 } else { step.clone() };
        StepRows { prev, next, gates: self.gates.rows_mut(step), saved: self.saved.rows_mut(saved) }
    }

    /// Step `t`'s gates, or after backward their gradients.
    pub(crate) fn gates(&self, t: usize) -> Rows<'_, T> {
        self.gates.rows(self.step(t))
    }

    /// The gates of several steps.
    pub(crate) fn gates_of(&self, steps: &Range<usize>) -> Rows<'_, T> {
        self.gates.rows(self.block.offset(steps.start)..self.block.offset(steps.end))
    }

    /// What step `t` saved beside the gates.
    pub(crate) fn saved(&self, t: usize) -> Rows<'_, T> {
        if self.saved.width == 0 { Rows::default() } else { self.saved.rows(self.step(t)) }
    }

    /// State `s` before step `t`.
    pub(crate) fn prev(&self, t: usize, s: usize) -> Rows<'_, T> {
        self.states[s].rows(self.boundaries(t).0)
    }

    /// State `s` after step `t`.
    pub(crate) fn next(&self, t: usize, s: usize) -> Rows<'_, T> {
        self.states[s].rows(self.boundaries(t).1)
    }
}

/// What one layer keeps.
#[derive(Debug)]
pub(crate) struct LayerTape<T: Float> {
    /// The layer's input in the tape's order, [time, batch, width], after dropout.
    pub(crate) x: Array3<T>,
    /// The factors of dropout on the input, where there was any.
    pub(crate) mask: Option<Array3<T>>,
    /// For each direction, its blocks.
    pub(crate) directions: Vec<Vec<BlockTape<T>>>,
}

/// What [`forward_train`](super::Recurrent::forward_train) keeps for
/// [`backward`](super::Recurrent::backward): per step the gates, the states, and what else a cell
/// saves. Backward consumes it.
///
/// It also answers what the network did at each step: [`gate`](Tape::gate) and
/// [`state`](Tape::state).
#[derive(Debug)]
pub struct Tape<T: Float> {
    pub(crate) order: Order,
    pub(crate) gate_names: &'static [&'static str],
    pub(crate) state_names: &'static [&'static str],
    /// What the network's tapes must be like.
    pub(crate) widths: Vec<Vec<usize>>,
    /// Whether the initial state was the network's own, learned one.
    pub(crate) learned_initial: bool,
    pub(crate) layers: Vec<LayerTape<T>>,
}

impl<T: Float> Tape<T> {
    /// The activated gate `name` (`i f g o` of an LSTM, `r z n` of a GRU) of one layer and
    /// direction at each step, [time, batch, hidden]; zero in the padding.
    pub fn gate(&self, name: &str, layer: usize, reverse: bool) -> Result<Array3<T>> {
        let (names, gate) = (self.gate_names, index_of(self.gate_names, name)?);
        self.collect(layer, reverse, |tape, t| {
            let gates = tape.gates(t);
            let width = gates.width() / names.len();
            gates.columns(gate * width..(gate + 1) * width)
        })
    }

    /// The state `name` (`h`, or `c` of an LSTM) of one layer and direction after each step,
    /// [time, batch, width]; zero in the padding.
    pub fn state(&self, name: &str, layer: usize, reverse: bool) -> Result<Array3<T>> {
        let s = index_of(self.state_names, name)?;
        self.collect(layer, reverse, |tape, t| tape.next(t, s))
    }

    /// Sets `state` to that of each sequence before step `t` of a walk forward in time; where a
    /// sequence has no step it is left as it is.
    pub(crate) fn state_before(&self, t: usize, state: &mut State<T>) {
        for (part, layer) in state.parts_mut().iter_mut().zip(&self.layers) {
            for tape in &layer.directions[0] {
                for place in tape.block.places.clone() {
                    let length = self.order.length(place);
                    if length == 0 {
                        continue;
                    }
                    for (s, values) in part.iter_mut().enumerate() {
                        let row = tape.boundary(t.min(length)) + place - tape.block.places.start;
                        let from = tape.states[s].rows(row..row + 1);
                        let mut to = values.row_mut(self.order.sequence(place));
                        to.iter_mut().zip(from.row(0)).for_each(|(to, &from)| *to = from);
                    }
                }
            }
        }
    }

    /// The input of `layer` [time, batch, width], after dropout.
    pub fn input(&self, layer: usize) -> Result<Array3<T>> {
        let tape = self.layer(layer)?;
        Ok(self.order.unsorted(tape.x.clone(), Axis(1)))
    }

    fn layer(&self, layer: usize) -> Result<&LayerTape<T>> {
        self.layers.get(layer).ok_or_else(|| {
            Error::argument("layer", format!("less than {}", self.layers.len()), layer)
        })
    }

    fn collect(
        &self,
        layer: usize,
        reverse: bool,
        rows_of: impl for<'a> Fn(&'a BlockTape<T>, usize) -> Rows<'a, T>,
    ) -> Result<Array3<T>> {
        let directions = &self.layer(layer)?.directions;
        let Some(tapes) = directions.get(usize::from(reverse)) else {
            return Err(Error::argument("reverse", "false: the layer has one direction", reverse));
        };
        let width = tapes.first().map_or(0, |tape| rows_of(tape, 0).width());
        let mut all = Array3::zeros((self.order.time(), self.order.batch(), width));
        for tape in tapes {
            for t in 0..tape.block.time() {
                let mut step = all.index_axis_mut(Axis(0), t);
                let to = step.rows_mut().into_iter().skip(tape.block.places.start);
                for (mut to, from) in to.zip(rows_of(tape, t).iter()) {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        }
        Ok(self.order.unsorted(all, Axis(1)))
    }
}
