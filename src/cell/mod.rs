//! One time step: the equations of each cell, forward and backward. Knows no time.
//!
//! A cell sees rows — the sequences of a batch that are alive at a step — and nothing else: no
//! lengths, directions, layers or threads. The engine ([`crate::sequence`]) owns those and gives
//! them to every [`Cell`] alike, a user's own included.
//!
//! | file | cell |
//! |---|---|
//! | `weights` | [`GateWeights`]: the weights and biases that most cells are made of |
//! | `rnn` | [`RnnCell`]: h = tanh or relu |
//! | `lstm` | [`LstmCell`]: input, forget, output gate and cell state |
//! | `gru` | [`GruCell`]: reset and update gate, reset after or before the product |
//! | `peephole` | [`PeepholeLstmCell`]: gates that see the cell state |
//! | `coupled` | [`CoupledLstmCell`]: input gate 1 − f (CIFG) |
//! | `projection` | [`ProjectedLstmCell`]: a narrower output (LSTMP) |
//! | `layer_norm` | [`LayerNormLstmCell`]: layer normalisation inside the step |

pub mod coupled;
pub mod gru;
pub mod layer_norm;
pub mod lstm;
pub mod peephole;
pub mod projection;
pub mod rnn;
pub mod weights;

use ndarray::{Array1, Array2, ArrayView2};
use rand::Rng;

use crate::arrays::Arrays;
use crate::error::{Result, check_size};
use crate::float::Float;
use crate::tensor::{Gather, Init, Inputs, Rows, RowsMut, Simd, Start};

pub use coupled::{CoupledLstmCell, CoupledLstmOptions};
pub use gru::{GruCell, GruOptions, Reset};
pub use layer_norm::{LayerNormLstmCell, LayerNormLstmOptions};
pub use lstm::{LstmCell, LstmOptions};
pub use peephole::{PeepholeLstmCell, PeepholeLstmOptions};
pub use projection::{ProjectedLstmCell, ProjectedLstmOptions};
pub use rnn::{Nonlinearity, RnnCell};
pub use weights::GateWeights;

/// The most states a cell may carry from step to step.
pub const MAX_STATES: usize = 4;

/// One step of a recurrent network: its parameters, its equations and their derivatives.
///
/// The parameters are the cell's own arrays ([`Arrays`]), so a gradient is another cell. With
/// `a = W_ih x + b` from the engine, a cell turns `a` and the states before the step into the states
/// after it.
///
/// # Rows
///
/// All widths are in values; a row belongs to one sequence of the batch.
///
/// | name | width | forward | backward |
/// |---|---|---|---|
/// | `gates` | rows of `weight_ih` | in: `a`; out: what `backward` needs, by convention the activated gates | in: that; out: ∂L/∂a |
/// | `saved` | [`saved_size`](Cell::saved_size) | out: what else `backward` needs | in: that; out: what [`accumulate`](Cell::accumulate) needs |
/// | `prev[s]` | [`state_size`](Cell::state_size)`(s)` | in: state before the step | in: the same |
/// | `next[s]` | the same | out: state after the step | in: the same |
/// | `d_state[s]` | the same | – | in: ∂L/∂`next[s]`; out: ∂L/∂`prev[s]` |
///
/// A row's results must depend on that row alone. Then the engine's promises hold for the cell:
/// results independent of batching, padding and threads, and streaming equal to the sequence.
///
/// Mark `forward` and `backward` `#[inline(always)]`: they are compiled for each instruction set.
/// `tests/engine/user_cell.rs` in the repository is a worked example, a minimal gated unit.
pub trait Cell<T: Float>: Arrays<T> + Send + Sync {
    /// What distinguishes cells of this type beside their sizes.
    type Options: Clone + Default + std::fmt::Debug + Send + Sync;
    /// The recurrent weights, laid out for the products of a step.
    type Packed: std::fmt::Debug + Send + Sync;

