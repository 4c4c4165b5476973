//! A cell as a trait object, so that the engine is compiled once for all cells.

use ndarray::{Array1, ArrayView2};

use super::{BackwardStep, Cell, ForwardStep, MAX_STATES, Steps};
use crate::float::Float;
use crate::tensor::{Level, Packed};

/// The widths of the rows of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sizes {
    pub(crate) input: usize,
    pub(crate) gates: usize,
    /// The number of gates in the width `gates`.
    pub(crate) gate_count: usize,
    pub(crate) saved: usize,
    pub(crate) state: [usize; MAX_STATES],
    pub(crate) state_count: usize,
}

impl Sizes {
    pub(crate) fn of<T: Float, C: Cell<Elem = T>>(cell: &C) -> Self {
        let (gates, input) = cell.weights().weight_ih.dim();
        let state_count = cell.states().len();
        let width = |s| if s < state_count { cell.state_size(s) } else { 0 };
        let state = std::array::from_fn(width);
        let (saved, gate_count) = (cell.saved_size(), cell.gates().len());
        Self { input, gates, gate_count, saved, state, state_count }
    }

    /// Returns the widths of the states.
    pub(crate) fn states(&self) -> &[usize] {
        &self.state[..self.state_count]
    }

    /// Returns the width of the widest row.
    pub(crate) fn widest(&self) -> usize {
        let widths = [self.input, self.gates, self.saved].into_iter().chain(self.state);
        widths.max().unwrap_or(0)
    }

    /// Returns the width of the output, which is the first state.
    pub(crate) fn output(&self) -> usize {
        self.state[0]
    }
}

/// [`Cell`] without its associated types and constants, for trait objects.
pub(crate) trait AnyCell<'m, T: Float>: Send + Sync {
    fn sizes(&self) -> Sizes;
    fn weight_ih(&self) -> ArrayView2<'m, T>;
    fn input_bias(&self) -> Option<Array1<T>>;
    fn pack_forward(&self, level: Level) -> Vec<Packed<T>>;
    fn pack_backward(&self, level: Level) -> Vec<Packed<T>>;
    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>);
    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>);

    /// Adds the gradients of the parameters to `grad`. A cell that wraps another changes the steps first.
    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut dyn AnyGradient<T>) {
        grad.accumulate(steps);
    }
}

/// A cell as [`AnyCell`].
pub(crate) struct Typed<'m, C> {
    pub(crate) cell: &'m C,
    /// The cell with recurrent dropout applied to its weights, if there is any.
    pub(crate) dropped: Option<C>,
}

impl<C> Typed<'_, C> {
    /// Returns the cell with the weights that the call uses.
    fn seen(&self) -> &C {
        self.dropped.as_ref().unwrap_or(self.cell)
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> AnyCell<'m, T> for Typed<'m, C> {
    fn sizes(&self) -> Sizes {
        Sizes::of(self.cell)
    }

    fn weight_ih(&self) -> ArrayView2<'m, T> {
        self.cell.weights().weight_ih.view()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        self.seen().input_bias()
    }

    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        self.seen().pack_forward(level)
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        self.seen().pack_backward(level)
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        self.seen().forward(packed, step);
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        self.seen().backward(packed, step);
    }
}

/// A cell and its gradient, for trait objects.
pub(crate) trait AnyGradient<T: Float> {
    /// Runs [`Cell::accumulate`].
    fn accumulate(&mut self, steps: &Steps<'_, T>);
}

/// A cell and its gradient.
pub(crate) struct Gradient<'a, C> {
    pub(crate) cell: &'a C,
    pub(crate) grad: &'a mut C,
}

impl<T: Float, C: Cell<Elem = T>> AnyGradient<T> for Gradient<'_, C> {
    fn accumulate(&mut self, steps: &Steps<'_, T>) {
        self.cell.accumulate(steps, self.grad);
    }
}
