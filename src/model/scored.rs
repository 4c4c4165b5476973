//! [`Scored`]: losses whose predictions have a score; [`Objective`]: a loss in a model's file.
#![expect(clippy::indexing_slicing, reason = "the head has an output for each number and level")]

use std::fmt::Debug;

use ndarray::Axis;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::{
    Batch, BceWithLogits, CrossEntropy, Huber, KlDivergence, Logits, Loss, Mae, Mse, Quantile,
    RowLoss, SampleWeighted, SampleWeights, SoftCrossEntropy, Sum, Weighted,
};
use crate::model::scores::{MeanLoss, PairScore, WeightedScore};
use crate::train::Score;
use crate::train::metrics::{ClassificationMetrics, RegressionMetrics};

/// A loss that the models of this module can train by, with the metrics of their predictions.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::GruCell;
/// use recurrent::data::Dataset;
/// use recurrent::loss::Loss;
/// use recurrent::model::{MeanLoss, Scored, SequenceRegressor};
/// use recurrent::{Result, optim::Adam, train::{Model, Trainer}};
///
/// /// The mean of ln cosh(p − y).
/// #[derive(Clone, Debug)]
/// struct LogCosh;
///
/// impl Loss<Array2<f32>> for LogCosh {
///     type Target = Array2<f32>;
///     fn loss(&self, p: &Array2<f32>, y: &Array2<f32>) -> Result<(f64, Array2<f32>)> {
///         let (error, count) = (p - y, p.len() as f32);
///         Ok((f64::from(error.mapv(|e| e.cosh().ln()).sum() / count), error.mapv(f32::tanh) / count))
///     }
///     fn count(&self, p: &Array2<f32>, _: &Array2<f32>) -> Result<f64> { Ok(p.len() as f64) }
/// }
///
/// impl Scored<Array2<f32>> for LogCosh {
///     type Score = MeanLoss;
///     fn name(&self) -> String { "log_cosh".to_owned() }
///     fn score(&self, loss: f64, p: &Array2<f32>, _: &Array2<f32>, score: &mut MeanLoss) -> Result<()> {
///         score.add(loss, p.nrows());
///         Ok(())
///     }
/// }
///
/// let x = (0..8).map(|i| Array2::from_elem((3, 1), i as f32 / 8.0)).collect();
/// let data = Dataset::new(x, (0..8).map(|i| i as f32 / 8.0).collect::<Vec<f32>>())?;
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let mut model = SequenceRegressor::<GruCell<f32>>::builder(1, 1).loss(LogCosh).build(&mut rng)?;
/// Trainer::new(Adam::new(0.02)?).epochs(20).fit(&mut model, &data, None)?;
/// assert!(model.evaluate(&data, 8)?.mean() < 0.1);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not score predictions of type `{P}`",
    label = "`Scored<{P}>` is not implemented for `{Self}`",
    note = "a model trains by a loss that implements `Loss<{P}>` and `Scored<{P}>`; a target type that does not fit is another cause"
)]
pub trait Scored<P>: Loss<P> + Clone + Debug + Send + Sync {
    /// The metrics of predictions.
    type Score: Score;

    /// Returns the loss's name in the files of models.
    fn name(&self) -> String;

    /// Adds the mean `loss` of a batch, weighted by its [`count`](Loss::count), and the metrics of its
    /// predictions to `score`.
    ///
    /// # Errors
    /// If `target` does not fit `predicted`.
    fn score(
        &self,
        loss: f64,
        predicted: &P,
        target: &Self::Target,
        score: &mut Self::Score,
    ) -> Result<()>;

    /// Returns the number of features that a prediction has for each number of the target. Only quantiles
    /// have more than one.
    fn predictions(&self) -> usize {
        1
    }

    /// Returns the index of the point forecast among them.
    fn point(&self) -> usize {
        0
    }

    /// Fails if the loss has options for another number of features than `outputs`, that of predictions. A
    /// builder calls it, so that a wrong number of class weights is no error of the first training step.
    fn check_outputs(&self, outputs: usize) -> Result<()> {
        let _ = outputs;
        Ok(())
    }

    /// Fails unless the predictions of each number are quantiles in ascending order, which
    /// [`non_crossing`](crate::model::ModelBuilder::non_crossing) needs.
    fn check_ascending(&self) -> Result<()> {
        let expected = "false: only quantiles can cross";
        Err(Error::argument("non_crossing", expected, true))
    }
}

