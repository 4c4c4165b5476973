//! [`StepTape`]: a tape of training that grows step by step, and its backward pass.
//!
//! States are stored at boundaries, as in a [`Tape`](super::Tape), but for all layers together: boundary t
//! has the states before step t. Each step has its own arrays. The arithmetic and its order are those of
//! a whole sequence, so the bits are the same.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;

use crate::cell::any::Sizes;
use crate::cell::step::{Noise, Window};
use crate::cell::{BackwardStep, ForwardStep, Steps};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequence::direction::Weights;
use crate::sequence::engine::Grads;
use crate::sequence::io::{set_rows, set_rows_mut};
use crate::sequence::network::{Network, Seeds};
use crate::sequence::state::State;
use crate::sequence::stream::Plan;
use crate::sequences::Input;
use crate::tensor::random::dropout_mask;
use crate::tensor::reduce::add_rows;
use crate::tensor::{Aligned, RowRefs, Rows, RowsMut};

/// The input of one step: rows, or a token for each row.
pub(crate) type StepInput<'a, T> = Input<ArrayView2<'a, T>, &'a [usize]>;

/// A network, its packed weights, and the rows of every step so far.
pub(crate) struct StepTape<'m, T: Float> {
    plan: Arc<Plan<'m, T>>,
    /// The place of the first row in the whole batch, and the size of that.
    place: usize,
    whole: usize,
    /// The seed of the cells' noise, if they have noise.
    noise: Option<u64>,
    /// The seed of dropout of each layer's output, except for the last layer, if there is dropout.
    dropout: Option<u64>,
    /// The states at each boundary: before the first step, and after each step.
    states: Vec<State<T>>,
    /// The rows of each layer at each step.
    pub(super) steps: Vec<Vec<LayerStep<T>>>,
    /// The output of the last step.
    pub(super) output: Array2<T>,
}

