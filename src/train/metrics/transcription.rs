//! [`TranscriptionMetrics`]: errors in lists of labels.

use std::fmt::{self, Display};

use crate::train::metrics::{ErrorRate, Mean};
use crate::train::{Score, join, split};

/// The errors of predicted lists of labels against the true ones. Without sequences the
/// rates are NaN. Without true labels the label error rate is NaN, or infinite if labels were predicted.
///
/// The label error rate is the number of substitutions, insertions and deletions that turn the predicted
/// lists into the true ones, at least, divided by the number of true labels.
///
/// ```
/// use recurrent::train::metrics::TranscriptionMetrics;
///
/// let mut score = TranscriptionMetrics::default();
/// score.add(&[1, 2, 2, 4], &[1, 2, 3, 4, 5]); // 3 for 2, and 5 is missing
/// score.add(&[7], &[7]);
/// assert_eq!(score.label_error_rate(), 2.0 / 6.0);
/// assert_eq!(score.exact_match(), 0.5);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TranscriptionMetrics {
    loss: Mean,
    errors: ErrorRate,
    exact: usize,
    sequences: usize,
}

impl TranscriptionMetrics {
    /// Adds a predicted list of labels and the true one.
    pub fn add(&mut self, predicted: &[usize], labels: &[usize]) {
        self.errors.merge(ErrorRate::tokens(predicted, labels));
        self.exact += usize::from(predicted == labels);
        self.sequences += 1;
    }

    /// Adds a mean loss over terms of this sum of weights.
    pub(crate) fn add_weighted_loss(&mut self, loss: f64, weight: f64) {
        self.loss.add(loss, weight);
    }

    /// Returns the number of errors over the number of labels.
    pub fn label_error_rate(&self) -> f64 {
        self.errors.rate()
    }

    /// Returns the share of the sequences without an error.
    pub fn exact_match(&self) -> f64 {
        self.exact as f64 / self.sequences as f64
    }
}

impl Score for TranscriptionMetrics {
    /// Returns the mean of the added losses, or the label error rate if none was added.
    fn loss(&self) -> f64 {
        self.loss.get().unwrap_or(self.label_error_rate())
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let loss = self.loss.get().map(|loss| ("loss", loss));
        let rates =
            [("label_error_rate", self.label_error_rate()), ("exact_match", self.exact_match())];
        loss.into_iter().chain(rates).collect()
    }

    fn merge(&mut self, other: Self) {
        self.loss.merge(other.loss);
        self.errors.merge(other.errors);
        self.exact += other.exact;
        self.sequences += other.sequences;
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        let counts = vec![self.exact as f64, self.sequences as f64];
        join([Some(self.loss.to_numbers()), self.errors.to_numbers(), Some(counts)])
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [loss, errors, counts] = split(numbers)?;
        let (loss, errors) = (Mean::from_numbers(loss)?, ErrorRate::from_numbers(errors)?);
        let [exact, sequences] = *counts else { return None };
        Some(Self { loss, errors, exact: exact as usize, sequences: sequences as usize })
    }
}

impl Display for TranscriptionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.loss.show(f)?;
        let (rate, exact) = (self.label_error_rate(), self.exact_match());
        write!(f, "label error rate {rate:.4}, exact {exact:.4}")
    }
}