/// The methods of [`Scored`] that a loss takes from the loss `$inner` that it contains.
macro_rules! as_inner {
    ($self:ident => $inner:expr) => {
        fn predictions(&$self) -> usize {
            $inner.predictions()
        }

        fn point(&$self) -> usize {
            $inner.point()
        }

        fn check_outputs(&$self, outputs: usize) -> Result<()> {
            $inner.check_outputs(outputs)
        }

        fn check_ascending(&$self) -> Result<()> {
            $inner.check_ascending()
        }
    };
}

/// Adds the point forecasts and targets of all steps that are no padding to `score`.
fn score_numbers<P: Batch>(
    loss: &impl Scored<P, Target = P>,
    value: f64,
    (predicted, target): (&P, &P),
    score: &mut RegressionMetrics,
) -> Result<()> {
    let count = loss.count(predicted, target)?;
    let (of_predicted, of_target) = (predicted.values(), target.values());
    for ((t, b, number), target) in of_target.indexed_iter() {
        if predicted.has_step(t, b) {
            let point = of_predicted[[t, b, number * loss.predictions() + loss.point()]];
            score.add(point.as_f64(), target.as_f64());
        }
    }
    score.add_weighted_loss(value, count);
    Ok(())
}

/// Implements [`Scored`] for losses of numbers.
macro_rules! scored_numbers {
    ($($loss:ty, $name:literal { $($more:tt)* })+) => {$(
        impl<P: Batch> Scored<P> for $loss {
            type Score = RegressionMetrics;

            fn name(&self) -> String {
                $name.to_owned()
            }

            fn score(&self, loss: f64, predicted: &P, target: &P, score: &mut RegressionMetrics) -> Result<()> {
                score_numbers(self, loss, (predicted, target), score)
            }

            $($more)*
        }
    )+};
}

scored_numbers! {
    Mse, "mse" {}
    Mae, "mae" {}
    Huber, "huber" {}
    Quantile, "quantile" {
        fn predictions(&self) -> usize {
            self.levels().len()
        }

        /// Returns the level nearest to the median.
        #[expect(clippy::expect_used, reason = "a model of quantiles has a level")]
        fn point(&self) -> usize {
            let from_middle = |level: &f64| (level - 0.5).abs();
            let levels = self.levels().iter().map(from_middle).enumerate();
            levels.min_by(|a, b| a.1.total_cmp(&b.1)).expect("at least one level").0
        }

        fn check_ascending(&self) -> Result<()> {
            self.check_ascending()
        }
    }
}

/// Implements [`Scored`] for losses whose value is the only metric.
macro_rules! scored_by_loss {
    ($($loss:ty, $name:literal { $($more:tt)* })+) => {$(
        impl<P: Batch> Scored<P> for $loss {
            type Score = MeanLoss;

            fn name(&self) -> String {
                $name.to_owned()
            }

            fn score(&self, loss: f64, predicted: &P, target: &P, score: &mut MeanLoss) -> Result<()> {
                score.add_weighted(loss, self.count(predicted, target)?);
                Ok(())
            }

            $($more)*
        }
    )+};
}

scored_by_loss! {
    BceWithLogits, "bce_with_logits" {
        fn check_outputs(&self, outputs: usize) -> Result<()> {
            self.check_features(outputs)
        }
    }
    KlDivergence, "kl_divergence" {}
    SoftCrossEntropy, "soft_cross_entropy" {
        fn check_outputs(&self, outputs: usize) -> Result<()> {
            self.check_classes(outputs)
        }
    }
}

impl<P: Logits> Scored<P> for CrossEntropy {
    type Score = ClassificationMetrics;

    fn name(&self) -> String {
        "cross_entropy".to_owned()
    }