/// The rows of one layer at one step.
pub(super) struct LayerStep<T: Float> {
    x: Input<Array2<T>, Vec<usize>>,
    /// The factors of dropout that `x` has been multiplied by.
    mask: Option<Array2<T>>,
    /// The gates, or after the backward pass their gradients.
    gates: Aligned<T>,
    saved: Aligned<T>,
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
        let h = &state.parts()[last][0];
        let output = if network.adds_input(last) { Array2::zeros(h.dim()) } else { h.clone() };
        let plan = Arc::new(Plan { weights: network.pack(), network });
        let (states, steps) = (vec![state], Vec::new());
        Ok(Self { plan, place: 0, whole: batch, noise, dropout, states, steps, output })
    }

    /// Divides a tape without steps into tapes of consecutive rows each. They draw the noise of the whole.
    pub(crate) fn divided(self, blocks: &[Vec<usize>]) -> Result<Vec<Self>> {
        self.plan.weights.iter().for_each(|weights| _ = weights.input.packed());
        let part = |rows: &Vec<usize>| {
            let (plan, steps) = (self.plan.clone(), Vec::new());
            let states = vec![self.states[0].select(rows)?];
            let output = self.output.select(Axis(0), rows);
            Ok(Self { plan, place: rows[0], states, steps, output, ..self })
        };
        blocks.iter().map(part).collect()
    }

    /// Returns the states after the last step.
    pub(crate) fn state(&self) -> &State<T> {
        &self.states[self.steps.len()]
    }

    #[expect(clippy::expect_used, reason = "states are in standard layout")]
    fn states_at(&self, t: usize, k: usize, s: usize) -> &[T] {
        self.states[t].parts()[k][s].as_slice().expect("states in standard layout")
    }

    fn noise(&self, t: usize, k: usize) -> Noise {
        Noise { seed: self.noise.map(|seed| seed.wrapping_add(k as u64)), t, place: self.place }
    }

    /// Computes one step of all layers and keeps its rows.
    #[expect(clippy::unreachable, reason = "a layer has a dense output")]
    pub(crate) fn step(&mut self, x_t: StepInput<'_, T>) -> Result<()> {
        let (t, batch) = (self.steps.len(), self.state().batch());
        let Plan { network, weights } = &*self.plan;
        network.check_step(x_t, batch)?;
        let tokens = self.steps.first().map(|layers| matches!(layers[0].x, Input::Tokens(_)));
        if tokens.is_some_and(|tokens| tokens != matches!(x_t, Input::Tokens(_))) {
            return Err(Error::argument("x_t", "rows or tokens at all steps", "both"));
        }
        let mut x = match x_t {
            Input::Dense(x_t) => Input::Dense(x_t.as_standard_layout().into_owned()),
            Input::Tokens(tokens) => Input::Tokens(tokens.to_vec()),
        };
        let mut states = self.state().zeros(batch);
        let (mut layers, mut mask) = (Vec::with_capacity(weights.len()), None);
        for (k, next) in states.parts_mut().iter_mut().enumerate() {
            let (direction, weights) = (network.direction(k), &weights[k]);
            let &Sizes { gates: width, saved: further, .. } = direction.sizes;
            let mut gates = Aligned::stale(batch * width);
            let mut saved = Aligned::stale(batch * further);
            let mut step = ForwardStep::new(network.level, self.noise(t, k));
            set_rows(&mut step.prev, &self.states[t].parts()[k]);
            set_rows_mut(&mut step.next, next);
            step.gates = RowsMut::new(&mut gates, width);
            step.saved = RowsMut::new(&mut saved, further);
            direction.step_from(weights, x.rows(), &mut step);
            let mut output = next[0].clone();
            if let (Input::Dense(x), true) = (&x, network.adds_input(k)) {
                output += x;
            }
            let above = self.dropout.filter(|_| k + 1 < network.num_layers()).map(|seed| {
                let first = (t * self.whole + self.place) * output.ncols();
                dropout_mask(network.dropout, (seed, k), first, output.raw_dim())
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
        let given = d_final.map(|d| d.check_like("d_final", state, batch).map(|()| d.clone()));
        let d_states = given.unwrap_or_else(|| Ok(state.zeros(batch)))?;
        let (layers, network) = (0..self.plan.weights.len(), &self.plan.network);
        let weights = layers.map(|k| network.direction(k).pack_backward()).collect();
        Ok(StepTapeBack { left: self.steps.len(), weights, d_states, tape: self })
    }
}

/// The backward pass of a [`StepTape`].
pub(crate) struct StepTapeBack<'m, T: Float> {
    tape: StepTape<'m, T>,
    weights: Vec<Weights<'m, T>>,
    /// The gradients of the states after the first `left` steps.
    d_states: State<T>,
    pub(super) left: usize,
}

impl<T: Float> StepTapeBack<'_, T> {
    /// Runs the backward pass of the last step that is left. Returns the gradient of its input, or `None`
    /// for tokens.
    pub(crate) fn step(&mut self, d_output: ArrayView2<'_, T>) -> Result<Option<Array2<T>>> {
        let Some(t) = self.left.checked_sub(1) else {
            return Err(Error::argument("step", "one that is left to walk back through", "none"));
        };
        check_shape("d_output", "batch, output", self.tape.output.shape(), d_output.shape())?;
        self.left = t;
        let mut d_output = d_output.as_standard_layout().into_owned();
        for (k, weights) in self.weights.iter().enumerate().rev() {
            let network = &self.tape.plan.network;
            let (noise, adds_input) = (self.tape.noise(t, k), network.adds_input(k));
            let LayerStep { x, mask, gates, saved } = &mut self.tape.steps[t][k];
            let mut step = BackwardStep::new(network.level, noise);
            set_rows_mut(&mut step.d_state, &mut self.d_states.parts_mut()[k]);
            add_rows(network.level, Rows::of(&d_output), step.d_state[0].reborrow());
            set_rows(&mut step.prev, &self.tape.states[t].parts()[k]);
            set_rows(&mut step.next, &self.tape.states[t + 1].parts()[k]);
            step.gates = RowsMut::new(gates, network.sizes[k].gates);
            step.saved = RowsMut::new(saved, network.sizes[k].saved);
            network.direction(k).step_backward(&weights.recurrent, &mut step);
            let Input::Dense(x) = x else { return Ok(None) };
            let mut product = Array2::zeros(x.dim());
            let d_gates = Input::Dense(step.gates.as_rows());
            weights.input.product(d_gates, RowsMut::of(&mut product));
            let mut d_x = if adds_input { d_output } else { Array2::zeros(x.dim()) };
            d_x += &product;
            if let Some(mask) = mask {
                d_x *= &*mask;
            }
            d_output = d_x;
        }
        Ok(Some(d_output))
    }

    /// Adds the gradients of the cells' parameters over all steps of all `blocks` of a batch to `grads`, and
    /// returns those of the initial states of each. The rows are added in the order of the whole batch.
    pub(crate) fn finish(blocks: Vec<Self>, grads: Grads<'_, '_, T>) -> Result<Vec<State<T>>> {
        if let Some(block) = blocks.iter().find(|block| block.left > 0) {
            let expected = "a walk back through every step";
            return Err(Error::argument("steps", expected, format!("{} left", block.left)));
        }
        let tapes: Vec<_> = blocks.iter().map(|block| &block.tape).collect();
        let network = &tapes[0].plan.network;
        for (k, grad) in grads.iter_mut().enumerate() {
            let window = &LayerRows { tapes: &tapes, sizes: &network.sizes[k], k };
            network.cells[k].accumulate(&Steps { level: network.level, window }, &mut **grad);
        }
        Ok(blocks.into_iter().map(|block| block.d_states).collect())
    }
}

