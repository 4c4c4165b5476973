//! The options that only [`Seq2Seq`] has.

use serde::{Deserialize, Serialize};

use crate::cell::Cell;
use crate::data::Vocabulary;
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::layer::AttentionScore;
use crate::model::Seq2Seq;
use crate::model::config::ModelBuilder;

/// The source of the decoder's initial states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bridge {
    /// The final states of the encoder, layer by layer. Both must have as many layers. Those of two directions
    /// are joined, so the decoder must then be twice as wide as the encoder.
    Same,
    /// An affine function of all final states of the encoder, side by side. Without an encoder, of the mean
    /// row of the memory.
    #[default]
    Linear,
    /// Zeros.
    Zeros,
}

/// The place of attention in the decoder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttentionPlace {
    /// Before the recurrent layers, which read the context (Bahdanau et al., 2015). The query is the output
    /// of the step before.
    Before,
    /// After the recurrent layers (Luong et al., 2015). The query is their output.
    #[default]
    After,
}

/// The probability that a step of the decoder reads the correct token instead of the model's own, after i
/// steps of the optimiser.
///
/// | schedule | probability |
/// |---|---|
/// | `Linear { from, to, steps }` | from + (to − from)·min(i / steps, 1) |
/// | `Exponential { factor }` | factorⁱ |
/// | `InverseSigmoid { k }` | k / (k + e^(i/k)) |
///
/// Bengio, Vinyals, Jaitly and Shazeer, *Scheduled Sampling for Sequence Prediction with Recurrent Neural
/// Networks*, 2015.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ScheduledSampling {
    /// A line.
    Linear {
        /// The first probability.
        from: f64,
        /// The last probability.
        to: f64,
        /// The number of steps from the first to the last.
        steps: usize,
    },
    /// A power.
    Exponential {
        /// The factor of each step, 0 < factor ≤ 1.
        factor: f64,
    },
    /// A sigmoid that falls.
    InverseSigmoid {
        /// The speed of the fall, at least 1. The probability is about 1/2 after k·ln k steps.
        k: f64,
    },
}

impl ScheduledSampling {
    /// Returns the probability of the correct token at `step`.
    ///
    /// ```
    /// use recurrent::model::ScheduledSampling;
    ///
    /// let line = ScheduledSampling::Linear { from: 1.0, to: 0.5, steps: 100 };
    /// assert_eq!((line.probability(0), line.probability(50), line.probability(900)), (1.0, 0.75, 0.5));
    /// ```
    pub fn probability(&self, step: usize) -> f64 {
        let i = step as f64;
        match *self {
            Self::Linear { to, steps: 0, .. } => to,
            Self::Linear { from, to, steps } => from + (to - from) * (i / steps as f64).min(1.0),
            Self::Exponential { factor } => factor.powf(i),
            Self::InverseSigmoid { k } => k / (k + (i / k).exp()),
        }
    }

    fn check(&self) -> Result<()> {
        let within = |p: f64| (0.0..=1.0).contains(&p);
        let (right, expected) = match *self {
            Self::Linear { from, to, .. } => (within(from) && within(to), "from and to in 0…1"),
            Self::Exponential { factor } => (factor > 0.0 && factor <= 1.0, "0 < factor ≤ 1"),
            Self::InverseSigmoid { k } => (k >= 1.0 && k.is_finite(), "a finite k of at least 1"),
        };
        if right {
            return Ok(());
        }
        Err(Error::argument("scheduled_sampling", expected, format!("{self:?}")))
    }
}

/// The options that only an encoder-decoder has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Seq2SeqConfig {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) encoder: bool,
    pub(super) target_vocabulary: Option<Vocabulary>,
    pub(super) target_embedding_dim: Option<usize>,
    pub(super) shared_embedding: bool,
    pub(super) tied_output: bool,
    pub(super) decoder_hidden_size: Option<usize>,
    pub(super) decoder_num_layers: Option<usize>,
    pub(super) bridge: Bridge,
    pub(super) attention: Option<AttentionScore>,
    pub(super) attention_place: AttentionPlace,
    pub(super) input_feeding: bool,
    pub(super) label_smoothing: f64,
    pub(super) scheduled_sampling: Option<ScheduledSampling>,
    pub(super) suppress_tokens: Vec<usize>,
}

