//! [`RegressionMetrics`]: errors of numbers.
#![expect(clippy::indexing_slicing, reason = "a window has a value before the horizon")]

use std::fmt::{self, Display};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::train::metrics::Mean;
use crate::train::{Score, join, split};

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
    /// Adds one predicted value and its target. If one of them is NaN, so are all figures.
    pub fn add(&mut self, predicted: f64, target: f64) {
        let error = predicted - target;
        self.squared.add(error * error, 1.0);
        self.absolute.add(error.abs(), 1.0);
        let relative = if error == 0.0 { 0.0 } else { (error / target).abs() };
        self.relative.add(relative, 1.0);
    }

    /// Adds the mean `loss` of `count` samples.
    pub fn add_loss(&mut self, loss: f64, count: usize) {
        self.add_weighted_loss(loss, count as f64);
    }

    /// Adds the mean `loss` of samples with weights, whose sum is the
    /// [`count`](crate::loss::Loss::count) of the loss.
    pub fn add_weighted_loss(&mut self, loss: f64, weight: f64) {
        self.loss.add(loss, weight);
    }

    /// Returns the root of the mean squared error, NaN without samples.
    pub fn rmse(&self) -> f64 {
        self.squared.value().sqrt()
    }

    /// Returns the mean absolute error, NaN without samples.
    pub fn mae(&self) -> f64 {
        self.absolute.value()
    }

    /// Returns the mean absolute error as a percentage of the target, NaN without samples. It is infinite if
    /// a target is 0, unless the forecast is 0 too: an exact forecast has the error 0.
    ///
    /// ```
    /// use recurrent::train::metrics::RegressionMetrics;
    ///
    /// let mut score = RegressionMetrics::default();
    /// score.add(110.0, 100.0);
    /// assert_eq!(score.mape(), 10.0);
    /// score.add(300.0, 0.0);
    /// assert_eq!(score.mape(), f64::INFINITY);
    /// ```
    pub fn mape(&self) -> f64 {
        100.0 * self.relative.value()
    }

    /// Returns the mean absolute error over `seasonal`, the error of the seasonal naive forecast
    /// ([`seasonal_error`] of the training part). Values below 1 are better than that forecast.
    ///
    /// The seasonal error of a constant series is 0. The result is then infinite, or NaN if all forecasts
    /// are exact. It is NaN without samples, and for a negative `seasonal`.
    pub fn mase(&self, seasonal: f64) -> f64 {
        if seasonal < 0.0 { f64::NAN } else { self.mae() / seasonal.abs() }
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
        check_longer(series.len(), "horizon", horizon)?;
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
    check_longer(series.len(), "season", season)?;
    let pairs = series.iter().zip(&series[season..]);
    let errors = pairs.map(|(a, b)| (b.as_f64() - a.as_f64()).abs());
    Ok(errors.sum::<f64>() / (series.len() - season) as f64)
}

/// Fails unless a series of `length` values is longer than `steps`, the argument of that name, which is at
/// least 1.
fn check_longer(length: usize, name: &'static str, steps: usize) -> Result<()> {
    if steps == 0 {
        return Err(Error::argument(name, "at least 1", 0));
    }
    if length > steps {
        return Ok(());
    }
    Err(Error::argument("series", format!("more than {steps} values (the {name})"), length))
}

impl Score for RegressionMetrics {
    /// Returns the mean of the added losses, or the mean squared error if none was added. It is NaN without samples.
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

    fn to_numbers(&self) -> Option<Vec<f64>> {
        let parts = [self.loss, self.squared, self.absolute, self.relative];
        join(parts.map(|mean| Some(mean.to_numbers())))
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [loss, squared, absolute, relative] = split(numbers)?.map(Mean::from_numbers);
        Some(Self { loss: loss?, squared: squared?, absolute: absolute?, relative: relative? })
    }
}

impl Display for RegressionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loss.show(f)?;
        write!(f, "RMSE {:.4}, MAE {:.4}", self.rmse(), self.mae())
    }
}
