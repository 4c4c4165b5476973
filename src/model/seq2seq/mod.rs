//! [`Seq2Seq`]: an encoder and a decoder, with or without attention.
//!
//! | file | contents |
//! |---|---|
//! | `mod` | the model, its training and its file |
//! | `options` | the options that only this model has |
//! | `encoder` | from a source to the memory and the decoder's initial states |
//! | `decoder` | the layers of the decoder, one step after another |
//! | `walk` | the decoder on given tokens, several blocks of the batch at once; scheduled sampling |
//! | `workspace` | the packed weights, of any precision, and decoding with them: greedy, sampled and by beam search |
//! | `search` | the same for one call; alignments |
//! | `parts` | the parts of the model, for files of other programs |

mod decoder;
mod encoder;
mod options;
#[cfg(feature = "onnx")]
pub(crate) mod parts;
mod search;
mod walk;
mod workspace;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis};
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::arrays::Arrays;
use crate::cell::{Cell, LstmCell};
use crate::data::{Scaler, Vocabulary};
use crate::error::{Error, Result, check_indices, check_size};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::layer::{Attention, Embedding, Layer, Linear};
use crate::loss::{CrossEntropy, Loss};
use crate::model::config::{Config, ModelBuilder, Shape, refuse};
use crate::model::network::{apply_dropout, mask_gradient};
#[cfg(feature = "pytorch")]
use crate::model::{FileSizes, LayerSizes};
use crate::model::{check_batch, encoded, file, model_calls};
use crate::sequence::RecurrentBuilder;
use crate::sequences::Sequences;
use crate::tensor::Init;
use crate::tensor::Precision;
use crate::train::Model;
use crate::train::metrics::Perplexity;
use decoder::{DecoderLayers, Steps};
use encoder::{BridgeLayer, Encoder};
use options::Seq2SeqConfig;

pub use options::{AttentionPlace, Bridge, ScheduledSampling};
pub use workspace::{Seq2SeqDecoder, Seq2SeqWorkspace};

/// An encoder-decoder: it reads a source sequence and writes a target sequence of another length, as in
/// translation, captioning or summaries.
///
/// ```text
/// memory, states = encoder(source)                  the source itself without an encoder
/// s_0            = bridge(states)
/// h̃_t            = decoder(y_{t−1}, s_{t−1}, memory)
/// p(y_t)         = softmax(linear(dropout(h̃_t)))
/// ```
///
/// A source is values or tokens, [`Sequences`] [time, batch, features]; a target is a list of tokens, without
/// the start and the end token, which the model adds. It trains by teacher forcing: each step of the decoder
/// reads the correct token before. The loss is the mean cross-entropy of the target tokens, the end token
/// included.
///
/// Each call of the functions that decode packs the weights. A [workspace](Seq2Seq::workspace_with) packs them once
/// for many sources, also in 16 or 8 bits.
///
/// Sutskever, Vinyals and Le, *Sequence to Sequence Learning with Neural Networks*, 2014. For attention see
/// [`layer::attention`](crate::layer::attention). Xu et al., *Show, Attend and Tell*, 2015, attends to the
/// regions of a picture, as [`without_encoder`](ModelBuilder::without_encoder) does.
///
/// ```
/// use recurrent::data::{Dataset, Labels};
/// use recurrent::decode::BeamSearch;
/// use recurrent::layer::AttentionScore;
/// use recurrent::model::Seq2Seq;
/// use recurrent::optim::Adam;
/// use recurrent::prelude::*;
///
/// // Turns sequences around. Tokens 0 and 1 are start and end.
/// let sources = vec![vec![2, 3, 4], vec![3, 2], vec![4, 4, 2], vec![2, 4]];
/// let reversed = |source: &Vec<usize>| Labels(source.iter().rev().copied().collect());
/// let targets = sources.iter().map(reversed).collect();
/// let data = Dataset::<f32, Labels>::from_tokens(sources, 5, targets)?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = Seq2Seq::<GruCell<f32>>::builder(5, 5, 0, 1)
///     .embedding_dim(8)
///     .hidden_size(16)
///     .attention(AttentionScore::Dot)
///     .build(&mut rng)?;
/// Trainer::new(Adam::new(0.02)?).epochs(60).fit(&mut model, &data, None)?;
///
/// let source = Sequences::one_hot_from_list(&[vec![2, 3, 4]], 5)?;
/// let best = &model.beam(&source, &BeamSearch::new(3)?.max_length(5)?)?[0][0];
/// assert_eq!(best.tokens, [4, 3, 2]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Seq2Seq<C: Cell = LstmCell<f32>> {
    config: Arc<Config<C, Seq2SeqConfig>>,
    encoder: Encoder<C>,
    bridge: BridgeLayer<C::Elem>,
    decoder: DecoderLayers<C>,
    head: Head<C::Elem>,
    /// The number of training steps so far, for scheduled sampling.
    step: usize,
}
crate::arrays!([T: Float, C: Cell<Elem = T>] Seq2Seq<C>: T { encoder, .. bridge, decoder, head });

