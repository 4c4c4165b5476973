//! [`SequenceTagger`]: many to many, a class for each step.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;

use crate::cell::{Cell, LstmCell};
use crate::error::Result;
use crate::float::Float;
use crate::loss::CrossEntropy;
use crate::model::config::{Config, ModelBuilder, Shape, options, shape_calls};
use crate::model::network::{Network, NetworkStream, Step};
use crate::model::{classes_of, needed, probabilities_of};
use crate::sequences::Sequences;
use crate::train::Model;
use crate::train::metrics::ClassificationMetrics;

/// A class for each step of each sequence, of values or of tokens.
///
/// ```text
/// embedding → recurrent layers → dropout → linear → softmax, at each step
/// ```
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::data::{Dataset, Source};
/// use recurrent::model::SequenceTagger;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// // Which token was before?
/// let tokens: Vec<Vec<usize>> = (0..40).map(|i| (0..3 + i % 4).map(|t| (i * 5 + t * t) % 3).collect()).collect();
/// let before = |sequence: &Vec<usize>| (0..sequence.len()).map(|t| if t > 0 { sequence[t - 1] } else { 0 }).collect();
/// let tags: Vec<Vec<usize>> = tokens.iter().map(before).collect();
/// let data = Dataset::<f32, _>::from_tokens(tokens, 3, tags)?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceTagger::<LstmCell<f32>>::builder(3, 3).embedding_dim(4).hidden_size(12).build(&mut rng)?;
/// Trainer::new(Adam::new(0.03)?).epochs(40).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.accuracy() > 0.9);
/// let tags = model.predict(&data.batch(&[0])?.0)?; // a list of classes for each sequence
/// assert_eq!(tags[0].len(), 3);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceTagger<C: Cell = LstmCell<f32>> {
    config: Arc<Config<C, CrossEntropy>>,
    network: Network<C>,
}
shape_calls!(SequenceTagger, network, network);

impl<T: Float, C: Cell<Elem = T>> ModelBuilder<SequenceTagger<C>> {
    /// What it learns by: cross entropy with class weights, label smoothing or a class to ignore.
    pub fn loss(mut self, loss: CrossEntropy) -> Self {
        self.config.own = loss;
        self
    }
}

impl<T: Float, C: Cell<Elem = T>> SequenceTagger<C> {
    /// Begins a tagger of sequences of `input_size` features, or tokens, with so many `classes`.
    pub fn builder(input_size: usize, classes: usize) -> ModelBuilder<Self> {
        ModelBuilder::new(input_size, classes)
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.config.output_size
    }

    /// The probability of each class at each step, [time, batch, classes]; zero in the padding.
    ///
    /// # Errors
    /// Where `x` does not fit.
    pub fn probabilities(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        let mut p = self.network.outputs(x, None)?;
        let lengths = p.lengths().to_vec();
        for (t, mut step) in p.values_mut().outer_iter_mut().enumerate() {
            for (mut row, _) in step.rows_mut().into_iter().zip(&lengths).filter(|x| t < *x.1) {
                let of_row = probabilities_of(row.to_owned().insert_axis(Axis(0)));
                row.assign(&of_row.row(0));
            }
        }
        Ok(p)
    }

    /// The likeliest class at each step of each sequence.
    ///
    /// # Errors
    /// Where `x` does not fit or a result is NaN.
    pub fn predict(&self, x: &Sequences<T>) -> Result<Vec<Vec<usize>>> {
        let logits = self.network.outputs(x, None)?;
        let of_sequence = |(b, &length): (usize, &usize)| {
            let steps = logits.values().index_axis(Axis(1), b);
            classes_of(steps.split_at(Axis(0), length).0)
        };
        x.lengths().iter().enumerate().map(of_sequence).collect()
    }

