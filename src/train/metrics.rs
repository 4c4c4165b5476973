//! Metrics of classification, regression and language models. Each is a [`Score`].
//!
//! ```text
//! precision = correct / predicted  recall = correct / actual     F1 = 2·precision·recall / (precision + recall)
//! RMSE = √mean e²      MAE = mean |e|      MAPE = 100·mean |e / y|      MASE = MAE / MAE of the seasonal naive forecast
//! perplexity = e^L     bits = L / ln 2     with L the mean of −ln p
//! ```
//!
//! A ratio of 0 to 0 counts as 0. MASE: Hyndman and Koehler, *Another look at measures of forecast
//! accuracy*, 2006.

use std::fmt::{self, Display};
use std::ops::Range;

use ndarray::{Array2, ArrayView1, ArrayView2};

use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;
use crate::train::Score;

/// Precision, recall and F1 of one class or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct PrecisionRecallF1 {
    /// The share of predictions of the class that are correct.
    pub precision: f64,
    /// The share of samples of the class that are predicted as such.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
}

impl PrecisionRecallF1 {
    fn new(correct: usize, predicted: usize, actual: usize) -> Self {
        Self {
            precision: ratio(correct as f64, predicted as f64),
            recall: ratio(correct as f64, actual as f64),
            f1: ratio(2.0 * correct as f64, (predicted + actual) as f64),
        }
    }
}

fn ratio(part: f64, of: f64) -> f64 {
    if of == 0.0 { 0.0 } else { part / of }
}

/// Accuracy, top-k accuracy, F1 and the confusion matrix of a classifier.
///
/// ```
/// use ndarray::array;
/// use recurrent::train::metrics::ClassificationMetrics;
///
/// let mut score = ClassificationMetrics::default();
/// let logits = array![[2.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 2.0, 0.0]]; // [rows, classes]
/// for (row, class) in logits.rows().into_iter().zip([0, 1, 2]) {
///     score.add(row, class)?;
/// }
/// assert_eq!((score.accuracy(), score.top_k(2)), (2.0 / 3.0, 2.0 / 3.0));
/// assert_eq!(score.confusion(), array![[1, 0, 0], [0, 1, 0], [0, 1, 0]]); // [actual, predicted]
/// assert_eq!(score.class(1).precision, 0.5);
/// assert_eq!(score.macro_average(score.classes()).recall, 2.0 / 3.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassificationMetrics {
    loss: Mean,
    confusion: Array2<usize>,
    /// `ranks[k]`: the number of samples whose true class has rank k by logit, from 0.
    ranks: Vec<usize>,
}

impl ClassificationMetrics {
    /// Adds one sample: the `logits` of all classes, and the true `class`.
    ///
    /// # Errors
    /// If the number of classes differs from that of the first sample, or `class` is not less than it.
    pub fn add<T: Float>(&mut self, logits: ArrayView1<'_, T>, class: usize) -> Result<()> {
        let classes = logits.len();
        if self.ranks.is_empty() {
            self.confusion = Array2::zeros((classes, classes));
            self.ranks = vec![0; classes];
        }
        check_shape("logits", "classes", &[self.ranks.len()], &[classes])?;
        if class >= classes {
            return Err(Error::argument("class", format!("less than {classes} (classes)"), class));
        }
        let own = logits[class];
        // Ties are broken as in the prediction, the argmax: the first of equal logits is the greatest.
        let before = |&(other, &x): &(usize, &T)| x > own || (x == own && other < class);
        let rank = logits.iter().enumerate().filter(before).count();
        self.ranks[rank] += 1;
        let greatest = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
        self.confusion[[class, (1..classes).fold(0, greatest)]] += 1;
        Ok(())
    }

