//! The Kullback-Leibler divergence of a target distribution from the softmax of logits, such as a
//! teacher's probabilities in distillation.
//!
//! With p = softmax(x) and the target distribution y of each row, which sums to 1 up to 3.5·10⁻⁴:
//!
//! ```text
//! L = mean over rows Σ_c y_c·(ln y_c − ln p_c)        ∂L/∂x = (p·Σ_c y_c − y) / rows
//! ```
//!
//! 0·ln 0 is 0. It is `torch.nn.functional.kl_div` of the log-softmax with reduction "batchmean".
//! Source: Kullback and Leibler, *On Information and Sufficiency*, 1951.

use ndarray::{ArrayView1, ArrayViewMut1};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::Batch;
use crate::loss::reduce::{Place, Rows, Share, row_loss};

/// The mean divergence over rows; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{KlDivergence, Loss};
///
/// let (logits, target) = (array![[0.0_f64, 0.0]], array![[0.5, 0.5]]); // [rows, classes]
/// let (loss, d_logits) = KlDivergence.loss(&logits, &target)?;
/// assert!(loss.abs() < 1e-15);
/// assert_eq!(d_logits, array![[0.0, 0.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KlDivergence;

impl<P: Batch> Rows<P> for KlDivergence {
    fn terms(&self, _: &P) -> usize {
        1
    }

    fn row(
        &self,
        logits: &P,
        target: &P,
        place: Place,
        share: Share,
        mut d: ArrayViewMut1<'_, P::Elem>,
    ) -> Result<f64> {
        let (x, (y, mass)) = (place.of(logits.values()), distribution(target, place)?);
        let (log_sum, mut loss) = (log_sum_exp(x), 0.0);
        for ((d, x), y) in d.iter_mut().zip(x).zip(y) {
            let (log_p, y) = (x.as_f64() - log_sum, y.as_f64());
            loss += if y > 0.0 { y * (y.ln() - log_p) } else { 0.0 };
            *d = P::Elem::from_f64(share.of(log_p.exp() * mass - y));
        }
        Ok(loss)
    }
}

row_loss! {
    /// `target` has the shape and the lengths of the logits. Each of its rows is a distribution.
    KlDivergence
}

/// The largest distance from 1 of the sum of a distribution: √ε of `f32`, as in scikit-learn. Probabilities
/// that were computed in `f32` pass in `f64` too.
const ROUNDING: f64 = 3.5e-4;

/// Returns the row of `target`, and its sum. Fails unless it is a distribution: each value is at least 0,
/// and the sum is 1 up to rounding.
pub(super) fn distribution<P: Batch>(
    target: &P,
    place: Place,
) -> Result<(ArrayView1<'_, P::Elem>, f64)> {
    let y = place.of(target.values());
    if let Some(c) = y.iter().position(|y| !(y.as_f64().is_finite() && y.as_f64() >= 0.0)) {
        return Err(Error::argument(place.name("target", target, c), "a probability", y[c]));
    }
    let sum = y.iter().map(|y| y.as_f64()).sum::<f64>();
    if (sum - 1.0).abs() <= ROUNDING {
        return Ok((y, sum));
    }
    Err(Error::argument(place.row_name("target", target), "probabilities with the sum 1", sum))
}

/// Returns ln Σ eˣ.
pub(super) fn log_sum_exp<T: Float>(row: ArrayView1<'_, T>) -> f64 {
    let most = row.iter().fold(f64::NEG_INFINITY, |most, x| most.max(x.as_f64()));
    most + row.iter().map(|x| (x.as_f64() - most).exp()).sum::<f64>().ln()
}
