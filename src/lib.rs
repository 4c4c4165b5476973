//! Recurrent neural networks from scratch on the CPU.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod arrays;
pub mod cell;
pub mod check;
pub mod error;
pub mod float;
pub mod io;
pub mod layer;
pub mod loss;
pub mod optim;
mod pool;
pub mod sequence;
pub mod tensor;

pub use arrays::Arrays;
pub use error::{Error, Result};
pub use float::Float;
pub use sequence::{
    Builder, Gru, Lstm, Recurrent, Rnn, Sequences, State, StepGradients, Stream, Tape, Truncated,
    Window,
};
