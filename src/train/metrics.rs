//! What models are judged by.

use std::fmt::Display;

/// What a model is judged by, summed over batches; the default has seen none.
///
/// ```
/// use recurrent::train::Score;
///
/// #[derive(Clone, Debug, Default)]
/// struct Squares { sum: f64, count: f64 }
///
/// impl Score for Squares {
///     fn loss(&self) -> f64 { self.sum / self.count }
///     fn figures(&self) -> Vec<(&'static str, f64)> { vec![("rmse", self.loss().sqrt())] }
/// }
///
/// impl std::fmt::Display for Squares {
///     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
///         write!(f, "RMSE {:.3}", self.loss().sqrt())
///     }
/// }
///
/// assert_eq!(Squares { sum: 8.0, count: 2.0 }.to_string(), "RMSE 2.000");
/// ```
pub trait Score: Clone + Default + Display {
    /// The mean loss: what early stopping watches. The lower the better.
    fn loss(&self) -> f64;

    /// Figures with their names, as histories show them.
    fn figures(&self) -> Vec<(&'static str, f64)>;
}
