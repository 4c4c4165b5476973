//! Truncated backpropagation through time, TBPTT(k1, k2): training on a long sequence in windows.
//!
//! The loss of every k1 steps is propagated back through at most k2 ≥ k1 steps. The state is carried
//! from window to window, but its gradient is not. With k1 = k2 the windows do not overlap. Parameters
//! may be updated between windows.
//!
//! Source: Williams and Peng, *An Efficient Gradient-Based Algorithm for On-Line Training of
//! Recurrent Network Trajectories*, 1990.

use std::ops::Range;

use ndarray::{Array3, Axis, Slice};
use rand::Rng;

use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequence::{Recurrent, State, Tape};
use crate::sequences::Sequences;

/// A walk over long sequences, window by window, created by
/// [`Recurrent::truncated`](super::Recurrent::truncated).
#[derive(Clone, Debug)]
pub struct Truncated<'x, T> {
    x: &'x Sequences<T>,
    k1: usize,
    k2: usize,
    /// The first of the next window's own steps.
    own: usize,
    /// The first step of the next window.
    start: usize,
    /// The state before `start`.
    state: State<T>,
}

/// One window of a [`Truncated`] walk: the output of its own k1 steps, and a tape of up to k2 steps for
/// the backward pass.
#[derive(Debug)]
pub struct TruncatedWindow<T: Float> {
    steps: Range<usize>,
    output: Sequences<T>,
    /// The number of steps of the window before its own.
    before: usize,
    tape: Tape<T>,
}

impl<'x, T: Float> Truncated<'x, T> {
    pub(crate) fn new(
        x: &'x Sequences<T>,
        state: State<T>,
        (k1, k2): (usize, usize),
    ) -> Result<Self> {
        if k1 == 0 {
            return Err(Error::argument("k1", "at least 1", k1));
        }
        if k2 < k1 {
            return Err(Error::argument("k2", format!("at least {k1} (k1)"), k2));
        }
        Ok(Self { x, k1, k2, own: 0, start: 0, state })
    }

    /// Runs the next window with the current parameters of `network`. Returns none after the last step of
    /// the longest sequence. A sequence that has ended has no step in the windows after its end.
    ///
    /// Steps that an earlier window also computed get new dropout masks.
    ///
    /// # Errors
    /// If the sizes of `network` differ from those of the network that the walk began with.
    pub fn next<C: Cell<Elem = T>>(
        &mut self,
        network: &Recurrent<C>,
        rng: &mut dyn Rng,
    ) -> Result<Option<TruncatedWindow<T>>> {
        // After its longest sequence, a batch has padding alone.
        let time = self.x.lengths().iter().copied().max().unwrap_or(0);
        let own = self.own..time.min(self.own.saturating_add(self.k1));
        if own.is_empty() {
            return Ok(None);
        }
        let x = self.x.part(self.start..own.end)?;
        let (output, _, tape) = network.forward_train(&x, Some(&self.state), rng)?;
        let before = own.start - self.start;
        let output = output.part(before..before + own.len())?;
        let next_end = time.min(own.end.saturating_add(self.k1));
        let next_start = next_end.saturating_sub(self.k2).min(own.end);
        tape.state_before(next_start - self.start, &mut self.state);
        (self.own, self.start) = (own.end, next_start);
        Ok(Some(TruncatedWindow { steps: own, output, before, tape }))
    }
}

impl<T: Float> TruncatedWindow<T> {
    /// Returns the range of the window's own steps in the whole sequences.
    pub fn steps(&self) -> Range<usize> {
        self.steps.clone()
    }

    /// Returns the output of the window's own steps [steps, batch, output]. The lengths are those of the
    /// sequences within these steps.
    pub fn output(&self) -> &Sequences<T> {
        &self.output
    }

    /// Runs the backward pass through the window, from ∂L/∂output of its own steps [steps, batch, output].
    /// The gradients of the parameters are added to `grad`.
    ///
    /// # Errors
    /// If an argument does not fit the network or the window. `grad` is then unchanged.
    pub fn backward<C: Cell<Elem = T>>(
        self,
        network: &Recurrent<C>,
        d_output: &Sequences<T>,
        grad: &mut Recurrent<C>,
    ) -> Result<()> {
        let (steps, batch, width) = self.output.dim();
        let expected = ("steps, batch, output", [steps, batch, width]);
        d_output.check("d_output", expected, self.output.lengths())?;
        let mut d_all = Array3::zeros((self.before + steps, batch, width));
        d_all.slice_axis_mut(Axis(0), Slice::from(self.before..)).assign(d_output.values());
        let d_all = Sequences::new(d_all, self.tape.lengths.clone())?;
        network.backward(self.tape, &d_all, None, grad)?;
        Ok(())
    }
}