/// The last linear layer, or the bias alone, if its weight is that of the target embedding.
#[derive(Clone, Debug)]
struct Head<T> {
    linear: Option<Linear<T>>,
    tied_bias: Option<Array1<T>>,
}
crate::arrays!(Head { ..linear, "bias" => tied_bias });

/// Input tokens [time, batch], target tokens of the same shape, and the lengths.
type Pairs = (Array2<usize>, Array2<usize>, Vec<usize>);

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    /// Returns a builder for sources of `source_size` features, or tokens less than it with
    /// [`embedding_dim`](ModelBuilder::embedding_dim), and targets of tokens less than
    /// `target_vocabulary_size`. `start` and `end` are two of the target tokens, which no target contains.
    ///
    /// [`hidden_size`](ModelBuilder::hidden_size), `num_layers`, `cell_options` and `recurrent` set the
    /// encoder and the decoder; `bidirectional`, the encoder alone.
    pub fn builder(
        source_size: usize,
        target_vocabulary_size: usize,
        start: usize,
        end: usize,
    ) -> ModelBuilder<Self> {
        ModelBuilder::new(source_size, target_vocabulary_size, Seq2SeqConfig::new(start, end))
    }

    /// Returns the vocabulary of the source tokens, if one was set.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        self.config.vocabulary.as_ref()
    }

    /// Returns the vocabulary of the target tokens, if one was set.
    pub fn target_vocabulary(&self) -> Option<&Vocabulary> {
        self.config.own.target_vocabulary.as_ref()
    }

    /// Returns the scaler of the source, if one was set.
    pub fn scaler(&self) -> Option<&Scaler> {
        self.config.scaler.as_ref()
    }

    /// Returns the names of the source's features, in order; empty if none were set.
    pub fn columns(&self) -> &[String] {
        self.config.columns.as_deref().unwrap_or(&[])
    }

    /// Encodes `texts` as sources, by the vocabulary of the source.
    ///
    /// # Errors
    /// If the model has no vocabulary, a text is empty, or a text contains a token that is not in a
    /// vocabulary without an unknown token.
    pub fn encode_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Sequences<T>> {
        encoded(self.vocabulary(), None, texts)
    }

    /// Writes the weights, the configuration and the vocabularies to one file, as [`io::save`](crate::io::save)
    /// does.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()>
    where
        C::Options: Serialize,
    {
        self.save_with(path, Precision::Full)
    }

    /// Writes a smaller file, whose matrices have the given precision, as
    /// [`io::save_with`](crate::io::save_with) does.
    ///
    /// # Errors
    /// As for [`save`](Self::save), and if a weight is not finite or beyond the range of f32, unless the
    /// precision is full.
    pub fn save_with(&self, path: impl AsRef<Path>, precision: Precision) -> Result<()>
    where
        C::Options: Serialize,
    {
        file::save(self, path.as_ref(), precision)
    }

    /// Reads a model from the file `path`. A model of [`BuiltInCell`](crate::model::BuiltInCell) reads a file
    /// of any cell of this crate.
    ///
    /// # Errors
    /// If the file cannot be read, or holds another kind of model, another cell or element type, an unknown
    /// option, or weights that are not finite.
    pub fn load(path: impl AsRef<Path>) -> Result<Self>
    where
        C::Options: Serialize + DeserializeOwned,
    {
        file::load(path.as_ref())
    }

    /// Returns the embedding of the target tokens.
    #[expect(clippy::expect_used, reason = "`build` makes one of the two")]
    fn target_embedding(&self) -> &Embedding<T> {
        let shared = self.encoder.embedding.as_ref();
        self.decoder.embedding.as_ref().or(shared).expect("one of the two, as built")
    }

    /// Returns the embedding of the target tokens in a gradient.
    #[expect(clippy::expect_used, reason = "`build` makes one of the two")]
    fn target_embedding_mut(&mut self) -> &mut Embedding<T> {
        let shared = self.encoder.embedding.as_mut();
        self.decoder.embedding.as_mut().or(shared).expect("one of the two, as built")
    }

    /// Returns the head as a layer.
    fn head(&self) -> Cow<'_, Linear<T>> {
        match &self.head.linear {
            Some(linear) => Cow::Borrowed(linear),
            None => {
                let weight = self.target_embedding().weight().to_owned();
                Cow::Owned(Linear::of(weight, self.head.tied_bias.clone()))
            }
        }
    }

    /// Returns the number of multiply-adds of a row of the head.
    fn head_work(&self) -> usize {
        self.decoder.output_size() * self.config.output_size
    }

    /// Returns the head with a weight of the given precision, which [`Precision::check`] allows.
    fn packed_head(&self, precision: Precision) -> PackedLinear<'_, T> {
        match &self.head.linear {
            Some(linear) => linear.packed_with(precision),
            None => {
                let weight = self.target_embedding().weight();
                PackedLinear::with(weight, self.head.tied_bias.as_ref(), precision)
            }
        }
    }

    /// Returns the inputs and targets of the decoder, which are `targets` after the start token and before
    /// the end token.
    #[expect(clippy::indexing_slicing, reason = "there is a target for each row")]
    fn pairs(&self, targets: &[Vec<usize>]) -> Result<Pairs> {
        let Seq2SeqConfig { start, end, .. } = self.config.own;
        check_size("targets", &[targets.len()])?;
        let most = self.config.output_size;
        for (b, target) in targets.iter().enumerate() {
            check_indices(&format!("targets[{b}]"), target, most, "target_vocabulary_size")?;
            if let Some(t) = target.iter().position(|&token| token == start || token == end) {
                let expected = "neither the start nor the end token, which the model adds";
                return Err(Error::argument(format!("targets[{b}][{t}]"), expected, target[t]));
            }
        }
        let lengths: Vec<usize> = targets.iter().map(|target| target.len() + 1).collect();
        let shape = (lengths.iter().copied().max().unwrap_or(0), targets.len());
        // The padding is not read.
        let input = |(t, b): (usize, usize)| match t.checked_sub(1) {
            None => start,
            Some(t) => targets[b].get(t).copied().unwrap_or(end),
        };
        let target = |(t, b): (usize, usize)| targets[b].get(t).copied().unwrap_or(end);
        let pairs = (Array2::from_shape_fn(shape, input), Array2::from_shape_fn(shape, target));
        Ok((pairs.0, pairs.1, lengths))
    }

    /// Returns h̃ [rows, hidden] of a step that reads `tokens`, one for each row.
    fn feed<'s>(
        &self,
        steps: &'s mut Steps<'_, C>,
        tokens: ArrayView1<'_, usize>,
        live: &[bool],
    ) -> Result<ArrayView2<'s, T>> {
        let (rows, step) = (tokens.len(), tokens.insert_axis(Axis(0)));
        let embedded = self.target_embedding().rows_of(step, &vec![1; rows], steps.precision)?;
        steps.step(embedded.values().index_axis(Axis(0), 0), live)
    }
}

