//! [`StepGradients`]: the gradients of the loss by the states at each step.

use ndarray::Array3;

use crate::error::Result;
use crate::float::Float;
use crate::sequence::state::{index_of, part_of};

/// The gradients of the loss by each layer's states after each step.
///
/// At step t, ∂L/∂h_t and ∂L/∂c_t are those by the state handed from step t to the next — what
/// [`backward`](super::Recurrent::backward) would return for the initial state if the sequence began
/// after t — where ∂L/∂h_t also has what the output of step t contributes.
#[derive(Clone, Debug)]
pub struct StepGradients<T> {
    pub(crate) names: &'static [&'static str],
    pub(crate) directions: usize,
    /// For each layer and direction, for each state: [time, batch, width].
    pub(crate) values: Vec<Vec<Array3<T>>>,
}

impl<T: Float> StepGradients<T> {
    /// ∂L/∂`name`_t of one layer and direction at each step, [time, batch, width]; zero in the
    /// padding.
    pub fn get(&self, name: &str, layer: usize, reverse: bool) -> Result<&Array3<T>> {
        let s = index_of(self.names, name)?;
        Ok(&part_of(&self.values, self.directions, layer, reverse)?[s])
    }
}
