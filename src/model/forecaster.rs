//! [`Forecaster`]: the next steps of a time series from a window of its past.
#![expect(
    clippy::indexing_slicing,
    reason = "the head has an output for each step, feature and level"
)]

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::cell::{Cell, LstmCell};
use crate::data::{Scaler, WindowBatch, Windows};
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::loss::Mse;
use crate::model::calls::{shape_calls, with_loss};
use crate::model::config::{Config, ModelBuilder, ONE, Shape, refuse};
use crate::model::model_calls;
use crate::model::network::Step;
use crate::model::pooled::{Pooled, PooledStream};
use crate::model::quantiles::WithQuantiles;
use crate::model::scored::{Objective, Scored};
use crate::model::{check_batch, counted};
use crate::sequences::Sequences;
use crate::tensor::Precision;
use crate::train::Model;

/// A model that forecasts the next steps of a time series from a window of its past. With the loss
/// [`Quantile`](crate::loss::Quantile) it forecasts quantiles, which are ascending with
/// [`non_crossing`](ModelBuilder::non_crossing).
///
/// ```text
/// scale → recurrent layers → last step → dropout → linear → scale back
/// ```
///
/// The [`Windows`] that cut its training data set the horizon, the target features and the names of the
/// columns. Batches with other targets are refused.
///
/// It trains on a [`WindowedSeries`](crate::data::WindowedSeries) in the units of the data, and applies
/// its [`scaler`](ModelBuilder::scaler) itself. All steps of the horizon are forecast at once.
/// [`forecast_recursively`](Self::forecast_recursively) forecasts more steps by feeding forecasts back as
/// inputs.
///
/// ```
/// use ndarray::{Array2, s};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::data::{Scaler, Windows};
/// use recurrent::model::Forecaster;
/// use recurrent::optim::Adam;
/// use recurrent::train::{Model, Trainer};
///
/// let series = Array2::from_shape_fn((200, 1), |(t, _)| 20.0 + 5.0 * (t as f32 / 4.0).sin()); // [time, features]
/// let windows = Windows::new(16, 3)?; // 3 steps from 16
/// let (train, test) = windows.split(&series, 150)?;
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = Forecaster::<LstmCell<f32>>::builder(1, &windows)
///     .hidden_size(12)
///     .scaler(Scaler::standard(&[train.series().view()])?)
///     .build(&mut rng)?;
/// Trainer::new(Adam::new(0.02)?).epochs(15).fit(&mut model, &train, Some(&test))?;
/// assert!(model.evaluate(&test, 64)?.rmse() < 1.0);
///
/// let next = model.forecast(series.slice(s![184.., ..]))?; // [horizon, targets]
/// let later = model.forecast_recursively(series.slice(s![184.., ..]), 10)?;
/// assert_eq!((next.dim(), later.dim()), ((3, 1), (10, 1)));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Forecaster<C: Cell = LstmCell<f32>, L = Mse> {
    config: Arc<Config<C, ForecasterConfig<L>>>,
    /// The scalers of the targets and of the outputs, each level in the units of its target.
    pub(super) scalers: Option<Arc<[Scaler; 2]>>,
    pub(super) body: Pooled<C>,
}
shape_calls!(
    [L: Scored<Array2<T>, Target = Array2<T>>] Forecaster<C, L>, [L], body.network, body
);
with_loss!(
    Forecaster, Array2<T> => Array2<T>, objective.loss,
    |own, objective| ForecasterConfig { steps: own.steps, targets: own.targets, objective }
);

/// The options that only a forecaster has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForecasterConfig<L> {
    steps: usize,
    /// The features that are forecast.
    targets: Vec<usize>,
    objective: Objective<L>,
}

impl<T: Float, C: Cell<Elem = T>> Forecaster<C> {
    /// Returns a builder for a forecaster of a series of `features` values a step. The horizon, the target
    /// features and the names of the columns are those of `windows`.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::LstmCell;
    /// use recurrent::{data::Windows, model::Forecaster};
    ///
    /// let windows = Windows::new(14, 3)?.targets(&[2, 0]);
    /// let model = Forecaster::<LstmCell<f32>>::builder(4, &windows).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// assert_eq!((model.horizon(), model.targets()), (3, &[2, 0][..]));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn builder(features: usize, windows: &Windows) -> ModelBuilder<Self> {
        let targets = windows.targets_of(features);
        let (outputs, objective) = (targets.len(), Objective::new::<Array2<T>>(Mse));
        let own = ForecasterConfig { steps: windows.horizon(), targets, objective };
        let mut builder = ModelBuilder::new(features, outputs, own);
        builder.config.columns = windows.column_names().map(<[String]>::to_vec);
        builder
    }
}

