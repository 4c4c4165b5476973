//! [`Criterion`]: what a model that answers with numbers learns by.

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::float::Float;
use crate::loss::{Huber, Mae, Mse, Quantile};
use crate::train::metrics::RegressionMetrics;

/// One of the losses of numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Criterion {
    /// Squared error: the answer is a mean.
    #[default]
    Mse,
    /// Absolute error: the answer is a median.
    Mae,
    /// Huber's error: a mean that outliers pull less.
    Huber(Huber),
    /// Pinball loss: for each number, several quantiles.
    Quantile(Quantile),
}

impl Criterion {
    /// The levels of the quantiles; none where there is one answer a number.
    pub fn levels(&self) -> &[f64] {
        match self {
            Self::Quantile(quantile) => quantile.levels(),
            _ => &[],
        }
    }

    /// Outputs for each number.
    pub(super) fn outputs(&self) -> usize {
        self.levels().len().max(1)
    }

    /// Which of the outputs of a number is nearest to its median, or its one answer.
    pub(super) fn middle(&self) -> usize {
        let from_middle = |level: &f64| (level - 0.5).abs();
        let levels = self.levels().iter().map(from_middle).enumerate();
        levels.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(place, _)| place)
    }

    /// The loss and ∂L/∂outputs, of `outputs` [rows, numbers · outputs] and `target` [rows, numbers].
    pub(super) fn rows<T: Float>(
        &self,
        outputs: ArrayView2<'_, T>,
        target: ArrayView2<'_, T>,
    ) -> Result<(T, Array2<T>)> {
        match self {
            Self::Mse => Mse.rows(outputs, target),
            Self::Mae => Mae.rows(outputs, target),
            Self::Huber(huber) => huber.rows(outputs, target),
            Self::Quantile(quantile) => quantile.rows(outputs, target),
        }
    }

    /// Adds the outputs of several rows, and what they should be, to `score`.
    pub(super) fn measure<T: Float>(
        &self,
        outputs: &Array2<T>,
        target: &Array2<T>,
        score: &mut RegressionMetrics,
    ) {
        for ((row, number), target) in target.indexed_iter() {
            let middle = outputs[[row, number * self.outputs() + self.middle()]];
            score.add(middle.as_f64(), target.as_f64());
        }
    }
}
