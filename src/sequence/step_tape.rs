//! [`StepTape`]: a tape of training that grows step by step, and its backward pass.
//!
//! States are stored at boundaries, as in a [`Tape`](super::Tape), but for all layers together: boundary t
//! has the states before step t. Each step has its own arrays. The arithmetic and its order are those of
//! a whole sequence, so the bits are the same.

use ndarray::{Array2, ArrayView2};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::cell::any::Sizes;
use crate::cell::step::{Noise, Window};
use crate::cell::{BackwardStep, ForwardStep, Steps};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequence::direction::Weights;
use crate::sequence::engine::Grads;
use crate::sequence::io::{set_rows, set_rows_mut};
use crate::sequence::network::{Network, Seeds, dropout_rng};
use crate::sequence::state::State;
use crate::sequences::Input;
use crate::tensor::random::dropout_factors;
use crate::tensor::reduce::add_rows;
use crate::tensor::{RowRefs, Rows, RowsMut};

/// The input of one step: rows, or a token for each row.
pub(crate) type StepInput<'a, T> = Input<ArrayView2<'a, T>, &'a [usize]>;

/// A network, its packed weights, and the rows of every step so far.
pub(crate) struct StepTape<'m, T: Float> {
    network: Network<'m, T>,
    weights: Vec<Weights<'m, T>>,
    /// The seed of the cells' noise, if they have noise.
    noise: Option<u64>,
    /// The random number generator of the dropout factors of each layer's output, except for the last
    /// layer. Empty without dropout.
    dropout: Vec<ChaCha8Rng>,
    /// The states at each boundary: before the first step, and after each step.
    states: Vec<State<T>>,
    /// The rows of each layer at each step.
    steps: Vec<Vec<LayerStep<T>>>,
    /// The output of the last step.
    output: Array2<T>,
}

/// The rows of one layer at one step.
struct LayerStep<T> {
    x: Input<Array2<T>, Vec<usize>>,
    /// The factors of dropout that `x` has been multiplied by.
    mask: Option<Array2<T>>,
    /// The gates, or after the backward pass their gradients.
    gates: Array2<T>,
    saved: Array2<T>,
}

impl<'m, T: Float> StepTape<'m, T> {
    /// Begins a tape with `initial`, or with the learned initial state or zeros if none is given. The
    /// seeds are drawn from `rng` as in a forward pass over a whole sequence.
    pub(crate) fn new(
        network: Network<'m, T>,
        batch: usize,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        network.check_one_direction()?;
        network.check_batch(batch)?;
        let state = network.initial_state(initial, batch)?;
        let Seeds { noise, dropout } = network.draw_seeds(rng);
        let last = network.num_layers() - 1;
        let of_layer = |seed: u64| (0..last).map(move |layer| dropout_rng(seed, layer));
        let dropout = dropout.into_iter().flat_map(of_layer).collect();
        let h = &state.parts()[last][0];
        let output = if network.adds_input(last) { Array2::zeros(h.dim()) } else { h.clone() };
        let weights = network.pack();
        let steps = Vec::new();
        Ok(Self { network, weights, noise, dropout, states: vec![state], steps, output })
    }

    /// Returns the states after the last step.
    pub(crate) fn state(&self) -> &State<T> {
        &self.states[self.steps.len()]
    }