impl<T: Float, C: Cell<Elem = T>> Model for Seq2Seq<C> {
    type Batch = (Sequences<T>, Vec<Vec<usize>>);
    type Score = Perplexity;

    model_calls!(encoder);

    fn begin_step(&mut self, step: usize) {
        self.step = step;
    }

    fn weighted_loss_and_grad(
        &self,
        (source, targets): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        check_batch("targets", source, targets.len())?;
        let (mut inputs, y, lengths) = self.pairs(targets)?;
        let encoded = self.encoder.forward_train(source, rng)?;
        let bridge = self.bridge.packed(Precision::Full);
        let initial = self.bridge.forward(bridge.as_ref(), &encoded, &self.decoder.recurrent)?;
        let steps = self.decoder.training(&initial, encoded.memory.as_ref(), rng)?;
        let own = self.own_tokens(inputs.dim(), rng);
        let (readouts, steps) = self.run(steps, (&mut inputs, &lengths), own.as_ref())?;

        let head = self.head();
        let mut dropped = readouts;
        let mask = apply_dropout(self.config.dropout, dropped.values_mut(), rng)?;
        let loss = CrossEntropy::default().label_smoothing(self.config.own.label_smoothing)?;
        let (loss, weight, d_readouts) = match &mut grad.head.linear {
            Some(grad) => loss.of_linear(&head, &dropped, &y, grad)?,
            None => {
                let mut d_head = head.zeros_like();
                let found = loss.of_linear(&head, &dropped, &y, &mut d_head)?;
                grad.add_tied_head(&d_head);
                found
            }
        };
        let d_readouts = mask_gradient(d_readouts.into_values(), mask);

        let d = Steps::backward(steps, &d_readouts, &mut grad.decoder)?;
        let tokens = Sequences::one_hot(inputs.view(), self.config.output_size, lengths)?;
        let d_embedded = tokens.with_values(d.embedded)?;
        self.target_embedding().add_gradient(&tokens, &d_embedded, grad.target_embedding_mut())?;
        self.bridge.backward_through(
            &self.encoder,
            encoded,
            (d.initial, d.memory),
            (&mut grad.bridge, &mut grad.encoder),
        )?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (source, targets): &Self::Batch, score: &mut Perplexity) -> Result<()> {
        check_batch("targets", source, targets.len())?;
        let (mut inputs, y, lengths) = self.pairs(targets)?;
        let (steps, _) = self.packed(source.batch(), Precision::Full)?.begin(source)?;
        let (readouts, _) = self.run(steps, (&mut inputs, &lengths), None)?;
        let logits: Sequences<T> = self.head().forward(&readouts)?;
        let (loss, _) = CrossEntropy::default().loss(&logits, &y)?;
        score.add(loss, readouts.steps());
        Ok(())
    }
}

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    /// Adds the gradient of a head whose weight is that of the target embedding to this gradient.
    fn add_tied_head(&mut self, d_head: &Linear<T>) {
        if let (Some(bias), Some(d_bias)) = (&mut self.head.tied_bias, d_head.bias()) {
            *bias += d_bias;
        }
        self.target_embedding_mut().add_weight_gradient(d_head.weight());
    }
}