impl<T, C, L> WithQuantiles for Forecaster<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
}

impl<T, C, L> Forecaster<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    /// Returns the number of steps that are forecast at once.
    pub fn horizon(&self) -> usize {
        self.config.own.steps
    }

    /// Returns the features that are forecast, in the order of the forecasts.
    pub fn targets(&self) -> &[usize] {
        &self.config.own.targets
    }

    /// Returns the forecast [horizon, targets · levels] after the window `recent` [time, features], in the
    /// units of the data. With k quantiles, level j of target i is column i·k + j.
    ///
    /// # Errors
    /// If `recent` is empty or has another number of features.
    pub fn forecast(&self, recent: ArrayView2<'_, T>) -> Result<Array2<T>> {
        let x = Sequences::full(recent.to_owned().insert_axis(Axis(1)))?;
        let row = self.predict(&x)?.index_axis_move(Axis(0), 0);
        let width = self.width();
        Ok(Array2::from_shape_fn((self.horizon(), width), |(k, j)| row[k * width + j]))
    }

    /// Returns the forecast after each window of `x` [time, batch, features]:
    /// [batch, horizon · targets · levels]. The values of one step are adjacent.
    ///
    /// # Errors
    /// If `x` does not fit or a sequence is empty.
    pub fn predict(&self, x: &Sequences<T>) -> Result<Array2<T>> {
        self.scaled_back(self.body.outputs(x)?)
    }

    /// Returns the forecast [steps, targets] of `steps` steps after the window `recent` [time, features].
    /// Forecasts are fed back as inputs. With quantiles, these are the forecasts of the one nearest 0.5.
    ///
    /// # Errors
    /// If `recent` does not fit, or the targets are not all features in their order.
    pub fn forecast_recursively(
        &self,
        recent: ArrayView2<'_, T>,
        steps: usize,
    ) -> Result<Array2<T>> {
        let features = self.config.input_size;
        let targets = self.targets();
        if !targets.iter().copied().eq(0..features) {
            let expected = format!("all {features} features: each is fed back as input");
            return Err(Error::argument("targets", expected, format!("{targets:?}")));
        }
        check_size("recent [time]", &[recent.nrows()])?;
        let mut stream = self.stream(1)?;
        let mut values = Array2::zeros((0, 0));
        for row in recent.rows() {
            values = stream.step(row.insert_axis(Axis(0)))?;
        }
        let mut forecast = Array2::zeros((steps, features));
        let (levels, middle) = (self.loss().predictions(), self.loss().point());
        let mut chunks = forecast.axis_chunks_iter_mut(Axis(0), self.horizon()).peekable();
        while let Some(mut chunk) = chunks.next() {
            for ((k, j), value) in chunk.indexed_iter_mut() {
                *value = values[[0, (k * features + j) * levels + middle]];
            }
            if chunks.peek().is_some() {
                for row in chunk.rows() {
                    values = stream.step(row.insert_axis(Axis(0)))?;
                }
            }
        }
        Ok(forecast)
    }

    /// Returns a stream that reads `batch` series step by step, and returns the forecast after each step.
    ///
    /// # Errors
    /// If the model is bidirectional or `batch` is zero.
    pub fn stream(&self, batch: usize) -> Result<ForecasterStream<'_, C>> {
        self.stream_with(batch, Precision::Full)
    }

    /// Creates a stream whose recurrent layers and head have weights of the given precision.
    ///
    /// # Errors
    /// As for [`stream`](Self::stream), and if the model is one of `f64` or has a weight that is not finite,
    /// unless the precision is full.
    pub fn stream_with(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<ForecasterStream<'_, C>> {
        let of_outputs = self.scalers.as_deref().map(|[_, of_outputs]| of_outputs);
        let stream = self.body.stream(batch, precision)?;
        Ok(ForecasterStream { of_outputs, width: self.width(), stream })
    }

    /// Returns the number of outputs of one step of the horizon.
    fn width(&self) -> usize {
        self.config.output_size * self.loss().predictions()
    }

    /// Returns the targets [batch, horizon · targets] of `batch` on the scale of the network's outputs.
    fn scaled(&self, batch: &WindowBatch<T>) -> Result<Array2<T>> {
        if batch.targets != self.targets() {
            let expected = format!("{:?}, the target features of the model", self.targets());
            return Err(Error::argument("targets", expected, format!("{:?}", batch.targets)));
        }
        check_batch("y", &batch.x, batch.y.nrows())?;
        let expected = [batch.x.batch(), self.horizon() * self.config.output_size];
        check_shape("y", "batch, horizon · targets", &expected, batch.y.shape())?;
        match self.scalers.as_deref() {
            None => Ok(batch.y.clone()),
            Some([of_targets, _]) => each_part(batch.y.clone(), self.config.output_size, |part| {
                of_targets.transform(&part)
            }),
        }
    }

    /// Returns the network's outputs in the units of the data.
    fn scaled_back(&self, outputs: Array2<T>) -> Result<Array2<T>> {
        scaled_back(
            self.scalers.as_deref().map(|[_, of_outputs]| of_outputs),
            self.width(),
            outputs,
        )
    }
}

