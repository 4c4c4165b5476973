//! Binary cross entropy from a logit.
//!
//! ```text
//! L = mean (max(x, 0) − x·y + ln(1 + e^−|x|))        ∂L/∂x = (σ(x) − y) / count
//! ```
//!
//! The form that does not overflow, as in `torch.nn.BCEWithLogitsLoss`.

use ndarray::{Array2, Array3, ArrayView2, Axis};

use super::{as_sequences, elementwise};
use crate::error::{Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The mean binary cross entropy of logits; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::BceWithLogits;
///
/// let (logits, target) = (array![[0.0_f64, 0.0]], array![[1.0, 0.0]]); // [rows, labels]
/// let (loss, d_logits) = BceWithLogits.rows(logits.view(), target.view())?;
/// assert!((loss - 2_f64.ln()).abs() < 1e-12);
/// assert_eq!(d_logits, array![[-0.25, 0.25]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BceWithLogits;

impl BceWithLogits {
    /// The loss and ∂L/∂logits, of `logits` and `target` probabilities, both [rows, features].
    pub fn rows<T: Float>(
        &self,
        logits: ArrayView2<'_, T>,
        target: ArrayView2<'_, T>,
    ) -> Result<(T, Array2<T>)> {
        check_shape("target", "rows, features", logits.shape(), target.shape())?;
        let (loss, gradient) = elementwise(&as_sequences(logits)?, &as_sequences(target)?, binary)?;
        Ok((loss, gradient.index_axis_move(Axis(0), 0)))
    }

    /// The loss and ∂L/∂logits, of `logits` and `target` probabilities, both
    /// [time, batch, features], with the same lengths.
    pub fn sequences<T: Float>(
        &self,
        logits: &Sequences<T>,
        target: &Sequences<T>,
    ) -> Result<(T, Array3<T>)> {
        elementwise(logits, target, binary)
    }
}

fn binary(x: f64, y: f64) -> (f64, f64) {
    let e = (-x.abs()).exp();
    let sigmoid = if x < 0.0 { e } else { 1.0 } / (1.0 + e);
    (x.max(0.0) - x * y + e.ln_1p(), sigmoid - y)
}