/// The rows of one layer at all steps, from the last to the first.
struct LayerRows<'a, 'm, T: Float> {
    tapes: &'a [&'a StepTape<'m, T>],
    sizes: &'a Sizes,
    k: usize,
}

impl<'a, 'm, T: Float> LayerRows<'a, 'm, T> {
    /// Returns the steps of all tapes, in the order of the gradient's sums.
    fn steps(&self) -> impl Iterator<Item = (&'a StepTape<'m, T>, usize)> + use<'a, 'm, T> {
        let tapes = self.tapes;
        let steps = (0..tapes[0].steps.len()).rev();
        steps.flat_map(move |t| tapes.iter().map(move |&tape| (tape, t)))
    }

    fn gather(
        &self,
        width: usize,
        of: impl Fn(&'a StepTape<'m, T>, usize) -> &'a [T],
    ) -> RowRefs<'a, T> {
        let rows = self.steps().flat_map(|(tape, t)| Rows::new(of(tape, t), width).iter());
        RowRefs::new(rows.collect(), width)
    }
}

impl<T: Float> Window<T> for LayerRows<'_, '_, T> {
    fn x(&self) -> Input<RowRefs<'_, T>, Vec<usize>> {
        let (mut rows, mut places) = (Vec::new(), Vec::new());
        for (tape, t) in self.steps() {
            match tape.steps[t][self.k].x.rows() {
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
        self.gather(self.sizes.gates, |tape, t| &tape.steps[t][self.k].gates)
    }

    fn saved(&self) -> RowRefs<'_, T> {
        self.gather(self.sizes.saved, |tape, t| &tape.steps[t][self.k].saved)
    }

    fn prev(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.sizes.states()[s], |tape, t| tape.states_at(t, self.k, s))
    }

    fn next(&self, s: usize) -> RowRefs<'_, T> {
        self.gather(self.sizes.states()[s], |tape, t| tape.states_at(t + 1, self.k, s))
    }
}
