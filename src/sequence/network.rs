//! Layers × directions, forward and backward: merging, dropout, residual sums, recomputation.
//!
//! A [`Network`] has no type of its cell, so it is compiled once for each element type, in the library:
//! [`ENGINE`] is the table of its entry points.

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView2, Axis, CowArray, Ix3};
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::cell::any::{AnyCell, AnyGradient, Sizes};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::{Float, PerFloat, Table};
use crate::sequence::direction::{Direction, LayerInput, Weights};
use crate::sequence::io::{BackwardIo, ForwardIo, for_blocks, state_rows_mut};
use crate::sequence::lengths::Order;
use crate::sequence::state::State;
use crate::sequence::step_gradients::StepGradients;
use crate::sequence::step_tape::{StepInput, StepTape, StepTapeBack};
use crate::sequence::stream::Stream;
use crate::sequence::tape::{DirectionTape, LayerTape, Recompute, Tape};
use crate::sequence::workspace::{Results, Workspace};
use crate::sequences::{Input, Sequences, check_tokens};
use crate::tensor::Level;
use crate::tensor::random::dropout_mask;

/// The entry points of the engine for one element type.
pub(crate) struct Engine<T: Float> {
    pub(crate) forward_train: fn(&Network<'_, T>, &Call<'_, T>, &mut dyn Rng) -> Result<Trained<T>>,
    pub(crate) backward:
        fn(&Network<'_, T>, Tape<T>, &Gradients<'_, T>, Grads<'_, '_, T>) -> Result<Back<T>>,
    pub(crate) workspace: for<'m> fn(Network<'m, T>) -> Workspace<'m, T>,
    pub(crate) infer: fn(&Workspace<'_, T>, Option<Results<T>>, &Call<'_, T>) -> Result<Results<T>>,
    pub(crate) stream: for<'m> fn(Network<'m, T>, usize) -> Result<Stream<'m, T>>,
    pub(crate) advance: fn(&mut Stream<'_, T>, Option<Input<&[T], &[usize]>>),
    pub(crate) step_tape: StartFn<T>,
    pub(crate) step: fn(&mut StepTape<'_, T>, StepInput<'_, T>) -> Result<()>,
    pub(crate) turn: for<'m> fn(StepTape<'m, T>, Option<&State<T>>) -> Result<StepTapeBack<'m, T>>,
    pub(crate) step_back:
        fn(&mut StepTapeBack<'_, T>, ArrayView2<'_, T>) -> Result<Option<Array2<T>>>,
    pub(crate) finish: fn(StepTapeBack<'_, T>, Grads<'_, '_, T>) -> Result<State<T>>,
}

/// Begins a [`StepTape`] of a number of sequences.
type StartFn<T> =
    for<'m> fn(Network<'m, T>, usize, Option<&State<T>>, &mut dyn Rng) -> Result<StepTape<'m, T>>;

/// The input of a forward pass, and the initial states.
pub(crate) struct Call<'a, T> {
    pub(crate) x: &'a Sequences<T>,
    pub(crate) initial: Option<&'a State<T>>,
    pub(crate) recompute: Recompute,
}

/// The output, the final states and the tape of a forward pass.
pub(crate) type Trained<T> = (Sequences<T>, State<T>, Tape<T>);
/// The gradients by the input and by the initial states, and those by the states after each step.
pub(crate) type Back<T> = (Array3<T>, State<T>, StepGradients<T>);
/// The gradient of each cell.
pub(crate) type Grads<'g, 'c, T> = &'g mut [Box<dyn AnyGradient<T> + 'c>];

/// The gradients that a backward pass begins with.
pub(crate) struct Gradients<'a, T> {
    /// By the output [time, batch, width].
    pub(crate) d_output: &'a Array3<T>,
    /// By the final states, or zero.
    pub(crate) d_final: Option<&'a State<T>>,
    /// Whether the gradients of the states after each step are asked for.
    pub(crate) record: bool,
}