    /// The cell's name in the files of models, unlike any other's.
    const NAME: &'static str;
    /// The states that a step hands to the next, at most [`MAX_STATES`]. The first is the output.
    const STATE: &'static [&'static str];
    /// The parts of equal width that a row of `gates` consists of, by name.
    const GATES: &'static [&'static str];
    /// Whether `forward` takes W_ih x + b from [`ForwardStep::input`]: its product by weights packed
    /// for all [`GATES`](Cell::GATES) together, at most [`MAX_GATES`](crate::tensor::MAX_GATES), then
    /// starts from that ([`product_then`](crate::tensor::product_then)). A cell that is not fused
    /// finds it in `gates`.
    const FUSED: bool = false;

    /// A cell with fresh parameters.
    fn new(config: &CellConfig, options: &Self::Options, rng: &mut dyn Rng) -> Result<Self>;

    /// Width of a gate.
    fn hidden_size(&self) -> usize;

    /// Width of state `index` of [`STATE`](Cell::STATE).
    fn state_size(&self, index: usize) -> usize {
        let _ = index;
        self.hidden_size()
    }

    /// Values that `forward` keeps for `backward` beside the gates, per row.
    fn saved_size(&self) -> usize {
        0
    }

    /// W_ih [gates·hidden, input].
    fn weight_ih(&self) -> ArrayView2<'_, T>;

    /// The bias that is added to W_ih x, all that does not depend on the step.
    fn input_bias(&self) -> Option<Array1<T>>;

    /// Lays the recurrent weights out for `forward`.
    fn pack_forward<S: Simd>(&self, simd: S) -> Self::Packed;

    /// Lays the recurrent weights out for `backward`.
    fn pack_backward<S: Simd>(&self, simd: S) -> Self::Packed;

    /// One step forward.
    fn forward<S: Simd>(&self, simd: S, packed: &Self::Packed, step: ForwardStep<'_, '_, T>);

    /// The same step backward.
    fn backward<S: Simd>(&self, simd: S, packed: &Self::Packed, step: BackwardStep<'_, '_, T>);

    /// Adds the gradient of each parameter to `grad`, from the rows of a window of steps: of all, or
    /// of those between two checkpoints. A sum that goes on row by row from what stands in `grad`,
    /// as [`GateWeights`] and [`tensor`](crate::tensor) do it, has the same bits in either case.
    fn accumulate<S: Simd>(&self, simd: S, steps: &Steps<'_, T>, grad: &mut Self);
}

/// What [`Cell::forward`] reads and writes.
#[derive(Debug)]
pub struct ForwardStep<'s, 'd, T: Float> {
    /// The states before the step.
    pub prev: &'s [Rows<'d, T>],
    /// The states after the step.
    pub next: &'s mut [RowsMut<'d, T>],
    /// W_ih x + b: what stands in `gates`, or, for a [`FUSED`](Cell::FUSED) cell, a product.
    pub input: Start<'d, T>,
    /// In: W_ih x + b, unless `input` is a product. Out: the activated gates.
    pub gates: RowsMut<'d, T>,
    /// Out: what else `backward` needs.
    pub saved: RowsMut<'d, T>,
}

/// What [`Cell::backward`] reads and writes.
#[derive(Debug)]
pub struct BackwardStep<'s, 'd, T> {
    /// The states before the step.
    pub prev: &'s [Rows<'d, T>],
    /// The states after the step.
    pub next: &'s [Rows<'d, T>],
    /// In: what `forward` left. Out: ∂L/∂(W_ih x + b).
    pub gates: RowsMut<'d, T>,
    /// In: what `forward` left. Out: what `accumulate` needs.
    pub saved: RowsMut<'d, T>,
    /// In: ∂L/∂`next`. Out: ∂L/∂`prev`.
    pub d_state: &'s mut [RowsMut<'d, T>],
}

/// The rows of a window of steps of a sequence call, from the step walked last to the first, in the
/// same order in each field.
#[derive(Debug)]
pub struct Steps<'a, T> {
    /// The inputs, for the gradient of W_ih ([`Inputs::add_outer_products`]).
    pub x: Inputs<'a, T>,
    /// What `backward` left in `gates`: ∂L/∂(W_ih x + b).
    pub d_gates: Gather<'a, T>,
    /// What `backward` left in `saved`.
    pub saved: Gather<'a, T>,
    /// The states before each step.
    pub prev: Vec<Gather<'a, T>>,
    /// The states after each step.
    pub next: Vec<Gather<'a, T>>,
}

/// Sizes and initialisers of a [`Cell`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CellConfig {
    /// Width of the input.
    pub input_size: usize,
    /// Width of a gate.
    pub hidden_size: usize,
    /// Whether the cell has the bias vectors `bias_ih` and `bias_hh`.
    pub bias: bool,
    /// First values of W_ih, gate by gate.
    pub weight_ih: Init,
    /// First values of W_hh, gate by gate.
    pub weight_hh: Init,
    /// First values of both biases.
    pub bias_init: Init,
}

impl CellConfig {
    /// PyTorch's defaults: with bias, everything uniform on ±1/√hidden_size.
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

    /// A weight [gates·rows, columns], filled gate by gate.
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

    /// A bias [gates·hidden], or none where the configuration has none.
    pub fn bias<T: Float>(&self, gates: usize, rng: &mut dyn Rng) -> Result<Option<Array1<T>>> {
        if !self.bias {
            return Ok(None);
        }
        let bias = self.weight(self.bias_init, gates, (self.hidden_size, 1), rng)?;
        Ok(Some(bias.into_iter().collect()))
    }
}
