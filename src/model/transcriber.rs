//! [`SequenceTranscriber`]: frames in, labels out.
#![expect(
    clippy::indexing_slicing,
    reason = "a label is below the number of labels, which was compared"
)]

use std::collections::VecDeque;
use std::sync::Arc;

use ndarray::{Array2, ArrayView1, ArrayView2, Axis, concatenate};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, LstmCell};
use crate::decode::ctc::{Alignment, Greedy, PrefixBeam, align, greedy};
use crate::error::{Result, check_indices, check_shape, shaped};
use crate::float::Float;
use crate::layer::stack_frames::Frames;
use crate::loss::ctc::check_blank;
use crate::loss::{Ctc, Loss};
use crate::model::calls::shape_calls;
use crate::model::config::{Config, ModelBuilder, Shape, WithLoss};
use crate::model::network::{Network, NetworkStream, Step, of_outputs};
use crate::model::scored::{Objective, Scored};
use crate::model::{counted, model_calls, needed};
use crate::sequences::{Input, Sequences, one_hot_values};
use crate::tensor::Precision;
use crate::train::Model;
use crate::train::metrics::TranscriptionMetrics;

/// A model that transcribes sequences of frames, or tokens, into fewer labels without times, such as speech
/// into letters. It trains by [`Ctc`].
///
/// ```text
/// embedding → joined frames → recurrent layers → dropout → linear → softmax over labels and blank
/// ```
///
/// The target of a sequence is a list of classes other than the blank: [`Labels`](crate::data::Labels) in a
/// data set. [`frames`](ModelBuilder::frames) joins frames and keeps every n-th window, so that there
/// are fewer steps. A sequence needs a step for each label and one more between two equal labels.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::GruCell;
/// use recurrent::data::{Dataset, Labels, Source};
/// use recurrent::model::SequenceTranscriber;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// // Each label is shown for 2 or 3 frames, and a frame of nothing follows.
/// let labels: Vec<Vec<usize>> = (0..40).map(|i| (0..1 + i % 3).map(|k| 1 + (i * 3 + k * k) % 2).collect()).collect();
/// let show = |labels: &Vec<usize>| {
///     let shown = labels.iter().flat_map(|&label| [vec![label; 2 + label % 2], vec![0]].concat());
///     let shown: Vec<usize> = shown.collect();
///     Array2::from_shape_fn((shown.len(), 2), |(t, j)| f32::from(shown[t] == j + 1))
/// };
/// let recordings = labels.iter().map(show).collect();
/// let data = Dataset::new(recordings, labels.into_iter().map(Labels).collect())?;
///
/// let builder = SequenceTranscriber::<GruCell<f32>>::builder(2, 3).hidden_size(12); // class 0 is the blank
/// let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// Trainer::new(Adam::new(0.03)?).epochs(30).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.label_error_rate() < 0.05);
/// let (x, labels) = data.batch(&[5])?;
/// assert_eq!(model.transcribe(&x)?, labels);
///
/// let mut stream = model.stream(1)?; // frame by frame
/// let mut so_far = Vec::new();
/// for frame in x.values().outer_iter() {
///     so_far.extend(stream.step(frame)?[0]); // a label, if one begins here
/// }
/// assert_eq!(so_far, labels[0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceTranscriber<C: Cell = LstmCell<f32>> {
    config: Arc<Config<C, TranscriberConfig>>,
    pub(super) network: Network<C>,
}
shape_calls!([] SequenceTranscriber<C>, [], network, network);

/// The options that only a transcriber has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TranscriberConfig {
    objective: Objective<Ctc>,
    frames: Frames,
}

impl<T: Float, C: Cell<Elem = T>> ModelBuilder<SequenceTranscriber<C>> {
    /// Joins the features of `frames` frames to one step, and keeps every `stride`-th of these windows, as
    /// [`StackFrames`](crate::layer::StackFrames) does. Default: 1 and 1, the frames as they are.
    pub fn frames(mut self, frames: usize, stride: usize) -> Self {
        self.config.own.frames = Frames { frames, stride };
        self
    }
}

/// The loss names the blank, by default class 0.
impl<T: Float, C: Cell<Elem = T>> WithLoss<Ctc> for SequenceTranscriber<C> {
    type With = Self;

    fn with_loss(own: TranscriberConfig, loss: Ctc) -> TranscriberConfig {
        TranscriberConfig { objective: Objective::new::<Sequences<T>>(loss), ..own }
    }
}

impl<T: Float, C: Cell<Elem = T>> SequenceTranscriber<C> {
    /// Returns a builder for a transcriber of sequences of `input_size` features, or tokens, into labels of
    /// `classes`, of which one is the blank.
    pub fn builder(input_size: usize, classes: usize) -> ModelBuilder<Self> {
        let objective = Objective::new::<Sequences<T>>(Ctc::new(0));
        let own = TranscriberConfig { objective, frames: Frames::default() };
        ModelBuilder::new(input_size, classes, own)
    }

