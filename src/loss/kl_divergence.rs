//! The Kullback-Leibler divergence of a target distribution from the softmax of logits, such as a
//! teacher's probabilities in distillation.
//!
//! With p = softmax(x) and the target distribution y of each row, which sums to 1:
//!
//! ```text
//! L = mean over rows Σ_c y_c·(ln y_c − ln p_c)        ∂L/∂x = (p·Σ_c y_c − y) / rows
//! ```
//!
//! 0·ln 0 is 0. It is `torch.nn.functional.kl_div` of the log-softmax with reduction "batchmean".
//! Source: Kullback and Leibler, *On Information and Sufficiency*, 1951.

use ndarray::{Array3, ArrayView1, Axis};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::{Batch, Loss, check_pair, finite, mean};

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

/// `target` has the shape and the lengths of the logits.
impl<P: Batch> Loss<P> for KlDivergence {
    type Target = P;

    fn loss(&self, logits: &P, target: &P) -> Result<(f64, P)> {
        check_pair(logits, target)?;
        let (rows, of_x, of_y) = (logits.steps() as f64, logits.values(), target.values());
        let mut gradient = Array3::zeros(of_x.dim());
        let mut sum = 0.0;
        for (t, mut d_step) in gradient.outer_iter_mut().enumerate() {
            for (b, mut d) in d_step.rows_mut().into_iter().enumerate() {
                if !logits.has_step(t, b) {
                    continue;
                }
                let (x, y) = (of_x.index_axis(Axis(0), t), of_y.index_axis(Axis(0), t));
                let (x, y) = (x.index_axis_move(Axis(0), b), y.index_axis_move(Axis(0), b));
                if let Some(c) =
                    y.iter().position(|y| !(y.as_f64().is_finite() && y.as_f64() >= 0.0))
                {
                    let argument = format!("target[{t}, {b}, {c}]");
                    return Err(Error::argument(argument, "a probability", y[c]));
                }
                let (log_sum, mass) = (log_sum_exp(x), y.iter().map(|y| y.as_f64()).sum::<f64>());
                for ((d, x), y) in d.iter_mut().zip(x).zip(y) {
                    let (log_p, y) = (x.as_f64() - log_sum, y.as_f64());
                    sum += if y > 0.0 { y * (y.ln() - log_p) } else { 0.0 };
                    *d = P::Elem::from_f64((log_p.exp() * mass - y) / rows);
                }
            }
        }
        finite::<P::Elem, _>(mean(sum, rows), logits.with_gradient(gradient)?)
    }

    fn count(&self, logits: &P, _: &P) -> Result<f64> {
        Ok(logits.steps() as f64)
    }
}

/// Returns ln Σ eˣ.
fn log_sum_exp<T: Float>(row: ArrayView1<'_, T>) -> f64 {
    let most = row.iter().fold(f64::NEG_INFINITY, |most, x| most.max(x.as_f64()));
    most + row.iter().map(|x| (x.as_f64() - most).exp()).sum::<f64>().ln()
}
