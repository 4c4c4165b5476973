//! The absolute error.
//!
//! ```text
//! L = mean |p − y|        ∂L/∂p = sign(p − y) / count, with sign(0) = 0
//! ```
//!
//! This is `torch.nn.L1Loss`.

use serde::{Deserialize, Serialize};

use super::reduce::elementwise_loss;

/// The mean absolute error; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, Mae};
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 4.0]]); // [rows, features]
/// let (loss, d_predicted) = Mae.loss(&predicted, &target)?;
/// assert_eq!((loss, d_predicted), (1.5, array![[0.5, -0.5]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mae;

elementwise_loss!(Mae);

impl Mae {
    fn at(self, _: usize, p: f64, y: f64) -> (f64, f64) {
        let error = p - y;
        (error.abs(), if error == 0.0 { 0.0 } else { error.signum() })
    }
}