    /// Adds all rows, or steps that are no padding, whose class is not ignored.
    fn score(
        &self,
        loss: f64,
        logits: &P,
        classes: &P::Classes,
        score: &mut ClassificationMetrics,
    ) -> Result<()> {
        let count = self.count(logits, classes)?;
        let (time, batch, _) = logits.values().dim();
        let places = (0..time).flat_map(|t| (0..batch).map(move |b| (t, b)));
        let real = places.filter(|&(t, b)| logits.has_step(t, b));
        let classed = real.map(|(t, b)| (t, b, P::class(classes, t, b)));
        let counted = || classed.clone().filter(|&(_, _, class)| self.ignored() != Some(class));
        let values = logits.values();
        let row = |t, b| values.index_axis_move(Axis(0), t).index_axis_move(Axis(0), b);
        for (t, b, class) in counted() {
            score.check(row(t, b), class)?;
        }
        for (t, b, class) in counted() {
            score.add(row(t, b), class)?;
        }
        score.add_weighted_loss(loss, count);
        Ok(())
    }

    fn check_outputs(&self, outputs: usize) -> Result<()> {
        self.check_classes(outputs)
    }
}

/// The loss of the score is the mean, not the sum, so that it is that of any division into batches.
impl<P: crate::arrays::Arrays, L: Scored<P>> Scored<P> for Sum<L> {
    type Score = L::Score;

    fn name(&self) -> String {
        format!("sum of {}", self.0.name())
    }

    fn score(
        &self,
        loss: f64,
        predicted: &P,
        target: &Self::Target,
        score: &mut L::Score,
    ) -> Result<()> {
        let count = self.0.count(predicted, target)?;
        let mean = if count > 0.0 { loss / count } else { 0.0 };
        self.0.score(mean, predicted, target, score)
    }

    as_inner!(self => self.0);
}

/// The metrics of the predictions do not depend on the weights, but the loss of the score does.
impl<P, L, W> Scored<P> for SampleWeighted<L, W>
where
    P: Batch,
    L: Scored<P> + RowLoss<P>,
    W: SampleWeights<P>,
{
    type Score = WeightedScore<L::Score>;

    fn name(&self) -> String {
        format!("weighted {}", self.inner().name())
    }

    fn score(
        &self,
        loss: f64,
        predicted: &P,
        target: &Self::Target,
        score: &mut Self::Score,
    ) -> Result<()> {
        let count = self.count(predicted, target)?;
        self.inner().score(loss, predicted, &target.0, &mut score.metrics)?;
        score.total.add_weighted(loss, count);
        Ok(())
    }

    as_inner!(self => self.inner());
}

impl<T, P, Q, A, B> Scored<(P, Q)> for Weighted<A, B>
where
    T: Float,
    P: crate::arrays::Arrays<Elem = T>,
    Q: crate::arrays::Arrays<Elem = T>,
    A: Scored<P>,
    B: Scored<Q>,
{
    type Score = PairScore<A::Score, B::Score>;

    fn name(&self) -> String {
        format!("{} and {}", self.first().1.name(), self.second().1.name())
    }

    /// Computes the losses of both parts again; `loss`, their weighted sum, is not read.
    fn score(
        &self,
        _: f64,
        predicted: &(P, Q),
        target: &Self::Target,
        score: &mut Self::Score,
    ) -> Result<()> {
        let ((a, first), (b, second)) = (self.first(), self.second());
        let values =
            (first.loss(&predicted.0, &target.0)?.0, second.loss(&predicted.1, &target.1)?.0);
        let counts =
            (first.count(&predicted.0, &target.0)?, second.count(&predicted.1, &target.1)?);
        let mut all = score.clone();
        first.score(values.0, &predicted.0, &target.0, &mut all.first)?;
        second.score(values.1, &predicted.1, &target.1, &mut all.second)?;
        all.total.add((*a, values.0, counts.0), (*b, values.1, counts.1));
        *score = all;
        Ok(())
    }
}

/// A loss with its name, as in a model's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Objective<L> {
    name: String,
    pub(super) loss: L,
}

impl<L> Objective<L> {
    pub(super) fn new<P>(loss: L) -> Self
    where
        L: Scored<P>,
    {
        Self { name: loss.name(), loss }
    }

    /// Fails if the configuration was read from a file that names another loss, or the loss does not fit
    /// `numbers` of a prediction, each with [`predictions`](Scored::predictions) outputs.
    pub(super) fn check<P>(&self, numbers: usize) -> Result<()>
    where
        L: Scored<P>,
    {
        if self.name != self.loss.name() {
            return Err(Error::argument("loss", self.loss.name(), &self.name));
        }
        self.loss.check_outputs(numbers.saturating_mul(self.loss.predictions()))
    }
}
