//! [`SequenceClassifier`]: many to one, a class for a sequence.
#![expect(
    clippy::indexing_slicing,
    reason = "a class is below the number of labels, which was compared"
)]

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use rand::Rng;

use crate::cell::{Cell, LstmCell};
use crate::error::Result;
use crate::float::Float;
use crate::loss::CrossEntropy;
use crate::model::calls::{shape_calls, with_loss};
use crate::model::config::{Config, ModelBuilder, Shape, WithCharacters, WithPooling};
use crate::model::model_calls;
use crate::model::network::Step;
use crate::model::pooled::{Pooled, PooledStream};
use crate::model::scored::{Objective, Scored};
use crate::model::{check_batch, classes_of, counted, likeliest, needed, probabilities_of};
use crate::sequences::Sequences;
use crate::tensor::Precision;
use crate::train::Model;

/// A classifier of sequences of values or of tokens.
///
/// ```text
/// embedding → recurrent layers → pooling over time → dropout → linear → softmax
/// ```
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-classifier-{}", std::process::id()));
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::data::Dataset;
/// use recurrent::model::SequenceClassifier;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// // Does it rise or fall?
/// let walk = |i: usize| Array2::from_shape_fn((4 + i % 5, 1), |(t, _)| {
///     if i % 2 == 0 { t as f32 } else { -(t as f32) }
/// });
/// let data = Dataset::new((0..40).map(walk).collect(), (0..40).map(|i| i % 2).collect())?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceClassifier::<LstmCell<f32>>::builder(1, 2)
///     .hidden_size(8)
///     .labels(&["rises", "falls"])
///     .build(&mut rng)?;
/// Trainer::new(Adam::new(0.01)?).epochs(20).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.accuracy() > 0.9);
///
/// model.save(&path)?;
/// let model = SequenceClassifier::<LstmCell<f32>>::load(&path)?;
/// let mut stream = model.stream(1)?; // one sequence, step by step
/// for step in walk(1).rows() {
///     let p = stream.step(step.insert_axis(ndarray::Axis(0)))?; // [batch, classes]
///     println!("{} {}", model.labels()[1], p[[0, 1]]);
/// }
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceClassifier<C: Cell = LstmCell<f32>, L = CrossEntropy> {
    config: Arc<Config<C, Objective<L>>>,
    pub(super) body: Pooled<C>,
}
shape_calls!([L: Scored<Array2<T>, Target = Vec<usize>>] SequenceClassifier<C, L>, [L], body.network, body);
with_loss!(SequenceClassifier, Array2<T> => Vec<usize>, loss, |_, objective| objective);

impl<T, C, L> WithPooling for SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
}

impl<T, C, L> WithCharacters for SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
}

impl<T: Float, C: Cell<Elem = T>> SequenceClassifier<C> {
    /// Returns a builder for a classifier of sequences of `input_size` features, or tokens, into
    /// `classes`.
    pub fn builder(input_size: usize, classes: usize) -> ModelBuilder<Self> {
        ModelBuilder::new(input_size, classes, Objective::new::<Array2<T>>(CrossEntropy::default()))
    }
}

