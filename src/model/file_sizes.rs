//! [`FileSizes`]: the sizes of a model as the weights of a file have them.

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::sequence::RecurrentBuilder;

/// The sizes of the weights of a file, by the prefix of the names of a part.
pub trait FileSizes {
    /// Returns the sizes of the recurrent layers of a part. Fails unless it has recurrent layers.
    fn layers(&self, part: &str) -> Result<LayerSizes>;

    /// Returns the width of the embedding of a part, if it has one. Fails unless it is one of `tokens` tokens, and no
    /// wider than the input of the recurrent layers of the part.
    fn embedding_dim(&self, part: &str, tokens: usize) -> Result<Option<usize>>;

    /// Fails unless there is a matrix of this name with at least as many rows and columns as `least`.
    fn check_matrix(&self, name: &str, least: [usize; 2]) -> Result<()>;
}

/// The sizes of recurrent layers.
pub struct LayerSizes {
    /// The width of each layer, before a projection.
    pub(crate) hidden: Vec<usize>,
    pub(crate) bidirectional: bool,
    pub(crate) bias: bool,
}

impl LayerSizes {
    /// Returns `builder` with these sizes.
    pub(crate) fn set<T: Float, C: Cell<Elem = T>>(
        &self,
        builder: RecurrentBuilder<C>,
    ) -> RecurrentBuilder<C> {
        let builder = builder.hidden_sizes(&self.hidden).num_layers(self.hidden.len());
        builder.bidirectional(self.bidirectional).bias(self.bias)
    }
}