pub(crate) struct EngineOf;

impl PerFloat for EngineOf {
    type Of<T: Float> = Engine<T>;
}

/// The engine, compiled for both element types.
pub(crate) static ENGINE: Table<EngineOf> = Table { f32: Engine::NEW, f64: Engine::NEW };

impl<T: Float> Engine<T> {
    const NEW: Self = Self {
        forward_train: |network, call, rng| network.forward_train(call, rng),
        backward: |network, tape, gradients, grads| network.backward(tape, gradients, grads),
        workspace: |network| Workspace::new(network),
        infer: |workspace, memory, call| workspace.infer(memory, call),
        stream: |network, batch| Stream::new(network, batch),
        advance: |stream, x_t| stream.step_layers(x_t),
        step_tape: |network, batch, initial, rng| StepTape::new(network, batch, initial, rng),
        step: |tape, x_t| tape.step(x_t),
        turn: |tape, d_final| tape.backward(d_final),
        step_back: |tape, d_output| tape.step(d_output),
        finish: |tape, grads| tape.finish(grads),
    };
}

/// A network without the type of its cell.
pub(crate) struct Network<'m, T: Float> {
    pub(crate) level: Level,
    /// For each layer, for each direction.
    pub(crate) cells: Vec<Box<dyn AnyCell<'m, T> + 'm>>,
    pub(crate) sizes: Vec<Sizes>,
    pub(crate) directions: usize,
    pub(crate) dropout: f64,
    pub(crate) residual: bool,
    /// Whether cells draw noise in training.
    pub(crate) noisy: bool,
    pub(crate) gate_names: &'static [&'static str],
    /// The states of no sequences: their names and widths.
    pub(crate) no_sequences: &'m State<T>,
    /// The learned initial state, of one sequence.
    pub(crate) initial: Option<&'m State<T>>,
}

/// All that a forward pass writes, in `order`.
#[derive(Debug)]
pub(crate) struct Pass<T: Float> {
    pub(crate) order: Order,
    /// What to keep for backward, if there is to be one.
    pub(crate) keep: Option<Recompute>,
    pub(crate) layers: Vec<LayerTape<T>>,
    /// [time, batch, width], zero in the padding.
    pub(crate) output: Array3<T>,
    /// The initial states, which become the final ones.
    pub(crate) states: State<T>,
}

/// The seeds of what is random in a call of training.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seeds {
    /// The seed of the cells' noise, where they have noise.
    pub(crate) noise: Option<u64>,
    /// The seed of dropout between layers, where there is dropout.
    pub(crate) dropout: Option<u64>,
}

/// Returns the source of the factors that the output of `layer` is multiplied by, step after step.
pub(crate) fn dropout_rng(seed: u64, layer: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(layer as u64);
    rng
}

/// Returns the steps of a span of a walk.
fn span_steps(keep: Option<Recompute>, order: &Order) -> usize {
    if let Some(Recompute::Every(k)) = keep { k } else { order.longest().max(1) }
}

impl<'m, T: Float> Network<'m, T> {
    pub(crate) fn direction(&self, k: usize) -> Direction<'_, 'm, T> {
        let (cell, sizes, reverse) = (&*self.cells[k], &self.sizes[k], k % self.directions == 1);
        Direction { level: self.level, cell, sizes, reverse }
    }

    /// Returns the weights of all layers and directions, packed for walks forward.
    pub(crate) fn pack(&self) -> Vec<Weights<'m, T>> {
        (0..self.cells.len()).map(|k| self.direction(k).pack_forward()).collect()
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

    /// Whether the input of a layer is added to its output.
    pub(crate) fn adds_input(&self, layer: usize) -> bool {
        self.residual && layer > 0
    }

