//! A schedule that begins with an increase.
//!
//! ```text
//! warm-up     (t + 1)/n while t < n, then another schedule from its step 0
//! ```
//!
//! Source: Goyal et al., *Accurate, Large Minibatch SGD*, 2017 (torch's `LinearLR` followed by another
//! schedule).

use super::{Schedule, steps};
use crate::error::Result;

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
