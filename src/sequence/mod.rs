//! Over time: lengths, directions, layers, streaming and truncation. Knows no equation.
//!
//! | file | duty |
//! |---|---|
//! | `mod` | [`Recurrent`], the network; its calls check shapes once |
//! | `config` | [`Builder`] |
//! | `lengths` | ragged rows: which sequences are alive at a step |
//! | `unroll` | one layer in one direction, forward and back: the heart |
//! | `tape` | what a walk keeps; [`Tape`], [`Checkpoint`] |
//! | `stack` | layers × directions, dropout, threads |
//! | `zoneout` | states that stay as they were, at random |
//! | `recurrent_dropout` | units of h' that W_hh does not see, at random |
//! | `state` | [`State`]: zeros, given or learned |
//! | `workspace` | [`Workspace`]: memory for the next call |
//! | `stream` | [`Stream`]: step by step |
//! | `truncated` | truncated backpropagation through time |

mod config;
mod lengths;
mod recurrent_dropout;
mod stack;
pub(crate) mod state;
mod stream;
pub(crate) mod tape;
pub mod truncated;
mod unroll;
mod workspace;
mod zoneout;

use ndarray::Array3;
use rand::{Rng, RngExt};

use crate::arrays::{Arrays, Visit, VisitMut, check_same_structure};
use crate::cell::{
    Cell, CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, MAX_STATES, PeepholeLstmCell,
    ProjectedLstmCell, RnnCell,
};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::sequences::Sequences;
use crate::tensor::{Level, dispatch};
use lengths::Order;
use stack::{InputGradients, OutputGradients, Pass};

pub use config::Builder;
pub use state::State;
pub use stream::Stream;
pub use tape::{Checkpoint, Tape};
pub use truncated::{Truncated, Window};
use workspace::Results;
pub use workspace::Workspace;

/// A stack of recurrent layers of one cell, in one or two directions.
///
/// As a bundle of arrays it has PyTorch's names: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`,
/// `bias_hh_l0`, `weight_ih_l0_reverse`, … A gradient is another network (`zeros_like`).
///
/// All calls take `&self`: one network serves many threads. What changes lives in [`Tape`] and
/// [`Stream`].
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
/// let d_output = Array3::ones((5, 2, 16)); // of the loss Σ output
/// let mut grad = lstm.zeros_like();
/// let (d_x, _) = lstm.backward(tape, &d_output, None, &mut grad)?;
/// assert_eq!(d_x.dim(), (5, 2, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recurrent<T: Float, C: Cell<T>> {
    /// For each layer, for each direction.
    cells: Vec<C>,
    directions: usize,
    dropout: f64,
    recurrent_dropout: f64,
    residual: bool,
    /// The probability of each state, if there is zoneout.
    zoneout: Option<[f64; MAX_STATES]>,
    /// The states of no sequences: their names and widths.
    no_sequences: State<T>,
    /// The learned initial state, of one sequence.
    initial: Option<State<T>>,
}

/// A network of vanilla RNN cells.
pub type Rnn<T> = Recurrent<T, RnnCell<T>>;
/// A network of long short-term memory cells.
pub type Lstm<T> = Recurrent<T, LstmCell<T>>;
/// A network of gated recurrent units.
pub type Gru<T> = Recurrent<T, GruCell<T>>;
/// A network of LSTM cells whose gates see the cell state.
pub type PeepholeLstm<T> = Recurrent<T, PeepholeLstmCell<T>>;
/// A network of LSTM cells whose input gate is 1 − f.
pub type CoupledLstm<T> = Recurrent<T, CoupledLstmCell<T>>;
/// A network of LSTM cells with a projected, narrower output.
pub type ProjectedLstm<T> = Recurrent<T, ProjectedLstmCell<T>>;
/// A network of LSTM cells with layer normalisation inside the step.
pub type LayerNormLstm<T> = Recurrent<T, LayerNormLstmCell<T>>;

/// The gradients of the loss by each layer's states after each step.
///
/// At step t, ∂L/∂h_t and ∂L/∂c_t are those by the state handed from step t to the next — what
/// [`backward`](Recurrent::backward) would return for the initial state if the sequence began
/// after t — where ∂L/∂h_t also has what the output of step t contributes.
#[derive(Clone, Debug)]
pub struct StepGradients<T> {
    names: &'static [&'static str],
    directions: usize,
    values: Vec<Vec<Array3<T>>>,
}