impl<C: Cell> Shape for Seq2Seq<C> {
    type Cell = C;
    const NAME: &'static str = "Seq2Seq";
    type Own = Seq2SeqConfig;

    fn assemble(config: Config<C, Seq2SeqConfig>, rng: &mut dyn Rng) -> Result<Self> {
        let (own, targets) = (&config.own, config.output_size);
        own.check(targets)?;
        check_indices("suppress_tokens", &own.suppress_tokens, targets, "target_vocabulary_size")?;
        CrossEntropy::default().label_smoothing(own.label_smoothing)?;
        refuse("labels", config.labels.as_ref().map(Vec::len), "targets are tokens")?;
        let some = |p: f64| Some(p).filter(|&p| p > 0.0);
        refuse("input_dropout", some(config.input_dropout), "its encoder has none")?;
        refuse("word_dropout", some(config.word_dropout), "its encoder has none")?;
        let encoder = Encoder::new(&config, rng)?;
        let mut recurrent = decoder_layers(&config);
        recurrent.input_size = 1; // only the width of its output is needed
        let hidden = recurrent.clone().build(rng)?.output_size();
        let width = own.target_embedding_dim.or(config.embedding_dim).unwrap_or(hidden);
        check_embedding(&config, width, hidden)?;
        let embedding = match own.shared_embedding {
            true => None,
            false => Some(Embedding::new(targets, width, rng)?),
        };
        let memory = encoder.memory_size(&config);
        let attention = own.attention.map(|score| Attention::new(score, hidden, memory, rng));
        let attention = attention.transpose()?;
        let before = own.attention_place == AttentionPlace::Before;
        let context = if before { memory } else { 0 };
        let fed = if own.input_feeding { hidden } else { 0 };
        recurrent.input_size = width + fed + context;
        let residual = recurrent.residual;
        let recurrent = recurrent.build(rng)?;
        let combine = |_: &_| {
            let init = Init::Uniform(1.0 / ((memory + hidden) as f64).sqrt());
            Linear::with_options(memory + hidden, hidden, false, init, rng)
        };
        let combine = attention.as_ref().map(combine).transpose()?;
        let input_feeding = own.input_feeding;
        let decoder = DecoderLayers {
            embedding,
            recurrent,
            attention,
            combine,
            before,
            input_feeding,
            residual,
        };
        let head = Linear::new(hidden, targets, rng)?;
        let bridge = BridgeLayer::new(own.bridge, &encoder, memory, &decoder.recurrent, rng)?;
        let head = match own.tied_output {
            true => Head { tied_bias: head.bias().cloned(), linear: None },
            false => Head { linear: Some(head), tied_bias: None },
        };
        Ok(Self { config: Arc::new(config), encoder, bridge, decoder, head, step: 0 })
    }

