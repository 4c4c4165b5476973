//! Schedules that begin with an increase.
//!
//! ```text
//! warm-up     (t + 1)/n while t < n, then another schedule from its step 0
//! one cycle   from 1/25 up to 1 in the first 30 % of the steps, then down to 1/(25·10⁴),
//!             both in half cosines
//! ```
//!
//! Source: Goyal et al., *Accurate, Large Minibatch SGD*, 2017 (torch's `LinearLR` followed by another
//! schedule); Smith and Topin, *Super-Convergence*, 2018 (torch's `OneCycleLR`).

use super::decay::half_cosine;
use super::{Schedule, steps};
use crate::error::Result;
use crate::optim::in_range;

/// A linear increase, followed by another schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup<S> {
    steps: usize,
    then: S,
}

impl<S: Schedule> Warmup<S> {
    /// Creates an increase to 1 over `steps` steps, followed by `then`.
    ///
    /// # Errors
    /// Unless `steps` ≥ 1.
    pub fn new(steps: usize, then: S) -> Result<Self> {
        Ok(Self { steps: self::steps("steps", steps)?, then })
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn factor(&self, step: usize) -> f64 {
        match step.checked_sub(self.steps) {
            None => (step + 1) as f64 / self.steps as f64,
            Some(since) => self.then.factor(since),
        }
    }

    fn options(&self) -> String {
        format!("Warmup {{ steps: {}, then: {} }}", self.steps, self.then.options())
    }

    fn observe(&mut self, loss: f64) {
        self.then.observe(loss);
    }

    fn state(&self) -> Vec<f64> {
        self.then.state()
    }

    fn restore(&mut self, state: &[f64]) -> Result<()> {
        self.then.restore(state)
    }
}

/// One increase and one long decay. The initial rate of the optimiser is the largest of the cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    steps: usize,
    rise: f64,
    divisor: f64,
    final_divisor: f64,
}

impl OneCycle {
    /// Creates a cycle of `steps` steps.
    ///
    /// # Errors
    /// Unless `steps` ≥ 1.
    pub fn new(steps: usize) -> Result<Self> {
        let steps = self::steps("steps", steps)?;
        Ok(Self { steps, rise: 0.3, divisor: 25.0, final_divisor: 1e4 })
    }

    /// Sets the share of the steps with an increasing rate. Default: 0.3.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ rise < 1.
    pub fn rise(mut self, rise: f64) -> Result<Self> {
        self.rise = in_range("rise", rise, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets the ratio of the largest rate to the first and that of the first to the last. Default: 25 and
    /// 10⁴.
    ///
    /// # Errors
    /// Unless both are finite and at least 1.
    pub fn divisors(mut self, first: f64, last: f64) -> Result<Self> {
        self.divisor = in_range("first", first, 1.0, f64::INFINITY)?;
        self.final_divisor = in_range("last", last, 1.0, f64::INFINITY)?;
        Ok(self)
    }
}

impl Schedule for OneCycle {
    fn factor(&self, step: usize) -> f64 {
        let (last, first) = ((self.steps - 1) as f64, 1.0 / self.divisor);
        let (top, step) = (self.rise * self.steps as f64 - 1.0, step as f64);
        if step <= top {
            return half_cosine(first, 1.0 - step / top);
        }
        let share = (step - top) / (last - top).max(f64::MIN_POSITIVE);
        half_cosine(first / self.final_divisor, share.min(1.0))
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}