impl<T, C, L> SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.config.output_size
    }

    /// Returns the probability of each class, [batch, classes]. They are NaN for a sequence that contains
    /// NaN.
    ///
    /// # Errors
    /// If `x` does not fit or a sequence is empty.
    pub fn probabilities(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        Ok(probabilities_of(self.body.outputs(x)?))
    }

    /// Returns the likeliest class of each sequence.
    ///
    /// # Errors
    /// If `x` does not fit, a sequence is empty or a result is NaN.
    pub fn predict(&self, x: &Sequences<T>) -> Result<Vec<usize>> {
        classes_of(self.body.outputs(x)?.view())
    }

    /// Returns the name of the likeliest class of each sequence.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); also if the model has no [`labels`](ModelBuilder::labels).
    pub fn predict_labels(&self, x: &Sequences<T>) -> Result<Vec<&str>> {
        let labels = needed(self.config.labels.as_ref())?;
        Ok(self.predict(x)?.into_iter().map(|class| labels[class].as_str()).collect())
    }

    /// Returns the name of the likeliest class of each text, which the model's vocabulary encodes.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::data::{Dataset, Unit, Vocabulary};
    /// use recurrent::model::SequenceClassifier;
    /// use recurrent::{optim::Adam, train::Trainer};
    ///
    /// let texts = ["a good film", "good", "a bad film", "bad, bad"];
    /// let words = Vocabulary::builder(Unit::Word).fit(texts)?;
    /// let data = Dataset::from_tokens(words.encode_all(texts)?, words.len(), vec![1, 1, 0, 0])?;
    /// let builder = SequenceClassifier::<LstmCell<f32>>::builder(words.len(), 2).embedding_dim(4);
    /// let builder = builder.hidden_size(8).vocabulary(words).labels(&["poor", "fine"]);
    /// let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// Trainer::new(Adam::new(0.05)?).epochs(40).fit(&mut model, &data, None)?;
    ///
    /// assert_eq!(model.predict_texts(&["a good, good film", "bad"])?, ["fine", "poor"]);
    /// let best = &model.top_k(&model.encode_texts(&["bad"])?, 2)?[0]; // the likeliest first
    /// assert!(best[0].0 == "poor" && best[0].1 > best[1].1);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts) and [`predict_labels`](Self::predict_labels).
    pub fn predict_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<&str>> {
        self.predict_labels(&self.encode_texts(texts)?)
    }

    /// Returns the names and probabilities of the `k` likeliest classes of each sequence, the likeliest
    /// first.
    ///
    /// # Errors
    /// As [`predict_labels`](Self::predict_labels); also if `k` is zero or more than there are classes.
    pub fn top_k(&self, x: &Sequences<T>, k: usize) -> Result<Vec<Vec<(&str, T)>>> {
        let labels = needed(self.config.labels.as_ref())?;
        likeliest(self.probabilities(x)?.view(), k, labels)
    }

    /// Returns the weight of each step in the pooling, [time, batch], zero in the padding. Those of a
    /// sequence sum to 1.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::data::{Unit, Vocabulary};
    /// use recurrent::layer::Pooling;
    /// use recurrent::model::SequenceClassifier;
    ///
    /// let words = Vocabulary::builder(Unit::Word).fit(["a good film"])?;
    /// let builder = SequenceClassifier::<LstmCell<f32>>::builder(words.len(), 2).embedding_dim(4);
    /// let builder = builder.pooling(Pooling::Attention).vocabulary(words);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    ///
    /// let weights = model.attention_weights(&model.encode_texts(&["a good film", "good"])?)?;
    /// assert_eq!((weights.dim(), weights[[0, 1]]), ((3, 2), 1.0)); // "good" alone has all the weight
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `x` does not fit, a sequence is empty, or the [`pooling`](ModelBuilder::pooling) is not
    /// [`Pooling::Attention`](crate::layer::Pooling::Attention).
    pub fn attention_weights(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.body.attention_weights(x)
    }

    /// Returns a stream that reads `batch` sequences step by step, and returns the probabilities of the
    /// classes after each step.
    ///
    /// # Errors
    /// If the model is bidirectional or reads characters, or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<ClassifierStream<'_, C>> {
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
    ) -> Result<ClassifierStream<'_, C>> {
        Ok(ClassifierStream(self.body.stream(batch, precision)?))
    }
}

impl<T, C, L> Model for SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
    type Batch = (Sequences<T>, Vec<usize>);
    type Score = L::Score;

    model_calls!(body.network);

    fn has_mean_loss(&self) -> bool {
        self.loss().is_mean()
    }

    fn weighted_loss_and_grad(
        &self,
        (x, classes): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        check_batch("classes", x, classes.len())?;
        let mut weight = 0.0;
        let loss = |logits: &Array2<T>| counted(self.loss(), (logits, classes), &mut weight);
        let loss = self.body.loss_and_grad(x, loss, &mut grad.body, rng)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (x, classes): &Self::Batch, score: &mut L::Score) -> Result<()> {
        check_batch("classes", x, classes.len())?;
        let logits = self.body.outputs(x)?;
        let (loss, _) = self.loss().loss(&logits, classes)?;
        self.loss().score(loss, &logits, classes, score)
    }
}

impl<T, C, L> Shape for SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
    type Cell = C;
    const NAME: &'static str = "SequenceClassifier";
    type Own = Objective<L>;

    fn assemble(config: Config<C, Objective<L>>, rng: &mut dyn Rng) -> Result<Self> {
        config.own.check(config.output_size)?;
        let body = Pooled::new(&config, config.output_size, None, rng)?;
        Ok(Self { config: Arc::new(config), body })
    }

    fn config(&self) -> &Config<C, Objective<L>> {
        &self.config
    }
}

/// A classifier that reads one step at a time; made by [`SequenceClassifier::stream`].
#[derive(Debug)]
pub struct ClassifierStream<'m, C: Cell>(PooledStream<'m, C>);

impl<T: Float, C: Cell<Elem = T>> ClassifierStream<'_, C> {
    /// Reads the step `x_t` [batch, input], and returns the probability of each class, [batch, classes]. After
    /// a NaN they are NaN. [`argmax`](crate::decode::argmax) of a row is the likeliest class.
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        Ok(probabilities_of(self.0.step(Step::Dense(x_t))?))
    }

    /// Reads one token of each sequence, and returns the same.
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        Ok(probabilities_of(self.0.step(Step::Tokens(tokens))?))
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self(self.0.fork())
    }
}
