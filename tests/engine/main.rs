//! Tests of the engine and its cells: gradients, parity with PyTorch, and guarantees for every cell.
//!
//! They are one program, so that shared code is compiled once.

mod checkpoint;
mod determinism;
mod equations;
mod errors;
mod extremes;
mod gradients;
mod init;
mod lecture;
mod miri;
mod network;
mod one_hot;
mod parity_pytorch;
mod precision;
mod properties;
mod regularisation;
mod residual;
mod streaming;
mod training_stream;
mod truncated;
mod user_cell;

#[path = "../common"]
mod common {
    pub(crate) mod bits;
    pub(crate) mod levels;
    pub(crate) mod random;
    pub(crate) mod run;
}