impl<T: Float> StepGradients<T> {
    /// ∂L/∂`name`_t of one layer and direction at each step, [time, batch, width]; zero in the
    /// padding.
    pub fn get(&self, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        let s = state::index_of(self.names, name)?;
        Ok(&state::part_of(&self.values, self.directions, layer, reverse)?[s])
    }
}

impl<T: Float, C: Cell<T>> Recurrent<T, C> {
    /// Begins a network of one layer; see [`Builder`] for what else can be set.
    pub fn builder(input_size: usize, hidden_size: usize) -> Builder<T, C> {
        const { assert!(C::STATE.len() <= MAX_STATES && !C::STATE.is_empty()) };
        Builder::new(input_size, hidden_size)
    }

    /// Values per step of the input.
    pub fn input_size(&self) -> usize {
        self.cells.first().map_or(0, |cell| cell.weight_ih().ncols())
    }

    /// Values per step of the output: the last layer's width, of both directions together.
    pub fn output_size(&self) -> usize {
        self.cells.iter().rev().take(self.directions).map(|cell| cell.state_size(0)).sum()
    }

    /// How many layers there are.
    pub fn num_layers(&self) -> usize {
        self.cells.len() / self.directions
    }

    /// Whether each layer walks in both directions.
    pub fn bidirectional(&self) -> bool {
        self.directions == 2
    }

    /// A state of zeros for `batch` sequences.
    ///
    /// # Errors
    /// Where `batch` is zero, or so large that a step could not be addressed.
    pub fn zero_state(&self, batch: usize) -> Result<State<T>> {
        self.check_batch(batch)?;
        Ok(self.no_sequences.zeros(batch))
    }

    /// The whole sequence from `x` [time, batch, input], beginning with `initial` (the learned
    /// initial state or zeros where none is given): the output of the last layer at each step,
    /// [time, batch, output], zero in the padding, and each sequence's own final state.
    ///
    /// Dropout is off.
    ///
    /// # Errors
    /// Where `x` or `initial` does not fit the network.
    pub fn forward(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
    ) -> Result<(Sequences<T>, State<T>)> {
        let Results { output, last, .. } = self.workspace().run(None, x, initial)?;
        Ok((output, last))
    }

