//! [`Stream`]: one time step at a time, from weights that are packed once.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use crate::cell::step::Noise;
use crate::cell::{ForwardStep, MAX_STATES};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequence::direction::Weights;
use crate::sequence::io::state_rows;
use crate::sequence::network::{ENGINE, Network};
use crate::sequence::state::State;
use crate::sequences::{Input, check_tokens};
use crate::tensor::{Rows, RowsMut};

/// A network that reads its sequences step by step, made by
/// [`Recurrent::stream`](super::Recurrent::stream).
///
/// Its outputs equal those of [`forward`](super::Recurrent::forward) over the whole sequence, bit
/// for bit. A step allocates nothing. [`snapshot`](Stream::snapshot) and
/// [`restore`](Stream::restore) copy the state alone; a [`fork`](Stream::fork) goes on by itself.
pub struct Stream<'m, T: Float> {
    plan: Arc<Plan<'m, T>>,
    state: State<T>,
    next: State<T>,
    /// Memory for an input that is not contiguous, and for each layer's step.
    x: Vec<T>,
    gates: Vec<Vec<T>>,
    saved: Vec<Vec<T>>,
    /// The output of each layer that adds its input to its state.
    outputs: Vec<Option<Array2<T>>>,
}

/// A network and its packed weights.
struct Plan<'m, T: Float> {
    network: Network<'m, T>,
    weights: Vec<Weights<'m, T>>,
}

impl<T: Float> std::fmt::Debug for Stream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<'m, T: Float> Stream<'m, T> {
    pub(crate) fn new(network: Network<'m, T>, batch: usize) -> Result<Self> {
        if network.directions != 1 {
            let expected = "a network of one direction: backward in time needs the whole sequence";
            return Err(Error::argument("bidirectional", expected, true));
        }
        let weights = network.pack();
        weights.iter().for_each(|weights| _ = weights.input.packed());
        let rows = |width: usize| vec![T::zero(); batch * width];
        let sizes = network.sizes.iter();
        let output =
            |(layer, width)| network.adds_input(layer).then(|| Array2::zeros((batch, width)));
        let state = network.initial_state(batch);
        Ok(Self {
            next: state.clone(),
            state,
            x: rows(network.input_size()),
            gates: sizes.clone().map(|sizes| rows(sizes.gates)).collect(),
            saved: sizes.clone().map(|sizes| rows(sizes.saved)).collect(),
            outputs: sizes.map(|sizes| sizes.output()).enumerate().map(output).collect(),
            plan: Arc::new(Plan { network, weights }),
        })
    }

    /// One step of all layers: from `x_t` [batch, input] to the output [batch, hidden].
    ///
    /// # Errors
    /// Where the shape of `x_t` does not fit; the state is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<ArrayView2<'_, T>> {
        let expected = [self.state.batch(), self.plan.network.input_size()];
        check_shape("x_t", "batch, input", &expected, x_t.shape())?;
        let rows = x_t.to_slice();
        if rows.is_none() {
            self.x.iter_mut().zip(&x_t).for_each(|(to, &from)| *to = from);
        }
        Ok(self.advance(rows.map(Input::Dense)))
    }

    /// [`step`](Stream::step) of one-hot inputs, by one token for each sequence: the place of its one.
    ///
    /// # Errors
    /// Where there is not one token for each sequence, or one is not less than the input's width; the
    /// state is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<ArrayView2<'_, T>> {
        check_shape("tokens", "batch", &[self.state.batch()], &[tokens.len()])?;
        let places = tokens.iter().enumerate().map(|(b, &token)| ([b], token));
        check_tokens(places, self.plan.network.input_size(), "input")?;
        Ok(self.advance(Some(Input::Tokens(tokens))))
    }

    /// Advances all layers, from `x_t` or from the values in `x`.
    fn advance(&mut self, x_t: Option<Input<&[T], &[usize]>>) -> ArrayView2<'_, T> {
        (T::pick(&ENGINE).advance)(self, x_t);
        std::mem::swap(&mut self.state, &mut self.next);
        self.output()
    }

    /// The output of the last step, [batch, hidden]; before the first, the initial state, or zeros of a
    /// residual network.
    pub fn output(&self) -> ArrayView2<'_, T> {
        let last = self.outputs.len() - 1;
        self.outputs[last].as_ref().unwrap_or(&self.state.parts()[last][0]).view()
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
            plan: self.plan.clone(),
            state: self.state.clone(),
            next: self.next.clone(),
            x: self.x.clone(),
            gates: self.gates.clone(),
            saved: self.saved.clone(),
            outputs: self.outputs.clone(),
        }
    }

    /// Computes the step of each layer, from the states to the next ones.
    pub(crate) fn step_layers(&mut self, x_t: Option<Input<&[T], &[usize]>>) {
        let Plan { network, weights } = &*self.plan;
        let width = network.input_size();
        let mut x = match x_t.unwrap_or(Input::Dense(&self.x)) {
            Input::Dense(x) => Input::Dense(Rows::new(x, width)),
            Input::Tokens(tokens) => Input::Tokens(tokens),
        };
        let above = self.next.parts_mut().iter_mut().zip(&mut self.outputs);
        for (k, (next, output)) in above.enumerate() {
            let (state, weights) = (&self.state.parts()[k], &weights[k]);
            let (gates, saved) = (&mut self.gates[k], &mut self.saved[k]);
            let direction = network.direction(k);
            let sizes = direction.sizes;
            weights.input.product(x, RowsMut::new(gates, sizes.gates));
            let mut prev = [Rows::default(); MAX_STATES];
            for s in 0..state.len() {
                prev[s] = Rows::of(&state[s]);
            }
            let mut step = ForwardStep {
                level: network.level,
                prev,
                next: state_rows(next),
                gates: RowsMut::new(gates, sizes.gates),
                saved: RowsMut::new(saved, sizes.saved),
                product: None,
                noise: Noise { seed: None, t: 0, place: 0 },
            };
            direction.step_forward(&weights.recurrent, &mut step);
            let h = Rows::of(&next[0]);
            x = Input::Dense(match (x, output) {
                (Input::Dense(below), Some(sums)) => {
                    let (h, below) = (h.contiguous(), below.contiguous());
                    let sums_and_values = sums.iter_mut().zip(h).zip(below);
                    sums_and_values.for_each(|((sum, &h), &x)| *sum = h + x);
                    Rows::of(&*sums)
                }
                _ => h,
            });
        }
    }
}
