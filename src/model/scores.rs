//! [`MeanLoss`], [`WeightedScore`], [`PairScore`]: scores of losses and of pairs of predictions.

use std::fmt::{self, Display, Formatter};

use crate::train::metrics::Mean;
use crate::train::{Score, join, split};

/// The mean loss alone.
///
/// ```
/// use recurrent::model::MeanLoss;
///
/// let mut score = MeanLoss::default();
/// score.add(1.0, 3); // the mean over 3 samples
/// score.add(5.0, 1);
/// assert_eq!(score.mean(), 2.0);
/// assert!(MeanLoss::default().mean().is_nan());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanLoss {
    mean: Mean,
}

impl MeanLoss {
    /// Adds the mean `loss` of `count` samples.
    pub fn add(&mut self, loss: f64, count: usize) {
        self.add_weighted(loss, count as f64);
    }

    /// Adds the mean `loss` of samples with weights, whose sum is the [`count`](crate::loss::Loss::count) of the loss.
    pub fn add_weighted(&mut self, loss: f64, weight: f64) {
        self.mean.add(loss, weight);
    }

    /// Returns the mean over all samples, NaN without samples.
    pub fn mean(&self) -> f64 {
        self.mean.value()
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
        self.mean.merge(other.mean);
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        Some(self.mean.to_numbers())
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        Some(Self { mean: Mean::from_numbers(numbers)? })
    }
}

impl Display for MeanLoss {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4}", self.mean())
    }
}

/// The mean of a loss with weights of samples, and the metrics of the predictions without them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightedScore<S> {
    /// The weighted mean loss.
    pub total: MeanLoss,
    /// The metrics, without regard to the weights.
    pub metrics: S,
}

impl<S: Score> Score for WeightedScore<S> {
    fn loss(&self) -> f64 {
        self.total.mean()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let others = self.metrics.metrics().into_iter().filter(|(name, _)| *name != "loss");
        [("loss", self.loss())].into_iter().chain(others).collect()
    }

    fn merge(&mut self, other: Self) {
        self.total.merge(other.total);
        self.metrics.merge(other.metrics);
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        join([self.total.to_numbers(), self.metrics.to_numbers()])
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [total, metrics] = split(numbers)?;
        Some(Self { total: MeanLoss::from_numbers(total)?, metrics: S::from_numbers(metrics)? })
    }
}

/// The weighted sum of the mean losses of both parts of a pair of predictions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairLoss {
    weights: (f64, f64),
    means: (Mean, Mean),
}

impl PairLoss {
    /// Adds the mean losses of both parts, each with its weight in the sum and its count.
    pub(super) fn add(&mut self, first: (f64, f64, f64), second: (f64, f64, f64)) {
        self.weights = (first.0, second.0);
        self.means.0.add(first.1, first.2);
        self.means.1.add(second.1, second.2);
    }

    fn merge(&mut self, other: Self) {
        if self.weights == (0.0, 0.0) {
            self.weights = other.weights;
        }
        self.means.0.merge(other.means.0);
        self.means.1.merge(other.means.1);
    }

    fn to_numbers(self) -> Vec<f64> {
        let means = [self.means.0.to_numbers(), self.means.1.to_numbers()].concat();
        [&[self.weights.0, self.weights.1][..], &means].concat()
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [first, second, ref means @ ..] = *numbers else { return None };
        let (a, b) = means.split_at_checked(means.len() / 2)?;
        let means = (Mean::from_numbers(a)?, Mean::from_numbers(b)?);
        Some(Self { weights: (first, second), means })
    }

    /// Returns the loss over all samples, that of one batch of them. It is NaN without samples. A part
    /// without samples adds nothing.
    pub fn mean(&self) -> f64 {
        match (self.means.0.get(), self.means.1.get()) {
            (None, None) => f64::NAN,
            (first, second) => {
                let (a, b) = self.weights;
                a * first.unwrap_or(0.0) + b * second.unwrap_or(0.0)
            }
        }
    }
}

/// The scores of both parts of a pair of predictions, and their weighted loss.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PairScore<A, B> {
    /// The weighted loss over all samples.
    pub total: PairLoss,
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

    fn to_numbers(&self) -> Option<Vec<f64>> {
        join([Some(self.total.to_numbers()), self.first.to_numbers(), self.second.to_numbers()])
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [total, first, second] = split(numbers)?;
        let total = PairLoss::from_numbers(total)?;
        Some(Self { total, first: A::from_numbers(first)?, second: B::from_numbers(second)? })
    }
}

impl<A: Score + Display, B: Score + Display> Display for PairScore<A, B> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "loss {:.4} ({}; {})", self.loss(), self.first, self.second)
    }
}
