//! One time step: the equations of each cell, forward and backward.
//!
//! A cell computes rows, one for each sequence of a batch that is alive at a step. Lengths, directions,
//! layers and threads are the concern of the engine ([`crate::sequence`]), which handles them for every
//! [`Cell`], including a user's own.
//!
//! | file | contents |
//! |---|---|
//! | `step` | [`ForwardStep`], [`BackwardStep`], [`Steps`]: the rows that a cell reads and writes |
//! | `any` | a cell as a trait object, for the engine |
//! | `weights` | [`GateWeights`]: the weights and biases of most cells |
//! | `rnn` | [`RnnCell`]: h = tanh(…) or relu(…) |
//! | `lstm` | [`LstmCell`]: input, forget and output gate, and a cell state |
//! | `gru` | [`GruCell`]: reset and update gate, reset after or before the product |
//! | `peephole` | [`PeepholeLstmCell`]: gates that also read the cell state |
//! | `coupled` | [`CoupledLstmCell`]: input gate 1 − f (CIFG) |
//! | `projection` | [`ProjectedLstmCell`]: a narrower output (LSTMP) |
//! | `layer_norm` | [`LayerNormLstmCell`]: layer normalisation inside the step |

pub(crate) mod any;
pub mod coupled;
pub mod gru;
pub mod layer_norm;
pub mod lstm;
pub mod peephole;
pub mod projection;
pub mod rnn;
pub mod step;
pub mod weights;

use ndarray::{Array1, Array2};
use rand::Rng;

use crate::arrays::Arrays;
use crate::error::{Result, check_size};
use crate::float::Float;
use crate::tensor::{Init, Level, Packed};

pub use coupled::CoupledLstmCell;
pub use gru::{GruCell, GruOptions, Reset};
pub use layer_norm::{LayerNormLstmCell, LayerNormLstmOptions};
pub use lstm::{LstmCell, LstmOptions};
pub use peephole::PeepholeLstmCell;
pub use projection::{ProjectedLstmCell, ProjectedLstmOptions};
pub use rnn::{Nonlinearity, RnnCell};
pub use step::{BackwardStep, Block, ForwardStep, Steps};
pub use weights::GateWeights;

/// The largest number of states of a cell.
pub const MAX_STATES: usize = 4;

/// One step of a recurrent network: its parameters, its equations and their derivatives.
///
/// The parameters are the cell's arrays ([`Arrays`]), so a gradient has the type of the cell. A step
/// computes the states after it from W_ih x + b, which the engine provides, and the states before it.
///
/// # Rows
///
/// Each row belongs to one sequence of the batch. Widths are numbers of values.
///
/// | name | width | forward | backward |
/// |---|---|---|---|
/// | `gates` | rows of `weight_ih` | in: W_ih x + b, after [`input`](ForwardStep::input) or [`sum_gates`](ForwardStep::sum_gates); out: values for `backward`, by convention the activated gates | in: the values of `forward`; out: ∂L/∂(W_ih x + b) |
/// | `saved` | [`saved_size`](Cell::saved_size) | out: further values for `backward` | in: the values of `forward`; out: values for [`accumulate`](Cell::accumulate) |
/// | `prev[s]` | [`state_size`](Cell::state_size)`(s)` | in: state before the step | in: the same |
/// | `next[s]` | the same | out: state after the step | in: the same |
/// | `d_state[s]` | the same | – | in: ∂L/∂`next[s]`; out: ∂L/∂`prev[s]` |
/// | `total[s]` | the same, or 0 | – | in: ∂L/∂`next[s]`; out: its sum with the gradient through the output, if that is computed from state s |
///
/// The results of a row must depend on that row alone. The engine then guarantees that results do not
/// depend on batching, padding or threads, and that a stream gives the results of the whole sequence.
///
/// # Implementing a cell
///
/// Most cells consist of [`GateWeights`] and elementwise equations. `forward` sums the gates and applies
/// the equations to each block of the sum ([`ForwardStep::sum_gates`]). `backward` applies their
/// derivatives and multiplies by W_hh ([`BackwardStep::multiply_gates`]). The equations are functions
/// that are generic over the instruction set and called through [`compiled!`](crate::compiled).
/// `tests/user_cell` in the repository is an example, a minimal gated unit.
pub trait Cell: Arrays + Send + Sync {
    /// The options of a cell, apart from its sizes.
    type Options: Clone + Default + std::fmt::Debug + Send + Sync;

