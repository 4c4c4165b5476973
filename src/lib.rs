//! Recurrent neural networks from scratch, on the CPU: RNN, LSTM and GRU with hand-written,
//! verified backpropagation through time.
//!
//! ```
//! use ndarray::Array3;
//! use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
//! use recurrent::loss::{Loss, Mse};
//! use recurrent::{Arrays, Lstm, Sequences, optim::Adam};
//!
//! let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let mut lstm = Lstm::<f32>::builder(3, 8).build(&mut rng)?;
//! let x = Sequences::full(Array3::ones((10, 4, 3)))?; // [time, batch, features]
//! let target = x.with_values(Array3::zeros((10, 4, 8)))?;
//!
//! let (output, _, tape) = lstm.forward_train(&x, None, &mut rng)?;
//! let (loss, d_output) = Mse.loss(&output, &target)?;
//! let mut grad = lstm.zeros_like();
//! lstm.backward(tape, &d_output, None, &mut grad)?;
//! Adam::new(1e-3)?.step(&mut lstm, &grad)?;
//! # assert!(loss > 0.0);
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! # Modules
//!
//! Each module uses only those above it.
//!
//! | module | contents |
//! |---|---|
//! | [`error`] | [`Error`]: argument, expected, got |
//! | [`memory`] | [`Reserve`](memory::Reserve): memory that is kept between calls |
//! | [`float`] | [`Float`]: `f32` and `f64` |
//! | [`arrays`](mod@arrays) | [`Arrays`]: a named bundle of arrays, such as parameters, gradients or states |
//! | [`sequences`] | [`Sequences`]: a batch of sequences of any lengths |
//! | [`tensor`] | numerical kernels: products, activations, sums, initialisers |
//! | [`cell`] | one time step: the equations of each cell, forward and backward |
//! | [`sequence`] | the engine: lengths, directions, layers and streaming, for any cell |
//! | [`layer`] | [`Layer`](layer::Layer): linear, embedding, dropout, pooling, and compositions of layers |
//! | [`loss`] | [`Loss`](loss::Loss): a value with its gradient |
//! | [`optim`] | SGD, Adam and other optimisers, clipping, schedules, moving averages |
//! | [`data`] | data sets, windows, scaling, vocabularies, batches |
//! | [`decode`] | from logits to tokens |
//! | [`io`] | safetensors under PyTorch's names |
//! | `audio` | WAV files, spectrograms, mel filters and MFCCs (feature `audio`) |
//! | [`train`] | the training loop: validation, early stopping, checkpoints |
//! | [`model`] | models for forecasting, regression, classification, tagging and generation |
//! | [`interop`] | files of other programs: NumPy, PyTorch, Keras, ONNX (features `npz`, `pytorch`, `keras`, `onnx`) |
//! | [`check`] | gradients against finite differences, and the gradient flow |
// On docs.rs, each item names the feature that it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// No input of a user panics. An exception stands where it is, with the reason why no input reaches it.
#![deny(
    clippy::exit,
    clippy::expect_used,
    clippy::get_unwrap,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::todo,
    clippy::unimplemented,
    clippy::unreachable,
    clippy::unwrap_in_result,
    clippy::unwrap_used
)]

#[expect(clippy::indexing_slicing, reason = "the place is one of the arrays")]
pub mod arrays;
#[cfg(feature = "audio")]
pub mod audio;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod cell;
pub mod check;
pub mod data;
pub mod decode;
#[expect(clippy::indexing_slicing, reason = "the place is one of the indices")]
pub mod error;
pub mod float;
pub mod interop;
pub mod io;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod layer;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod loss;
#[expect(clippy::indexing_slicing, reason = "free memory is ordered by its size")]
pub mod memory;
pub mod model;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod optim;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod sequence;
#[expect(clippy::indexing_slicing, reason = "lengths are compared with the values at the entrance")]
pub mod sequences;
#[expect(clippy::indexing_slicing, reason = "shapes are checked at the entrance of a call")]
pub mod tensor;
pub mod train;

pub use arrays::Arrays;
pub use error::{Error, Result};
pub use float::Float;

pub use sequence::{
    BackwardStream, CoupledLstm, Gru, LayerNormLstm, Lstm, PeepholeLstm, ProjectedLstm, Recompute,
    Recurrent, RecurrentBuilder, Rnn, State, StepGradients, Stream, Tape, TrainingStream,
    Truncated, TruncatedWindow, Workspace,
};
pub use sequences::Sequences;

/// The crates whose types appear in this crate's interface, in the same versions.
pub use {ndarray, rand, rand_chacha};

pub use cell::{
    CoupledLstmCell, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell, ProjectedLstmCell,
    RnnCell,
};

/// The names that most programs need: `use recurrent::prelude::*;`.
pub mod prelude {
    pub use ndarray::{self, Array1, Array2, Array3, Axis, array};
    pub use rand_chacha::ChaCha8Rng;
    pub use rand_chacha::rand_core::SeedableRng;

    pub use super::{
        Arrays, Error, Float, Gru, GruCell, Lstm, LstmCell, Recurrent, Result, Rnn, RnnCell,
        Sequences, State, arrays,
    };
    #[cfg(feature = "csv")]
    pub use crate::data::Table;
    pub use crate::data::{
        Dataset, Labels, Scaler, Source, Texts, Unit, Vocabulary, Windows, split,
    };
    pub use crate::decode::{Sampling, argmax};
    pub use crate::layer::{
        Activation, Branches, Concat, Dropout, Embedding, Heads, Layer, LayerNorm, Linear, Pooling,
        Residual, TimePooling,
    };
    pub use crate::loss::{
        BceWithLogits, CrossEntropy, Ctc, Huber, Loss, Mae, Mse, Quantile, Weighted,
    };
    pub use crate::model::{
        BuiltInCell, Composed, Forecaster, Seq2Seq, SequenceClassifier, SequenceGenerator,
        SequenceRegressor, SequenceTagger, SequenceTranscriber,
    };
    pub use crate::optim::{Adam, AdamW, Optimizer, Sgd};
    #[cfg(feature = "progress")]
    pub use crate::train::progress;
    pub use crate::train::{Model, Trainer};
}

/// The programs of README.md and of the lecture, which are tested as documentation.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/lecture.md")]
    struct Lecture;
    #[doc = include_str!("../docs/lecture.ko.md")]
    struct KoreanLecture;
    #[cfg(feature = "pytorch")]
    #[doc = include_str!("../docs/interop.md")]
    struct Interop;
}
