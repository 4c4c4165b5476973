//! The sum in place of the mean.

use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::loss::Loss;
use crate::loss::reduce::finite;

/// A loss that adds its terms, like PyTorch's reduction "sum". It is the mean times
/// [`count`](Loss::count), which is the number of values. For
/// [`KlDivergence`](crate::loss::KlDivergence) it is the number of rows, and for
/// [`CrossEntropy`](crate::loss::CrossEntropy) the sum of the class weights of the rows.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, Mse, Sum};
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 4.0]]); // [rows, features]
/// let (loss, d_predicted) = Sum(Mse).loss(&predicted, &target)?;
/// assert_eq!((loss, d_predicted), (5.0, array![[2.0, -4.0]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sum<L>(pub L);

impl<P: Arrays, L: Loss<P>> Loss<P> for Sum<L> {
    type Target = L::Target;

    fn loss(&self, predicted: &P, target: &L::Target) -> Result<(f64, P)> {
        let (mean, mut gradient) = self.0.loss(predicted, target)?;
        let count = self.0.count(predicted, target)?;
        let factor = P::Elem::from_f64(count);
        gradient.for_each_mut(&mut |_, mut array| array *= factor);
        finite::<P::Elem, _>(mean * count, gradient)
    }

    /// Returns 1, or 0 if nothing counts: a sum is not divided.
    fn count(&self, predicted: &P, target: &L::Target) -> Result<f64> {
        Ok(if self.0.count(predicted, target)? > 0.0 { 1.0 } else { 0.0 })
    }

    fn is_mean(&self) -> bool {
        false
    }
}