impl Seq2SeqConfig {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self {
            start,
            end,
            encoder: true,
            target_vocabulary: None,
            target_embedding_dim: None,
            shared_embedding: false,
            tied_output: false,
            decoder_hidden_size: None,
            decoder_num_layers: None,
            bridge: Bridge::default(),
            attention: None,
            attention_place: AttentionPlace::default(),
            input_feeding: false,
            label_smoothing: 0.0,
            scheduled_sampling: None,
            suppress_tokens: Vec::new(),
        }
    }

    /// Fails if an option is outside its range or has no effect. `targets` is the number of target tokens.
    pub(super) fn check(&self, targets: usize) -> Result<()> {
        for (name, size) in [
            ("target_embedding_dim", self.target_embedding_dim),
            ("decoder_hidden_size", self.decoder_hidden_size),
            ("decoder_num_layers", self.decoder_num_layers),
        ] {
            check_size(name, &[size.unwrap_or(1)])?;
        }
        for (name, token) in [("start", self.start), ("end", self.end)] {
            if token >= targets {
                let expected = format!("less than {targets} (target_vocabulary_size)");
                return Err(Error::argument(name, expected, token));
            }
        }
        if self.start == self.end {
            return Err(Error::argument("end", "another token than start", self.end));
        }
        if let Some(vocabulary) = &self.target_vocabulary {
            check_shape("target_vocabulary", "output", &[targets], &[vocabulary.len()])?;
        }
        if self.attention.is_none() {
            let set = [
                ("input_feeding", self.input_feeding),
                ("attention_place", self.attention_place != AttentionPlace::default()),
                ("bridge", self.bridge == Bridge::Zeros),
            ];
            if let Some((name, _)) = set.into_iter().find(|(_, set)| *set) {
                return Err(Error::argument(
                    name,
                    "attention: without it the source is not read",
                    "none",
                ));
            }
        }
        if !self.encoder && self.bridge == Bridge::Same {
            return Err(Error::argument("bridge", "Linear or Zeros without an encoder", "Same"));
        }
        self.scheduled_sampling.map_or(Ok(()), |schedule| schedule.check())
    }
}

impl<T: Float, C: Cell<Elem = T>> ModelBuilder<Seq2Seq<C>> {
    /// Sets the vocabulary of the target tokens, which is saved with the model.
    pub fn target_vocabulary(mut self, vocabulary: Vocabulary) -> Self {
        self.config.own.target_vocabulary = Some(vocabulary);
        self
    }

    /// Sets the width of the embedding of the target tokens. Default: that of the source tokens, or
    /// the width of the decoder for sources that are values.
    pub fn target_embedding_dim(mut self, width: usize) -> Self {
        self.config.own.target_embedding_dim = Some(width);
        self
    }

    /// Sets whether source and target tokens have one embedding. Both
    /// vocabularies must then have one size.
    pub fn shared_embedding(mut self, shared: bool) -> Self {
        self.config.own.shared_embedding = shared;
        self
    }

    /// Sets whether the weight of the head is that of the embedding of the target tokens (Press and Wolf,
    /// 2017). The decoder must then be as wide as this embedding.
    pub fn tied_output(mut self, tied: bool) -> Self {
        self.config.own.tied_output = tied;
        self
    }

    /// Sets the width of the decoder's recurrent layers. Default: that of the encoder's.
    pub fn decoder_hidden_size(mut self, hidden_size: usize) -> Self {
        self.config.own.decoder_hidden_size = Some(hidden_size);
        self
    }

    /// Sets the number of the decoder's recurrent layers. Default: that of the encoder's.
    pub fn decoder_num_layers(mut self, num_layers: usize) -> Self {
        self.config.own.decoder_num_layers = Some(num_layers);
        self
    }

    /// Sets the source of the decoder's initial states. Default: [`Bridge::Linear`].
    pub fn bridge(mut self, bridge: Bridge) -> Self {
        self.config.own.bridge = bridge;
        self
    }

    /// Sets attention of the decoder to the outputs of the encoder. Default: none.
    pub fn attention(mut self, score: AttentionScore) -> Self {
        self.config.own.attention = Some(score);
        self
    }

    /// Sets whether attention comes before or after the decoder's recurrent layers. Default: after.
    pub fn attention_place(mut self, place: AttentionPlace) -> Self {
        self.config.own.attention_place = place;
        self
    }

    /// Sets whether each step of the decoder also reads h̃ of the step before.
    pub fn input_feeding(mut self, input_feeding: bool) -> Self {
        self.config.own.input_feeding = input_feeding;
        self
    }

    /// Removes the encoder: the source is the memory itself, such as vectors of the regions of a picture,
    /// [regions, batch, features].
    pub fn without_encoder(mut self) -> Self {
        self.config.own.encoder = false;
        self
    }

    /// Sets the smoothing of the target distribution, as in
    /// [`CrossEntropy`](crate::loss::CrossEntropy::label_smoothing). Scores are without it.
    pub fn label_smoothing(mut self, epsilon: f64) -> Self {
        self.config.own.label_smoothing = epsilon;
        self
    }

    /// Sets scheduled sampling: a step of training reads the model's own likeliest token instead of the
    /// correct one, with a probability that depends on the number of training steps. No gradient flows
    /// through the choice. A training loop of your own calls
    /// [`Model::begin_step`](crate::train::Model::begin_step) before each step;
    /// [`Trainer`](crate::train::Trainer) does so.
    pub fn scheduled_sampling(mut self, schedule: ScheduledSampling) -> Self {
        self.config.own.scheduled_sampling = Some(schedule);
        self
    }

    /// Sets further tokens that are never decoded. The start token, the unknown token and the special tokens
    /// of the target vocabulary never are, except the end token. If `tokens` contains the end token, every
    /// result has the greatest length.
    pub fn suppress_tokens(mut self, tokens: &[usize]) -> Self {
        self.config.own.suppress_tokens = tokens.to_vec();
        self
    }
}
