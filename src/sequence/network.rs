//! [`Network`]: layers and directions without the type of their cell, and their forward pass.

use std::sync::Arc;

use ndarray::{Array2, Array3, Axis};
use rand::{Rng, RngExt};

use crate::cell::any::{AnyCell, Sizes};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::sequence::direction::{Direction, LayerInput, Weights};
use crate::sequence::engine::{Call, Trained};
use crate::sequence::io::{ForwardIo, for_blocks, state_rows_mut};
use crate::sequence::lengths::{Order, Towards};
use crate::sequence::state::State;
use crate::sequence::step_tape::StepInput;
use crate::sequence::tape::{DirectionTape, LayerTape, Recompute, Tape};
use crate::sequences::{Input, check_tokens};
use crate::tensor::random::dropout_mask;
use crate::tensor::{Level, Precision, threads};

/// A network without the type of its cell.
pub(crate) struct Network<'m, T: Float> {
    pub(crate) level: Level,
    /// The cells, layer by layer and direction by direction.
    pub(crate) cells: Vec<Box<dyn AnyCell<'m, T> + 'm>>,
    pub(crate) sizes: Vec<Sizes>,
    pub(crate) directions: usize,
    pub(crate) dropout: f64,
    pub(crate) residual: bool,
    /// The precision of packed weights.
    pub(crate) precision: Precision,
    /// True if the cells draw noise in training.
    pub(crate) noisy: bool,
    pub(crate) gate_names: &'static [&'static str],
    /// The states of an empty batch: their names and widths.
    pub(crate) no_sequences: &'m State<T>,
    /// The learned initial state, of one sequence.
    pub(crate) initial: Option<&'m State<T>>,
}

/// The results and the tape of a forward pass, in `order`.
#[derive(Debug)]
pub(crate) struct Pass<T: Float> {
    pub(crate) order: Order,
    /// The rows that are kept for the backward pass, if there will be one.
    pub(crate) keep: Option<Recompute>,
    pub(crate) layers: Vec<LayerTape<T>>,
    /// [time, batch, width], zero in the padding.
    pub(crate) output: Array3<T>,
    /// The initial states, which become the final ones.
    pub(crate) states: State<T>,
}

/// The seeds of the random numbers of a call of training.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seeds {
    /// The seed of the cells' noise, if they have noise.
    pub(crate) noise: Option<u64>,
    /// The seed of dropout between layers, if there is dropout.
    pub(crate) dropout: Option<u64>,
}

/// The order of the sequences of a call, and the rows that are kept for the backward pass.
#[derive(Clone, Copy)]
pub(crate) struct Walk<'a> {
    pub(crate) order: &'a Order,
    pub(crate) keep: Option<Recompute>,
}

impl Walk<'_> {
    /// Returns whether the backward pass computes each span forward again.
    pub(crate) fn recomputes(self) -> bool {
        matches!(self.keep, Some(Recompute::Every(_)))
    }

    /// Returns the largest number of steps of a span.
    pub(crate) fn span_steps(self) -> usize {
        if let Some(Recompute::Every(k)) = self.keep { k } else { self.order.longest().max(1) }
    }
}

/// The input of a layer, and its output [time, batch, width].
struct LayerIo<'a, T> {
    x: LayerInput<'a, T>,
    output: &'a mut Array3<T>,
}

impl<'m, T: Float> Network<'m, T> {
    /// Returns the direction `k` = layer · directions + direction.
    pub(crate) fn direction(&self, k: usize) -> Direction<'_, 'm, T> {
        let (cell, sizes, reverse) = (&*self.cells[k], &self.sizes[k], k % self.directions == 1);
        Direction { level: self.level, cell, sizes, reverse }
    }

