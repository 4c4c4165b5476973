//! The sum in place of the mean.

use ndarray::{Array, Array2, Array3, ArrayView2, Dimension};

use super::{BceWithLogits, CrossEntropy, Huber, KlDivergence, Mae, Mse, Quantile, finite};
use crate::error::Result;
use crate::float::Float;
use crate::sequences::Sequences;

/// A loss whose terms are added, as by PyTorch's reduction "sum": the mean times what it divides by.
/// That is the number of values, of [`KlDivergence`] the number of rows, and of [`CrossEntropy`] the
/// sum of the weights of the rows' classes.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Mse, Sum};
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 4.0]]); // [rows, features]
/// let (loss, d_predicted) = Sum(Mse).rows(predicted.view(), target.view())?;
/// assert_eq!((loss, d_predicted), (5.0, array![[2.0, -4.0]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sum<L>(pub L);

/// A mean of `count` terms, and its gradient, as their sum.
fn summed<T: Float, D: Dimension>(
    (mean, gradient): (T, Array<T, D>),
    count: f64,
) -> Result<(T, Array<T, D>)> {
    finite(mean.as_f64() * count, gradient * T::from_f64(count))
}

/// The calls of the sums of losses whose targets are numbers; `$per` is how many terms a row has.
macro_rules! sums {
    ($($loss:ty, $per:expr;)+) => {$(
        impl Sum<$loss> {
            /// The sum over all terms and its gradient, of `predicted` and `target` as the loss itself
            /// takes them.
            ///
            /// # Errors
            /// As the loss itself; also where the sum is not finite.
            pub fn rows<T: Float>(
                &self,
                predicted: ArrayView2<'_, T>,
                target: ArrayView2<'_, T>,
            ) -> Result<(T, Array2<T>)> {
                let count = predicted.nrows() * $per(predicted.ncols());
                summed(self.0.rows(predicted, target)?, count as f64)
            }

            /// The sum over all real steps and its gradient, of `predicted` and `target` as the loss
            /// itself takes them.
            ///
            /// # Errors
            /// As the loss itself; also where the sum is not finite.
            pub fn sequences<T: Float>(
                &self,
                predicted: &Sequences<T>,
                target: &Sequences<T>,
            ) -> Result<(T, Array3<T>)> {
                let count = predicted.steps() * $per(predicted.features());
                summed(self.0.sequences(predicted, target)?, count as f64)
            }
        }
    )+};
}

sums! {
    Mse, |values| values;
    Mae, |values| values;
    Huber, |values| values;
    Quantile, |values| values;
    BceWithLogits, |values| values;
    KlDivergence, |_| 1;
}

impl Sum<CrossEntropy> {
    /// The sum over all rows and its gradient, of `logits` [rows, classes] and the class of each row.
    ///
    /// # Errors
    /// As [`CrossEntropy::rows`]; also where the sum is not finite.
    pub fn rows<T: Float>(
        &self,
        logits: ArrayView2<'_, T>,
        classes: &[usize],
    ) -> Result<(T, Array2<T>)> {
        summed(self.0.rows(logits, classes)?, self.0.total(classes.iter().copied()))
    }

    /// The sum over all real steps and its gradient, of `logits` [time, batch, classes] and `classes`
    /// [time, batch], with the lengths of `logits`.
    ///
    /// # Errors
    /// As [`CrossEntropy::sequences`]; also where the sum is not finite.
    pub fn sequences<T: Float>(
        &self,
        logits: &Sequences<T>,
        classes: ArrayView2<'_, usize>,
    ) -> Result<(T, Array3<T>)> {
        let mean = self.0.sequences(logits, classes)?;
        let real = classes.indexed_iter().filter(|((t, b), _)| *t < logits.lengths()[*b]);
        summed(mean, self.0.total(real.map(|(_, &class)| class)))
    }
}
