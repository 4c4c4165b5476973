//! [`Recurrent`]: a network of one or more recurrent layers.

use rand::{Rng, RngExt};

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::cell::any::{AnyCell, AnyGradient, Gradient, Typed};
use crate::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, MAX_STATES, PeepholeLstmCell,
    ProjectedLstmCell, RnnCell,
};
use crate::error::Result;
use crate::float::Float;
use crate::sequence::engine::{Back, Call, ENGINE, Engine, Gradients, Grads};
use crate::sequence::network::Network;
use crate::sequence::state::{State, suffix};
use crate::sequence::training_stream::{Origin, TrainingStream};
use crate::sequence::zoneout::zoneout;
use crate::sequence::{
    Recompute, RecurrentBuilder, StepGradients, Stream, Tape, Truncated, Workspace,
};
use crate::sequences::Sequences;
use crate::tensor::{Level, Precision};

/// A stack of recurrent layers of one cell, in one or two directions.
///
/// As a bundle of arrays it has PyTorch's names: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`,
/// `bias_hh_l0`, `weight_ih_l0_reverse`, … A gradient is another network (`zeros_like`).
///
/// All calls take `&self`, so threads can share a network. Mutable data is in a [`Tape`], a [`Stream`]
/// or a [`Workspace`].
///
/// ```
/// use ndarray::Array3;
/// use rand::SeedableRng;
/// use recurrent::{Arrays, Lstm, Sequences};
///
/// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
/// let lstm = Lstm::<f32>::builder(3, 8).num_layers(2).bidirectional(true).build(&mut rng)?;
///
/// let x = Sequences::new(Array3::ones((5, 2, 3)), vec![5, 2])?;
/// let (output, last, tape) = lstm.forward_train(&x, None, &mut rng)?;
/// assert_eq!(output.values().dim(), (5, 2, 16));
/// assert_eq!(last.get("c")?.dim(), (4, 2, 8));
///
/// let d_output = output.clone(); // of the loss ½·Σ output²
/// let mut grad = lstm.zeros_like();
/// let (d_x, _) = lstm.backward(tape, &d_output, None, &mut grad)?;
/// assert_eq!(d_x.values().dim(), (5, 2, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recurrent<C: Cell> {
    /// The cells, layer by layer and direction by direction.
    pub(super) cells: Vec<C>,
    pub(super) directions: usize,
    pub(super) dropout: f64,
    pub(super) recurrent_dropout: f64,
    pub(crate) residual: bool,
    /// The probability of each state, if there is zoneout.
    pub(crate) zoneout: Option<[f64; MAX_STATES]>,
    /// The states of an empty batch: their names and widths.
    pub(super) no_sequences: State<C::Elem>,
    /// The learned initial state, of one sequence.
    pub(crate) initial: Option<State<C::Elem>>,
}

/// A network of vanilla RNN cells.
pub type Rnn<T> = Recurrent<RnnCell<T>>;
/// A network of long short-term memory cells.
pub type Lstm<T> = Recurrent<LstmCell<T>>;
/// A network of gated recurrent units.
pub type Gru<T> = Recurrent<GruCell<T>>;
/// A network of LSTM cells whose gates also read the cell state.
pub type PeepholeLstm<T> = Recurrent<PeepholeLstmCell<T>>;
/// A network of LSTM cells whose input gate is 1 − f.
pub type CoupledLstm<T> = Recurrent<CoupledLstmCell<T>>;
/// A network of LSTM cells with a projected, narrower output.
pub type ProjectedLstm<T> = Recurrent<ProjectedLstmCell<T>>;
/// A network of LSTM cells with layer normalisation inside the step.
pub type LayerNormLstm<T> = Recurrent<LayerNormLstmCell<T>>;

impl<T: Float, C: Cell<Elem = T>> Recurrent<C> {
    /// Creates a builder of a network of one layer. [`RecurrentBuilder`] lists the options.
    pub fn builder(input_size: usize, hidden_size: usize) -> RecurrentBuilder<C> {
        const { assert!(C::STATE.len() <= MAX_STATES && !C::STATE.is_empty()) };
        RecurrentBuilder::new(input_size, hidden_size)
    }

    /// Returns the number of values per step of the input.
    pub fn input_size(&self) -> usize {
        self.cells[0].weights().weight_ih.ncols()
    }

    /// Returns the number of values per step of the output: the last layer's width, of both directions
    /// together.
    pub fn output_size(&self) -> usize {
        self.cells.iter().rev().take(self.directions).map(|cell| cell.state_size(0)).sum()
    }

    /// Returns the number of layers.
    pub fn num_layers(&self) -> usize {
        self.cells.len() / self.directions
    }

    /// Returns whether each layer computes both directions of time.
    pub fn bidirectional(&self) -> bool {
        self.directions == 2
    }

