//! [`StepGradients`]: the gradients of the states after each step.

use ndarray::Array3;

use crate::error::Result;
use crate::float::Float;
use crate::sequence::state::{index_of, part_of};

/// The gradients of each layer's states after each step.
///
/// ∂L/∂h_t and ∂L/∂c_t are the gradients of the states after step t. They are those that
/// [`backward`](super::Recurrent::backward) would return for the initial state of a sequence that begins
/// after step t. ∂L/∂h_t also contains the gradient of the output of step t.
#[derive(Clone, Debug)]
pub struct StepGradients<T> {
    pub(crate) names: &'static [&'static str],
    pub(crate) directions: usize,
    /// The gradients [time, batch, width] of each state, for each layer and direction.
    pub(crate) values: Vec<Vec<Array3<T>>>,
}

impl<T: Float> StepGradients<T> {
    /// Returns ∂L/∂`name`_t of one layer and direction at each step, [time, batch, width]. It is zero in
    /// the padding.
    ///
    /// # Errors
    /// If there is no such state, layer or direction.
    pub fn get(&self, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        let s = index_of(self.names, name)?;
        Ok(&part_of(&self.values, self.directions, layer, reverse)?[s])
    }
}