    /// Adds the mean `loss` of `count` samples.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.loss.add(loss, count);
    }

    /// Returns the number of samples.
    pub fn count(&self) -> usize {
        self.confusion.sum()
    }

    /// Returns the indices of the classes.
    pub fn classes(&self) -> Range<usize> {
        0..self.ranks.len()
    }

    /// Returns the confusion matrix, the number of samples by [actual class, predicted class].
    pub fn confusion(&self) -> ArrayView2<'_, usize> {
        self.confusion.view()
    }

    /// Returns the share of correct predictions.
    pub fn accuracy(&self) -> f64 {
        self.top_k(1)
    }

    /// Returns the share of samples whose true class is among the `k` classes with the largest logits.
    pub fn top_k(&self, k: usize) -> f64 {
        let right: usize = self.ranks.iter().take(k).sum();
        ratio(right as f64, self.count() as f64)
    }

    /// Returns precision, recall and F1 of a class. They are zero for a class that does not exist.
    pub fn class(&self, class: usize) -> PrecisionRecallF1 {
        let (correct, predicted, actual) = self.counts(class);
        PrecisionRecallF1::new(correct, predicted, actual)
    }

    /// Returns the means of precision, recall and F1 over `classes`. Each class has the same weight.
    pub fn macro_average(&self, classes: impl IntoIterator<Item = usize>) -> PrecisionRecallF1 {
        let of: Vec<PrecisionRecallF1> =
            classes.into_iter().map(|class| self.class(class)).collect();
        let mean = |of_class: fn(&PrecisionRecallF1) -> f64| {
            ratio(of.iter().map(of_class).sum(), of.len() as f64)
        };
        PrecisionRecallF1 {
            precision: mean(|c| c.precision),
            recall: mean(|c| c.recall),
            f1: mean(|c| c.f1),
        }
    }

    /// Returns precision, recall and F1 of the pooled counts of `classes`. Each sample has the same
    /// weight. Over all classes the three equal the accuracy, so leave out a class that means "none".
    pub fn micro_average(&self, classes: impl IntoIterator<Item = usize>) -> PrecisionRecallF1 {
        let sum = classes.into_iter().fold((0, 0, 0), |sum, class| {
            let counts = self.counts(class);
            (sum.0 + counts.0, sum.1 + counts.1, sum.2 + counts.2)
        });
        PrecisionRecallF1::new(sum.0, sum.1, sum.2)
    }

    /// Returns the numbers of samples for which a class was correctly predicted, predicted, and actual.
    fn counts(&self, class: usize) -> (usize, usize, usize) {
        if !self.classes().contains(&class) {
            return (0, 0, 0);
        }
        let predicted = self.confusion.column(class).sum();
        (self.confusion[[class, class]], predicted, self.confusion.row(class).sum())
    }
}

impl Score for ClassificationMetrics {
    /// Returns the mean of the added losses, or the error rate if none was added.
    fn loss(&self) -> f64 {
        self.loss.get().unwrap_or(1.0 - self.accuracy())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let f1 = self.macro_average(self.classes()).f1;
        let loss = self.loss.get().map(|loss| ("loss", loss));
        loss.into_iter().chain([("accuracy", self.accuracy()), ("macro_f1", f1)]).collect()
    }

    /// Adds the samples of `other`. The result has the classes of both.
    fn merge(&mut self, other: Self) {
        self.loss.merge(other.loss);
        let classes = self.ranks.len().max(other.ranks.len());
        self.ranks.resize(classes, 0);
        self.ranks.iter_mut().zip(&other.ranks).for_each(|(to, from)| *to += from);
        let mut confusion = Array2::<usize>::zeros((classes, classes));
        for part in [&self.confusion, &other.confusion] {
            for (classes, count) in part.indexed_iter() {
                confusion[classes] += count;
            }
        }
        self.confusion = confusion;
    }
}

impl Display for ClassificationMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f1 = self.macro_average(self.classes()).f1;
        self.loss.show(f)?;
        write!(f, "accuracy {:.4}, macro F1 {f1:.4}", self.accuracy())
    }
}

/// The mean of means over different numbers of samples.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, mean: f64, count: usize) {
        self.sum += mean * count as f64;
        self.count += count;
    }

    fn merge(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn value(&self) -> f64 {
        ratio(self.sum, self.count as f64)
    }

    /// Returns the mean, or `None` if nothing was added.
    fn get(&self) -> Option<f64> {
        (self.count > 0).then(|| self.value())
    }

    /// Writes the mean as the loss, before other metrics, if there is one.
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().map_or(Ok(()), |loss| write!(f, "loss {loss:.4}, "))
    }
}

/// Errors of a regression or a forecast.
///
/// ```
/// use recurrent::train::metrics::{RegressionMetrics, seasonal_error};
///
/// let mut score = RegressionMetrics::default();
/// score.add(3.0, 2.0);
/// score.add(5.0, 8.0);
/// assert_eq!((score.rmse(), score.mae(), score.mape()), (5_f64.sqrt(), 2.0, 43.75));
/// assert_eq!(score.mase(seasonal_error(&[1.0, 3.0, 2.0], 1)?), 2.0 / 1.5);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RegressionMetrics {
    loss: Mean,
    squared: Mean,
    absolute: Mean,
    relative: Mean,
}

impl RegressionMetrics {
    /// Adds one predicted value and its target.
    pub fn add(&mut self, predicted: f64, target: f64) {
        let error = predicted - target;
        self.squared.add(error * error, 1);
        self.absolute.add(error.abs(), 1);
        if target != 0.0 {
            self.relative.add((error / target).abs(), 1);
        }
    }