/// Returns `outputs` in the units of the data, `width` of them a step.
fn scaled_back<T: Float>(
    of_outputs: Option<&Scaler>,
    width: usize,
    outputs: Array2<T>,
) -> Result<Array2<T>> {
    match of_outputs {
        None => Ok(outputs),
        Some(scaler) => each_part(outputs, width, |part| scaler.inverse_transform(&part)),
    }
}

/// Applies `f` to each `width` columns of `rows`.
fn each_part<T: Float>(
    mut rows: Array2<T>,
    width: usize,
    f: impl Fn(ArrayView2<'_, T>) -> Result<Array2<T>>,
) -> Result<Array2<T>> {
    for mut part in rows.axis_chunks_iter_mut(Axis(1), width) {
        let values = f(part.view())?;
        part.assign(&values);
    }
    Ok(rows)
}

impl<T, C, L> Model for Forecaster<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    type Batch = WindowBatch<T>;
    type Score = L::Score;

    model_calls!(body.network);

    fn has_mean_loss(&self) -> bool {
        self.loss().is_mean()
    }

    fn weighted_loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        let y = self.scaled(batch)?;
        let mut weight = 0.0;
        let loss = |outputs: &Array2<T>| counted(self.loss(), (outputs, &y), &mut weight);
        let loss = self.body.loss_and_grad(&batch.x, loss, &mut grad.body, rng)?;
        Ok((loss, Some(weight)))
    }

    /// Adds the loss of the scaled values. All other metrics are in the units of the data.
    fn score_batch(&self, batch: &Self::Batch, score: &mut L::Score) -> Result<()> {
        let y = self.scaled(batch)?;
        let outputs = self.body.outputs(&batch.x)?;
        let (loss, _) = self.loss().loss(&outputs, &y)?;
        self.loss().score(loss, &self.scaled_back(outputs)?, &batch.y, score)
    }
}

impl<T, C, L> Shape for Forecaster<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    type Cell = C;
    const NAME: &'static str = "Forecaster";
    type Own = ForecasterConfig<L>;

    fn assemble(config: Config<C, ForecasterConfig<L>>, rng: &mut dyn Rng) -> Result<Self> {
        let ForecasterConfig { steps, targets, objective } = &config.own;
        refuse("embedding_dim", config.embedding_dim, "a series has values")?;
        refuse("vocabulary", config.vocabulary.as_ref().map(|_| ONE), "a series has values")?;
        check_indices("targets", targets, config.input_size, "features")?;
        let levels = objective.loss.predictions();
        check_size("horizon · targets · levels", &[*steps, targets.len(), levels])?;
        objective.check(steps * targets.len())?;
        let of_output = |&target: &usize| std::iter::repeat_n(target, levels);
        let columns: Vec<usize> = targets.iter().flat_map(of_output).collect();
        let scalers = match &config.scaler {
            Some(scaler) => Some(Arc::new([scaler.columns(targets)?, scaler.columns(&columns)?])),
            None => None,
        };
        let order = config.order(&objective.loss, steps * targets.len())?;
        let body = Pooled::new(&config, steps * columns.len(), order, rng)?;
        Ok(Self { config: Arc::new(config), scalers, body })
    }

    fn config(&self) -> &Config<C, ForecasterConfig<L>> {
        &self.config
    }
}

/// A forecaster that reads one step at a time; made by [`Forecaster::stream`].
#[derive(Debug)]
pub struct ForecasterStream<'m, C: Cell> {
    of_outputs: Option<&'m Scaler>,
    width: usize,
    stream: PooledStream<'m, C>,
}

impl<T: Float, C: Cell<Elem = T>> ForecasterStream<'_, C> {
    /// Reads the step `x_t` [batch, features], and returns the forecast after it,
    /// [batch, horizon · targets · levels].
    ///
    /// # Errors
    /// If `x_t` does not fit; the stream is then as before.
    pub fn step(&mut self, x_t: ArrayView2<'_, T>) -> Result<Array2<T>> {
        let outputs = self.stream.step(Step::Dense(x_t))?;
        scaled_back(self.of_outputs, self.width, outputs)
    }

    /// Returns an independent stream that continues from here.
    pub fn fork(&self) -> Self {
        Self { of_outputs: self.of_outputs, width: self.width, stream: self.stream.fork() }
    }
}
