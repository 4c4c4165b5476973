//! The Kullback-Leibler divergence of a distribution from that of logits: to learn from a teacher's
//! probabilities.
//!
//! With p = softmax(x) and the target distribution y of each row, which sums to 1:
//!
//! ```text
//! L = mean over rows Σ_c y_c·(ln y_c − ln p_c)        ∂L/∂x = (p·Σ_c y_c − y) / rows
//! ```
//!
//! 0·ln 0 is 0. As `torch.nn.functional.kl_div` of log-softmax with reduction "batchmean". Source:
//! Kullback and Leibler, *On Information and Sufficiency*, 1951.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, Axis};

use super::{as_sequences, check_pair, finite};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The mean divergence over rows; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::KlDivergence;
///
/// let (logits, target) = (array![[0.0_f64, 0.0]], array![[0.5, 0.5]]); // [rows, classes]
/// let (loss, d_logits) = KlDivergence.rows(logits.view(), target.view())?;
/// assert!(loss.abs() < 1e-15);
/// assert_eq!(d_logits, array![[0.0, 0.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KlDivergence;

impl KlDivergence {
    /// The loss and ∂L/∂logits, of `logits` and the distributions `target`, both [rows, classes].
    ///
    /// # Errors
    /// Where the shapes differ, a probability is negative or not finite, there is no row, or the loss is
    /// not finite.
    pub fn rows<T: Float>(
        &self,
        logits: ArrayView2<'_, T>,
        target: ArrayView2<'_, T>,
    ) -> Result<(T, Array2<T>)> {
        check_shape("target", "rows, classes", logits.shape(), target.shape())?;
        let (loss, gradient) = self.sequences(&as_sequences(logits)?, &as_sequences(target)?)?;
        Ok((loss, gradient.index_axis_move(Axis(0), 0)))
    }

    /// The loss and ∂L/∂logits, of `logits` and the distributions `target`, both
    /// [time, batch, classes], with the same lengths; each step counts alike.
    ///
    /// # Errors
    /// Where shapes or lengths differ, a probability is negative or not finite, there is no step, or the
    /// loss is not finite.
    pub fn sequences<T: Float>(
        &self,
        logits: &Sequences<T>,
        target: &Sequences<T>,
    ) -> Result<(T, Array3<T>)> {
        check_pair(logits, target)?;
        let rows = logits.steps() as f64;
        let mut gradient = Array3::zeros(logits.values().dim());
        let mut sum = 0.0;
        for (t, mut d_step) in gradient.outer_iter_mut().enumerate() {
            for (b, mut d) in d_step.rows_mut().into_iter().enumerate() {
                if t >= logits.lengths()[b] {
                    continue;
                }
                let row = |of: &Sequences<T>| of.values().index_axis(Axis(0), t).row(b).to_owned();
                let (x, y) = (row(logits), row(target));
                if let Some(c) = y.iter().position(|y| !(y.is_finite() && *y >= T::zero())) {
                    let argument = format!("target[{t}, {b}, {c}]");
                    return Err(Error::argument(argument, "a probability", y[c]));
                }
                let (log_sum, mass) =
                    (log_sum_exp(x.view()), y.iter().map(|y| y.as_f64()).sum::<f64>());
                for ((d, x), y) in d.iter_mut().zip(&x).zip(&y) {
                    let (log_p, y) = (x.as_f64() - log_sum, y.as_f64());
                    sum += if y > 0.0 { y * (y.ln() - log_p) } else { 0.0 };
                    *d = T::from_f64((log_p.exp() * mass - y) / rows);
                }
            }
        }
        finite(sum / rows, gradient)
    }
}

/// ln Σ eˣ.
fn log_sum_exp<T: Float>(row: ArrayView1<'_, T>) -> f64 {
    let most = row.iter().fold(f64::NEG_INFINITY, |most, x| most.max(x.as_f64()));
    most + row.iter().map(|x| (x.as_f64() - most).exp()).sum::<f64>().ln()
}
