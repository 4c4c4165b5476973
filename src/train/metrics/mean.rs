//! [`Mean`]: the mean of means over batches.

use std::fmt;

/// The weighted mean of means, or NaN if no weight was added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Mean {
    sum: Total,
    weight: Total,
}

impl Mean {
    /// Adds a mean over terms of this sum of weights. Without weight there is nothing to add.
    pub(crate) fn add(&mut self, mean: f64, weight: f64) {
        if weight != 0.0 {
            self.sum.add(mean * weight);
            self.weight.add(weight);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.sum.merge(other.sum);
        self.weight.merge(other.weight);
    }

    /// Returns the numbers from which [`from_numbers`](Self::from_numbers) makes the same mean.
    pub(crate) fn to_numbers(self) -> Vec<f64> {
        vec![self.sum.high, self.sum.low, self.weight.high, self.weight.low]
    }

    pub(crate) fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [sum, sum_low, weight, weight_low] = *numbers else { return None };
        let sum = Total { high: sum, low: sum_low };
        Some(Self { sum, weight: Total { high: weight, low: weight_low } })
    }

    pub(crate) fn value(&self) -> f64 {
        self.sum.value() / self.weight.value()
    }

    /// Returns the mean, or `None` if no weight was added.
    pub(crate) fn get(&self) -> Option<f64> {
        (self.weight.value() != 0.0).then(|| self.value())
    }

    /// Writes the mean as the loss, before other metrics, if there is one.
    pub(super) fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().map_or(Ok(()), |loss| write!(f, "loss {loss:.4}, "))
    }
}

/// A sum in twice the precision of `f64`, so that the order of its terms changes no digit of the value.
/// The sum of two numbers is exact (Knuth, *The Art of Computer Programming*, vol. 2, 4.2.2).
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    high: f64,
    /// The part of the sum below the precision of `high`.
    low: f64,
}

impl Total {
    fn add(&mut self, term: f64) {
        let sum = self.high + term;
        let added = sum - self.high;
        self.low += (self.high - (sum - added)) + (term - added);
        self.high = sum;
    }

    fn merge(&mut self, other: Self) {
        self.add(other.high);
        self.low += other.low;
    }

    /// Returns the sum: NaN or infinite if a term is.
    fn value(self) -> f64 {
        if self.high.is_finite() { self.high + self.low } else { self.high }
    }
}

impl PartialEq for Total {
    fn eq(&self, other: &Self) -> bool {
        self.value() == other.value()
    }
}
