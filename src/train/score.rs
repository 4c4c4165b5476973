//! [`Score`]: the evaluation of a model, summed over batches.

/// An evaluation summed over batches. The default holds no batch.
///
/// ```
/// use recurrent::train::Score;
///
/// #[derive(Clone, Debug, Default)]
/// struct Squares { sum: f64, count: f64 }
///
/// impl Score for Squares {
///     fn loss(&self) -> f64 { self.sum / self.count }
///     fn metrics(&self) -> Vec<(&'static str, f64)> { vec![("rmse", self.loss().sqrt())] }
///     fn merge(&mut self, other: Self) {
///         (self.sum, self.count) = (self.sum + other.sum, self.count + other.count);
///     }
///     // Optional, for distributed training.
///     fn to_numbers(&self) -> Option<Vec<f64>> { Some(vec![self.sum, self.count]) }
///     fn from_numbers(numbers: &[f64]) -> Option<Self> {
///         let [sum, count] = *numbers else { return None };
///         Some(Squares { sum, count })
///     }
/// }
///
/// let mut squares = Squares { sum: 8.0, count: 2.0 };
/// squares.merge(Squares { sum: 1.0, count: 1.0 });
/// assert_eq!(squares.loss(), 3.0);
/// ```
///
/// A pair of scores is a score too, for example of a model with two heads. Its loss is the sum of both
/// losses.
pub trait Score: Clone + Default {
    /// Returns the mean loss, NaN without samples. Early stopping watches it: lower is better.
    ///
    /// It should not depend on the division of the samples into batches: weigh the mean of each batch by
    /// its [`count`](crate::loss::Loss::count).
    fn loss(&self) -> f64;

    /// Returns the metrics by name, as a [`History`](crate::train::History) records them.
    fn metrics(&self) -> Vec<(&'static str, f64)>;

    /// Adds the batches of `other`, for example those of another thread.
    fn merge(&mut self, other: Self);

    /// Returns numbers from which [`from_numbers`](Self::from_numbers) makes the same score.
    ///
    /// In [distributed](crate::train::Trainer::distributed) training each rank then evaluates a part of the
    /// samples, and the scores are merged. After `None`, the default, each rank evaluates all samples.
    fn to_numbers(&self) -> Option<Vec<f64>> {
        None
    }

    /// Returns the score of these numbers, or `None`, the default, if they are those of no score.
    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let _ = numbers;
        None
    }
}

/// Returns the numbers of several parts as one list, from which [`split`] makes them again.
pub(crate) fn join<const N: usize>(parts: [Option<Vec<f64>>; N]) -> Option<Vec<f64>> {
    let mut all = Vec::new();
    for part in parts {
        let part = part?;
        all.push(part.len() as f64);
        all.extend(part);
    }
    Some(all)
}

/// Returns the parts of [`join`].
pub(crate) fn split<const N: usize>(mut numbers: &[f64]) -> Option<[&[f64]; N]> {
    let mut parts = [&[][..]; N];
    for part in &mut parts {
        let (len, rest) = numbers.split_first()?;
        (*part, numbers) = rest.split_at_checked(*len as usize)?;
    }
    numbers.is_empty().then_some(parts)
}

/// The metrics are the loss of the pair, then the others of the first and of the second. A history
/// numbers repeated names, as in `accuracy`, `accuracy_2`.
impl<A: Score, B: Score> Score for (A, B) {
    fn loss(&self) -> f64 {
        self.0.loss() + self.1.loss()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let parts = self.0.metrics().into_iter().chain(self.1.metrics());
        let others = parts.filter(|(name, _)| *name != "loss");
        [("loss", self.loss())].into_iter().chain(others).collect()
    }

    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
        self.1.merge(other.1);
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        join([self.0.to_numbers(), self.1.to_numbers()])
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [first, second] = split(numbers)?;
        Some((A::from_numbers(first)?, B::from_numbers(second)?))
    }
}
