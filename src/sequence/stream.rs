//! [`Stream`]: one time step at a time, from weights that are packed once.

use ndarray::{Array2, ArrayView2};

use crate::cell::{Cell, ForwardStep, MAX_STATES};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::state::State;
use crate::sequence::unroll::{Weights, flush, state_rows, step_forward};
use crate::sequence::zoneout::Zoneout;
use crate::sequences::check_tokens;
use crate::tensor::one_hot::Operand;
use crate::tensor::{Level, Rows, RowsMut, Simd, Start, dispatch};

/// A network that reads its sequences step by step, made by
/// [`Recurrent::stream`](super::Recurrent::stream).
///
/// Its outputs equal those of [`forward`](super::Recurrent::forward) over the whole sequence, bit
/// for bit. A step allocates nothing. [`snapshot`](Stream::snapshot) and
/// [`restore`](Stream::restore) copy the state alone; a [`fork`](Stream::fork) goes on by itself.
#[derive(Debug)]
pub struct Stream<'m, T: Float, C: Cell<T>> {
    network: &'m Recurrent<T, C>,
    level: Level,
    layers: std::sync::Arc<Vec<Weights<'m, T, C::Packed>>>,
    state: State<T>,
    next: State<T>,
    /// Memory for an input that is not contiguous, and for each layer's step.
    x: Vec<T>,
    gates: Vec<Vec<T>>,
    saved: Vec<Vec<T>>,
    /// The output of each layer that adds its input to its state.
    outputs: Vec<Array2<T>>,
    /// With zoneout, what the cells make of the states.
    made: Option<State<T>>,
}

impl<'m, T: Float, C: Cell<T>> Stream<'m, T, C> {
    pub(crate) fn new(network: &'m Recurrent<T, C>, batch: usize) -> Result<Self> {
        if network.directions != 1 {
            let expected = "a network of one direction: backward in time needs the whole sequence";
            return Err(Error::argument("bidirectional", expected, true));
        }
        let level = Level::new();
        let layers = dispatch!(level, simd => network.pack(simd));
        dispatch!(level, simd => layers.iter().for_each(|layer| _ = layer.input.packed(simd)));
        let rows = |width: usize| vec![T::zero(); batch * width];
        let state = network.initial_state(batch);
        let width = |layer: usize| {
            let adds = network.adds_input(layer);
            if adds { network.cells[layer].state_size(0) } else { 0 }
        };
        let outputs = (0..network.cells.len()).map(|layer| Array2::zeros((batch, width(layer))));
        Ok(Self {
            network,
            level,
            layers: layers.into(),
            made: network.zoneout.map(|_| state.clone()),
            next: state.clone(),
            state,
            x: rows(network.input_size()),
            gates: network.cells.iter().map(|cell| rows(cell.weight_ih().nrows())).collect(),
            saved: network.cells.iter().map(|cell| rows(cell.saved_size())).collect(),
            outputs: outputs.collect(),
        })
    }

