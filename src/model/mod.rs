//! Ready models of sequences. A builder sets their sizes and options, a
//! [`Trainer`](crate::train::Trainer) trains them, and one file holds everything that their use needs.
//!
//! | file | model | shape | output |
//! |---|---|---|---|
//! | `classifier` | [`SequenceClassifier`] | many to one | a class for each sequence |
//! | `regressor` | [`SequenceRegressor`] | many to one | numbers for each sequence |
//! | `tagger` | [`SequenceTagger`] | many to many | a class for each step |
//! | `transcriber` | [`SequenceTranscriber`] | many to fewer | labels without times |
//! | `generator` | [`SequenceGenerator`] | one to many | a text, with or without a condition vector |
//! | `seq2seq` | [`Seq2Seq`] | many to many, unaligned | a sequence of another length |
//! | `forecaster` | [`Forecaster`] | many to one or many | the steps after a window of a series |
//!
//! The first parameter of each is the cell, by default an LSTM: `SequenceClassifier<GruCell<f32>>`. The
//! second is the loss, which the builder's `loss` sets; your own loss implements [`Scored`].
//!
//! [`Composed`] makes a model of any composition of [layers](crate::layer) and any such loss. A model that
//! is no composition of layers implements [`Model`](crate::train::Model) itself.
//!
//! | file | contents |
//! |---|---|
//! | `config` | [`ModelBuilder`] |
//! | `file` | files of models |
//! | `file_sizes` | the sizes of a model as the weights of a file have them |
//! | `network` | the layers of every model: embedding, recurrent layers, dropout, head |
//! | `pooled` | a network with one output for each sequence |
//! | `built_in` | [`BuiltInCell`]: a cell that is chosen at run time, or read from a file |
//! | `quantiles` | quantiles that do not cross, an option of builders |
//! | `scored` | [`Scored`]: the losses that models train by |
//! | `scores` | [`MeanLoss`], [`WeightedScore`], [`PairScore`]: their scores |
//! | `states` | the states of all layers as rows |
//! | `sizes` | the least number of weights of a configuration in a file |
//! | `composed` | [`Composed`]: any layer and any loss as a model |

mod built_in;
mod calls;
mod classifier;
mod composed;
mod config;
mod file;
#[cfg(feature = "pytorch")]
mod file_sizes;
mod forecaster;
mod generator;
mod network;
#[cfg(feature = "onnx")]
pub(crate) mod parts;
mod pooled;
mod quantiles;
mod regressor;
mod scored;
mod scores;
pub mod seq2seq;
mod sizes;
mod states;
mod tagger;
mod transcriber;

use ndarray::{Array2, ArrayView2};

use crate::data::Vocabulary;
use crate::decode::argmax;
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::loss::Loss;
use crate::model::config::CharacterOptions;
use crate::sequences::{Sequences, batch_axis};
use crate::tensor::Level;
use crate::tensor::reduce::softmax;

pub use built_in::{BuiltInCell, BuiltInOptions};
pub use classifier::{ClassifierStream, SequenceClassifier};
pub use composed::Composed;
pub use config::ModelBuilder;
#[cfg(feature = "pytorch")]
pub(crate) use config::Shape;
#[cfg(feature = "pytorch")]
pub(crate) use file_sizes::{FileSizes, LayerSizes};
pub use forecaster::{Forecaster, ForecasterStream};
pub use generator::{GeneratorStream, SequenceGenerator};
pub use regressor::{RegressorStream, SequenceRegressor};
pub use scored::Scored;
pub use scores::{MeanLoss, PairLoss, PairScore, WeightedScore};
pub use seq2seq::{
    AttentionPlace, Bridge, ScheduledSampling, Seq2Seq, Seq2SeqDecoder, Seq2SeqWorkspace,
};
pub use tagger::{Head, SequenceTagger, TaggerStream};
pub use transcriber::{SequenceTranscriber, TranscriberStream};

/// Returns the softmax of each row.
#[expect(clippy::expect_used, reason = "logits are made in standard layout")]
fn probabilities_of<T: Float>(mut logits: Array2<T>) -> Array2<T> {
    for mut row in logits.rows_mut() {
        softmax(Level::new(), row.as_slice_mut().expect("rows in standard layout"));
    }
    logits
}

/// Returns the class with the greatest logit of each row.
fn classes_of<T: Float>(logits: ArrayView2<'_, T>) -> Result<Vec<usize>> {
    let best = |(row, logits)| {
        argmax(logits).ok_or_else(|| Error::argument(format!("logits[{row}]"), "numbers", "NaN"))
    };
    logits.rows().into_iter().enumerate().map(best).collect()
}

/// Returns the names and probabilities of the `k` likeliest classes of each row. Of two that are equally
/// likely, the lower class comes first.
#[expect(clippy::indexing_slicing, reason = "labels and logits are as many")]
fn likeliest<'l, T: Float>(
    p: ArrayView2<'_, T>,
    k: usize,
    labels: &'l [String],
) -> Result<Vec<Vec<(&'l str, T)>>> {
    if !(1..=p.ncols()).contains(&k) {
        return Err(Error::argument("k", format!("from 1 to {} (classes)", p.ncols()), k));
    }
    let of_row = |(b, row): (usize, ndarray::ArrayView1<'_, T>)| {
        if row.iter().any(|p| p.is_nan()) {
            return Err(Error::argument(format!("logits[{b}]"), "numbers", "NaN"));
        }
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].as_f64().total_cmp(&row[a].as_f64()));
        Ok(order.into_iter().take(k).map(|class| (labels[class].as_str(), row[class])).collect())
    };
    p.rows().into_iter().enumerate().map(of_row).collect()
}

