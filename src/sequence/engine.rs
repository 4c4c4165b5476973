//! [`ENGINE`]: the entry points of the engine, compiled once for each element type.
//!
//! [`Network`] is not generic over the cell, so a program with its own cell does not compile the engine.

use ndarray::{Array2, ArrayView2};
use rand::Rng;

use crate::cell::any::AnyGradient;
use crate::error::Result;
use crate::float::{Float, PerFloat, Table};
use crate::sequence::network::Network;
use crate::sequence::state::State;
use crate::sequence::step_gradients::StepGradients;
use crate::sequence::step_tape::{StepInput, StepTape, StepTapeBack};
use crate::sequence::stream::Stream;
use crate::sequence::tape::{Recompute, Tape};
use crate::sequence::workspace::{Results, Workspace};
use crate::sequences::{Input, Sequences};

/// The entry points of the engine for one element type.
#[allow(clippy::type_complexity, reason = "each type is the signature of one entry point")]
pub(crate) struct Engine<T: Float> {
    pub(crate) forward_train:
        fn(&Network<'_, T>, &Call<'_, T>, Recompute, &mut dyn Rng) -> Result<Trained<T>>,
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
    pub(crate) finish: fn(Vec<StepTapeBack<'_, T>>, Grads<'_, '_, T>) -> Result<Vec<State<T>>>,
}

/// The function that begins a [`StepTape`] for a batch.
type StartFn<T> =
    for<'m> fn(Network<'m, T>, usize, Option<&State<T>>, &mut dyn Rng) -> Result<StepTape<'m, T>>;

/// The input of a forward pass, and the initial states.
pub(crate) struct Call<'a, T> {
    pub(crate) x: &'a Sequences<T>,
    pub(crate) initial: Option<&'a State<T>>,
}

/// The output, the final states and the tape of a forward pass.
pub(crate) type Trained<T> = (Sequences<T>, State<T>, Tape<T>);
/// The gradients of the input, of the initial states, and of the states after each step.
pub(crate) type Back<T> = (Sequences<T>, State<T>, StepGradients<T>);
/// The gradient of each cell.
pub(crate) type Grads<'g, 'c, T> = &'g mut [Box<dyn AnyGradient<T> + 'c>];

/// The gradients that a backward pass begins with.
pub(crate) struct Gradients<'a, T> {
    /// Of the output [time, batch, width].
    pub(crate) d_output: &'a Sequences<T>,
    /// Of the final states; zeros if none.
    pub(crate) d_final: Option<&'a State<T>>,
    /// True if the gradients of the states after each step are returned.
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
        forward_train: |network, call, recompute, rng| network.forward_train(call, recompute, rng),
        backward: |network, tape, gradients, grads| network.backward(tape, gradients, grads),
        workspace: |network| Workspace::new(network),
        infer: |workspace, memory, call| workspace.infer(memory, call),
        stream: |network, batch| Stream::new(network, batch),
        advance: |stream, x_t| stream.step_layers(x_t),
        step_tape: |network, batch, initial, rng| StepTape::new(network, batch, initial, rng),
        step: |tape, x_t| tape.step(x_t),
        turn: |tape, d_final| tape.backward(d_final),
        step_back: |tape, d_output| tape.step(d_output),
        finish: |tapes, grads| StepTapeBack::finish(tapes, grads),
    };
}