    /// One step of all layers: from `x_t` [batch, input] to the output [batch, hidden].
    ///
    /// # Errors
    /// Where the shape of `x_t` does not fit; the state is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<ArrayView2<'_, T>> {
        let expected = [self.state.batch(), self.network.input_size()];
        check_shape("x_t", "batch, input", &expected, x_t.shape())?;
        let rows = x_t.to_slice();
        if rows.is_none() {
            self.x.iter_mut().zip(&x_t).for_each(|(to, &from)| *to = from);
        }
        let width = self.network.input_size();
        Ok(self.advance(rows.map(|rows| Operand::Rows(Rows::new(rows, width)))))
    }

    /// [`step`](Stream::step) of one-hot inputs, by one token for each sequence: the place of its one.
    ///
    /// # Errors
    /// Where there is not one token for each sequence, or one is not less than the input's width; the
    /// state is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<ArrayView2<'_, T>> {
        check_shape("tokens", "batch", &[self.state.batch()], &[tokens.len()])?;
        let places = tokens.iter().enumerate().map(|(b, &token)| ([b], token));
        check_tokens(places, self.network.input_size(), "input")?;
        Ok(self.advance(Some(Operand::OneHot(tokens))))
    }

    /// One step, from `x_t` or from what stands in `x`.
    fn advance(&mut self, x_t: Option<Operand<'_, T>>) -> ArrayView2<'_, T> {
        dispatch!(self.level, simd => self.step_layers(simd, x_t));
        std::mem::swap(&mut self.state, &mut self.next);
        self.output()
    }

    /// The output of the last step, [batch, hidden]; before the first, the initial state, or zeros of a
    /// residual network.
    pub fn output(&self) -> ArrayView2<'_, T> {
        let (last, parts) = (self.network.cells.len() - 1, self.state.parts());
        let adds = self.network.adds_input(last);
        if adds { self.outputs[last].view() } else { parts[last][0].view() }
    }

    /// A copy of the state, to go back to.
    pub fn snapshot(&self) -> State<T> {
        self.state.clone()
    }

    /// Goes on from `state`: a [`snapshot`](Stream::snapshot), or the final state of a sequence.
    ///
    /// # Errors
    /// Where it is the state of another network or batch; this one's is then as before.
    pub fn restore(&mut self, state: &State<T>) -> Result<()> {
        state.check_like("state", &self.state, self.state.batch())?;
        let states = self.state.parts_mut().iter_mut().flatten();
        states.zip(state.parts().iter().flatten()).for_each(|(to, from)| to.assign(from));
        Ok(())
    }

    /// Another stream that goes on from here by itself; it shares the packed weights.
    pub fn fork(&self) -> Self {
        Self {
            layers: self.layers.clone(),
            state: self.state.clone(),
            next: self.next.clone(),
            x: self.x.clone(),
            gates: self.gates.clone(),
            saved: self.saved.clone(),
            outputs: self.outputs.clone(),
            made: self.made.clone(),
            ..*self
        }
    }

    fn step_layers<S: Simd>(&mut self, simd: S, x_t: Option<Operand<'_, T>>) {
        let width = self.network.input_size();
        let mut x = x_t.unwrap_or(Operand::Rows(Rows::new(&self.x, width)));
        let layers = self.network.cells.iter().zip(self.layers.iter());
        let states = self.state.parts().iter().zip(self.next.parts_mut());
        let buffers = self.gates.iter_mut().zip(&mut self.saved).zip(&mut self.outputs);
        let zoneout = self.network.zoneout.map(|p| Zoneout { p, seed: None });
        for (k, (((cell, weights), (state, next)), ((gates, saved), output))) in
            layers.zip(states).zip(buffers).enumerate()
        {
            let gate_width = cell.weight_ih().nrows();
            weights.input.product(simd, x, RowsMut::new(gates, gate_width));
            let mut prev_rows = [Rows::default(); MAX_STATES];
            for (s, (rows, state)) in prev_rows.iter_mut().zip(state).enumerate() {
                *rows = Rows::new(state.as_slice().unwrap_or_default(), cell.state_size(s));
            }
            let (states, mut next_rows) = (C::STATE.len(), state_rows(next));
            let made = self.made.as_mut().map(|made| &mut made.parts_mut()[k][..]);
            let mut made = state_rows(made.unwrap_or_default());
            let writes = if zoneout.is_some() { &mut made } else { &mut next_rows };
            let step = ForwardStep {
                prev: &prev_rows[..states],
                next: &mut writes[..states],
                input: Start::Output,
                gates: RowsMut::new(gates, gate_width),
                saved: RowsMut::new(saved, cell.saved_size()),
            };
            step_forward(simd, cell, &weights.recurrent, step);
            if let Some(zoneout) = zoneout {
                zoneout.mix((0, 0), &prev_rows, &made[..states], &mut next_rows[..states]);
                flush(simd, &mut next_rows[..states]);
            }
            let (width, mut h) = (cell.state_size(0), next[0].as_slice().unwrap_or_default());
            let sums = output.as_slice_mut().filter(|sums| !sums.is_empty());
            if let (Operand::Rows(below), Some(sums)) = (x, sums) {
                let below = below.contiguous();
                sums.iter_mut().zip(h).zip(below).for_each(|((sum, &h), &x)| *sum = h + x);
                h = sums;
            }
            x = Operand::Rows(Rows::new(h, width));
        }
    }
}