    /// Adds the mean `loss` of `count` samples.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.loss.add(loss, count);
    }

    /// Returns the root of the mean squared error.
    pub fn rmse(&self) -> f64 {
        self.squared.value().sqrt()
    }

    /// Returns the mean absolute error.
    pub fn mae(&self) -> f64 {
        self.absolute.value()
    }

    /// Returns the mean absolute error as a percentage of the target. Targets of 0 are left out.
    pub fn mape(&self) -> f64 {
        100.0 * self.relative.value()
    }

    /// Returns the mean absolute error over `seasonal`, the error of the seasonal naive forecast
    /// ([`seasonal_error`] of the training part). Values below 1 are better than that forecast.
    pub fn mase(&self, seasonal: f64) -> f64 {
        ratio(self.mae(), seasonal)
    }

    /// Returns the metrics of the persistence forecast, a baseline. At each step of `series` it predicts
    /// that the next `horizon` values equal the current one.
    ///
    /// ```
    /// use recurrent::train::metrics::RegressionMetrics;
    ///
    /// let baseline = RegressionMetrics::persistence(&[1.0, 3.0, 2.0], 1)?;
    /// assert_eq!(baseline.mae(), 1.5); // |1 − 3| and |3 − 2|
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// Unless the series is longer than a horizon of at least 1.
    pub fn persistence<T: Float>(series: &[T], horizon: usize) -> Result<Self> {
        check_size("horizon", &[horizon])?;
        if series.len() <= horizon {
            let expected = format!("more than {horizon} values (the horizon)");
            return Err(Error::argument("series", expected, series.len()));
        }
        let mut score = Self::default();
        for window in series.windows(horizon + 1) {
            window[1..].iter().for_each(|y| score.add(window[0].as_f64(), y.as_f64()));
        }
        Ok(score)
    }
}

/// Returns the mean absolute error over `series` of the seasonal naive forecast, which repeats the value
/// of `season` steps before.
///
/// # Errors
/// Unless the series is longer than a season of at least 1.
pub fn seasonal_error<T: Float>(series: &[T], season: usize) -> Result<f64> {
    check_size("season", &[season])?;
    if series.len() <= season {
        let expected = format!("more than {season} values (a season)");
        return Err(Error::argument("series", expected, series.len()));
    }
    let errors = series.iter().zip(&series[season..]).map(|(&a, &b)| (b - a).as_f64().abs());
    Ok(errors.sum::<f64>() / (series.len() - season) as f64)
}

impl Score for RegressionMetrics {
    /// Returns the mean of the added losses, or the mean squared error if none was added.
    fn loss(&self) -> f64 {
        self.loss.get().unwrap_or(self.squared.value())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let loss = self.loss.get().map(|loss| ("loss", loss));
        loss.into_iter().chain([("rmse", self.rmse()), ("mae", self.mae())]).collect()
    }

    fn merge(&mut self, other: Self) {
        self.loss.merge(other.loss);
        self.squared.merge(other.squared);
        self.absolute.merge(other.absolute);
        self.relative.merge(other.relative);
    }
}

impl Display for RegressionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loss.show(f)?;
        write!(f, "RMSE {:.4}, MAE {:.4}", self.rmse(), self.mae())
    }
}

/// Perplexity and bits per token of a language model.
///
/// ```
/// use recurrent::train::metrics::Perplexity;
///
/// let mut score = Perplexity::default();
/// score.add(2_f64.ln(), 3); // three tokens of probability ½
/// assert!((score.perplexity() - 2.0).abs() < 1e-12 && (score.bits() - 1.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    nats: Mean,
}

impl Perplexity {
    /// Adds the mean of −ln p over `count` tokens.
    pub fn add(&mut self, nats: f64, count: usize) {
        self.nats.add(nats, count);
    }

    /// Returns the perplexity e^loss, the effective number of equally likely next tokens.
    pub fn perplexity(&self) -> f64 {
        self.nats.value().exp()
    }

    /// Returns the bits per token.
    pub fn bits(&self) -> f64 {
        self.nats.value() / std::f64::consts::LN_2
    }
}

impl Score for Perplexity {
    fn loss(&self) -> f64 {
        self.nats.value()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.loss()), ("perplexity", self.perplexity()), ("bits", self.bits())]
    }

    fn merge(&mut self, other: Self) {
        self.nats.merge(other.nats);
    }
}

impl Display for Perplexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} bits a token, perplexity {:.3}", self.bits(), self.perplexity())
    }
}