    pub(crate) fn output(&self) -> ArrayView2<'_, T> {
        self.output.view()
    }

    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    fn noise(&self, t: usize, k: usize) -> Noise {
        Noise { seed: self.noise.map(|seed| seed.wrapping_add(k as u64)), t, place: 0 }
    }

    /// Fails if `x_t` is dense and the first step had tokens, or the reverse.
    fn check_kind(&self, x_t: StepInput<'_, T>) -> Result<()> {
        let (kind, tokens) = ("rows or tokens at all steps", matches!(x_t, Input::Tokens(_)));
        match self.steps.first().map(|layers| matches!(layers[0].x, Input::Tokens(_))) {
            Some(first) if first != tokens => Err(Error::argument("x_t", kind, "both")),
            _ => Ok(()),
        }
    }

    /// Computes one step of all layers and keeps its rows.
    pub(crate) fn step(&mut self, x_t: StepInput<'_, T>) -> Result<()> {
        let (t, batch) = (self.steps.len(), self.state().batch());
        self.network.check_step(x_t, batch)?;
        self.check_kind(x_t)?;
        let mut x = match x_t {
            Input::Dense(x_t) => Input::Dense(x_t.as_standard_layout().into_owned()),
            Input::Tokens(tokens) => Input::Tokens(tokens.to_vec()),
        };
        let mut states = self.state().zeros(batch);
        let (mut layers, mut mask) = (Vec::with_capacity(self.weights.len()), None);
        for (k, next) in states.parts_mut().iter_mut().enumerate() {
            let (direction, weights) = (self.network.direction(k), &self.weights[k]);
            let &Sizes { gates, saved, .. } = direction.sizes;
            let mut gates = Array2::zeros((batch, gates));
            let mut saved = Array2::zeros((batch, saved));
            let mut step = ForwardStep::new(self.network.level, self.noise(t, k));
            set_rows(&mut step.prev, &self.states[t].parts()[k]);
            set_rows_mut(&mut step.next, next);
            step.gates = RowsMut::of(&mut gates);
            step.saved = RowsMut::of(&mut saved);
            direction.step_from(weights, rows_of(&x), &mut step);
            let mut output = next[0].clone();
            if let (Input::Dense(x), true) = (&x, self.network.adds_input(k)) {
                output += x;
            }
            let above = self.dropout.get_mut(k).map(|rng| {
                let factors = dropout_factors(rng, self.network.dropout);
                Array2::from_shape_simple_fn(output.dim(), factors)
            });
            if let Some(factors) = &above {
                output *= factors;
            }
            let x = std::mem::replace(&mut x, Input::Dense(output));
            let mask = std::mem::replace(&mut mask, above);
            layers.push(LayerStep { x, mask, gates, saved });
        }
        let Input::Dense(output) = x else { unreachable!("the output of a layer is dense") };
        self.output = output;
        self.states.push(states);
        self.steps.push(layers);
        Ok(())
    }

    /// Begins the backward pass, with the gradient of the states after the last step, or zeros.
    pub(crate) fn backward(self, d_final: Option<&State<T>>) -> Result<StepTapeBack<'m, T>> {
        let (state, batch) = (self.state(), self.state().batch());
        let d_states = match d_final {
            Some(d_final) => {
                d_final.check_like("d_final", state, batch)?;
                d_final.clone()
            }
            None => state.zeros(batch),
        };
        let layers = 0..self.network.num_layers();
        let weights = layers.map(|k| self.network.direction(k).pack_backward()).collect();
        Ok(StepTapeBack { left: self.steps.len(), weights, d_states, tape: self })
    }
}

fn rows_of<T: Float>(x: &Input<Array2<T>, Vec<usize>>) -> Input<Rows<'_, T>, &[usize]> {
    match x {
        Input::Dense(x) => Input::Dense(Rows::of(x)),
        Input::Tokens(tokens) => Input::Tokens(tokens),
    }
}

/// The backward pass of a [`StepTape`].
pub(crate) struct StepTapeBack<'m, T: Float> {
    tape: StepTape<'m, T>,
    weights: Vec<Weights<'m, T>>,
    /// The gradients of the states after the first `left` steps.
    d_states: State<T>,
    left: usize,
}

