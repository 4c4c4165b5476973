//! Huber's error: squared near zero, absolute far from it, which bounds the gradient of outliers.
//!
//! ```text
//! e = p − y        L = mean ½e² where |e| ≤ δ, else δ·(|e| − ½δ)
//! ∂L/∂p = e / count where |e| ≤ δ, else δ·sign(e) / count
//! ```
//!
//! This is `torch.nn.HuberLoss`. Source: Huber, *Robust Estimation of a Location Parameter*, 1964.

use serde::{Deserialize, Serialize};

use super::reduce::elementwise_loss;
use crate::error::{Error, Result};

/// The mean of Huber's error; see the [module](self).
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{Huber, Loss};
///
/// let (predicted, target) = (array![[1.0, 2.0]], array![[0.0, 5.0]]); // [rows, features]
/// let (loss, d_predicted) = Huber::new(1.0)?.loss(&predicted, &target)?;
/// assert_eq!((loss, d_predicted), (1.5, array![[0.5, -0.5]]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Huber {
    delta: f64,
}

impl TryFrom<f64> for Huber {
    type Error = Error;

    fn try_from(delta: f64) -> Result<Self> {
        Self::new(delta)
    }
}

impl From<Huber> for f64 {
    fn from(huber: Huber) -> Self {
        huber.delta
    }
}

impl Default for Huber {
    /// Returns Huber's error with δ = 1.
    fn default() -> Self {
        Self { delta: 1.0 }
    }
}

impl Huber {
    /// Returns Huber's error, squared up to δ = `delta`.
    ///
    /// # Errors
    /// Unless δ is finite and above 0.
    pub fn new(delta: f64) -> Result<Self> {
        if delta.is_finite() && delta > 0.0 {
            return Ok(Self { delta });
        }
        Err(Error::argument("delta", "a finite value above 0", delta))
    }

    fn at(self, _: usize, p: f64, y: f64) -> (f64, f64) {
        let (error, delta) = (p - y, self.delta);
        if error.abs() > delta {
            return (delta * (error.abs() - 0.5 * delta), delta * error.signum());
        }
        (0.5 * error * error, error)
    }
}

elementwise_loss!(Huber);