    /// Returns a state of zeros for `batch` sequences.
    ///
    /// # Errors
    /// If `batch` is zero, or so large that a step could not be addressed.
    pub fn zero_state(&self, batch: usize) -> Result<State<T>> {
        self.network().check_batch(batch).map(|()| self.no_sequences.zeros(batch))
    }

    /// Runs the network over `x` [time, batch, input], from `initial` (the learned initial state or zeros
    /// if none is given), without dropout.
    ///
    /// Returns the output of the last layer at each step, [time, batch, output], and the final state of
    /// each sequence after its own last step. The output is zero in the padding.
    ///
    /// # Errors
    /// If `x` or `initial` does not fit the network.
    pub fn forward(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(Sequences<T>, State<T>)> {
        self.workspace().results(x, initial)
    }

    /// Creates a workspace for repeated calls of [`forward`](Recurrent::forward).
    ///
    /// ```
    /// use ndarray::Array3;
    /// use rand::SeedableRng;
    /// use recurrent::{Gru, Sequences};
    ///
    /// let gru = Gru::<f32>::builder(3, 8).build(&mut rand_chacha::ChaCha8Rng::seed_from_u64(1))?;
    /// let mut workspace = gru.workspace();
    /// for value in [1.0, 2.0] {
    ///     let x = Sequences::full(Array3::from_elem((5, 2, 3), value))?;
    ///     let (output, last) = workspace.forward(&x, None)?;
    ///     assert_eq!((output, last), (&gru.forward(&x, None)?.0, &gru.forward(&x, None)?.1));
    /// }
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn workspace(&self) -> Workspace<'_, T> {
        (Self::engine().workspace)(self.network())
    }