    /// The name of the cell in the files of models. It must be unique.
    const NAME: &'static str;
    /// The names of the states, at most [`MAX_STATES`]. The first state is the output.
    const STATE: &'static [&'static str];
    /// The names of the gates, which have equal widths in a row of `gates`.
    const GATES: &'static [&'static str];

    /// Creates a cell with initial parameters drawn from `rng`. Fails if an option is out of its range.
    fn new(config: &CellConfig, options: &Self::Options, rng: &mut dyn Rng) -> Result<Self>;

    /// Returns the names of the states, at most [`MAX_STATES`]: [`STATE`](Cell::STATE), unless they depend
    /// on the options.
    fn states(&self) -> &'static [&'static str] {
        Self::STATE
    }

    /// Returns the names of the gates: [`GATES`](Cell::GATES), unless they depend on the options.
    fn gates(&self) -> &'static [&'static str] {
        Self::GATES
    }

    /// Returns W_ih, W_hh and their biases.
    fn weights(&self) -> &GateWeights<Self::Elem>;

    /// Returns W_ih, W_hh and their biases, mutably.
    fn weights_mut(&mut self) -> &mut GateWeights<Self::Elem>;

    /// Returns the width of a gate.
    fn hidden_size(&self) -> usize {
        self.weights().weight_ih.nrows() / self.gates().len()
    }

    /// Returns the width of state `index` of [`STATE`](Cell::STATE): by default that of a gate.
    fn state_size(&self, _index: usize) -> usize {
        self.hidden_size()
    }

    /// Returns the number of values of a row that `forward` saves for `backward` in addition to the gates.
    fn saved_size(&self) -> usize {
        0
    }

    /// Returns the bias that is added to W_ih x: by default b_ih + b_hh.
    fn input_bias(&self) -> Option<Array1<Self::Elem>> {
        self.weights().bias()
    }

    /// Packs the recurrent weights for `forward`: by default W_hhᵀ. States are rows, so the product W_hh h'
    /// is h'ᵀ W_hhᵀ.
    fn pack_forward(&self, level: Level) -> Vec<Packed<Self::Elem>> {
        vec![Packed::gates(level, self.weights().weight_hh.t(), self.gates().len())]
    }

    /// Packs the recurrent weights for `backward`: by default W_hh.
    fn pack_backward(&self, level: Level) -> Vec<Packed<Self::Elem>> {
        vec![Packed::new(level, self.weights().weight_hh.view())]
    }

    /// Computes one step forward, with the weights of [`pack_forward`](Cell::pack_forward).
    fn forward(&self, packed: &[Packed<Self::Elem>], step: &mut ForwardStep<'_, Self::Elem>);

    /// Computes the same step backward, with the weights of [`pack_backward`](Cell::pack_backward).
    fn backward(&self, packed: &[Packed<Self::Elem>], step: &mut BackwardStep<'_, Self::Elem>);

    /// Adds the gradient of each parameter to `grad`, from the rows of some or all steps. A sum must continue
    /// row by row from the value in `grad`, as those of [`GateWeights`] and [`tensor`](crate::tensor) do.
    /// Its bits then do not depend on how the steps are divided among calls.
    fn accumulate(&self, steps: &Steps<'_, Self::Elem>, grad: &mut Self) {
        grad.weights_mut().accumulate(steps);
    }
}

/// Sizes and initialisers of a [`Cell`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CellConfig {
    /// The width of the input.
    pub input_size: usize,
    /// The width of a gate.
    pub hidden_size: usize,
    /// True if the cell has biases.
    pub bias: bool,
    /// The initialiser of W_ih, applied to each gate.
    pub weight_ih: Init,
    /// The initialiser of W_hh, applied to each gate.
    pub weight_hh: Init,
    /// The initialiser of both biases.
    pub bias_init: Init,
}

impl CellConfig {
    /// Creates a configuration with PyTorch's defaults: with biases, and all parameters uniform on
    /// ±1/√hidden_size.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let uniform = Init::Uniform(1.0 / (hidden_size as f64).sqrt());
        Self {
            input_size,
            hidden_size,
            bias: true,
            weight_ih: uniform,
            weight_hh: uniform,
            bias_init: uniform,
        }
    }

    /// Creates a weight [gates·rows, columns] and fills it gate by gate.
    pub fn weight<T: Float>(
        &self,
        init: Init,
        gates: usize,
        (rows, columns): (usize, usize),
        rng: &mut dyn Rng,
    ) -> Result<Array2<T>> {
        check_size("hidden_size × input_size", &[gates, rows, columns])?;
        init.check("init")?;
        let mut weight = Array2::zeros((gates * rows, columns));
        for gate in weight.axis_chunks_iter_mut(ndarray::Axis(0), rows) {
            init.fill(gate, rng);
        }
        Ok(weight)
    }

    /// Creates a bias [gates·hidden], if the configuration has biases.
    pub fn bias<T: Float>(&self, gates: usize, rng: &mut dyn Rng) -> Result<Option<Array1<T>>> {
        let column = || self.weight(self.bias_init, gates, (self.hidden_size, 1), rng);
        let column: Option<Array2<T>> = self.bias.then(column).transpose()?;
        Ok(column.map(|column| column.into_iter().collect()))
    }
}
