//! What stands before and after the recurrent layers.
//!
//! | file | layer |
//! |---|---|
//! | `linear` | [`Linear`]: y = W x + b |
//! | `embedding` | [`Embedding`]: a row for each token |
//! | `layer_norm` | [`LayerNorm`]: mean 0 and variance 1 over the features |
//! | `conv1d` | [`Conv1d`]: a convolution over time |
//! | `dropout` | [`Dropout`]: zeros at random; [`VariationalDropout`]: the same at every step |
//! | `weight_drop` | [`WeightDrop`]: zeros at random in weights |
//! | `pooling` | [`TimePooling`]: one vector for a sequence |
//! | `steps` | the steps of sequences as rows |

pub mod conv1d;
pub mod dropout;
pub mod embedding;
pub mod layer_norm;
pub mod linear;
pub mod pooling;
mod steps;
pub mod weight_drop;

pub use conv1d::{Conv1d, Padding};
pub use dropout::{Dropout, VariationalDropout};
pub use embedding::Embedding;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use pooling::{Pooling, TimePooling};
pub use weight_drop::WeightDrop;