    /// Returns the number of classes, the blank included.
    pub fn classes(&self) -> usize {
        self.config.output_size
    }

    /// Returns the loss.
    pub fn loss(&self) -> &Ctc {
        &self.config.own.objective.loss
    }

    /// Returns the class of the blank.
    pub fn blank(&self) -> usize {
        self.loss().blank()
    }

    /// Returns the logits of each window of frames, [time, batch, classes], for the decoders of
    /// [`decode::ctc`](crate::decode::ctc). Without [`frames`](ModelBuilder::frames), a window is a frame.
    ///
    /// # Errors
    /// If `x` does not fit.
    pub fn logits(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        self.network.outputs(x, None)
    }

    /// Returns the labels of each sequence by the likeliest class of each step.
    ///
    /// # Errors
    /// If `x` does not fit or a result is NaN.
    pub fn transcribe(&self, x: &Sequences<T>) -> Result<Vec<Vec<usize>>> {
        greedy(&self.logits(x)?, self.blank())
    }

    /// Returns the names of the labels of each sequence, as [`transcribe`](Self::transcribe) does.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); also if the model has no [`labels`](ModelBuilder::labels).
    pub fn transcribe_labels(&self, x: &Sequences<T>) -> Result<Vec<Vec<&str>>> {
        let names = needed(self.config.labels.as_ref())?;
        let name =
            |labels: Vec<usize>| labels.into_iter().map(|label| names[label].as_str()).collect();
        Ok(self.transcribe(x)?.into_iter().map(name).collect())
    }

    /// Returns the likeliest labels of each sequence, summed over their alignments, by a prefix beam search
    /// of the given width.
    ///
    /// # Errors
    /// As [`transcribe`](Self::transcribe); also if `width` is zero.
    pub fn transcribe_beam(&self, x: &Sequences<T>, width: usize) -> Result<Vec<Vec<usize>>> {
        let best = self.beam(width)?.decode(&self.logits(x)?)?;
        // One transcript of each sequence: without a scorer there always is one.
        Ok(best.into_iter().flatten().map(|best| best.labels).collect())
    }

    /// Returns a prefix beam search with the blank of this model. It decodes the
    /// [`logits`](Self::logits) to several transcripts with scores, or with a lexicon or language model.
    ///
    /// # Errors
    /// If `width` is zero.
    pub fn beam(&self, width: usize) -> Result<PrefixBeam> {
        PrefixBeam::new(self.blank(), width)
    }

    /// Returns the likeliest alignment of the `labels` of each sequence with its steps, which are windows of
    /// frames.
    ///
    /// # Errors
    /// If `x` or `labels` do not fit.
    pub fn align(&self, x: &Sequences<T>, labels: &[Vec<usize>]) -> Result<Vec<Alignment>> {
        align(&self.logits(x)?, labels, self.blank())
    }

    /// Returns a stream that reads `batch` sequences frame by frame, and returns the labels that begin.
    ///
    /// # Errors
    /// If the model is bidirectional or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<TranscriberStream<'_, C>> {
        self.stream_with(batch, Precision::Full)
    }

    /// Creates a stream whose embedding, recurrent layers and head have weights of the given precision.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and if the model is one of `f64` or has a weight that is not finite,
    /// unless the precision is full.
    pub fn stream_with(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<TranscriberStream<'_, C>> {
        Ok(TranscriberStream {
            stream: self.network.stream(batch, precision)?,
            frames: self.config.own.frames,
            input_size: self.config.input_size,
            recent: VecDeque::new(),
            read: 0,
            decoders: vec![Greedy::new(self.blank()); batch],
        })
    }
}

/// The metrics are those of the labels by the likeliest class of each step.
impl<T: Float> Scored<Sequences<T>> for Ctc {
    type Score = TranscriptionMetrics;

    fn name(&self) -> String {
        "ctc".to_owned()
    }

    fn score(
        &self,
        loss: f64,
        logits: &Sequences<T>,
        labels: &Vec<Vec<usize>>,
        score: &mut TranscriptionMetrics,
    ) -> Result<()> {
        let count = self.count(logits, labels)?;
        let predicted = greedy(logits, self.blank())?;
        score.add_weighted_loss(loss, count);
        for (predicted, labels) in predicted.iter().zip(labels) {
            score.add(predicted, labels);
        }
        Ok(())
    }
}

impl<T: Float, C: Cell<Elem = T>> Model for SequenceTranscriber<C> {
    type Batch = (Sequences<T>, Vec<Vec<usize>>);
    type Score = TranscriptionMetrics;

    model_calls!(network);

