//! [`Stream`]: inference step by step, with weights that are packed once.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};

use crate::cell::ForwardStep;
use crate::cell::step::Noise;
use crate::error::{Result, check_count};
use crate::float::Float;
use crate::sequence::direction::Weights;
use crate::sequence::engine::ENGINE;
use crate::sequence::io::{set_rows, set_rows_mut};
use crate::sequence::network::Network;
use crate::sequence::state::State;
use crate::sequences::Input;
use crate::tensor::{Rows, RowsMut, threads};

/// A network that reads its sequences step by step, created by
/// [`Recurrent::stream`](super::Recurrent::stream).
///
/// Its outputs equal those of [`forward`](super::Recurrent::forward) over the whole sequence, bit for bit.
/// On one thread, a step allocates nothing. If a layer is large, from about a million multiply-adds a step
/// or a quarter of a million weights on, other threads of this crate share its products: so many that with
/// the caller's they are as many as the `rayon` pool has in which the stream is created. They come if steps
/// follow each other at once, and leave 0.1 ms after the last. [`snapshot`](Stream::snapshot) and
/// [`restore`](Stream::restore) copy the state. A
/// [`fork`](Stream::fork) is a second stream that continues from the same state.
///
/// Threads can share a stream behind a lock, as they can a [`Workspace`](super::Workspace).
pub struct Stream<'m, T: Float> {
    plan: Arc<Plan<'m, T>>,
    state: State<T>,
    next: State<T>,
    /// Memory for an input that is not contiguous, and for the rows of each layer's step.
    x: Vec<T>,
    gates: Vec<Vec<T>>,
    saved: Vec<Vec<T>>,
    /// The output of each layer that adds its input to its state.
    outputs: Vec<Option<Array2<T>>>,
}

/// A network and its packed weights.
pub(super) struct Plan<'m, T: Float> {
    pub(super) network: Network<'m, T>,
    pub(super) weights: Vec<Weights<'m, T>>,
}

impl<T: Float> std::fmt::Debug for Stream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<'m, T: Float> Stream<'m, T> {
    pub(crate) fn new(network: Network<'m, T>, batch: usize) -> Result<Self> {
        network.check_one_direction()?;
        network.check_batch(batch)?;
        let weights = network.pack();
        for (weights, sizes) in weights.iter().zip(&network.sizes) {
            // A single row takes about as long as four.
            let work = batch.max(4) * sizes.gates * (sizes.input + sizes.output());
            weights.share(threads::spare(1, work), true);
        }
        let rows = |width: usize| vec![T::zero(); batch * width];
        let sizes = network.sizes.iter();
        let output =
            |(layer, width)| network.adds_input(layer).then(|| Array2::zeros((batch, width)));
        let state = network.initial_state(None, batch)?;
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

    /// Sets the largest number of threads that share the products of a step, in place of the number above, also
    /// for every [`fork`](Self::fork). The others than the caller's are threads of this crate, at most one for
    /// each core. The outputs have the same bits.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::Gru;
    ///
    /// let gru = Gru::<f32>::builder(64, 600).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let stream = gru.stream(8)?;
    /// stream.set_threads(1)?; // the other cores are for other streams
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `threads` is zero.
    pub fn set_threads(&self, threads: usize) -> Result<()> {
        let share = |weights: &Weights<'_, T>| weights.share(threads, true);
        check_count("threads", threads).map(|()| self.plan.weights.iter().for_each(share))
    }

    /// Computes one step of all layers, from `x_t` [batch, input] to the output [batch, hidden].
    ///
    /// # Errors
    /// If the shape of `x_t` does not fit. The state is then unchanged.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<ArrayView2<'_, T>> {
        self.plan.network.check_step(Input::Dense(x_t), self.state.batch())?;
        let rows = x_t.to_slice();
        if rows.is_none() {
            self.x.iter_mut().zip(&x_t).for_each(|(to, &from)| *to = from);
        }
        Ok(self.advance(rows.map(Input::Dense)))
    }