    /// Returns the weights of all layers and directions, packed for walks forward.
    pub(crate) fn pack(&self) -> Vec<Weights<'m, T>> {
        let packed = (0..self.cells.len()).map(|k| self.direction(k).pack_forward());
        packed.map(|weights| weights.reduced(self.precision)).collect()
    }

    pub(crate) fn num_layers(&self) -> usize {
        self.cells.len() / self.directions
    }

    pub(crate) fn input_size(&self) -> usize {
        self.sizes[0].input
    }

    pub(crate) fn output_size(&self) -> usize {
        self.sizes.iter().rev().take(self.directions).map(Sizes::output).sum()
    }

    /// Returns whether the input of a layer is added to its output.
    pub(crate) fn adds_input(&self, layer: usize) -> bool {
        self.residual && layer > 0
    }

    /// Fails unless `x` and `initial` fit the network.
    pub(crate) fn check(&self, &Call { x, initial }: &Call<'_, T>) -> Result<()> {
        let (time, batch) = (x.time(), x.batch());
        let expected = [time, batch, self.input_size()];
        check_shape("x", "time, batch, input", &expected, &[time, batch, x.features()])?;
        check_size("output [time, batch, output]", &[time, batch, self.output_size()])?;
        initial.map_or(Ok(()), |state| state.check_like("initial", self.no_sequences, batch))
    }

    /// Fails if the network is bidirectional.
    pub(crate) fn check_one_direction(&self) -> Result<()> {
        if self.directions == 1 {
            return Ok(());
        }
        let expected = "a network of one direction: backward in time needs the whole sequence";
        Err(Error::argument("bidirectional", expected, true))
    }

    /// Fails unless the states, gates and saved values of a step of `batch` sequences can be addressed.
    pub(crate) fn check_batch(&self, batch: usize) -> Result<()> {
        check_size("batch", &[batch])?;
        let widest = self.sizes.iter().map(Sizes::widest).max().unwrap_or(0);
        check_size("step [batch, width]", &[batch, widest])?;
        Ok(())
    }

    /// Fails unless `x_t` is the input of one step of `batch` sequences.
    pub(crate) fn check_step(&self, x_t: StepInput<'_, T>, batch: usize) -> Result<()> {
        match x_t {
            Input::Dense(x_t) => {
                check_shape("x_t", "batch, input", &[batch, self.input_size()], x_t.shape())
            }
            Input::Tokens(tokens) => {
                check_shape("tokens", "batch", &[batch], &[tokens.len()])?;
                let places = tokens.iter().enumerate().map(|(b, &token)| ([b], token));
                check_tokens(places, self.input_size(), "input")
            }
        }
    }

    /// Draws the seeds of a call of training: of the cells' noise, and of dropout between layers.
    pub(crate) fn draw_seeds(&self, rng: &mut dyn Rng) -> Seeds {
        let noise = self.noisy.then(|| rng.random());
        Seeds { noise, dropout: (self.dropout > 0.0).then(|| rng.random()) }
    }

    /// Returns the initial states of `batch` sequences: `given`, the learned ones, or zeros. Fails unless
    /// `given` fits.
    pub(crate) fn initial_state(&self, given: Option<&State<T>>, batch: usize) -> Result<State<T>> {
        match (given, self.initial) {
            (Some(given), _) => {
                given.check_like("initial", self.no_sequences, batch).map(|()| given.clone())
            }
            (None, Some(learned)) => Ok(learned.repeated(batch)),
            (None, None) => Ok(self.no_sequences.zeros(batch)),
        }
    }

    /// Runs [`Recurrent::forward_train_with`](super::Recurrent::forward_train_with).
    pub(crate) fn forward_train(
        &self,
        call: &Call<'_, T>,
        recompute: Recompute,
        rng: &mut dyn Rng,
    ) -> Result<Trained<T>> {
        self.check(call)?;
        let x = call.x;
        let order = Order::new(x.time(), x.lengths());
        let keep = recompute.resolved(order.longest())?;
        let mut pass = self.pass(x.input(), order, Some(keep));
        self.run(&self.pack(), call, &mut pass, Some(rng));
        let Pass { order, layers, output, states, .. } = pass;
        let output = x.with_values(order.unsorted(output))?;
        let last = states.unsorted(&order);
        let tape = Tape {
            order,
            lengths: x.lengths().to_vec(),
            gate_names: self.gate_names,
            state_names: self.no_sequences.state_names(),
            sizes: self.sizes.clone(),
            learned_initial: call.initial.is_none() && self.initial.is_some(),
            drop_seed: None,
            keep,
            layers,
        };
        Ok((output, last, tape))
    }

    /// Creates the memory of a pass over `x`, or over other inputs of its kind, with the given order.
    pub(crate) fn pass(
        &self,
        x: LayerInput<'_, T>,
        order: Order,
        keep: Option<Recompute>,
    ) -> Pass<T> {
        let (time, batch) = (order.time, order.batch());
        let zeros = |width: usize| Array3::zeros((time, batch, width));
        let one_hot = matches!(x, Input::Tokens(_));
        let of_direction = |k: usize| {
            let steps = (keep == Some(Recompute::Store)).then_some(order.longest());
            let tape = |block| self.direction(k).tape(Arc::new(block), steps);
            let dense = !one_hot || k >= self.directions;
            let work = work(&self.sizes[k], dense, &order);
            let blocks: Vec<_> = order.blocks(work).into_iter().map(tape).collect();
            let threads = threads::spare(blocks.len(), work);
            DirectionTape { blocks, threads, noise: None, checkpoints: Vec::new() }
        };
        let of_layer = |layer: usize| {
            let k = layer * self.directions;
            // Without a tape, the first layer reads the caller's array if the order is the same.
            let reads = layer == 0 && keep.is_none() && order.is_caller_order();
            let x = match (layer == 0 && one_hot, reads) {
                (true, _) => Some(Input::Tokens(Array2::zeros((time, batch)))),
                (false, true) => None,
                (false, false) => Some(Input::Dense(zeros(self.sizes[k].input))),
            };
            let directions = (k..k + self.directions).map(of_direction).collect();
            LayerTape { x, mask: None, directions }
        };
        let layers = (0..self.num_layers()).map(of_layer).collect();
        let output = zeros(self.output_size());
        let states = self.no_sequences.zeros(order.batch());
        Pass { order, keep, layers, output, states }
    }

    /// Runs all layers over the input. Training passes the `rng` of its noise.
    #[expect(clippy::unreachable, reason = "a pass is made for one kind of input")]
    pub(crate) fn run(
        &self,
        weights: &[Weights<'_, T>],
        call: &Call<'_, T>,
        pass: &mut Pass<T>,
        rng: Option<&mut dyn Rng>,
    ) {
        let Pass { order, keep, layers, output, states } = pass;
        let walk = Walk { order, keep: *keep };
        states.copy(call.initial.or(self.initial), order, Towards::Walk);
        let x = call.x.input();
        match (x, &mut layers[0].x) {
            (Input::Tokens(x), Some(Input::Tokens(to))) => {
                order.copy(x.view(), to.view_mut(), Axis(1), Towards::Walk);
            }
            (Input::Dense(x), Some(Input::Dense(to))) => {
                order.copy_steps(x.view(), to.view_mut(), Towards::Walk);
            }
            // The first layer reads the caller's array.
            (_, None) => {}
            _ => unreachable!("a pass is made for one kind of input"),
        }
        let seeds = rng.map_or(Seeds::default(), |rng| self.draw_seeds(rng));
        for layer in 0..layers.len() {
            let (done, above) = layers.split_at_mut(layer + 1);
            let LayerTape { x: below, directions, .. } = &mut done[layer];
            let x = below.as_ref().map_or(x, Input::as_ref);
            let (output, mask) = match above.first_mut() {
                Some(LayerTape { x: Some(Input::Dense(next)), mask, .. }) => (next, Some(mask)),
                Some(_) => unreachable!("the first layer alone reads tokens"),
                None => (&mut *output, None),
            };
            for (k, tape) in (layer * self.directions..).zip(directions) {
                tape.noise = seeds.noise.map(|seed| seed.wrapping_add(k as u64));
                let (states, io) = (&mut states.parts_mut()[k], LayerIo { x, output });
                self.run_direction(k, walk, &weights[k], io, states, tape);
            }
            if let (Input::Dense(x), true) = (x, self.adds_input(layer)) {
                *output += x;
            }
            if let (Some(mask), Some(seed)) = (mask, seeds.dropout) {
                let factors = dropout_mask(self.dropout, (seed, layer), 0, output.raw_dim());
                *output *= &*mask.insert(factors);
            }
        }
    }

    /// Runs one direction of a layer, which writes its columns of the layer's output.
    fn run_direction(
        &self,
        k: usize,
        walk: Walk<'_>,
        weights: &Weights<'_, T>,
        LayerIo { x, output }: LayerIo<'_, T>,
        states: &mut Vec<Array2<T>>,
        tape: &mut DirectionTape<T>,
    ) {
        let direction = self.direction(k);
        let &mut DirectionTape { ref mut blocks, threads, noise, ref mut checkpoints } = tape;
        weights.share(threads, matches!(x, Input::Dense(_)));
        for span in direction.pieces(0..walk.order.longest(), walk.span_steps()) {
            if walk.recomputes() {
                checkpoints.push(states.clone());
            }
            let (output, states) = (Some(output.view_mut()), state_rows_mut(states));
            let io = ForwardIo { output, column: self.column(k), states, noise };
            let walk = |tape: &mut _, io| direction.forward(weights, x, &span, io, tape);
            for_blocks(blocks, io, &walk);
        }
        blocks.iter_mut().for_each(|tape| tape.release(walk.keep));
    }

    /// Returns the column at which a direction begins in a row of its layer's output.
    pub(crate) fn column(&self, k: usize) -> usize {
        self.sizes[k - k % self.directions..k].iter().map(Sizes::output).sum()
    }
}

/// Returns the number of multiply-adds of one walk over the whole batch.
fn work(sizes: &Sizes, dense: bool, order: &Order) -> usize {
    let input = if dense { sizes.input } else { 0 };
    order.steps() * sizes.gates * (input + sizes.output())
}
