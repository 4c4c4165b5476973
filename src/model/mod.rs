//! The sequence shapes, ready to train: a builder for sizes and options, a loop that fits it
//! ([`Trainer`](crate::train::Trainer)), one file that holds all it takes to use it again.
//!
//! | file | model | shape | says |
//! |---|---|---|---|
//! | `classifier` | [`SequenceClassifier`] | many to one | a class for each sequence |
//! | `regressor` | [`SequenceRegressor`] | many to one | numbers for each sequence |
//! | `tagger` | [`SequenceTagger`] | many to many | a class for each step |
//! | `generator` | [`SequenceGenerator`] | one to many | a text, from a vector or from nothing |
//! | `forecaster` | [`Forecaster`] | many to one or many | what follows a window of a series |
//!
//! All take the cell as their second parameter, an LSTM where none is named:
//! `SequenceClassifier<f32, GruCell<f32>>`. A composition of one's own trains with the same loop: it
//! implements [`Model`](crate::train::Model).
//!
//! | file | duty |
//! |---|---|
//! | `config` | [`Builder`]; files |
//! | `network` | embedding, recurrent layers, dropout and head, which all have |
//! | `pooled` | the same with one answer a sequence |
//! | `criterion` | [`Criterion`]: what numbers are learned by |

mod classifier;
mod config;
mod criterion;
mod forecaster;
mod generator;
mod network;
mod pooled;
mod regressor;
mod tagger;

use ndarray::{Array2, ArrayView2};

use crate::decode::argmax;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::reduce::softmax;
use crate::tensor::Level;

pub use classifier::{ClassifierStream, SequenceClassifier};
pub use config::Builder;
pub use criterion::Criterion;
pub use forecaster::{Forecaster, ForecasterStream};
pub use generator::SequenceGenerator;
pub use regressor::{RegressorStream, SequenceRegressor};
pub use tagger::{SequenceTagger, TaggerStream};

/// The softmax of each row.
fn probabilities_of<T: Float>(mut logits: Array2<T>) -> Array2<T> {
    for mut row in logits.rows_mut() {
        softmax(Level::new(), row.as_slice_mut().expect("rows in standard layout"));
    }
    logits
}

/// The place of the greatest value of each row.
fn classes_of<T: Float>(logits: ArrayView2<'_, T>) -> Result<Vec<usize>> {
    let best = |(row, logits)| {
        argmax(logits).ok_or_else(|| Error::argument(format!("logits[{row}]"), "numbers", "NaN"))
    };
    logits.rows().into_iter().enumerate().map(best).collect()
}