    /// Fails unless `x` and `initial` fit the network.
    pub(crate) fn check(&self, &Call { x, initial, .. }: &Call<'_, T>) -> Result<()> {
        let (time, batch) = (x.time(), x.batch());
        let expected = [time, batch, self.input_size()];
        check_shape("x", "time, batch, input", &expected, &[time, batch, x.features()])?;
        check_size("output [time, batch, output]", &[time, batch, self.output_size()])?;
        let Some(initial) = initial else { return Ok(()) };
        initial.check_like("initial", self.no_sequences, batch)
    }

    /// Fails unless the network walks in one direction alone.
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

    /// Returns the initial states of `batch` sequences: the learned ones, or zeros.
    pub(crate) fn initial_state(&self, batch: usize) -> State<T> {
        let mut state = self.no_sequences.zeros(batch);
        state.copy(self.initial, &Order::new(0, &vec![0; batch]), false);
        state
    }

    /// Runs [`Recurrent::forward_train_with`](super::Recurrent::forward_train_with).
    fn forward_train(&self, call: &Call<'_, T>, rng: &mut dyn Rng) -> Result<Trained<T>> {
        self.check(call)?;
        let x = call.x;
        let order = Order::new(x.time(), x.lengths());
        let keep = call.recompute.resolved(order.longest())?;
        let mut pass = self.pass(x.input(), order, Some(keep));
        self.run(&self.pack(), call, &mut pass, Some(rng));
        let Pass { order, layers, output, states, .. } = pass;
        let output = x.with_values(order.unsorted(output))?;
        let last = states.unsorted(&order);
        let tape = Tape {
            order,
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

    /// Returns memory for a pass over `x`, or others of its kind, whose sequences are in `order`.
    pub(crate) fn pass(
        &self,
        x: LayerInput<'_, T>,
        order: Order,
        keep: Option<Recompute>,
    ) -> Pass<T> {
        let (time, batch) = (order.time(), order.batch());
        let zeros = |width: usize| Array3::zeros((time, batch, width));
        let one_hot = matches!(x, Input::Tokens(_));
        let of_direction = |k: usize| {
            let steps = (keep == Some(Recompute::Store)).then_some(order.longest());
            let tape = |block| self.direction(k).tape(Arc::new(block), steps);
            let dense = !one_hot || k >= self.directions;
            let blocks = order.blocks(work(&self.sizes[k], dense, &order));
            let blocks = blocks.into_iter().map(tape).collect();
            DirectionTape { blocks, noise: None, checkpoints: Vec::new() }
        };
        let of_layer = |layer: usize| {
            let k = layer * self.directions;
            // Without a tape, the first layer reads the caller's array where it can.
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

    /// Runs all layers over the input. `rng` is where training draws its noise from.
    pub(crate) fn run(
        &self,
        weights: &[Weights<'_, T>],
        call: &Call<'_, T>,
        pass: &mut Pass<T>,
        rng: Option<&mut dyn Rng>,
    ) {
        let Pass { order, keep, layers, output, states } = pass;
        states.copy(call.initial.or(self.initial), order, false);
        let x = call.x.input();
        match (x, &mut layers[0].x) {
            (Input::Tokens(x), Some(Input::Tokens(to))) => {
                order.copy(x.view(), to.view_mut(), (Axis(1), false));
            }
            (Input::Dense(x), Some(Input::Dense(to))) => {
                order.copy_steps(x.view(), to.view_mut(), false);
            }
            // The first layer reads the caller's array.
            _ => {}
        }
        let seeds = rng.map_or(Seeds::default(), |rng| self.draw_seeds(rng));
        for layer in 0..layers.len() {
            let (done, above) = layers.split_at_mut(layer + 1);
            let LayerTape { x: below, directions, .. } = &mut done[layer];
            let x = below.as_ref().map_or(x, Input::as_ref);
            let (output, mask) = match above.first_mut() {
                Some(LayerTape { x: Some(Input::Dense(next)), mask, .. }) => (next, Some(mask)),
                _ => (&mut *output, None),
            };
            for (k, tape) in (layer * self.directions..).zip(directions) {
                tape.noise = seeds.noise.map(|seed| seed.wrapping_add(k as u64));
                let states = &mut states.parts_mut()[k];
                self.run_direction(k, &weights[k], x, (order, *keep), (output, states), tape);
            }
            if let (Input::Dense(x), true) = (x, self.adds_input(layer)) {
                *output += x;
            }
            if let (Some(mask), Some(seed)) = (mask, seeds.dropout) {
                let factors =
                    dropout_mask(&mut dropout_rng(seed, layer), self.dropout, output.len());
                let factors = Array3::from_shape_vec(output.dim(), factors);
                *output *= &*mask.insert(factors.expect("a factor for each value"));
            }
        }
    }

    /// Runs one direction of a layer, which writes its part of the layer's output.
    fn run_direction(
        &self,
        k: usize,
        weights: &Weights<'_, T>,
        x: LayerInput<'_, T>,
        (order, keep): (&Order, Option<Recompute>),
        (output, states): (&mut Array3<T>, &mut Vec<Array2<T>>),
        tape: &mut DirectionTape<T>,
    ) {
        let direction = self.direction(k);
        weights.prepare(x);
        let DirectionTape { blocks, noise, checkpoints } = tape;
        for span in direction.pieces(0..order.longest(), span_steps(keep, order)) {
            if let Some(Recompute::Every(_)) = keep {
                checkpoints.push(states.clone());
            }
            let (output, states) = (Some(output.view_mut()), state_rows_mut(states));
            let io = ForwardIo { output, column: self.column(k), states, noise: *noise };
            for_blocks(blocks, io, &|tape, io| direction.forward(weights, x, &span, io, tape));
        }
        blocks.iter_mut().for_each(|tape| tape.release(keep));
    }

    /// Where a direction begins in a row of its layer's output.
    fn column(&self, k: usize) -> usize {
        self.sizes[k - k % self.directions..k].iter().map(Sizes::output).sum()
    }

    /// Runs [`Recurrent::backward_steps`](super::Recurrent::backward_steps).
    fn backward(
        &self,
        tape: Tape<T>,
        gradients: &Gradients<'_, T>,
        grads: Grads<'_, '_, T>,
    ) -> Result<Back<T>> {
        let Tape { order, sizes, keep, mut layers, .. } = tape;
        if sizes != self.sizes {
            let expected = "a tape of this network's own forward pass";
            return Err(Error::argument("tape", expected, "one of other sizes"));
        }
        let &Gradients { d_output, d_final, record } = gradients;
        let (time, batch) = (order.time(), order.batch());
        let expected = [time, batch, self.output_size()];
        check_shape("d_output", "time, batch, output", &expected, d_output.shape())?;
        let mut d_states = self.no_sequences.zeros(batch);
        if let Some(d_final) = d_final {
            d_final.check_like("d_final", &d_states, batch)?;
            d_states.copy(Some(d_final), &order, false);
        }
        let mut steps: Vec<Vec<Array3<T>>> = vec![Vec::new(); self.cells.len()];
        let mut d_output = order.sorted(d_output.view());
        while let Some(layer) = layers.pop() {
            let backward = Backward { network: self, order: &order, keep, record };
            d_output =
                backward.layer(layers.len(), layer, d_output, &mut d_states, grads, &mut steps);
        }
        let unsorted = |states: Vec<_>| states.into_iter().map(|d| order.unsorted(d)).collect();
        let values = steps.into_iter().map(unsorted).collect();
        let names = self.no_sequences.state_names();
        let steps = StepGradients { names, directions: self.directions, values };
        Ok((order.unsorted(d_output.into_owned()), d_states.unsorted(&order), steps))
    }
}

/// What a backward pass has for all layers.
struct Backward<'a, 'm, T: Float> {
    network: &'a Network<'m, T>,
    order: &'a Order,
    keep: Recompute,
    record: bool,
}

impl<T: Float> Backward<'_, '_, T> {
    /// Walks one layer backward; returns the gradient by its input.
    fn layer(
        &self,
        layer: usize,
        tape: LayerTape<T>,
        d_output: CowArray<'_, T, Ix3>,
        d_states: &mut State<T>,
        grads: Grads<'_, '_, T>,
        steps: &mut [Vec<Array3<T>>],
    ) -> CowArray<'static, T, Ix3> {
        let LayerTape { x, mask, directions } = tape;
        let x = x.as_ref().expect("training keeps the input").as_ref();
        let (time, batch, _) = d_output.dim();
        let mut d_x = match x {
            Input::Tokens(_) => Array3::zeros((time, batch, 0)),
            Input::Dense(_) if self.network.adds_input(layer) => d_output.to_owned(),
            Input::Dense(x) => Array3::zeros(x.dim()),
        };
        for (k, tape) in (layer * self.network.directions..).zip(directions) {
            let d_states = &mut d_states.parts_mut()[k];
            if self.record {
                let zeros = |d: &Array2<T>| Array3::zeros((time, batch, d.ncols()));
                steps[k] = d_states.iter().map(zeros).collect();
            }
            let d_x = matches!(x, Input::Dense(_)).then_some(&mut d_x);
            self.direction(k, x, &d_output, (d_x, d_states, &mut steps[k]), tape, &mut *grads[k]);
        }
        if let Some(mask) = &mask {
            d_x *= mask;
        }
        d_x.into()
    }

    /// Walks one direction of a layer backward, span by span, and within a span part by part.
    fn direction(
        &self,
        k: usize,
        x: LayerInput<'_, T>,
        d_output: &CowArray<'_, T, Ix3>,
        (mut d_x, d_states, recorded): (
            Option<&mut Array3<T>>,
            &mut Vec<Array2<T>>,
            &mut Vec<Array3<T>>,
        ),
        tape: DirectionTape<T>,
        grad: &mut dyn AnyGradient<T>,
    ) {
        let (order, direction, column) =
            (self.order, self.network.direction(k), self.network.column(k));
        let DirectionTape { mut blocks, noise, mut checkpoints } = tape;
        let weights = direction.pack_backward();
        let again = (self.keep != Recompute::Store).then(|| direction.pack_forward());
        [&weights].into_iter().chain(&again).for_each(|weights| weights.prepare(x));
        let length = span_steps(Some(self.keep), order);
        for block in blocks.iter_mut().filter(|_| again.is_some()) {
            *block = direction.tape(block.block.clone(), Some(length));
        }
        for span in direction.pieces(0..order.longest(), length).rev() {
            if let Some(weights) = &again {
                let mut states = checkpoints.pop().expect("the states before each span");
                let states = state_rows_mut(&mut states);
                let io = ForwardIo { output: None, column, states, noise };
                for_blocks(&mut blocks, io, &|tape, io| {
                    direction.forward(weights, x, &span, io, tape);
                });
            }
            let part = direction.part_steps(order, blocks.len());
            for part in direction.pieces(span, part).rev() {
                let io = BackwardIo {
                    d_output: d_output.view(),
                    column,
                    d_x: d_x.as_mut().map(|d_x| d_x.view_mut()),
                    d_states: state_rows_mut(d_states),
                    recorded: recorded.iter_mut().map(|steps| steps.view_mut()).collect(),
                    noise,
                };
                for_blocks(&mut blocks, io, &|tape, io| {
                    direction.backward(&weights, &part, io, tape);
                });
                direction.accumulate(x, &part, &blocks, grad);
            }
        }
    }
}

/// Returns the multiply-adds of one walk over the whole batch.
fn work(sizes: &Sizes, dense: bool, order: &Order) -> usize {
    let input = if dense { sizes.input } else { 0 };
    order.steps() * sizes.gates * (input + sizes.output())
}
