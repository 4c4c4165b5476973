//! Layers × directions: merging, dropout between layers, and the split of a batch over threads.

use std::sync::Arc;

use ndarray::{Array2, Array3, Axis, CowArray, Ix3};
use rand::{Rng, RngExt};

use crate::cell::Cell;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::lengths::Order;
use crate::sequence::state::State;
use crate::sequence::tape::{Checkpoint, DirectionTape, LayerTape};
use crate::sequence::unroll::{Direction, Walk, Weights, for_blocks};
use crate::sequence::zoneout::Zoneout;
use crate::sequences::{Input, Sequences};
use crate::tensor::Simd;
use crate::tensor::random::dropout_mask;

/// All that a forward pass writes, in `order`.
#[derive(Debug)]
pub(crate) struct Pass<T: Float> {
    pub(crate) order: Order,
    /// What to keep for backward, if there is to be one.
    pub(crate) keep: Option<Checkpoint>,
    pub(crate) layers: Vec<LayerTape<T>>,
    /// [time, batch, width], zero in the padding.
    pub(crate) output: Array3<T>,
    /// The initial states, which become the final ones.
    pub(crate) states: State<T>,
}

/// Where backward ends: the gradients of the input and of the initial state, and, if asked for,
/// those of the states after each step: for each layer and direction, for each state,
/// [time, batch, width].
pub(crate) struct InputGradients<T> {
    pub(crate) d_x: Array3<T>,
    pub(crate) d_initial: State<T>,
    pub(crate) steps: Vec<Vec<Array3<T>>>,
}

/// Where backward begins: the gradients of the output [time, batch, width] and of the final state.
pub(crate) struct OutputGradients<'a, T> {
    pub(crate) d_output: CowArray<'a, T, Ix3>,
    pub(crate) d_states: State<T>,
    /// Whether the gradients of the states after each step are wanted.
    pub(crate) record: bool,
}

/// Steps of a window of a walk.
fn window_steps(keep: Option<Checkpoint>, order: &Order) -> usize {
    if let Some(Checkpoint::Every(k)) = keep { k } else { order.longest().max(1) }
}

