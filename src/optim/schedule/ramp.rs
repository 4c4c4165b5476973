//! Schedules that go from one factor to another, then stay.
//!
//! ```text
//! linear        a + (b − a)·min(t, n)/n                                  torch's LinearLR
//! polynomial    m + (1 − m)·(1 − min(t, n)/n)^p                          PolynomialLR, where m = 0
//! ```

use super::{Schedule, blend, share, steps};
use crate::error::Result;
use crate::optim::in_range;

/// A line from one factor to another, then a constant.
///
/// ```
/// use recurrent::optim::schedule::{LinearRamp, Schedule};
///
/// let schedule = LinearRamp::new(0.5, 1.0, 4)?;
/// assert_eq!([0, 2, 4, 9].map(|step| schedule.factor(step)), [0.5, 0.75, 1.0, 1.0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearRamp {
    start_factor: f64,
    end_factor: f64,
    steps: usize,
}

impl LinearRamp {
    /// Creates a line from the factor a = `start_factor` at step 0 to b = `end_factor` at step
    /// n = `steps`.
    ///
    /// # Errors
    /// Unless both factors are finite and at least 0, and `steps` ≥ 1.
    pub fn new(start_factor: f64, end_factor: f64, steps: usize) -> Result<Self> {
        Ok(Self {
            start_factor: in_range("start_factor", start_factor, 0.0, f64::INFINITY)?,
            end_factor: in_range("end_factor", end_factor, 0.0, f64::INFINITY)?,
            steps: self::steps("steps", steps)?,
        })
    }
}

impl Schedule for LinearRamp {
    fn factor(&self, step: usize) -> f64 {
        blend(self.start_factor, self.end_factor, share(step as f64, self.steps as f64))
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// A decay along a power of the steps that remain, then a constant.
///
/// ```
/// use recurrent::optim::schedule::{Polynomial, Schedule};
///
/// let schedule = Polynomial::new(4, 2.0)?;
/// assert_eq!([0, 2, 4, 9].map(|step| schedule.factor(step)), [1.0, 0.25, 0.0, 0.0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Polynomial {
    steps: usize,
    power: f64,
    min_factor: f64,
}

impl Polynomial {
    /// Creates a decay to 0 in n = `steps` steps with the exponent p = `power`.
    ///
    /// # Errors
    /// Unless `steps` ≥ 1 and 0 ≤ p is finite.
    pub fn new(steps: usize, power: f64) -> Result<Self> {
        let power = in_range("power", power, 0.0, f64::INFINITY)?;
        Ok(Self { steps: self::steps("steps", steps)?, power, min_factor: 0.0 })
    }

    /// Sets the factor m at the end. Default: 0.
    ///
    /// # Errors
    /// Unless 0 ≤ m is finite.
    pub fn min_factor(mut self, min_factor: f64) -> Result<Self> {
        self.min_factor = in_range("min_factor", min_factor, 0.0, f64::INFINITY)?;
        Ok(self)
    }
}

impl Schedule for Polynomial {
    fn factor(&self, step: usize) -> f64 {
        let remaining = 1.0 - share(step as f64, self.steps as f64);
        blend(self.min_factor, 1.0, remaining.powf(self.power))
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}
