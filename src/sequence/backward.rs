//! The backward pass of a [`Network`]: layer by layer from the last, span by span and part by part.

use ndarray::{Array2, Array3, ArrayView3, CowArray, Ix3};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequence::direction::LayerInput;
use crate::sequence::engine::{Back, Gradients, Grads};
use crate::sequence::io::{BackwardIo, ForwardIo, for_blocks, state_rows_mut};
use crate::sequence::lengths::Towards;
use crate::sequence::network::{Network, Walk};
use crate::sequence::state::State;
use crate::sequence::step_gradients::StepGradients;
use crate::sequence::tape::{DirectionTape, LayerTape, Tape};
use crate::sequences::{Input, Sequences};

impl<T: Float> Network<'_, T> {
    /// Runs [`Recurrent::backward_steps`](super::Recurrent::backward_steps).
    #[expect(clippy::expect_used, reason = "the first layer alone reads tokens")]
    pub(crate) fn backward(
        &self,
        tape: Tape<T>,
        gradients: &Gradients<'_, T>,
        grads: Grads<'_, '_, T>,
    ) -> Result<Back<T>> {
        let Tape { order, lengths, sizes, keep, mut layers, .. } = tape;
        if sizes != self.sizes {
            let expected = "a tape of this network's own forward pass";
            return Err(Error::argument("tape", expected, "one of other sizes"));
        }
        let &Gradients { d_output, d_final, record } = gradients;
        let (time, batch) = (order.time, order.batch());
        let expected = ("time, batch, output", [time, batch, self.output_size()]);
        d_output.check("d_output", expected, &lengths)?;
        let mut d_states = self.no_sequences.zeros(batch);
        if let Some(d_final) = d_final {
            d_final.check_like("d_final", &d_states, batch)?;
            d_states.copy(Some(d_final), &order, Towards::Walk);
        }
        let walk = Walk { order: &order, keep: Some(keep) };
        let recorded = vec![Vec::new(); self.cells.len()];
        let mut backward = Backward { network: self, walk, record, d_states, recorded, grads };
        let mut d_x = Some(order.sorted(d_output.values().view()));
        while let Some(layer) = layers.pop() {
            let d_output = d_x.expect("the first layer alone reads tokens");
            d_x = backward.layer(layers.len(), layer, d_output);
        }
        let Backward { d_states, recorded, .. } = backward;
        let unsorted = |states: Vec<_>| states.into_iter().map(|d| order.unsorted(d)).collect();
        let steps = StepGradients {
            names: self.no_sequences.state_names(),
            directions: self.directions,
            values: recorded.into_iter().map(unsorted).collect(),
        };
        let d_x = match d_x {
            Some(d_x) => d_output.with_values(order.unsorted(d_x.into_owned()))?,
            None => Sequences::zeros((time, batch, self.input_size()), lengths),
        };
        Ok((d_x, d_states.unsorted(&order), steps))
    }
}

/// A backward pass, with the gradients that it computes.
struct Backward<'a, 'm, 'g, 'c, T: Float> {
    network: &'a Network<'m, T>,
    walk: Walk<'a>,
    /// True if the gradients of the states after each step are recorded.
    record: bool,
    /// The gradients of the final states, which become those of the initial states.
    d_states: State<T>,
    /// The recorded gradients [time, batch, width] of each cell, as in `BackwardIo`.
    recorded: Vec<Vec<Array3<T>>>,
    grads: Grads<'g, 'c, T>,
}

/// The input of a layer, the gradient of its output, and that of its input, `None` for tokens.
struct LayerGradients<'a, T> {
    x: LayerInput<'a, T>,
    d_output: ArrayView3<'a, T>,
    d_x: Option<Array3<T>>,
}

impl<T: Float> Backward<'_, '_, '_, '_, T> {
    /// Walks one layer backward and returns the gradient of its input.
    #[expect(clippy::expect_used, clippy::unwrap_in_result, reason = "training keeps the input")]
    fn layer(
        &mut self,
        layer: usize,
        tape: LayerTape<T>,
        d_output: CowArray<'_, T, Ix3>,
    ) -> Option<CowArray<'static, T, Ix3>> {
        let LayerTape { x, mask, directions } = tape;
        let x = x.as_ref().expect("training keeps the input").as_ref();
        let d_x = match x {
            Input::Tokens(_) => None,
            Input::Dense(_) if self.network.adds_input(layer) => Some(d_output.to_owned()),
            Input::Dense(x) => Some(Array3::zeros(x.dim())),
        };
        let mut gradients = LayerGradients { x, d_output: d_output.view(), d_x };
        for (k, tape) in (layer * self.network.directions..).zip(directions) {
            self.direction(k, tape, &mut gradients);
        }
        let mut d_x = gradients.d_x?;
        if let Some(mask) = &mask {
            d_x *= mask;
        }
        Some(d_x.into())
    }

    /// Walks one direction of a layer backward, span by span, and within a span part by part.
    #[expect(clippy::expect_used, reason = "forward has kept the states before each span")]
    fn direction(&mut self, k: usize, tape: DirectionTape<T>, layer: &mut LayerGradients<'_, T>) {
        let (network, walk) = (self.network, self.walk);
        let (direction, column) = (network.direction(k), network.column(k));
        let (x, d_output, order) = (layer.x, layer.d_output, walk.order);
        let DirectionTape { mut blocks, threads, noise, mut checkpoints } = tape;
        let weights = direction.pack_backward();
        let again = walk.recomputes().then(|| direction.pack_forward());
        let dense = matches!(x, Input::Dense(_));
        [&weights].into_iter().chain(&again).for_each(|weights| weights.share(threads, dense));
        for block in blocks.iter_mut().filter(|_| again.is_some()) {
            *block = direction.tape(block.block.clone(), Some(walk.span_steps()));
        }
        let d_states = &mut self.d_states.parts_mut()[k];
        let recorded = &mut self.recorded[k];
        if self.record {
            let zeros = |d: &Array2<T>| Array3::zeros((order.time, order.batch(), d.ncols()));
            *recorded = d_states.iter().chain(d_states.iter()).map(zeros).collect();
        }
        for span in direction.pieces(0..order.longest(), walk.span_steps()).rev() {
            if let Some(weights) = &again {
                let mut states =
                    checkpoints.pop().expect("forward has kept the states before each span");
                let states = state_rows_mut(&mut states);
                let io = ForwardIo { output: None, column, states, noise };
                let again = |tape: &mut _, io| direction.forward(weights, x, &span, io, tape);
                for_blocks(&mut blocks, io, &again);
            }
            let part = direction.part_steps(order, blocks.len());
            for part in direction.pieces(span, part).rev() {
                let io = BackwardIo {
                    d_output,
                    column,
                    d_x: layer.d_x.as_mut().map(|d_x| d_x.view_mut()),
                    d_states: state_rows_mut(d_states),
                    recorded: recorded.iter_mut().map(|steps| steps.view_mut()).collect(),
                    noise,
                };
                let back = |tape: &mut _, io| direction.backward(&weights, &part, io, tape);
                for_blocks(&mut blocks, io, &back);
                direction.accumulate(x, &part, &blocks, &mut *self.grads[k]);
            }
        }
    }
}
