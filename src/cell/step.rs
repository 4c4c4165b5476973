//! The rows that a cell reads and writes: of one step, and of all steps for the gradients.

use std::ops::Range;

use crate::cell::MAX_STATES;
use crate::float::Float;
use crate::sequences::Input;
use crate::tensor::{
    Accumulate, Level, Operands, Packed, RowRefs, Rows, RowsMut, product, product_then,
};

/// The key of a step's noise. The same key gives the same noise, forward and backward.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Noise {
    /// The seed of the call, or `None` if nothing is drawn.
    pub(crate) seed: Option<u64>,
    /// The step.
    pub(crate) t: usize,
    /// The place of the first row's sequence in the batch.
    pub(crate) place: usize,
}

/// The rows of [`Cell::forward`](super::Cell::forward). States that a cell does not have are empty.
#[derive(Debug)]
pub struct ForwardStep<'a, T: Float> {
    /// The instruction set.
    pub level: Level,
    /// The states before the step.
    pub prev: [Rows<'a, T>; MAX_STATES],
    /// The states after the step.
    pub next: [RowsMut<'a, T>; MAX_STATES],
    /// In: W_ih x + b, after [`input`](Self::input). Out: the activated gates.
    pub gates: RowsMut<'a, T>,
    /// Out: further values for `backward`.
    pub saved: RowsMut<'a, T>,
    /// The operands of W_ih x and the values that it is added to, unless `gates` holds the sum already.
    pub(crate) product: Option<(Operands<'a, T>, Accumulate<'a, T>)>,
    pub(crate) noise: Noise,
}

/// A block of a step: some of its rows, and some units of each gate.
#[derive(Debug)]
pub struct Block<'a, T: Float> {
    /// The units: columns of each gate, and of a state as wide as a gate.
    pub units: Range<usize>,
    /// The states before the step.
    pub prev: [Rows<'a, T>; MAX_STATES],
    /// The states after the step.
    pub next: [RowsMut<'a, T>; MAX_STATES],
    /// In: the gates' sums. Out: the activated gates.
    pub gates: RowsMut<'a, T>,
    /// Out: further values for `backward`.
    pub saved: RowsMut<'a, T>,
}

impl<T: Float> Block<'_, T> {
    /// Reborrows the rows.
    pub fn reborrow(&mut self) -> Block<'_, T> {
        let Self { units, prev, next, gates, saved } = self;
        Block {
            units: units.clone(),
            prev: *prev,
            next: reborrow(next),
            gates: gates.reborrow(),
            saved: saved.reborrow(),
        }
    }
}

impl<T: Float> ForwardStep<'_, T> {
    /// Creates a step without rows. A step is filled where it lies: a copy costs as much as a small step.
    #[inline(always)]
    pub(crate) fn new(level: Level, noise: Noise) -> Self {
        let (prev, next, gates, saved) = Default::default();
        Self { level, prev, next, gates, saved, product: None, noise }
    }

    /// Reborrows the rows. Call [`input`](Self::input) or [`sum_gates`](Self::sum_gates) either on the
    /// original or on the reborrowed step, not on both.
    pub fn reborrow(&mut self) -> ForwardStep<'_, T> {
        let next = reborrow(&mut self.next);
        let (gates, saved) = (self.gates.reborrow(), self.saved.reborrow());
        ForwardStep { next, gates, saved, ..*self }
    }

    /// Writes W_ih x + b to `gates`.
    pub fn input(&mut self) {
        if let Some((Operands { rows, weights }, start)) = self.product.take() {
            product(rows, weights, start, self.gates.reborrow());
        }
    }

    /// Writes W_ih x + b + W_hh `prev[0]` to `gates` and calls `epilogue` with each block of it, while
    /// the block is still in the first-level cache.
    pub fn sum_gates(
        &mut self,
        weight_hh: &Packed<T>,
        mut epilogue: impl for<'b> FnMut(Level, &'b mut Block<'b, T>),
    ) {
        let Self { level, prev, next, gates, saved, product, .. } = self;
        let (first, start) = product.take().unzip();
        let start = start.unwrap_or(Accumulate::Output);
        let last = Operands { rows: prev[0], weights: weight_hh };
        product_then(first, last, start, gates.reborrow(), &mut |rows, units, gates| {
            let mut block = Block {
                units,
                prev: range(prev, &rows),
                next: range_mut(next, &rows),
                gates: gates.range_mut(rows.clone()),
                saved: saved.range_mut(rows),
            };
            epilogue(*level, &mut block);
        });
    }
}

