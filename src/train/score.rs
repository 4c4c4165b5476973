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
}