    fn config(&self) -> &Config<C, Seq2SeqConfig> {
        &self.config
    }

    #[cfg(feature = "pytorch")]
    fn sized(mut builder: ModelBuilder<Self>, file: &impl FileSizes) -> Result<ModelBuilder<Self>> {
        let config = &mut builder.config;
        let decoder = file.layers("decoder.")?;
        config.own.decoder_hidden_size = None;
        config.own.decoder_num_layers = None;
        if config.own.encoder {
            let encoder = file.layers("encoder.")?;
            if encoder.hidden != decoder.hidden {
                config.own.decoder_hidden_size = decoder.hidden.first().copied();
                config.own.decoder_num_layers = Some(decoder.hidden.len());
            }
            if config.own.bridge == Bridge::Linear {
                let width = |layers: &LayerSizes| layers.hidden.iter().sum();
                file.check_matrix("bridge.weight", [width(&decoder), width(&encoder)])?;
            }
            config.recurrent = encoder.set(config.recurrent.clone());
        } else {
            config.recurrent = decoder.set(config.recurrent.clone());
        }
        let source = file.embedding_dim("encoder.", config.input_size)?;
        config.embedding_dim = source.or(config.embedding_dim);
        let target = file.embedding_dim("decoder.", config.output_size)?;
        config.own.target_embedding_dim = target.or(config.own.target_embedding_dim);
        Ok(builder)
    }
}

/// Returns whether each sequence has step `t`.
fn live_at(t: usize, lengths: &[usize]) -> Vec<bool> {
    lengths.iter().map(|&length| t < length).collect()
}

/// Returns the options of the decoder's recurrent layers. The input's width is set later.
fn decoder_layers<C: Cell>(config: &Config<C, Seq2SeqConfig>) -> RecurrentBuilder<C> {
    let mut layers = config.recurrent.clone().bidirectional(false).learned_initial_state(false);
    if let Some(hidden_size) = config.own.decoder_hidden_size {
        layers = layers.hidden_size(hidden_size);
    }
    if let Some(num_layers) = config.own.decoder_num_layers {
        layers = layers.num_layers(num_layers);
    }
    match (layers.layers(), config.own.encoder) {
        // Options that act between layers are then those of the encoder.
        (1, true) => {
            layers.dropout = None;
            layers.residual(false)
        }
        (1, false) => layers,
        _ => {
            layers.dropout.get_or_insert(config.dropout);
            layers
        }
    }
}

/// Fails unless the target embedding of the given width fits the options that share it.
fn check_embedding<C: Cell>(
    config: &Config<C, Seq2SeqConfig>,
    width: usize,
    hidden: usize,
) -> Result<()> {
    let own = &config.own;
    if own.shared_embedding {
        let Some(source) = config.embedding_dim else {
            let expected = "one of the source (embedding_dim)";
            return Err(Error::argument("shared_embedding", expected, "none"));
        };
        if (config.input_size, source) != (config.output_size, width) {
            let expected =
                format!("as many tokens and values as the source, {}", config.input_size);
            let got = format!("{} of {width}", config.output_size);
            return Err(Error::argument(
                "shared_embedding",
                format!("{expected} of {source}"),
                got,
            ));
        }
    }
    if own.tied_output && width != hidden {
        let expected = format!("an embedding of {hidden} values, as wide as the decoder");
        return Err(Error::argument("tied_output", expected, width));
    }
    Ok(())
}
