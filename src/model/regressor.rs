//! [`SequenceRegressor`]: many to one, numbers for a sequence.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use rand::Rng;

use crate::cell::{Cell, LstmCell};
use crate::error::Result;
use crate::float::Float;
use crate::loss::Mse;
use crate::model::calls::{shape_calls, with_loss};
use crate::model::config::{Config, ModelBuilder, Shape, WithCharacters, WithPooling};
use crate::model::model_calls;
use crate::model::network::Step;
use crate::model::pooled::{Pooled, PooledStream};
use crate::model::quantiles::WithQuantiles;
use crate::model::scored::{Objective, Scored};
use crate::model::{check_batch, counted};
use crate::sequences::Sequences;
use crate::tensor::Precision;
use crate::train::Model;

/// A model that predicts numbers for each sequence of values or of tokens.
///
/// ```text
/// embedding → recurrent layers → pooling over time → dropout → linear
/// ```
///
/// With a [`Quantile`](crate::loss::Quantile) loss of k levels, output i·k + j is level j of number i. With
/// [`non_crossing`](ModelBuilder::non_crossing) they are ascending.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::GruCell;
/// use recurrent::data::Dataset;
/// use recurrent::layer::Pooling;
/// use recurrent::model::SequenceRegressor;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// // The mean of a sequence.
/// let walk = |i: usize| Array2::from_shape_fn((3 + i % 4, 1), |(t, _)| ((i * 7 + t * 3) % 5) as f32);
/// let means: Vec<f32> = (0..40).filter_map(|i| walk(i).mean()).collect(); // or an Array1 for each
/// let data = Dataset::new((0..40).map(walk).collect(), means)?;
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceRegressor::<GruCell<f32>>::builder(1, 1)
///     .hidden_size(8)
///     .pooling(Pooling::Mean)
///     .build(&mut rng)?;
/// Trainer::new(Adam::new(0.02)?).epochs(40).batch_size(8).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 40)?.rmse() < 0.3);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SequenceRegressor<C: Cell = LstmCell<f32>, L = Mse> {
    config: Arc<Config<C, Objective<L>>>,
    pub(super) body: Pooled<C>,
}
shape_calls!(
    [L: Scored<Array2<T>, Target = Array2<T>>] SequenceRegressor<C, L>, [L], body.network, body
);
with_loss!(SequenceRegressor, Array2<T> => Array2<T>, loss, |_, objective| objective);

impl<T, C, L> WithPooling for SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
}

impl<T, C, L> WithQuantiles for SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
}

impl<T, C, L> WithCharacters for SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
}

impl<T: Float, C: Cell<Elem = T>> SequenceRegressor<C> {
    /// Returns a builder for a model of sequences of `input_size` features, or tokens, with `outputs`
    /// numbers for each.
    pub fn builder(input_size: usize, outputs: usize) -> ModelBuilder<Self> {
        ModelBuilder::new(input_size, outputs, Objective::new::<Array2<T>>(Mse))
    }
}

impl<T, C, L> SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    /// Returns the numbers of each sequence, [batch, outputs · levels].
    ///
    /// # Errors
    /// If `x` does not fit or a sequence is empty.
    pub fn predict(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.body.outputs(x)
    }

    /// Returns the weight of each step in the pooling, [time, batch], zero in the padding. Those of a
    /// sequence sum to 1.
    ///
    /// # Errors
    /// If `x` does not fit, a sequence is empty, or the [`pooling`](ModelBuilder::pooling) is not
    /// [`Pooling::Attention`](crate::layer::Pooling::Attention).
    pub fn attention_weights(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.body.attention_weights(x)
    }

    /// Returns a stream that reads `batch` sequences step by step, and returns their numbers after each step.
    ///
    /// # Errors
    /// If the model is bidirectional or reads characters, or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<RegressorStream<'_, C>> {
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
    ) -> Result<RegressorStream<'_, C>> {
        Ok(RegressorStream(self.body.stream(batch, precision)?))
    }
}

impl<T, C, L> Model for SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    type Batch = (Sequences<T>, Array2<T>);
    type Score = L::Score;

    model_calls!(body.network);

    fn has_mean_loss(&self) -> bool {
        self.loss().is_mean()
    }

    fn weighted_loss_and_grad(
        &self,
        (x, y): &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        check_batch("y", x, y.nrows())?;
        let mut weight = 0.0;
        let loss = |outputs: &Array2<T>| counted(self.loss(), (outputs, y), &mut weight);
        let loss = self.body.loss_and_grad(x, loss, &mut grad.body, rng)?;
        Ok((loss, Some(weight)))
    }

    fn score_batch(&self, (x, y): &Self::Batch, score: &mut L::Score) -> Result<()> {
        check_batch("y", x, y.nrows())?;
        let outputs = self.body.outputs(x)?;
        let (loss, _) = self.loss().loss(&outputs, y)?;
        self.loss().score(loss, &outputs, y, score)
    }
}

impl<T, C, L> Shape for SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    type Cell = C;
    const NAME: &'static str = "SequenceRegressor";
    type Own = Objective<L>;

    fn assemble(config: Config<C, Objective<L>>, rng: &mut dyn Rng) -> Result<Self> {
        config.own.check(config.output_size)?;
        let outputs = config.output_size * config.own.loss.predictions();
        let order = config.order(&config.own.loss, config.output_size)?;
        let body = Pooled::new(&config, outputs, order, rng)?;
        Ok(Self { config: Arc::new(config), body })
    }

    fn config(&self) -> &Config<C, Objective<L>> {
        &self.config
    }
}

/// A regressor that reads one step at a time; made by [`SequenceRegressor::stream`].
#[derive(Debug)]
pub struct RegressorStream<'m, C: Cell>(PooledStream<'m, C>);

impl<T: Float, C: Cell<Elem = T>> RegressorStream<'_, C> {
    /// Reads the step `x_t` [batch, input], and returns the numbers, [batch, outputs · levels].
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.0.step(Step::Dense(x_t))
    }

    /// Reads one token of each sequence, and returns the same.
    ///
    /// # Errors
    /// If the tokens do not fit; the stream is then as before.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        self.0.step(Step::Tokens(tokens))
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self(self.0.fork())
    }
}
