//! Binary cross entropy from a logit.
//!
//! ```text
//! L = mean ((1 − y)·x + k·(max(−x, 0) + ln(1 + e^−|x|)))        k = 1 + (w − 1)·y
//! ∂L/∂x = (k·σ(x) − w·y) / count
//! ```
//!
//! y lies in 0 ≤ y ≤ 1; w is the weight of the target 1. This form does not overflow. It is that of
//! `torch.nn.BCEWithLogitsLoss`.

use ndarray::ArrayViewMut1;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::loss::Batch;
use crate::loss::reduce::{Place, Rows, Share, check_pair, row_loss, sum_of_row};

/// The mean binary cross entropy of logits; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{BceWithLogits, Loss};
///
/// let (logits, target) = (array![[0.0_f64, 0.0]], array![[1.0, 0.0]]); // [rows, labels]
/// let (loss, d_logits) = BceWithLogits::default().loss(&logits, &target)?;
/// assert!((loss - 2_f64.ln()).abs() < 1e-12);
/// assert_eq!(d_logits, array![[-0.25, 0.25]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct BceWithLogits {
    /// w of each feature; empty where every weight is 1.
    positive_weight: Vec<f64>,
}

impl TryFrom<Vec<f64>> for BceWithLogits {
    type Error = Error;

    fn try_from(weight: Vec<f64>) -> Result<Self> {
        Self::default().positive_weight(weight)
    }
}

impl From<BceWithLogits> for Vec<f64> {
    fn from(loss: BceWithLogits) -> Self {
        loss.positive_weight
    }
}

impl BceWithLogits {
    /// Sets the weight w of the target 1, one for each feature. A weight above 1 balances a rare label.
    ///
    /// # Errors
    /// Unless each is finite and at least 0. The loss fails unless there is one for each feature.
    pub fn positive_weight(mut self, weight: Vec<f64>) -> Result<Self> {
        if let Some(j) = weight.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
            let argument = format!("positive_weight[{j}]");
            return Err(Error::argument(argument, "a finite weight of at least 0", weight[j]));
        }
        self.positive_weight = weight;
        Ok(self)
    }

    /// Fails unless the weights, if there are any, are of `features`.
    pub(crate) fn check_features(&self, features: usize) -> Result<()> {
        match self.positive_weight.len() {
            0 => Ok(()),
            weights => check_shape("positive_weight", "features", &[features], &[weights]),
        }
    }

    fn at(&self, feature: usize, x: f64, y: f64) -> (f64, f64) {
        let weight = self.positive_weight.get(feature).copied().unwrap_or(1.0);
        let (e, factor) = ((-x.abs()).exp(), 1.0 + (weight - 1.0) * y);
        let sigmoid = if x < 0.0 { e } else { 1.0 } / (1.0 + e);
        ((1.0 - y) * x + factor * ((-x).max(0.0) + e.ln_1p()), factor * sigmoid - weight * y)
    }
}

impl<P: Batch> Rows<P> for BceWithLogits {
    fn check(&self, logits: &P, target: &P) -> Result<()> {
        self.check_features(logits.values().dim().2)?;
        check_pair(logits, target)
    }

    fn row(
        &self,
        logits: &P,
        target: &P,
        place: Place,
        share: Share,
        d: ArrayViewMut1<'_, P::Elem>,
    ) -> Result<f64> {
        let y = place.of(target.values()).mapv(Float::as_f64);
        if let Some(j) = y.iter().position(|y| !(0.0..=1.0).contains(y)) {
            return Err(Error::argument(place.name("target", target, j), "0 ≤ y ≤ 1", y[j]));
        }
        sum_of_row(logits, place, share, d, |j, x| self.at(j, x, y[j]))
    }
}

row_loss! {
    /// `target` has the shape and the lengths of the logits, and values from 0 to 1.
    BceWithLogits
}
