//! [`TrainingStream`] and [`BackwardStream`]: training one step at a time.

use ndarray::{Array2, ArrayView2};

use crate::arrays::check_same_structure;
use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::sequence::Recurrent;
use crate::sequence::engine::ENGINE;
use crate::sequence::state::State;
use crate::sequence::step_tape::{StepTape, StepTapeBack};
use crate::sequences::Input;

/// A forward pass of training that reads its sequences step by step, made by
/// [`Recurrent::training_stream`].
///
/// The input of a step may depend on the outputs of earlier steps, as in attention with input feeding or
/// in scheduled sampling. The weights are packed once. Each step adds its rows to a tape for
/// [`backward`](Self::backward).
///
/// Outputs, final states and all gradients equal, bit for bit, those of
/// [`forward_train`](Recurrent::forward_train) and [`backward`](Recurrent::backward) over the whole
/// sequences, with the same seed of `rng`. This includes all noise: dropout between layers, recurrent
/// dropout and zoneout.
///
/// In this example each step reads the sum of x and the output of the step before:
///
/// ```
/// use ndarray::{Array2, Array3, Axis};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, Gru};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let gru = Gru::<f32>::builder(4, 4).build(&mut rng)?;
/// let x = Array3::<f32>::ones((5, 2, 4)); // [time, batch, input]
///
/// let mut stream = gru.training_stream(2, None, &mut rng)?;
/// for x_t in x.outer_iter() {
///     let fed = &x_t + &stream.output(); // h of the step before
///     stream.step(fed.view())?;
/// }
/// let d_output = Array2::ones((2, 4)); // of the loss Σ output of the last step
///
/// let mut backward = stream.backward(None)?;
/// let (mut d_h, mut d_x) = (d_output, Array3::zeros(x.dim()));
/// for t in (0..5).rev() {
///     let d_fed = backward.step(d_h.view())?.expect("dense inputs have a gradient");
///     d_x.index_axis_mut(Axis(0), t).assign(&d_fed);
///     d_h = d_fed; // the output of the step before was part of this input
/// }
/// let mut grad = gru.zeros_like();
/// let d_initial = backward.finish(&mut grad)?;
/// // The first step also read the initial state as an output.
/// let d_initial = d_initial.get("h")?.index_axis(Axis(0), 0).to_owned() + d_h;
/// # assert_eq!(d_initial.dim(), (2, 4));
/// # Ok::<(), recurrent::Error>(())
/// ```
pub struct TrainingStream<'m, C: Cell> {
    pub(super) network: &'m Recurrent<C>,
    pub(super) tape: StepTape<'m, C::Elem>,
    pub(super) origin: Origin,
}

/// The backward pass of a [`TrainingStream`], from its last step to its first.
///
/// After [`step`](Self::step) for each of them, [`finish`](Self::finish) sums the gradients of the
/// parameters.
pub struct BackwardStream<'m, C: Cell> {
    network: &'m Recurrent<C>,
    tape: StepTapeBack<'m, C::Elem>,
    origin: Origin,
}

/// The properties of a forward pass that [`Recurrent`] handles outside the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// True if the initial state was the network's learned one.
    pub(super) learned_initial: bool,
    /// The seed of recurrent dropout, if there was any.
    pub(super) drop_seed: Option<u64>,
}

impl<C: Cell> std::fmt::Debug for TrainingStream<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrainingStream")
            .field("steps", &self.tape.steps.len())
            .finish_non_exhaustive()
    }
}

impl<C: Cell> std::fmt::Debug for BackwardStream<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackwardStream").field("left", &self.tape.left).finish_non_exhaustive()
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> TrainingStream<'m, C> {
    /// Computes one step of all layers, from `x_t` [batch, input] to the output [batch, hidden].
    ///
    /// # Errors
    /// If the shape of `x_t` does not fit, or an earlier step read tokens. The stream is then unchanged.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<ArrayView2<'_, T>> {
        (T::pick(&ENGINE).step)(&mut self.tape, Input::Dense(x_t))?;
        Ok(self.output())
    }

    /// Computes one step of one-hot inputs, given by one token for each sequence.
    ///
    /// # Errors
    /// If there is not one token for each sequence, one is not less than the input's width, or an earlier
    /// step read dense inputs. The stream is then unchanged.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<ArrayView2<'_, T>> {
        (T::pick(&ENGINE).step)(&mut self.tape, Input::Tokens(tokens))?;
        Ok(self.output())
    }

    /// Returns the output of the last step, [batch, hidden]. Before the first step it is the initial state
    /// of the last layer, or zeros if that layer is residual.
    pub fn output(&self) -> ArrayView2<'_, T> {
        self.tape.output.view()
    }

    /// Returns the states after the last step.
    pub fn state(&self) -> &State<T> {
        self.tape.state()
    }

    /// Returns the number of steps so far.
    pub fn steps(&self) -> usize {
        self.tape.steps.len()
    }

    /// Divides a stream without steps into streams of consecutive sequences each, for several threads. Results do
    /// not depend on the division.
    pub(crate) fn divided(self, blocks: &[Vec<usize>]) -> Result<Vec<Self>> {
        let Self { network, tape, origin } = self;
        let tapes = tape.divided(blocks)?.into_iter();
        Ok(tapes.map(|tape| Self { network, tape, origin }).collect())
    }

    /// Begins the backward pass, with the gradient of the final states, or zeros if none is given.
    ///
    /// # Errors
    /// If `d_final` does not fit.
    pub fn backward(self, d_final: Option<&State<T>>) -> Result<BackwardStream<'m, C>> {
        let Self { network, tape, origin } = self;
        let tape = (T::pick(&ENGINE).turn)(tape, d_final)?;
        Ok(BackwardStream { network, tape, origin })
    }
}

impl<T: Float, C: Cell<Elem = T>> BackwardStream<'_, C> {
    /// Runs the backward pass of the last step that is left, from ∂L/∂output [batch, hidden] of this step
    /// to ∂L/∂x [batch, input]. Returns `None` for tokens.
    ///
    /// # Errors
    /// If no step is left, or the shape of `d_output_t` does not fit. The stream is then unchanged.
    pub fn step(&mut self, d_output_t: ArrayView2<'_, T>) -> Result<Option<Array2<T>>> {
        (T::pick(&ENGINE).step_back)(&mut self.tape, d_output_t)
    }

    /// Returns the number of steps that are left.
    pub fn left(&self) -> usize {
        self.tape.left
    }

    /// Adds the gradients of the parameters over all steps to `grad`, and returns ∂L/∂(initial state).
    ///
    /// # Errors
    /// If steps are left, or `grad` does not fit. `grad` is then unchanged.
    pub fn finish(self, grad: &mut Recurrent<C>) -> Result<State<T>> {
        Ok(Self::finish_all(vec![self], grad)?.remove(0))
    }

    /// Finishes streams that [`TrainingStream::divided`] has made, in their order.
    pub(crate) fn finish_all(blocks: Vec<Self>, grad: &mut Recurrent<C>) -> Result<Vec<State<T>>> {
        let &Self { network, origin: Origin { learned_initial, drop_seed }, .. } = &blocks[0];
        check_same_structure("grad", network, grad)?;
        let tapes = blocks.into_iter().map(|block| block.tape).collect();
        let finish = T::pick(&ENGINE).finish;
        let d_initial = network.add_gradients(grad, drop_seed, |_, grads| finish(tapes, grads))?;
        d_initial.iter().try_for_each(|d| grad.add_initial(learned_initial, d))?;
        Ok(d_initial)
    }
}
