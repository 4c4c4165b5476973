//! The squared error.
//!
//! ```text
//! L = mean (p − y)²        ∂L/∂p = 2 (p − y) / count
//! ```

use serde::{Deserialize, Serialize};

use super::reduce::elementwise_loss;

/// The mean squared error; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, Mse};
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 4.0]]); // [rows, features]
/// let (loss, d_predicted) = Mse.loss(&predicted, &target)?;
/// assert_eq!((loss, d_predicted), (2.5, array![[1.0, -2.0]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mse;

elementwise_loss!(Mse);

impl Mse {
    fn at(self, _: usize, p: f64, y: f64) -> (f64, f64) {
        ((p - y) * (p - y), 2.0 * (p - y))
    }
}