/// The rows of [`Cell::backward`](super::Cell::backward). States that a cell does not have are empty.
#[derive(Debug)]
pub struct BackwardStep<'a, T> {
    /// The instruction set.
    pub level: Level,
    /// The states before the step.
    pub prev: [Rows<'a, T>; MAX_STATES],
    /// The states after the step.
    pub next: [Rows<'a, T>; MAX_STATES],
    /// In: the values of `forward`. Out: ∂L/∂(W_ih x + b).
    pub gates: RowsMut<'a, T>,
    /// In: the values of `forward`. Out: values for `accumulate`.
    pub saved: RowsMut<'a, T>,
    /// In: ∂L/∂`next`. Out: ∂L/∂`prev`.
    pub d_state: [RowsMut<'a, T>; MAX_STATES],
    /// In: the same ∂L/∂`next`, or no values if nobody asks for them. Out, of the states that the output is
    /// computed from: the sum with the gradient through the output, for
    /// [`StepGradients`](crate::StepGradients). [`Lanes::record`](crate::tensor::Lanes::record) writes it.
    pub total: [RowsMut<'a, T>; MAX_STATES],
    pub(crate) noise: Noise,
}

impl<T: Float> BackwardStep<'_, T> {
    /// Creates a step without rows.
    #[inline(always)]
    pub(crate) fn new(level: Level, noise: Noise) -> Self {
        let (prev, next, gates, saved, d_state, total) = Default::default();
        Self { level, prev, next, gates, saved, d_state, total, noise }
    }

    /// Writes W_hhᵀ d_a to `d_state[0]`, where d_a is the gradient in `gates`. This is ∂L/∂`prev[0]` if
    /// the step uses h' in the product with W_hh alone.
    pub fn multiply_gates(&mut self, weight_hh: &Packed<T>) {
        let d_h = self.d_state[0].reborrow();
        product(self.gates.as_rows(), weight_hh, Accumulate::Zero, d_h);
    }

    /// Reborrows the rows.
    pub fn reborrow(&mut self) -> BackwardStep<'_, T> {
        BackwardStep {
            gates: self.gates.reborrow(),
            saved: self.saved.reborrow(),
            d_state: reborrow(&mut self.d_state),
            total: reborrow(&mut self.total),
            ..*self
        }
    }
}

/// The states of a step.
type States<'a, T> = [Rows<'a, T>; MAX_STATES];
type StatesMut<'a, T> = [RowsMut<'a, T>; MAX_STATES];

/// Reborrows the rows of each state. This and the two functions below do not use `map`, because on an
/// array it compiles to a loop through memory.
#[inline(always)]
pub(crate) fn reborrow<'s, T>([a, b, c, d]: &'s mut StatesMut<'_, T>) -> StatesMut<'s, T> {
    [a.reborrow(), b.reborrow(), c.reborrow(), d.reborrow()]
}

/// Returns some rows of each state.
#[inline(always)]
fn range<'a, T: Float>(&[a, b, c, d]: &States<'a, T>, rows: &Range<usize>) -> States<'a, T> {
    [a.range(rows.clone()), b.range(rows.clone()), c.range(rows.clone()), d.range(rows.clone())]
}

/// Reborrows some rows of each state.
#[inline(always)]
fn range_mut<'s, T>(
    [a, b, c, d]: &'s mut StatesMut<'_, T>,
    rows: &Range<usize>,
) -> StatesMut<'s, T> {
    let rows = || rows.clone();
    [a.range_mut(rows()), b.range_mut(rows()), c.range_mut(rows()), d.range_mut(rows())]
}

/// The rows of some steps of a call, for [`Cell::accumulate`](super::Cell::accumulate).
///
/// All methods return the rows in the same order, from the step walked last to the first.
pub struct Steps<'a, T> {
    pub(crate) level: Level,
    pub(crate) window: &'a dyn Window<T>,
}

/// The source of [`Steps`].
pub(crate) trait Window<T> {
    fn x(&self) -> Input<RowRefs<'_, T>, Vec<usize>>;
    fn d_gates(&self) -> RowRefs<'_, T>;
    fn saved(&self) -> RowRefs<'_, T>;
    fn prev(&self, state: usize) -> RowRefs<'_, T>;
    fn next(&self, state: usize) -> RowRefs<'_, T>;
}

impl<'a, T> Steps<'a, T> {
    /// Returns the instruction set.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Returns the inputs, for the gradient of W_ih ([`Input::add_outer_products`]).
    pub fn x(&self) -> Input<RowRefs<'a, T>, Vec<usize>> {
        self.window.x()
    }

    /// Returns the `gates` of `backward`: ∂L/∂(W_ih x + b).
    pub fn d_gates(&self) -> RowRefs<'a, T> {
        self.window.d_gates()
    }

    /// Returns the `saved` of `backward`.
    pub fn saved(&self) -> RowRefs<'a, T> {
        self.window.saved()
    }

    /// Returns state `index` before each step.
    pub fn prev(&self, index: usize) -> RowRefs<'a, T> {
        self.window.prev(index)
    }

    /// Returns state `index` after each step.
    pub fn next(&self, index: usize) -> RowRefs<'a, T> {
        self.window.next(index)
    }
}
