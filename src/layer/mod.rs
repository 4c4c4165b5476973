//! Layers without time: what stands before and after the recurrent layers.
//!
//! | file | layer |
//! |---|---|
//! | `linear` | [`Linear`]: y = W x + b |
//! | `embedding` | [`Embedding`]: a row for each token |
//! | `dropout` | [`Dropout`]: zeros at random |
//! | `pooling` | [`TimePooling`]: one vector for a sequence |

pub mod dropout;
pub mod embedding;
pub mod linear;
pub mod pooling;

pub use dropout::Dropout;
pub use embedding::Embedding;
pub use linear::Linear;
pub use pooling::{Pooling, TimePooling};