    /// A workspace for [`forward`](Recurrent::forward), called again and again.
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
    pub fn workspace(&self) -> Workspace<'_, T, C> {
        Workspace::new(self)
    }

    /// [`forward`](Recurrent::forward) with dropout, drawn from `rng`, and a tape for
    /// [`backward`](Recurrent::backward), which stores every step.
    pub fn forward_train(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, State<T>, Tape<T>)> {
        self.forward_train_with(x, initial, rng, Checkpoint::Store)
    }

    /// [`forward_train`](Recurrent::forward_train) with a smaller tape; backward then walks forward
    /// again, a window of k steps at a time. Results and gradients are the same, bit for bit.
    ///
    /// Values kept for each step of each sequence, layer and direction, where the states together
    /// are S wide and a cell has gates G wide and saves V values beside them (LSTM with hidden size
    /// H: S = 2H, G = 4H, V = 0; GRU: S = H, G = 3H, V = H):
    ///
    /// | [`Checkpoint`] | values per step | for a moment, in one layer at a time |
    /// |---|---|---|
    /// | `Store` | S + G + V | |
    /// | `Every(k)` | S / k | k·(S + G + V) |
    /// | `Sqrt` | S / √T | √T·(S + G + V) |
    ///
    /// Beside them each layer keeps its input and, with dropout, as many factors, in any case.
    ///
    /// Forward and backward of two LSTM layers of 128 over 1,000 steps of 64 values in f32, on one
    /// thread with AVX-512 (`cargo bench --bench checkpoint`; small windows of one sequence leave
    /// the sums over steps short):
    ///
    /// | [`Checkpoint`] | batch 1: time | [`Tape::bytes`] | batch 32: time | [`Tape::bytes`] |
    /// |---|---|---|---|---|
    /// | `Store` | 13.5 ms | 6.9 MB | 358 ms | 221 MB |
    /// | `Every(100)` | 18.9 ms | 0.8 MB | 375 ms | 25 MB |
    /// | `Sqrt` | 20.9 ms | 0.8 MB | 379 ms | 27 MB |
    /// | `Every(10)` | 26.1 ms | 1.0 MB | 370 ms | 31 MB |
    ///
    /// # Errors
    /// Where k is zero, or `x` or `initial` does not fit the network.
    pub fn forward_train_with(
        &self,
        x: &Sequences<T>,
        initial: Option<&State<T>>,
        rng: &mut dyn Rng,
        checkpoint: Checkpoint,
    ) -> Result<(Sequences<T>, State<T>, Tape<T>)> {
        self.check_input(x, initial)?;
        let order = Order::new(x.time(), x.lengths());
        let keep = checkpoint.resolved(order.longest())?;
        let mut pass = self.pass(x.input(), order, Some(keep));
        let drop_seed = (self.recurrent_dropout > 0.0).then(|| rng.random());
        let network = self.dropped(drop_seed);
        dispatch!(Level::new(), simd => {
            network.run(simd, &network.pack(simd), (x, initial), &mut pass, Some(rng))
        });
        let Pass { order, layers, output, states, .. } = pass;
        let output = x.with_values(order.unsorted(output))?;
        let last = states.unsorted(&order);
        let learned_initial = initial.is_none() && self.initial.is_some();
        let (gate_names, state_names, widths) = (C::GATES, C::STATE, self.widths());
        let tape = Tape {
            order,
            gate_names,
            state_names,
            widths,
            learned_initial,
            drop_seed,
            keep,
            layers,
        };
        Ok((output, last, tape))
    }

    /// Backpropagation through time: from ∂L/∂output [time, batch, output] and ∂L/∂(final state)
    /// (zero where none is given) to ∂L/∂x [time, batch, input] and ∂L/∂(initial state). The
    /// gradients of the parameters are added to `grad`, which is a network like this one
    /// (`zeros_like`). What stands in the padding of `d_output` is not read. A one-hot x has no
    /// gradient: ∂L/∂x is [time, batch, 0].
    ///
    /// # Errors
    /// Where an argument does not fit the network or the tape; `grad` is then as before. The tape is
    /// spent in any case.
    pub fn backward(
        &self,
        tape: Tape<T>,
        d_output: &Array3<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
    ) -> Result<(Array3<T>, State<T>)> {
        let (d_x, d_initial, _) = self.backward_with(tape, d_output, d_final, grad, false)?;
        Ok((d_x, d_initial))
    }

    /// [`backward`](Recurrent::backward), with the gradients by the states at each step as well:
    /// how far back the loss reaches.
    pub fn backward_steps(
        &self,
        tape: Tape<T>,
        d_output: &Array3<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
    ) -> Result<(Array3<T>, State<T>, StepGradients<T>)> {
        self.backward_with(tape, d_output, d_final, grad, true)
    }

    fn backward_with(
        &self,
        tape: Tape<T>,
        d_output: &Array3<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
        record: bool,
    ) -> Result<(Array3<T>, State<T>, StepGradients<T>)> {
        let Tape { order, widths, learned_initial, drop_seed, keep, layers, .. } = tape;
        if widths != self.widths() {
            let expected = "a tape of this network's own forward pass";
            return Err(Error::argument("tape", expected, "one of other sizes"));
        }
        let batch = order.batch();
        let expected = [order.time(), batch, self.output_size()];
        check_shape("d_output", "time, batch, output", &expected, d_output.shape())?;
        check_same_structure("grad", self, grad)?;
        let mut d_states = self.zero_state(batch)?;
        if let Some(d_final) = d_final {
            d_final.check_like("d_final", &d_states, batch)?;
            d_states.copy(Some(d_final), &order, false);
        }
        let d_output = order.sorted(d_output.view());
        let seed = OutputGradients { d_output, d_states, record };
        let (network, mut own) = (self.dropped(drop_seed), drop_seed.map(|_| self.zeros_like()));
        let to = own.as_mut().unwrap_or(&mut *grad);
        let InputGradients { d_x, d_initial, steps } = dispatch!(Level::new(), simd => {
            network.run_back(simd, (&order, keep), layers, seed, to)
        });
        if let (Some(seed), Some(mut own)) = (drop_seed, own) {
            own.drop_columns(seed);
            grad.zip_mut("grad", &own, &mut |_, mut sum, d| sum += &d)?;
        }
        let d_initial = d_initial.unsorted(&order);
        if let (true, Some(initial)) = (learned_initial, &mut grad.initial) {
            initial.zip_mut("initial", &d_initial.summed(), &mut |_, mut sum, d| sum += &d)?;
        }
        let unsorted = |states: Vec<_>| states.into_iter().map(|d| order.unsorted(d)).collect();
        let values = steps.into_iter().map(unsorted).collect();
        let steps = StepGradients { names: C::STATE, directions: self.directions, values };
        Ok((order.unsorted(d_x), d_initial, steps))
    }

    /// A stream of `batch` sequences, from the learned initial state or zeros.
    ///
    /// # Errors
    /// Where the network is bidirectional, or `batch` is zero or so large that a step could not be
    /// addressed.
    pub fn stream(&self, batch: usize) -> Result<Stream<'_, T, C>> {
        self.check_batch(batch)?;
        Stream::new(self, batch)
    }

    /// A walk over `x` in windows of `k1` steps, each with a backward pass through at most `k2`
    /// steps, from `initial` (the learned initial state or zeros where none is given; a learned one
    /// gets no gradient).
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
    ///     let d_output = window.output().values().clone(); // of the loss ½·Σ output²
    ///     window.backward(&lstm, &d_output, &mut grad)?;
    ///     // An optimiser may step here.
    /// }
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// Where 1 ≤ k1 ≤ k2 does not hold, an argument does not fit the network, or it is
    /// bidirectional.
    pub fn truncated<'x>(
        &self,
        x: &'x Sequences<T>,
        initial: Option<&State<T>>,
        k1: usize,
        k2: usize,
    ) -> Result<Truncated<'x, T>> {
        self.check_input(x, initial)?;
        let state = initial.cloned().unwrap_or_else(|| self.initial_state(x.batch()));
        Truncated::new(x, state, (k1, k2), self.bidirectional())
    }

    /// The cells, layer by layer, in each layer the direction forward in time first.
    pub fn cells(&self) -> &[C] {
        &self.cells
    }

    fn check_input(&self, x: &Sequences<T>, initial: Option<&State<T>>) -> Result<()> {
        let (time, batch) = (x.time(), x.batch());
        let expected = [time, batch, self.input_size()];
        check_shape("x", "time, batch, input", &expected, &[time, batch, x.features()])?;
        check_size("output [time, batch, output]", &[time, batch, self.output_size()])?;
        let Some(initial) = initial else { return Ok(()) };
        initial.check_like("initial", &self.no_sequences, batch)
    }

    /// Fails unless the states, gates and kept values of a step of `batch` sequences can be
    /// addressed.
    fn check_batch(&self, batch: usize) -> Result<()> {
        check_size("batch", &[batch])?;
        let widest = self.widths().into_iter().flatten().max().unwrap_or(0);
        check_size("step [batch, width]", &[batch, widest])?;
        Ok(())
    }

    fn initial_state(&self, batch: usize) -> State<T> {
        let mut state = self.no_sequences.zeros(batch);
        state.copy(self.initial.as_ref(), &Order::new(0, &vec![0; batch]), false);
        state
    }
}

impl<T: Float, C: Cell<T>> Arrays<T> for Recurrent<T, C> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        for (k, cell) in self.cells.iter().enumerate() {
            let suffix = state::suffix(k, self.directions);
            cell.for_each(&mut |name, array| f(&format!("{name}_{suffix}"), array));
        }
        self.initial.for_each(&mut |name, array| f(&format!("initial.{name}"), array));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        for (k, cell) in self.cells.iter_mut().enumerate() {
            let suffix = state::suffix(k, self.directions);
            cell.for_each_mut(&mut |name, array| f(&format!("{name}_{suffix}"), array));
        }
        self.initial.for_each_mut(&mut |name, array| f(&format!("initial.{name}"), array));
    }
}