    /// Computes one step of one-hot inputs, given by one token for each sequence.
    ///
    /// # Errors
    /// If there is not one token for each sequence, or one is not less than the input's width. The state
    /// is then unchanged.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<ArrayView2<'_, T>> {
        self.plan.network.check_step(Input::Tokens(tokens), self.state.batch())?;
        Ok(self.advance(Some(Input::Tokens(tokens))))
    }

    /// Computes one step of all layers, from `x_t` or from the values in `x`.
    fn advance(&mut self, x_t: Option<Input<&[T], &[usize]>>) -> ArrayView2<'_, T> {
        (T::pick(&ENGINE).advance)(self, x_t);
        std::mem::swap(&mut self.state, &mut self.next);
        self.output()
    }

    /// Returns the output of the last step, [batch, hidden]. Before the first step it is the initial state
    /// of the last layer, or zeros if that layer is residual.
    pub fn output(&self) -> ArrayView2<'_, T> {
        let last = self.outputs.len() - 1;
        self.outputs[last].as_ref().unwrap_or(&self.state.parts()[last][0]).view()
    }

    /// Returns a copy of the state, for [`restore`](Self::restore).
    pub fn snapshot(&self) -> State<T> {
        self.state.clone()
    }

    /// Replaces the state by a [`snapshot`](Stream::snapshot), or by the final state of a sequence.
    ///
    /// # Errors
    /// If it does not fit this network or batch. The state is then unchanged.
    pub fn restore(&mut self, state: &State<T>) -> Result<()> {
        state.check_like("state", &self.state, self.state.batch())?;
        let states = self.state.parts_mut().iter_mut().flatten();
        states.zip(state.parts().iter().flatten()).for_each(|(to, from)| to.assign(from));
        Ok(())
    }

    /// Continues with the sequences `rows`, in this order. A sequence may occur more than once, as in a
    /// beam search. There may be more or fewer sequences than before.
    ///
    /// ```
    /// use ndarray::array;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::Gru;
    ///
    /// let gru = Gru::<f32>::builder(2, 4).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let mut stream = gru.stream(1)?;
    /// stream.step(array![[1.0, 0.0]].view())?;
    /// stream.select(&[0, 0, 0])?; // three beams from one
    /// stream.step_tokens(&[0, 1, 1])?;
    /// stream.select(&[2, 0])?; // the best two
    /// assert_eq!(stream.output().dim(), (2, 4));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no row, one is not less than the number of sequences, or there are so many that a step
    /// could not be addressed. The stream is then unchanged.
    pub fn select(&mut self, rows: &[usize]) -> Result<()> {
        let network = &self.plan.network;
        let state = self.state.select(rows)?;
        network.check_batch(rows.len())?;
        for output in self.outputs.iter_mut().flatten() {
            *output = output.select(Axis(0), rows);
        }
        if rows.len() != self.state.batch() {
            self.next = state.clone();
            self.x.resize(rows.len() * network.input_size(), T::zero());
            for (k, sizes) in network.sizes.iter().enumerate() {
                self.gates[k].resize(rows.len() * sizes.gates, T::zero());
                self.saved[k].resize(rows.len() * sizes.saved, T::zero());
            }
        }
        self.state = state;
        Ok(())
    }

    /// Returns a second stream that continues from the same state. It shares the packed weights.
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

    /// Computes the step of each layer, from `state` to `next`.
    #[expect(clippy::unreachable, reason = "tokens have no layer below")]
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
            let (direction, sizes) = (network.direction(k), &network.sizes[k]);
            let mut step = ForwardStep::new(network.level, Noise::default());
            set_rows(&mut step.prev, state);
            set_rows_mut(&mut step.next, next);
            step.gates = RowsMut::new(gates, sizes.gates);
            step.saved = RowsMut::new(saved, sizes.saved);
            direction.step_from(weights, x, &mut step);
            let h = Rows::of(&next[0]);
            x = Input::Dense(match (x, output) {
                (_, None) => h,
                (Input::Dense(below), Some(sums)) => {
                    let (h, below) = (h.contiguous(), below.contiguous());
                    let sums_and_values = sums.iter_mut().zip(h).zip(below);
                    sums_and_values.for_each(|((sum, &h), &x)| *sum = h + x);
                    Rows::of(&*sums)
                }
                (Input::Tokens(_), Some(_)) => unreachable!("the first layer adds no input"),
            });
        }
    }
}