impl<T: Float> StepTapeBack<'_, T> {
    /// Returns the number of steps that are left.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Runs the backward pass of the last step that is left. Returns the gradient of its input, or `None`
    /// for tokens.
    pub(crate) fn step(&mut self, d_output: ArrayView2<'_, T>) -> Result<Option<Array2<T>>> {
        let Some(t) = self.left.checked_sub(1) else {
            return Err(Error::argument("step", "one that is left to walk back through", "none"));
        };
        check_shape("d_output", "batch, output", self.tape.output.shape(), d_output.shape())?;
        self.left = t;
        let mut d_output = d_output.as_standard_layout().into_owned();
        for k in (0..self.weights.len()).rev() {
            let (noise, adds_input) = (self.tape.noise(t, k), self.tape.network.adds_input(k));
            let (weights, network) = (&self.weights[k], &self.tape.network);
            let LayerStep { x, mask, gates, saved } = &mut self.tape.steps[t][k];
            let mut step = BackwardStep::new(network.level, noise);
            set_rows_mut(&mut step.d_state, &mut self.d_states.parts_mut()[k]);
            add_rows(network.level, Rows::of(&d_output), step.d_state[0].reborrow());
            set_rows(&mut step.prev, &self.tape.states[t].parts()[k]);
            set_rows(&mut step.next, &self.tape.states[t + 1].parts()[k]);
            step.gates = RowsMut::of(gates);
            step.saved = RowsMut::of(saved);
            network.direction(k).step_backward(&weights.recurrent, &mut step);
            let Input::Dense(x) = x else { return Ok(None) };
            let mut product = Array2::zeros(x.dim());
            weights.input.product(Input::Dense(Rows::of(&*gates)), RowsMut::of(&mut product));
            let mut d_x = if adds_input { d_output } else { Array2::zeros(x.dim()) };
            d_x += &product;
            if let Some(mask) = mask {
                d_x *= &*mask;
            }
            d_output = d_x;
        }
        Ok(Some(d_output))
    }

    /// Adds the gradients of the cells' parameters over all steps to `grads`, and returns those of the
    /// initial states.
    pub(crate) fn finish(self, grads: Grads<'_, '_, T>) -> Result<State<T>> {
        if self.left > 0 {
            let expected = "a walk back through every step";
            return Err(Error::argument("steps", expected, format!("{} left", self.left)));
        }
        let network = &self.tape.network;
        for (k, grad) in grads.iter_mut().enumerate() {
            let window = &LayerRows { tape: &self.tape, sizes: &network.sizes[k], k };
            network.cells[k].accumulate(&Steps { level: network.level, window }, &mut **grad);
        }
        Ok(self.d_states)
    }
}

/// The rows of one layer at all steps, from the last to the first.
struct LayerRows<'a, 'm, T: Float> {
    tape: &'a StepTape<'m, T>,
    sizes: &'a Sizes,
    k: usize,
}

impl<'a, T: Float> LayerRows<'a, '_, T> {
    fn gather(&self, width: usize, array_of: impl Fn(usize) -> &'a Array2<T>) -> RowRefs<'a, T> {
        let steps = (0..self.tape.steps.len()).rev();
        RowRefs::new(steps.flat_map(|t| Rows::of(array_of(t)).iter()).collect(), width)
    }

    fn layer(&self, t: usize) -> &'a LayerStep<T> {
        &self.tape.steps[t][self.k]
    }

    /// Returns state `s` at boundary `t`.
    fn state(&self, t: usize, s: usize) -> &'a Array2<T> {
        &self.tape.states[t].parts()[self.k][s]
    }
}

impl<T: Float> Window<T> for LayerRows<'_, '_, T> {
    fn x(&self) -> Input<RowRefs<'_, T>, Vec<usize>> {
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for t in (0..self.tape.steps.len()).rev() {
            match rows_of(&self.layer(t).x) {
                Input::Dense(x) => rows.extend(x.iter()),
                Input::Tokens(tokens) => places.extend_from_slice(tokens),
            }
        }
        if places.is_empty() {
            return Input::Dense(RowRefs::new(rows, self.sizes.input));
        }
        Input::Tokens(places)
    }

    fn d_gates(&self) -> RowRefs<'_, T> {
        self.gather(self.sizes.gates, |t| &self.layer(t).gates)
    }

    fn saved(&self) -> RowRefs<'_, T> {
        self.gather(self.sizes.saved, |t| &self.layer(t).saved)
    }

    fn prev(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.sizes.states()[s], |t| self.state(t, s))
    }

    fn next(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.sizes.states()[s], |t| self.state(t + 1, s))
    }
}