    /// Creates a workspace whose weights have the given precision, as in [`stream_with`](Self::stream_with).
    ///
    /// # Errors
    /// If the network is one of `f64` or has a weight that is not finite, unless the precision is full.
    pub fn workspace_with(&self, precision: Precision) -> Result<Workspace<'_, T>> {
        precision.check(self).map(|()| self.workspace_of(precision))
    }

    /// Creates a workspace of a precision that [`Precision::check`] allows.
    pub(crate) fn workspace_of(&self, precision: Precision) -> Workspace<'_, T> {
        (Self::engine().workspace)(Network { precision, ..self.network() })
    }

    /// Runs [`forward`](Recurrent::forward) with dropout and other noise from `rng`, and returns a tape for
    /// [`backward`](Recurrent::backward) as well. The tape stores every step.
    pub fn forward_train(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, State<T>, Tape<T>)> {
        self.forward_train_with(x, initial, rng, Recompute::Store)
    }

    /// Runs [`forward_train`](Recurrent::forward_train) with a smaller tape. The backward pass then computes
    /// spans of k steps forward again. Results and gradients are the same, bit for bit.
    ///
    /// The table lists the values kept for each step of each sequence, layer and direction. S is the width
    /// of all states, G that of the gates, and V the number of values that a cell saves in addition (LSTM
    /// with hidden size H: S = 2H, G = 4H, V = 0; GRU: S = H, G = 3H, V = H).
    ///
    /// | [`Recompute`] | values per step | temporarily, one layer at a time |
    /// |---|---|---|
    /// | `Store` | S + G + V | |
    /// | `Every(k)` | S / k | k·(S + G + V) |
    /// | `Sqrt` | S / √T | √T·(S + G + V) |
    ///
    /// In addition, each layer always keeps its input and, with dropout, as many factors.
    ///
    /// Times of a forward and backward pass of two LSTM layers of 128 over 1,000 steps of 64 values in f32,
    /// on one thread with AVX-512 (`cargo bench --bench checkpoint`). With batch 1, the sums over a short
    /// span are inefficient:
    ///
    /// | [`Recompute`] | batch 1: time | [`Tape::bytes`] | batch 32: time | [`Tape::bytes`] |
    /// |---|---|---|---|---|
    /// | `Store` | 13.5 ms | 6.9 MB | 358 ms | 221 MB |
    /// | `Every(100)` | 18.9 ms | 0.8 MB | 375 ms | 25 MB |
    /// | `Sqrt` | 20.9 ms | 0.8 MB | 379 ms | 27 MB |
    /// | `Every(10)` | 26.1 ms | 1.0 MB | 370 ms | 31 MB |
    ///
    /// # Errors
    /// If k is zero, or `x` or `initial` does not fit the network.
    pub fn forward_train_with(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
        recompute: Recompute,
    ) -> Result<(Sequences<T>, State<T>, Tape<T>)> {
        let drop_seed = self.drop_seed(rng);
        let network = self.dropped(drop_seed);
        let (network, call) = (network.network(), Call { x, initial });
        let trained = (Self::engine().forward_train)(&network, &call, recompute, rng)?;
        let (output, last, tape) = trained;
        Ok((output, last, Tape { drop_seed, ..tape }))
    }

    /// Runs backpropagation through time, from ∂L/∂output [time, batch, output] and ∂L/∂(final state)
    /// (zeros if none is given).
    ///
    /// Returns ∂L/∂x [time, batch, input] and ∂L/∂(initial state). In place of the gradient with respect to
    /// [tokens](Sequences::one_hot) it returns zeros. The gradients of the parameters are added to `grad`, a
    /// network like this one (`zeros_like`). The padding of `d_output` is not read.
    ///
    /// # Errors
    /// If an argument does not fit the network or the tape. `grad` is then unchanged, but the tape is
    /// consumed.
    pub fn backward(
        &self,
        tape: Tape<T>,
        d_output: &Sequences<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
    ) -> Result<(Sequences<T>, State<T>)> {
        let gradients = Gradients { d_output, d_final, record: false };
        let (d_x, d_initial, _) = self.backward_from(&gradients, tape, grad)?;
        Ok((d_x, d_initial))
    }

    /// Runs [`backward`](Recurrent::backward), and also returns the gradients of the states after each step.
    pub fn backward_steps(
        &self,
        tape: Tape<T>,
        d_output: &Sequences<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
    ) -> Result<(Sequences<T>, State<T>, StepGradients<T>)> {
        self.backward_from(&Gradients { d_output, d_final, record: true }, tape, grad)
    }

    fn backward_from(
        &self,
        gradients: &Gradients<'_, T>,
        tape: Tape<T>,
        grad: &mut Self,
    ) -> Result<Back<T>> {
        check_same_structure("grad", self, grad)?;
        let Tape { learned_initial, drop_seed, .. } = tape;
        let back = self.add_gradients(grad, drop_seed, |network, grads| {
            (Self::engine().backward)(&network.network(), tape, gradients, grads)
        })?;
        grad.add_initial(learned_initial, &back.1)?;
        Ok(back)
    }

    /// Calls `add` with this network, whose recurrent weights are dropped by `drop_seed`, and with the
    /// gradients of its cells. These are then added to `grad`.
    pub(super) fn add_gradients<R>(
        &self,
        grad: &mut Self,
        drop_seed: Option<u64>,
        add: impl FnOnce(&Self, Grads<'_, '_, T>) -> Result<R>,
    ) -> Result<R> {
        let (network, mut own) = (self.dropped(drop_seed), drop_seed.map(|_| self.zeros_like()));
        let to = own.as_mut().unwrap_or(&mut *grad);
        let pairs = network.cells.iter().zip(&mut to.cells);
        let mut grads: Vec<Box<dyn AnyGradient<T> + '_>> = pairs
            .map(|(cell, grad)| Box::new(Gradient { cell, grad }) as Box<dyn AnyGradient<T> + '_>)
            .collect();
        let result = add(&network, &mut grads)?;
        drop(grads);
        if let (Some(seed), Some(mut own)) = (drop_seed, own) {
            own.drop_columns(seed);
            grad.add_arrays("grad", &own)?;
        }
        Ok(result)
    }

    /// Adds the gradients of the initial states of all sequences to `self`, a gradient, if they were learned.
    pub(super) fn add_initial(&mut self, learned: bool, d_initial: &State<T>) -> Result<()> {
        match &mut self.initial {
            Some(initial) if learned => initial.add_arrays("initial", &d_initial.summed()),
            _ => Ok(()),
        }
    }

    /// Creates a stream of `batch` sequences, from the learned initial state or zeros.
    ///
    /// # Errors
    /// If the network is bidirectional, or `batch` is zero or so large that a step could not be
    /// addressed.
    pub fn stream(&self, batch: usize) -> Result<Stream<'_, T>> {
        (Self::engine().stream)(self.network(), batch)
    }

    /// Creates a stream whose weights have the given precision. Sums and states have that of the network.
    /// [`tensor`](crate::tensor::Precision) has the formats; `docs/speed.md` in the repository, their speed
    /// and their error.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{Lstm, tensor::Precision};
    ///
    /// let lstm = Lstm::<f32>::builder(3, 8).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let mut stream = lstm.stream_with(1, Precision::Bf16)?;
    /// stream.step(ndarray::array![[0.1, 0.2, 0.3]].view())?;
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and if the network is one of `f64` or has a weight that is not
    /// finite, unless the precision is full.
    pub fn stream_with(&self, batch: usize, precision: Precision) -> Result<Stream<'_, T>> {
        precision.check(self).and_then(|()| self.stream_of(batch, precision))
    }

    /// Creates a stream of a precision that [`Precision::check`] allows.
    pub(crate) fn stream_of(&self, batch: usize, precision: Precision) -> Result<Stream<'_, T>> {
        (Self::engine().stream)(Network { precision, ..self.network() }, batch)
    }

    /// Begins training on `batch` sequences step by step, from `initial` (the learned initial state or
    /// zeros if none is given). The seeds of all noise are drawn from `rng` here, as in
    /// [`forward_train`](Recurrent::forward_train).
    ///
    /// # Errors
    /// If the network is bidirectional, `initial` does not fit, or `batch` is zero or so large that a step
    /// could not be addressed.
    pub fn training_stream(
        &self,
        batch: usize,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<TrainingStream<'_, C>> {
        let drop_seed = self.drop_seed(rng);
        let learned_initial = initial.is_none() && self.initial.is_some();
        let network =
            self.erased(drop_seed.map(|seed| self.dropped(Some(seed)).into_owned().cells));
        let tape = (Self::engine().step_tape)(network, batch, initial, rng)?;
        Ok(TrainingStream { network: self, tape, origin: Origin { learned_initial, drop_seed } })
    }

    /// Begins a walk over `x` in windows of `k1` steps, each with a backward pass through at most `k2`
    /// steps. It starts from `initial` (the learned initial state or zeros if none is given). A learned
    /// initial state gets no gradient.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use rand::SeedableRng;
    /// use recurrent::{Arrays, Lstm, Sequences};
    ///
    /// let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    /// let lstm = Lstm::<f64>::builder(3, 4).build(&mut rng)?;
    /// let x = Sequences::full(Array3::ones((100, 2, 3)))?;
    ///
    /// let mut walk = lstm.truncated(&x, None, 10, 20)?;
    /// while let Some(window) = walk.next(&lstm, &mut rng)? {
    ///     let mut grad = lstm.zeros_like();
    ///     let d_output = window.output().clone(); // of the loss ½·Σ output²
    ///     window.backward(&lstm, &d_output, &mut grad)?;
    ///     // An optimiser may step here.
    /// }
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If 1 ≤ k1 ≤ k2 does not hold, an argument does not fit the network, or the network is bidirectional.
    pub fn truncated<'x>(
        &self,
        x: &'x Sequences<T>,
        initial: Option<&State<T>>,
        k1: usize,
        k2: usize,
    ) -> Result<Truncated<'x, T>> {
        let network = self.network();
        network.check(&Call { x, initial })?;
        network.check_one_direction()?;
        Truncated::new(x, network.initial_state(initial, x.batch())?, (k1, k2))
    }

    /// Returns the cells, layer by layer. In each layer the direction forward in time comes first.
    pub fn cells(&self) -> &[C] {
        &self.cells
    }

    fn engine() -> &'static Engine<T> {
        T::pick(&ENGINE)
    }

    /// Draws the seed of recurrent dropout, if there is any.
    fn drop_seed(&self, rng: &mut dyn Rng) -> Option<u64> {
        (self.recurrent_dropout > 0.0).then(|| rng.random())
    }

    /// Returns this network without the type of its cell, for the engine.
    fn network(&self) -> Network<'_, T> {
        self.erased(None)
    }

    /// Returns this network without the type of its cell, with the recurrent weights of the cells `dropped`
    /// if there are any.
    fn erased(&self, dropped: Option<Vec<C>>) -> Network<'_, T> {
        let mut dropped = dropped.into_iter().flatten();
        let erased = |cell| -> Box<dyn AnyCell<'_, T> + '_> {
            let cell = Box::new(Typed { cell, dropped: dropped.next() });
            match self.zoneout {
                Some(p) => zoneout(cell, p),
                None => cell,
            }
        };
        let cells: Vec<_> = self.cells.iter().map(erased).collect();
        Network {
            level: Level::new(),
            sizes: cells.iter().map(|cell| cell.sizes()).collect(),
            cells,
            directions: self.directions,
            dropout: self.dropout,
            residual: self.residual,
            precision: Precision::Full,
            noisy: self.zoneout.is_some(),
            gate_names: self.cells[0].gates(),
            no_sequences: &self.no_sequences,
            initial: self.initial.as_ref(),
        }
    }
}

impl<T: Float, C: Cell<Elem = T>> Arrays for Recurrent<C> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        for (k, cell) in self.cells.iter().enumerate() {
            let suffix = suffix(k, self.directions);
            cell.for_each(&mut |name, array| f(&format!("{name}_{suffix}"), array));
        }
        self.initial.for_each(&mut |name, array| f(&format!("initial.{name}"), array));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        for (k, cell) in self.cells.iter_mut().enumerate() {
            let suffix = suffix(k, self.directions);
            cell.for_each_mut(&mut |name, array| f(&format!("{name}_{suffix}"), array));
        }
        self.initial.for_each_mut(&mut |name, array| f(&format!("initial.{name}"), array));
    }
}
