//! The quantile or pinball loss, whose minimum is at p = the quantile of level q of y.
//!
//! ```text
//! e = y − p        L = mean max(q·e, (q − 1)·e)
//! ∂L/∂p = −q / count where e > 0, (1 − q) / count where e < 0, else 0
//! ```
//!
//! Source: Koenker and Bassett, *Regression Quantiles*, 1978.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_shape};
use crate::loss::{Batch, Loss, check_lengths, elementwise};

/// The mean pinball loss over one or more levels; see the [module](self).
///
/// With k levels, feature i·k + j of the prediction is level j of target i.
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

    /// Returns the levels.
    pub fn levels(&self) -> &[f64] {
        &self.levels
    }
}

/// `predicted` has targets · levels features, `target` has one for each target.
impl<P: Batch> Loss<P> for Quantile {
    type Target = P;

    fn loss(&self, predicted: &P, target: &P) -> Result<(f64, P)> {
        let (values, levels) = (target.values(), self.levels.len());
        let (time, batch, targets) = values.dim();
        let mut expected = target.shape().to_vec();
        if let Some(features) = expected.last_mut() {
            *features *= levels;
        }
        check_shape("predicted", P::AXES, &expected, predicted.shape())?;
        check_lengths(predicted, target)?;
        let wide = Array3::from_shape_fn((time, batch, targets * levels), |(t, b, j)| {
            values[[t, b, j / levels]]
        });
        elementwise(predicted, wide.view(), |j, p, y| {
            let (error, q) = (y - p, self.levels[j % levels]);
            match error {
                e if e > 0.0 => (q * e, -q),
                e if e < 0.0 => ((q - 1.0) * e, 1.0 - q),
                e => (e.abs(), 0.0),
            }
        })
    }

    fn count(&self, predicted: &P, _: &P) -> Result<f64> {
        Ok((predicted.steps() * predicted.values().dim().2) as f64)
    }
}
