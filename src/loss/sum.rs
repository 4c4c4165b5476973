//! The sum in place of the mean.

use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::loss::{Loss, finite};

/// A loss whose terms are added, as by PyTorch's reduction "sum": the mean times its
/// [`terms`](Loss::terms). That is the number of values, of
/// [`KlDivergence`](crate::loss::KlDivergence) the number of rows, and of
/// [`CrossEntropy`](crate::loss::CrossEntropy) the sum of the weights of the rows' classes.
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
        let count = self.0.terms(predicted, target);
        let factor = P::Elem::from_f64(count);
        gradient.for_each_mut(&mut |_, mut array| array *= factor);
        finite::<P::Elem, _>(mean * count, gradient)
    }

    fn terms(&self, _: &P, _: &L::Target) -> f64 {
        1.0
    }
}
