//! Layers × directions: merging, dropout between layers, and the split of a batch over threads.

use ndarray::{Array2, Array3, CowArray, Ix3};
use rand::Rng;
use rayon::prelude::*;

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::lengths::{Block, Order};
use crate::sequence::state::State;
use crate::sequence::tape::LayerTape;
use crate::sequence::unroll::{Direction, Walk};
use crate::tensor::random::dropout_mask;
use crate::tensor::{RowsMut, Simd};

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
    pub(crate) d_final: State<T>,
    /// Whether the gradients of the states after each step are wanted.
    pub(crate) record: bool,
}

/// A walk of each block over the shared `frames` [time, batch, width], writing `states` and
/// `recorded`.
fn walks<'a, T: Float>(
    blocks: &[Block],
    frames: &'a mut Array3<T>,
    states: &'a mut [Array2<T>],
    recorded: &'a mut [Array3<T>],
    column: usize,
) -> Vec<Walk<'a, T>> {
    let mut walks: Vec<Walk<'a, T>> = blocks
        .iter()
        .map(|block| Walk {
            block: block.clone(),
            frames: Vec::new(),
            states: Vec::new(),
            recorded: recorded.iter().map(|_| Vec::new()).collect(),
            column,
        })
        .collect();
    split_frames(&mut walks, frames, |walk| &mut walk.frames);
    for (s, array) in recorded.iter_mut().enumerate() {
        split_frames(&mut walks, array, |walk| &mut walk.recorded[s]);
    }
    for array in states {
        let width = array.ncols();
        let mut rest = array.as_slice_mut().unwrap_or_default();
        for walk in &mut walks {
            let (head, tail) = rest.split_at_mut(walk.block.batch() * width);
            walk.states.push(RowsMut::new(head, width));
            rest = tail;
        }
    }
    walks
}

/// Gives each walk its sequences' part of every step of `array` [time, batch, width].
fn split_frames<'a, T: Float>(
    walks: &mut [Walk<'a, T>],
    array: &'a mut Array3<T>,
    frames_of: impl for<'w> Fn(&'w mut Walk<'a, T>) -> &'w mut Vec<&'a mut [T]>,
) {
    let (_, batch, width) = array.dim();
    for mut step in array.as_slice_mut().unwrap_or_default().chunks_exact_mut(batch * width) {
        for walk in walks.iter_mut() {
            let (head, tail) = step.split_at_mut(walk.block.batch() * width);
            frames_of(walk).push(head);
            step = tail;
        }
    }
}

/// Applies `f` to each item, on a thread each where there are several.
fn for_all<A: Send, B: Send>(items: Vec<A>, f: impl Fn(A) -> B + Sync + Send) -> Vec<B> {
    if items.len() == 1 {
        items.into_iter().map(f).collect()
    } else {
        items.into_par_iter().map(f).collect()
    }
}

impl<T: Float, C: Cell<T>> Recurrent<T, C> {
    /// All layers over `x` [time, batch, input], from `initial`, all in `order`. Returns the
    /// output, the final state and, with `keep`, what backward needs. `dropout` is where training
    /// draws its masks from.
    pub(crate) fn run<S: Simd>(
        &self,
        simd: S,
        order: &Order,
        x: CowArray<'_, T, Ix3>,
        initial: &State<T>,
        mut dropout: Option<&mut dyn Rng>,
        keep: bool,
    ) -> (Array3<T>, State<T>, Vec<LayerTape<T>>) {
        let mut last = initial.zeros_like();
        let mut layers = Vec::new();
        let mut x = x;
        for (layer, cells) in self.cells.chunks_exact(self.directions).enumerate() {
            let mask = match &mut dropout {
                Some(rng) if layer > 0 && self.dropout > 0.0 => {
                    let factors = dropout_mask(*rng, self.dropout, x.len());
                    Array3::from_shape_vec(x.dim(), factors).ok()
                }
                _ => None,
            };
            if let Some(mask) = &mask {
                x *= mask;
            }
            let width = cells.iter().map(|cell| cell.state_size(0)).sum();
            let mut output = Array3::zeros((order.time(), order.batch(), width));
            let (mut column, mut directions) = (0, Vec::new());
            for (d, cell) in cells.iter().enumerate() {
                let k = layer * self.directions + d;
                let direction = Direction::new(cell, d == 1);
                let weights = direction.pack_forward(simd);
                let blocks = order.blocks(work(cell, order));
                let walks = walks(&blocks, &mut output, &mut last.parts_mut()[k], &mut [], column);
                let tapes = for_all(walks, |walk| {
                    direction.forward(simd, &weights, x.view(), &initial.parts()[k], walk, keep)
                });
                directions.push(tapes);
                column += cell.state_size(0);
            }
            let input = std::mem::replace(&mut x, output.into());
            if keep {
                layers.push(LayerTape { x: input.into_owned(), mask, directions });
            }
        }
        (x.into_owned(), last, layers)
    }

    /// All layers backward, all in `order`. Adds the parameters' gradients to `grad`.
    pub(crate) fn run_back<S: Simd>(
        &self,
        simd: S,
        order: &Order,
        mut layers: Vec<LayerTape<T>>,
        seed: OutputGradients<'_, T>,
        grad: &mut Self,
    ) -> InputGradients<T> {
        let OutputGradients { mut d_output, d_final, record } = seed;
        let mut d_initial = d_final.zeros_like();
        let mut steps: Vec<Vec<Array3<T>>> = vec![Vec::new(); self.cells.len()];
        while let Some(LayerTape { x, mask, directions }) = layers.pop() {
            let mut d_x = Array3::zeros(x.dim());
            let mut column = 0;
            for (d, mut tapes) in directions.into_iter().enumerate() {
                let k = layers.len() * self.directions + d;
                let (cell, d_last) = (&self.cells[k], &d_final.parts()[k]);
                let direction = Direction::new(cell, d == 1);
                let weights = direction.pack_backward(simd);
                if record {
                    let zeros =
                        |width: &usize| Array3::zeros((order.time(), order.batch(), *width));
                    steps[k] = self.state_widths()[k].iter().map(zeros).collect();
                }
                let blocks: Vec<Block> = tapes.iter().map(|tape| tape.block().clone()).collect();
                let states = &mut d_initial.parts_mut()[k];
                let walks = walks(&blocks, &mut d_x, states, &mut steps[k], column);
                for_all(walks.into_iter().zip(&mut tapes).collect(), |(walk, tape)| {
                    direction.backward(simd, &weights, d_output.view(), d_last, walk, tape);
                });
                direction.accumulate(simd, x.view(), &tapes, &mut grad.cells[k]);
                column += cell.state_size(0);
            }
            if let Some(mask) = &mask {
                d_x *= mask;
            }
            d_output = d_x.into();
        }
        InputGradients { d_x: d_output.into_owned(), d_initial, steps }
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

/// Multiply-adds of one walk over the whole batch.
fn work<T: Float, C: Cell<T>>(cell: &C, order: &Order) -> usize {
    let (gates, input) = cell.weight_ih().dim();
    order.steps() * gates * (input + cell.state_size(0))
}
