//! [`Scored`]: losses whose predictions have a score; [`Objective`]: a loss in a model's file.

use std::fmt::{self, Debug, Display, Formatter};

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::loss::{
    Batch, BceWithLogits, CrossEntropy, Huber, KlDivergence, Loss, Mae, Mse, Quantile, Sum,
    Weighted,
};
use crate::sequences::Sequences;
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
pub trait Scored<P>: Loss<P> + Clone + Debug {
    /// The metrics of predictions.
    type Score: Score;

    /// Returns the loss's name in the files of models.
    fn name(&self) -> String;

    /// Adds the mean `loss` of a batch, and the metrics of its predictions, to `score`.
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
}

/// Adds the point forecasts and targets of all steps that are no padding to `score`.
fn score_numbers<P: Batch>(
    loss: &impl Scored<P>,
    value: f64,
    (predicted, target): (&P, &P),
    score: &mut RegressionMetrics,
) {
    let (of_predicted, of_target) = (predicted.values(), target.values());
    for ((t, b, number), target) in of_target.indexed_iter() {
        if predicted.has_step(t, b) {
            let point = of_predicted[[t, b, number * loss.predictions() + loss.point()]];
            score.add(point.as_f64(), target.as_f64());
        }
    }
    score.add_loss(value, predicted.steps());
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
                score_numbers(self, loss, (predicted, target), score);
                Ok(())
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
        fn point(&self) -> usize {
            let from_middle = |level: &f64| (level - 0.5).abs();
            let levels = self.levels().iter().map(from_middle).enumerate();
            levels.min_by(|a, b| a.1.total_cmp(&b.1)).expect("at least one level").0
        }
    }
}

/// Implements [`Scored`] for losses whose value is the only metric.
macro_rules! scored_by_loss {
    ($($loss:ty, $name:literal)+) => {$(
        impl<P: Batch> Scored<P> for $loss {
            type Score = MeanLoss;

            fn name(&self) -> String {
                $name.to_owned()
            }

            fn score(&self, loss: f64, predicted: &P, _: &P, score: &mut MeanLoss) -> Result<()> {
                score.add(loss, predicted.steps());
                Ok(())
            }
        }
    )+};
}

scored_by_loss! {
    BceWithLogits, "bce_with_logits"
    KlDivergence, "kl_divergence"
}

/// Logits of rows or of steps, each with a class. Sealed: this module is private.
pub trait Logits: Batch {
    /// The classes of all rows or steps.
    type Classes;

    /// Returns the sizes of the axes of `classes`.
    fn shape_of(classes: &Self::Classes) -> Vec<usize>;

    /// Returns the class of step `t` of sequence `b`. Rows are one step.
    fn class(classes: &Self::Classes, t: usize, b: usize) -> usize;
}

impl<T: Float> Logits for Array2<T> {
    type Classes = Vec<usize>;

    fn shape_of(classes: &Vec<usize>) -> Vec<usize> {
        vec![classes.len()]
    }

    fn class(classes: &Vec<usize>, _: usize, b: usize) -> usize {
        classes[b]
    }
}

impl<T: Float> Logits for Sequences<T> {
    type Classes = Array2<usize>;

    fn shape_of(classes: &Array2<usize>) -> Vec<usize> {
        classes.shape().to_vec()
    }

    fn class(classes: &Array2<usize>, t: usize, b: usize) -> usize {
        classes[[t, b]]
    }
}

impl<P: Logits> Scored<P> for CrossEntropy
where
    CrossEntropy: Loss<P, Target = P::Classes>,
{
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
        let (axes, shape) = (P::AXES.trim_end_matches(", features"), logits.shape());
        check_shape("classes", axes, &shape[..shape.len() - 1], &P::shape_of(classes))?;
        let mut count = 0;
        for (t, step) in logits.values().outer_iter().enumerate() {
            for (b, row) in step.rows().into_iter().enumerate() {
                let class = P::class(classes, t, b);
                if logits.has_step(t, b) && self.ignored() != Some(class) {
                    score.add(row, class)?;
                    count += 1;
                }
            }
        }
        score.add_loss(loss, count);
        Ok(())
    }
}

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
        self.0.score(loss, predicted, target, score)
    }

    fn predictions(&self) -> usize {
        self.0.predictions()
    }

    fn point(&self) -> usize {
        self.0.point()
    }
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

    fn score(
        &self,
        loss: f64,
        predicted: &(P, Q),
        target: &Self::Target,
        score: &mut Self::Score,
    ) -> Result<()> {
        let (first, second) = (&self.first().1, &self.second().1);
        let value = first.loss(&predicted.0, &target.0)?.0;
        first.score(value, &predicted.0, &target.0, &mut score.first)?;
        let value = second.loss(&predicted.1, &target.1)?.0;
        second.score(value, &predicted.1, &target.1, &mut score.second)?;
        score.total.add(loss, 1);
        Ok(())
    }
}

/// The mean loss alone.
///
/// ```
/// use recurrent::model::MeanLoss;
///
/// let mut score = MeanLoss::default();
/// score.add(1.0, 3); // the mean over 3 samples
/// score.add(5.0, 1);
/// assert_eq!(score.mean(), 2.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanLoss {
    sum: f64,
    count: usize,
}

impl MeanLoss {
    /// Adds the mean `loss` of `count` samples.
    pub fn add(&mut self, loss: f64, count: usize) {
        self.sum += loss * count as f64;
        self.count += count;
    }

    /// Returns the mean over all samples, or 0 without samples.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

impl Score for MeanLoss {
    fn loss(&self) -> f64 {
        self.mean()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.mean())]
    }

    fn merge(&mut self, other: Self) {
        (self.sum, self.count) = (self.sum + other.sum, self.count + other.count);
    }
}

impl Display for MeanLoss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.mean())
    }
}

/// The scores of both parts of a pair of predictions, and the mean of their weighted loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairScore<A, B> {
    /// The mean of the weighted loss over batches. All batches have the same weight.
    pub total: MeanLoss,
    /// The score of the first part.
    pub first: A,
    /// The score of the second part.
    pub second: B,
}

impl<A: Score, B: Score> Score for PairScore<A, B> {
    fn loss(&self) -> f64 {
        self.total.mean()
    }

    /// Returns the weighted loss, the metrics of the first part and those of the second, without their own
    /// losses.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let parts = self.first.metrics().into_iter().chain(self.second.metrics());
        let parts = parts.filter(|(name, _)| *name != "loss");
        [("loss", self.loss())].into_iter().chain(parts).collect()
    }

    fn merge(&mut self, other: Self) {
        self.total.merge(other.total);
        self.first.merge(other.first);
        self.second.merge(other.second);
    }
}

impl<A: Score + Display, B: Score + Display> Display for PairScore<A, B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4} ({}; {})", self.loss(), self.first, self.second)
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

    /// Fails if the configuration was read from a file that names another loss.
    pub(super) fn check<P>(&self) -> Result<()>
    where
        L: Scored<P>,
    {
        if self.name == self.loss.name() {
            return Ok(());
        }
        Err(Error::argument("loss", self.loss.name(), &self.name))
    }
}
