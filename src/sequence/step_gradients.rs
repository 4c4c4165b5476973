//! [`StepGradients`]: the gradients of the states after each step.

use ndarray::Array3;

use crate::error::Result;
use crate::float::Float;
use crate::sequence::state::{index_of, place_of};

/// The gradients of each layer's states after each step.
///
/// A state after step t reaches the loss in two ways: through the steps after t, and through the output of
/// step t. [`get`](Self::get) returns the sum of both, [`carried`](Self::carried) the first part. For an
/// LSTM, whose output is h_t = o_t ∘ tanh(c_t):
///
/// ```text
/// ∂L/∂h_t = carried h + ∂L/∂y_t                             y_t: the output of step t
/// ∂L/∂c_t = carried c + ∂L/∂h_t ∘ o_t ∘ (1 − tanh²(c_t))    c_t as an independent variable
/// ```
///
/// Projection, peepholes and layer normalisation are parts of the way from c_t to h_t, so their derivatives
/// are contained. With zoneout, h_t is computed from the cell state before zoneout, so that ∂L/∂c_t is its
/// carried part. So it is for a cell of your own which does not write
/// [`total`](crate::cell::BackwardStep::total).
///
/// ```
/// use ndarray::{Array3, s};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, Lstm, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let lstm = Lstm::<f64>::builder(3, 4).build(&mut rng)?;
/// let x = Sequences::full(Array3::ones((5, 2, 3)))?;
/// let (output, _, tape) = lstm.forward_train(&x, None, &mut rng)?;
/// let d_output = output.with_values(Array3::ones((5, 2, 4)))?; // of the loss Σ output
/// let (_, _, steps) = lstm.backward_steps(tape, &d_output, None, &mut lstm.zeros_like())?;
/// assert!(steps.get("c", 0, false)?.slice(s![4, .., ..]).iter().all(|&d| d > 0.0));
/// assert!(steps.carried("c", 0, false)?.slice(s![4, .., ..]).iter().all(|&d| d == 0.0));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StepGradients<T> {
    pub(crate) names: &'static [&'static str],
    pub(crate) directions: usize,
    /// The gradients [time, batch, width] for each layer and direction: of each state the carried part, then
    /// of each state the sum.
    pub(crate) values: Vec<Vec<Array3<T>>>,
}

impl<T: Float> StepGradients<T> {
    /// Returns ∂L/∂`name`_t of one layer and direction at each step, [time, batch, width]. It is zero in
    /// the padding.
    ///
    /// # Errors
    /// If there is no such state, layer or direction.
    pub fn get(&self, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        self.array(self.names.len(), name, layer, reverse)
    }

    /// Returns the part of ∂L/∂`name`_t that comes from the steps after t, or before t in the direction
    /// backward in time. It is the gradient that [`backward`](super::Recurrent::backward) would return for
    /// the initial state of a sequence that begins after step t.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn carried(&self, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        self.array(0, name, layer, reverse)
    }

    /// Returns the array of a state among those from index `first` on.
    fn array(&self, first: usize, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        let s = first + index_of(self.names, name)?;
        let k = place_of((self.values.len(), self.directions), layer, reverse)?;
        Ok(&self.values[k][s])
    }
}