/// Returns the labels of a model, or an error if it has none.
fn needed(labels: Option<&Vec<String>>) -> Result<&[String]> {
    let expected = "the names of the classes, given to the model's builder";
    labels.map(|labels| &labels[..]).ok_or_else(|| Error::argument("labels", expected, "none"))
}

/// Returns `texts` as one-hot sequences, by the vocabulary of a model, with their characters, if the model
/// reads them.
#[expect(clippy::indexing_slicing, reason = "the place is one of the texts")]
fn encoded<T: Float, S: AsRef<str>>(
    vocabulary: Option<&Vocabulary>,
    characters: Option<&CharacterOptions>,
    texts: &[S],
) -> Result<Sequences<T>> {
    let vocabulary = given(vocabulary)?;
    check_size("texts", &[texts.len()])?;
    let tokens = vocabulary.encode_all(texts)?;
    if let Some(i) = tokens.iter().position(Vec::is_empty) {
        let got = format!("{:?}", texts[i].as_ref());
        return Err(Error::argument(format!("texts[{i}]"), "at least one token", got));
    }
    // The characters are those of the text, before it is lowercased.
    let words = || texts.iter().map(|text| vocabulary.unit().tokens(text.as_ref()));
    with_characters(Sequences::one_hot_from_list(&tokens, vocabulary.len())?, characters, words)
}

/// Returns the vocabulary of a model, or an error if it has none.
fn given(vocabulary: Option<&Vocabulary>) -> Result<&Vocabulary> {
    let expected = "the vocabulary of the texts, given to the model's builder";
    vocabulary.ok_or_else(|| Error::argument("vocabulary", expected, "none"))
}

/// Returns `x` with the characters of the `words` of each sequence, if the model reads them.
fn with_characters<T: Float, S: AsRef<str>, W: AsRef<[S]>, I: Iterator<Item = W>>(
    x: Sequences<T>,
    characters: Option<&CharacterOptions>,
    words: impl FnOnce() -> I,
) -> Result<Sequences<T>> {
    let Some(CharacterOptions { vocabulary, .. }) = characters else { return Ok(x) };
    let of = |(i, words): (usize, W)| {
        let found = vocabulary.characters(words.as_ref());
        found.map_err(|error| error.prefixed(&format!("texts[{i}], ")))
    };
    let characters: Vec<Vec<Vec<usize>>> = words().enumerate().map(of).collect::<Result<_>>()?;
    x.with_characters(&characters, vocabulary.len())
}

/// Returns the tokens that are never generated: the special tokens of the vocabulary and the unknown one,
/// except the end token, the start token, and `more`.
fn suppressed_tokens(
    vocabulary: Option<&Vocabulary>,
    (start, end): (Option<usize>, Option<usize>),
    more: &[usize],
) -> Vec<usize> {
    let special = 0..vocabulary.map_or(0, |words| words.special().len());
    let unknown = vocabulary.and_then(Vocabulary::unknown);
    let reserved = special.chain(start).chain(unknown).filter(|&token| Some(token) != end);
    reserved.chain(more.iter().copied()).collect()
}

/// Implements [`loss_and_grad`](crate::train::Model::loss_and_grad) of a model by its weighted form. With the
/// path of its network, also implements the methods about options, columns and scaler.
macro_rules! model_calls {
    () => {
        fn loss_and_grad(
            &self,
            batch: &Self::Batch,
            grad: &mut Self,
            rng: &mut dyn rand::Rng,
        ) -> $crate::Result<f64> {
            Ok(self.weighted_loss_and_grad(batch, grad, rng)?.0)
        }
    };
    ($($network:ident).+) => {
        $crate::model::model_calls!();

        fn options(&self) -> String {
            $crate::model::config::options(self)
        }

        fn columns(&self) -> &[String] {
            self.columns()
        }

        fn without_scaler(&self) -> Option<(&$crate::data::Scaler, Self)> {
            let scaler = self.scaler()?;
            let mut plain = self.clone();
            plain.$($network).+.scaler = None;
            Some((scaler, plain))
        }
    };
}
use model_calls;

/// Returns `loss` of `outputs` with its gradient, and sets `weight` to the number of its terms.
fn counted<P, L: Loss<P>>(
    loss: &L,
    (outputs, target): (&P, &L::Target),
    weight: &mut f64,
) -> Result<(f64, P)> {
    let found = loss.loss(outputs, target)?;
    *weight = loss.count(outputs, target)?;
    Ok(found)
}

/// Fails unless `argument` has an entry for each sequence of `x`.
fn check_batch<T: Float>(argument: &'static str, x: &Sequences<T>, entries: usize) -> Result<()> {
    let axis = batch_axis(x.time(), x.batch(), entries);
    check_shape(argument, axis, &[x.batch()], &[entries])
}
