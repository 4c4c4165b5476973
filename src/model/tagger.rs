//! [`SequenceTagger`]: many to many, a class for each step.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;

use crate::cell::{Cell, LstmCell};
use crate::error::Result;
use crate::float::Float;
use crate::layer::Linear;
use crate::loss::CrossEntropy;
use crate::model::config::{Config, ModelBuilder, Shape, shape_calls, with_loss};
use crate::model::model_calls;
use crate::model::network::{Network, NetworkStream, Step};
use crate::model::scored::{Objective, Scored};
use crate::model::{classes_of, counted, needed, probabilities_of};
use crate::sequences::Sequences;
use crate::train::Model;

/// A model that predicts a class for each step of sequences of values or of tokens.
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
pub struct SequenceTagger<C: Cell = LstmCell<f32>, L = CrossEntropy> {
    config: Arc<Config<C, Objective<L>>>,
    network: Network<C>,
}
shape_calls!(
    [L: Scored<Sequences<T>, Target = Array2<usize>>] SequenceTagger<C, L>, [L], network, network
);
with_loss!(SequenceTagger, Sequences<T> => Array2<usize>, loss, |_, objective| objective);

impl<T: Float, C: Cell<Elem = T>> SequenceTagger<C> {
    /// Returns a builder for a tagger of sequences of `input_size` features, or tokens, with `classes` for
    /// each step.
    pub fn builder(input_size: usize, classes: usize) -> ModelBuilder<Self> {
        let objective = Objective::new::<Sequences<T>>(CrossEntropy::default());
        ModelBuilder::new(input_size, classes, objective)
    }
}

impl<T, C, L> SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    /// Returns the number of classes.
    pub fn classes(&self) -> usize {
        self.config.output_size
    }

    /// Returns the probability of each class at each step, [time, batch, classes]. They are zero in the
    /// padding.
    ///
    /// # Errors
    /// If `x` does not fit.
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

    /// Returns the likeliest class at each step of each sequence.
    ///
    /// # Errors
    /// If `x` does not fit or a result is NaN.
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
    /// As [`predict`](Self::predict); also if the model has no [`labels`](ModelBuilder::labels).
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

    /// Returns a stream that reads `batch` sequences step by step, and returns the probabilities of the
    /// classes of each step.
    ///
    /// # Errors
    /// If the model is bidirectional or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<TaggerStream<'_, C>> {
        Ok(TaggerStream { head: self.head(), stream: self.network.stream(batch)? })
    }
}

impl<T, C, L> Model for SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    type Batch = (Sequences<T>, Array2<usize>);
    type Score = L::Score;

    model_calls!(network);

    fn weighted_loss_and_grad(
        &self,
        (x, classes): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let mut weight = 0.0;
        let loss = |logits: &Sequences<T>| counted(self.loss(), (logits, classes), &mut weight);
        let (loss, _) = self.network.loss_and_grad(x, None, loss, &mut grad.network, rng)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (x, classes): &Self::Batch, score: &mut L::Score) -> Result<()> {
        let logits = self.network.outputs(x, None)?;
        let (loss, _) = self.loss().loss(&logits, classes)?;
        self.loss().score(loss, &logits, classes, score)
    }
}

impl<T, C, L> Shape for SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    type Cell = C;
    const NAME: &'static str = "SequenceTagger";
    type Own = Objective<L>;

    fn assemble(config: Config<C, Objective<L>>, rng: &mut dyn Rng) -> Result<Self> {
        config.own.check(config.output_size)?;
        let network = Network::new(&config, config.output_size, rng)?;
        Ok(Self { config: Arc::new(config), network })
    }

    fn config(&self) -> &Config<C, Objective<L>> {
        &self.config
    }
}

/// A tagger that reads one step at a time; made by [`SequenceTagger::stream`].
#[derive(Debug)]
pub struct TaggerStream<'m, C: Cell> {
    head: &'m Linear<C::Elem>,
    stream: NetworkStream<'m, C>,
}

impl<T: Float, C: Cell<Elem = T>> TaggerStream<'_, C> {
    /// Reads the step `x_t` [batch, input], and returns the probability of each of its classes,
    /// [batch, classes].
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.advance(Step::Dense(x_t))
    }

    /// Reads one token of each sequence, and returns the same.
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        self.advance(Step::Tokens(tokens))
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self { head: self.head, stream: self.stream.fork() }
    }

    fn advance(&mut self, x: Step<'_, T>) -> Result<Array2<T>> {
        let h = self.stream.step(x)?;
        Ok(probabilities_of(self.head.forward_rows(h)?))
    }
}