impl<T: Float, C: Cell<T>> Recurrent<T, C> {
    fn direction(&self, k: usize) -> Direction<'_, T, C> {
        let zoneout = self.zoneout.map(|p| Zoneout { p, seed: None });
        Direction::new(&self.cells[k], k % self.directions == 1, zoneout)
    }

    /// The weights of all layers and directions, laid out for [`run`](Recurrent::run).
    pub(crate) fn pack<S: Simd>(&self, simd: S) -> Vec<Weights<'_, T, C::Packed>> {
        (0..self.cells.len()).map(|k| self.direction(k).pack_forward(simd)).collect()
    }

    /// Memory for a pass over `x`, or others of its kind, whose sequences are in `order`.
    pub(crate) fn pass(&self, x: Input<'_, T>, order: Order, keep: Option<Checkpoint>) -> Pass<T> {
        let zeros = |width: usize| Array3::zeros((order.time(), order.batch(), width));
        let one_hot = matches!(x, Input::Tokens(_));
        let width = |k: usize| {
            let dense = !one_hot || k >= self.directions;
            if dense { self.cells[k].weight_ih().ncols() } else { 0 }
        };
        let of_direction = |k: usize| {
            let steps = (keep == Some(Checkpoint::Store)).then_some(order.longest());
            let tape = |block| self.direction(k).tape(Arc::new(block), steps);
            let blocks = order.blocks(work(&self.cells[k], width(k), &order));
            let blocks = blocks.into_iter().map(tape).collect();
            DirectionTape { blocks, checkpoints: Vec::new() }
        };
        let of_layer = |layer: usize| {
            let k = layer * self.directions;
            // Without a tape, the first layer reads the caller's array where it can.
            let read = layer == 0 && keep.is_none() && order.is_caller_order();
            let x = zeros(if read { 0 } else { width(k) });
            let tokens =
                (layer == 0 && one_hot).then(|| Array2::zeros((order.time(), order.batch())));
            let directions = (k..k + self.directions).map(of_direction).collect();
            LayerTape { x, tokens, mask: None, directions }
        };
        let layers = (0..self.num_layers()).map(of_layer).collect();
        let output = zeros(self.output_size());
        let states = self.no_sequences.zeros(order.batch());
        Pass { order, keep, layers, output, states }
    }

    /// All layers over `x` from the states `initial` (the learned ones or zeros where none are
    /// given). `dropout` is where training draws its masks from.
    pub(crate) fn run<S: Simd>(
        &self,
        simd: S,
        weights: &[Weights<'_, T, C::Packed>],
        (x, initial): (&Sequences<T>, Option<&State<T>>),
        pass: &mut Pass<T>,
        mut dropout: Option<&mut dyn Rng>,
    ) {
        let Pass { order, keep, layers, output, states } = pass;
        states.copy(initial.or(self.initial.as_ref()), order, false);
        let (x, first, batch) = (x.input(), &mut layers[0], (Axis(1), false));
        match (x, &mut first.tokens, &mut first.x) {
            (Input::Tokens(x), Some(to), _) => order.copy(x.view(), to.view_mut(), batch),
            (Input::Values(_), _, to) if to.is_empty() => {}
            (Input::Values(x), _, to) => order.copy_steps(x.view(), to.view_mut(), false),
            _ => {}
        }
        let steps = window_steps(*keep, order);
        let seed = self.zoneout.and(dropout.as_mut()).map(|rng| rng.random::<u64>());
        for layer in 0..layers.len() {
            let (done, above) = layers.split_at_mut(layer + 1);
            let LayerTape { x: below, tokens, directions, .. } = &mut done[layer];
            let read = below.is_empty() && tokens.is_none();
            let x = if read { x } else { Input::new(below, tokens.as_ref()) };
            let output = above.first_mut().map_or(&mut *output, |next| &mut next.x);
            let mut column = 0;
            for (k, tape) in (layer * self.directions..).zip(directions) {
                let (direction, states) = (self.direction(k), &mut states.parts_mut()[k]);
                weights[k].prepare(simd, x);
                for zoneout in tape.blocks.iter_mut().filter_map(|block| block.zoneout.as_mut()) {
                    zoneout.seed = seed.map(|seed| seed.wrapping_add(k as u64));
                }
                for window in direction.pieces(0..order.longest(), steps) {
                    if let Some(Checkpoint::Every(_)) = keep {
                        tape.checkpoints.push(states.clone());
                    }
                    let walk = Walk::new(Some(output.view_mut()), column, states);
                    for_blocks(&mut tape.blocks, walk, &|tape, walk| {
                        direction.forward(simd, &weights[k], x, &window, walk, tape);
                    });
                }
                tape.blocks.iter_mut().for_each(|tape| tape.release(*keep));
                column += self.cells[k].state_size(0);
            }
            if self.adds_input(layer) {
                *output += &*below;
            }
            if let (Some(next), Some(rng), true) =
                (above.first_mut(), &mut dropout, self.dropout > 0.0)
            {
                let factors = dropout_mask(*rng, self.dropout, next.x.len());
                next.mask = Array3::from_shape_vec(next.x.dim(), factors).ok();
                next.mask.iter().for_each(|mask| next.x *= mask);
            }
        }
    }

    /// All layers backward, all in `order`. Adds the parameters' gradients to `grad`.
    pub(crate) fn run_back<S: Simd>(
        &self,
        simd: S,
        (order, keep): (&Order, Checkpoint),
        mut layers: Vec<LayerTape<T>>,
        seed: OutputGradients<'_, T>,
        grad: &mut Self,
    ) -> InputGradients<T> {
        let OutputGradients { mut d_output, mut d_states, record } = seed;
        let mut steps: Vec<Vec<Array3<T>>> = vec![Vec::new(); self.cells.len()];
        let length = window_steps(Some(keep), order);
        while let Some(LayerTape { x, tokens, mask, directions }) = layers.pop() {
            let skips = self.adds_input(layers.len());
            let mut d_x = if skips { d_output.to_owned() } else { Array3::zeros(x.dim()) };
            let x = Input::new(&x, tokens.as_ref());
            let mut column = 0;
            for (k, mut tape) in (layers.len() * self.directions..).zip(directions) {
                let (direction, d_states) = (self.direction(k), &mut d_states.parts_mut()[k]);
                let weights = direction.pack_backward(simd);
                let again = (keep != Checkpoint::Store).then(|| direction.pack_forward(simd));
                [&weights].into_iter().chain(&again).for_each(|weights| weights.prepare(simd, x));
                for block in tape.blocks.iter_mut().filter(|_| again.is_some()) {
                    let zoneout = block.zoneout;
                    *block = direction.tape(block.block.clone(), Some(length));
                    block.zoneout = zoneout;
                }
                if record {
                    let (time, batch) = (order.time(), order.batch());
                    let zeros = |d: &Array2<T>| Array3::zeros((time, batch, d.ncols()));
                    steps[k] = d_states.iter().map(zeros).collect();
                }
                for window in direction.pieces(0..order.longest(), length).rev() {
                    if let Some(weights) = &again {
                        let mut states = tape.checkpoints.pop().unwrap_or_default();
                        let walk = Walk::new(None, column, &mut states);
                        for_blocks(&mut tape.blocks, walk, &|tape, walk| {
                            direction.forward(simd, weights, x, &window, walk, tape);
                        });
                    }
                    let part = direction.part_steps(order, tape.blocks.len());
                    for part in direction.pieces(window, part).rev() {
                        let mut walk = Walk::new(Some(d_x.view_mut()), column, d_states);
                        walk.recorded = steps[k].iter_mut().map(|steps| steps.view_mut()).collect();
                        for_blocks(&mut tape.blocks, walk, &|tape, walk| {
                            direction.backward(simd, &weights, d_output.view(), &part, walk, tape);
                        });
                        let grad = &mut grad.cells[k];
                        direction.accumulate(simd, x, &part, &tape.blocks, grad);
                    }
                }
                column += self.cells[k].state_size(0);
            }
            if let Some(mask) = &mask {
                d_x *= mask;
            }
            d_output = d_x.into();
        }
        InputGradients { d_x: d_output.into_owned(), d_initial: d_states, steps }
    }

    /// Whether what goes into a layer is added to what comes out of it.
    pub(crate) fn adds_input(&self, layer: usize) -> bool {
        self.residual && layer > 0
    }

    /// For each layer and direction, the widths of its input, its gates, what else it keeps and its
    /// states: what makes a tape fit.
    pub(crate) fn widths(&self) -> Vec<Vec<usize>> {
        let widths = |cell: &C| {
            let (gates, input) = cell.weight_ih().dim();
            let states = (0..C::STATE.len()).map(|s| cell.state_size(s));
            [input, gates, cell.saved_size()].into_iter().chain(states).collect()
        };
        self.cells.iter().map(widths).collect()
    }
}

/// Multiply-adds of one walk over the whole batch, with inputs of `width` values.
fn work<T: Float, C: Cell<T>>(cell: &C, width: usize, order: &Order) -> usize {
    order.steps() * cell.weight_ih().nrows() * (width + cell.state_size(0))
}