    fn weighted_loss_and_grad(
        &self,
        (x, labels): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let mut weight = 0.0;
        let loss = |logits: &Sequences<T>| counted(self.loss(), (logits, labels), &mut weight);
        let loss = of_outputs(loss);
        let (loss, _) = self.network.loss_and_grad(x, None, loss, &mut grad.network, rng)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(
        &self,
        (x, labels): &Self::Batch,
        score: &mut TranscriptionMetrics,
    ) -> Result<()> {
        let logits = self.logits(x)?;
        let (loss, _) = self.loss().loss(&logits, labels)?;
        self.loss().score(loss, &logits, labels, score)
    }
}

impl<T: Float, C: Cell<Elem = T>> Shape for SequenceTranscriber<C> {
    type Cell = C;
    const NAME: &'static str = "SequenceTranscriber";
    type Own = TranscriberConfig;

    fn assemble(config: Config<C, TranscriberConfig>, rng: &mut dyn Rng) -> Result<Self> {
        let TranscriberConfig { objective, frames } = &config.own;
        objective.check::<Sequences<T>>(config.output_size)?;
        frames.check()?;
        check_blank(objective.loss.blank(), config.output_size)?;
        let joined = (*frames != Frames::default()).then_some(*frames);
        let network = Network::with_frames(&config, config.output_size, joined, rng)?;
        Ok(Self { config: Arc::new(config), network })
    }

    fn config(&self) -> &Config<C, TranscriberConfig> {
        &self.config
    }
}

/// A transcriber that reads one frame at a time; made by [`SequenceTranscriber::stream`]. After each
/// frame the labels so far are those of [`transcribe`](SequenceTranscriber::transcribe) for the frames so
/// far.
#[derive(Debug)]
pub struct TranscriberStream<'m, C: Cell> {
    stream: NetworkStream<'m, C>,
    frames: Frames,
    input_size: usize,
    /// The features [batch, features] of the frames that a later window may need.
    recent: VecDeque<Array2<C::Elem>>,
    /// The number of frames read.
    read: usize,
    decoders: Vec<Greedy>,
}

impl<T: Float, C: Cell<Elem = T>> TranscriberStream<'_, C> {
    /// Reads the frame `x_t` [batch, input], and returns the label of each sequence that begins with it, if
    /// one does.
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before. Also if a result is NaN.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Vec<Option<usize>>> {
        let logits = self.step_logits(x_t)?;
        self.decode(logits)
    }

    /// Reads one token of each sequence, and returns the same.
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before. Also if a result is NaN.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Vec<Option<usize>>> {
        let logits = self.advance(Input::Tokens(tokens))?;
        self.decode(logits)
    }

    /// Reads the frame `x_t` [batch, input], and returns the logits [batch, classes] of the window that ends
    /// with it, if one does: for a [`PrefixSearch`](crate::decode::ctc::PrefixSearch) of each sequence. The
    /// labels of [`step`](Self::step) do not include those of the frame.
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step_logits(&mut self, x_t: ArrayView2<'_, T>) -> Result<Option<Array2<T>>> {
        self.advance(Input::Dense(x_t))
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self {
            stream: self.stream.fork(),
            frames: self.frames,
            input_size: self.input_size,
            recent: self.recent.clone(),
            read: self.read,
            decoders: self.decoders.clone(),
        }
    }

    fn decode(&mut self, logits: Option<Array2<T>>) -> Result<Vec<Option<usize>>> {
        let Some(logits) = logits else { return Ok(vec![None; self.decoders.len()]) };
        let rows = self.decoders.iter_mut().zip(logits.rows()).enumerate();
        rows.map(|(b, (decoder, row))| {
            decoder.step(row).map_err(|error| error.prefixed(&format!("sequence {b}, ")))
        })
        .collect()
    }

    fn advance(&mut self, x: Step<'_, T>) -> Result<Option<Array2<T>>> {
        let batch = self.decoders.len();
        match x {
            Input::Dense(x) => {
                check_shape("x_t", "batch, input", &[batch, self.input_size], x.shape())?;
            }
            Input::Tokens(tokens) => {
                check_shape("tokens", "batch", &[batch], &[tokens.len()])?;
                check_indices("tokens", tokens, self.input_size, "input_size")?;
            }
        }
        let Frames { frames, stride } = self.frames;
        if (frames, stride) == (1, 1) {
            return self.stream.step_outputs(x).map(Some);
        }
        let features = match self.stream.features(x)? {
            Input::Dense(features) => features.into_owned(),
            Input::Tokens(tokens) => {
                let tokens = ArrayView1::from(tokens).insert_axis(Axis(0)).to_owned();
                one_hot_values(&tokens, self.input_size).index_axis_move(Axis(0), 0)
            }
        };
        if self.recent.len() == frames {
            self.recent.pop_front();
        }
        self.recent.push_back(features);
        self.read += 1;
        if self.read < frames || !(self.read - frames).is_multiple_of(stride) {
            return Ok(None);
        }
        let parts: Vec<ArrayView2<'_, T>> = self.recent.iter().map(|part| part.view()).collect();
        let window = shaped("frames", concatenate(Axis(1), &parts))?;
        self.stream.stream.step(window.view())?;
        self.stream.head(self.stream.stream.output()).map(Some)
    }
}
