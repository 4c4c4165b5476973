//! The quantile or pinball loss, whose minimum is at p = the quantile of level q of y.
//!
//! ```text
//! e = y − p        L = mean max(q·e, (q − 1)·e)
//! ∂L/∂p = −q / count where e > 0, (1 − q) / count where e < 0, else 0
//! ```
//!
//! Source: Koenker and Bassett, *Regression Quantiles*, 1978.

use ndarray::ArrayViewMut1;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::loss::Batch;
use crate::loss::reduce::{Place, Rows, Share, check_lengths, row_loss, sum_of_row};

/// The mean pinball loss over one or more levels; see the [module](self).
///
/// With k levels, feature i·k + j of the prediction is level j of target i. Each level is fitted alone, so
/// quantiles may cross; those of the layer [`NonCrossing`](crate::layer::NonCrossing) do not.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Loss, Quantile};
///
/// let loss = Quantile::new(vec![0.1, 0.5, 0.9])?;
/// let (predicted, target) = (array![[0.0, 2.0, 4.0]], array![[3.0]]); // [rows, features]
/// let (value, d_predicted) = loss.loss(&predicted, &target)?;
/// assert!((value - (0.3 + 0.5 + 0.1) / 3.0_f64).abs() < 1e-12);
/// assert!((d_predicted[[0, 2]] - 0.1 / 3.0_f64).abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Quantile {
    levels: Vec<f64>,
}

impl TryFrom<Vec<f64>> for Quantile {
    type Error = Error;

    fn try_from(levels: Vec<f64>) -> Result<Self> {
        Self::new(levels)
    }
}

impl From<Quantile> for Vec<f64> {
    fn from(quantile: Quantile) -> Self {
        quantile.levels
    }
}

impl Quantile {
    /// Returns the loss with the given levels q.
    ///
    /// # Errors
    /// Unless there is at least one level, and each lies in 0 < q < 1.
    pub fn new(levels: Vec<f64>) -> Result<Self> {
        if !levels.is_empty() && levels.iter().all(|&q| 0.0 < q && q < 1.0) {
            return Ok(Self { levels });
        }
        Err(Error::argument("levels", "levels between 0 and 1", format!("{levels:?}")))
    }

    /// Fails unless each level is greater than the one before it.
    pub(crate) fn check_ascending(&self) -> Result<()> {
        if self.levels.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        Err(Error::argument("levels", "ascending levels", format!("{:?}", self.levels)))
    }

    /// Returns the levels.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }
}

impl<P: Batch> Rows<P> for Quantile {
    fn check(&self, predicted: &P, target: &P) -> Result<()> {
        let mut expected = target.shape().to_vec();
        if let Some(features) = expected.last_mut() {
            *features *= self.levels.len();
        }
        check_shape("predicted", P::AXES, &expected, predicted.shape())?;
        check_lengths(predicted, target)
    }

    fn row(
        &self,
        predicted: &P,
        target: &P,
        place: Place,
        share: Share,
        d: ArrayViewMut1<'_, P::Elem>,
    ) -> Result<f64> {
        let (y, levels) = (place.of(target.values()), self.levels.len());
        sum_of_row(predicted, place, share, d, |j, p| {
            let (error, q) = (y[j / levels].as_f64() - p, self.levels[j % levels]);
            match error {
                e if e > 0.0 => (q * e, -q),
                e if e < 0.0 => ((q - 1.0) * e, 1.0 - q),
                e => (e.abs(), 0.0),
            }
        })
    }
}

row_loss! {
    /// `predicted` has targets · levels features, `target` has one for each target.
    Quantile
}