    /// Returns the name of the likeliest class at each step of each sequence.
    ///
    /// # Errors
    /// As [`predict`](Self::predict); also if the model keeps no [`labels`](ModelBuilder::labels).
    pub fn predict_labels(&self, x: &Sequences<T>) -> Result<Vec<Vec<&str>>> {
        let labels = needed(self.config.labels.as_ref())?;
        let names = |classes: Vec<usize>| {
            classes.into_iter().map(|class| &labels[class][..]).collect::<Vec<&str>>()
        };
        Ok(self.predict(x)?.into_iter().map(names).collect())
    }

    /// Returns the tokens of each text, each with the name of its likeliest class.
    ///
    /// # Errors
    /// As [`encode_texts`](Self::encode_texts) and [`predict_labels`](Self::predict_labels).
    pub fn predict_texts<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<(String, &str)>>> {
        let names = self.predict_labels(&self.encode_texts(texts)?)?;
        let split = |text: &S| self.vocabulary().map(|words| words.split(text.as_ref()));
        let tokens = texts.iter().filter_map(split);
        Ok(tokens
            .zip(names)
            .map(|(tokens, names)| tokens.into_iter().zip(names).collect())
            .collect())
    }

    /// `batch` sequences step by step.
    ///
    /// # Errors
    /// Where the model is bidirectional or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<TaggerStream<'_, C>> {
        Ok(TaggerStream { model: self, stream: self.network.stream(batch)? })
    }
}

impl<T: Float, C: Cell<Elem = T>> Model for SequenceTagger<C> {
    type Batch = (Sequences<T>, Array2<usize>);
    type Score = ClassificationMetrics;

    fn options(&self) -> String {
        options(self)
    }

    fn loss_and_grad(
        &self,
        (x, classes): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<f64> {
        let loss = |logits: &Sequences<T>| self.config.own.sequences(logits, classes.view());
        Ok(self.network.loss_and_grad(x, None, loss, &mut grad.network, rng)?.0)
    }

    fn score_batch(
        &self,
        (x, classes): &Self::Batch,
        score: &mut ClassificationMetrics,
    ) -> Result<()> {
        let logits = self.network.outputs(x, None)?;
        let (loss, _) = self.config.own.sequences(&logits, classes.view())?;
        let mut count = 0;
        for ((t, b), &class) in classes.indexed_iter() {
            if t < x.lengths()[b] && self.config.own.ignored() != Some(class) {
                score.add(logits.values().index_axis(Axis(0), t).row(b), class)?;
                count += 1;
            }
        }
        score.add_loss(loss.as_f64(), count);
        Ok(())
    }
}

impl<C: Cell> Shape for SequenceTagger<C> {
    type Cell = C;
    const NAME: &'static str = "SequenceTagger";
    type Own = CrossEntropy;

    fn assemble(config: Config<C, CrossEntropy>, rng: &mut dyn Rng) -> Result<Self> {
        let network = Network::new(&config, config.output_size, rng)?;
        Ok(Self { config: Arc::new(config), network })
    }

    fn config(&self) -> &Config<C, CrossEntropy> {
        &self.config
    }
}

/// What [`SequenceTagger::stream`] makes.
#[derive(Debug)]
pub struct TaggerStream<'m, C: Cell> {
    model: &'m SequenceTagger<C>,
    stream: NetworkStream<'m, C>,
}

impl<T: Float, C: Cell<Elem = T>> TaggerStream<'_, C> {
    /// The probability of each class at the next step `x_t` [batch, input], [batch, classes].
    ///
    /// # Errors
    /// Where `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.advance(Step::Values(x_t))
    }

    /// The same at the next token of each sequence.
    ///
    /// # Errors
    /// Where the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        self.advance(Step::Tokens(tokens))
    }

    /// Another stream that goes on from here by itself.
    pub fn fork(&self) -> Self {
        Self { model: self.model, stream: self.stream.fork() }
    }

    fn advance(&mut self, x: Step<'_, T>) -> Result<Array2<T>> {
        let h = self.stream.step(x)?;
        Ok(probabilities_of(self.model.network.head.forward(h)?))
    }
}
