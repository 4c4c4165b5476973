//! A learning rate that is reduced when the loss stops falling.
//!
//! ```text
//! a loss improves if it is below best·(1 − threshold)
//! after more than `patience` losses in a row without improvement, the factor is multiplied by γ
//! ```
//!
//! For losses of at least 0. Rule and defaults are those of
//! `torch.optim.lr_scheduler.ReduceLROnPlateau`.

use super::{Schedule, not_of_this_kind};
use crate::error::Result;
use crate::optim::in_range;

/// A reduction after losses that did not improve; see the [module](super).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    gamma: f64,
    patience: usize,
    threshold: f64,
    cooldown: usize,
    min_factor: f64,
    now: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    factor: f64,
    best: f64,
    bad: usize,
    cooling: usize,
}

impl Default for ReduceOnPlateau {
    /// Returns a schedule that divides the rate by 10 after more than ten losses in a row that did not
    /// improve by 10⁻⁴ of the best.
    fn default() -> Self {
        Self {
            gamma: 0.1,
            patience: 10,
            threshold: 1e-4,
            cooldown: 0,
            min_factor: 0.0,
            now: State { factor: 1.0, best: f64::INFINITY, bad: 0, cooling: 0 },
        }
    }
}

impl ReduceOnPlateau {
    /// Sets the factor γ of a reduction. Default: 0.1.
    ///
    /// # Errors
    /// Unless 0 ≤ γ < 1.
    pub fn gamma(mut self, gamma: f64) -> Result<Self> {
        self.gamma = in_range("gamma", gamma, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets the number of losses in a row that may fail to improve. Default: 10.
    pub fn patience(mut self, patience: usize) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the relative decrease from the best loss that counts as an improvement. Default: 10⁻⁴.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ threshold < 1.
    pub fn threshold(mut self, threshold: f64) -> Result<Self> {
        self.threshold = in_range("threshold", threshold, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets the number of losses after a reduction that are ignored. Default: 0.
    pub fn cooldown(mut self, cooldown: usize) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sets the smallest factor. Default: 0.
    ///
    /// # Errors
    /// Unless it is finite and at least 0.
    pub fn min_factor(mut self, min_factor: f64) -> Result<Self> {
        self.min_factor = in_range("min_factor", min_factor, 0.0, f64::INFINITY)?;
        Ok(self)
    }
}

impl Schedule for ReduceOnPlateau {
    fn factor(&self, _: usize) -> f64 {
        self.now.factor
    }

    fn options(&self) -> String {
        let Self { gamma, patience, threshold, cooldown, min_factor, .. } = self;
        format!(
            "ReduceOnPlateau {{ gamma: {gamma}, patience: {patience}, threshold: {threshold}, \
             cooldown: {cooldown}, min_factor: {min_factor} }}"
        )
    }

    fn observe(&mut self, loss: f64) {
        let now = &mut self.now;
        if loss < now.best * (1.0 - self.threshold) {
            (now.best, now.bad) = (loss, 0);
        } else {
            now.bad += 1;
        }
        if now.cooling > 0 {
            (now.cooling, now.bad) = (now.cooling - 1, 0);
        }
        if now.bad > self.patience {
            now.factor = (now.factor * self.gamma).max(self.min_factor);
            (now.cooling, now.bad) = (self.cooldown, 0);
        }
    }

    fn state(&self) -> Vec<f64> {
        let State { factor, best, bad, cooling } = self.now;
        vec![factor, best, bad as f64, cooling as f64]
    }

    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let &[factor, best, bad, cooling] = state else { return Err(not_of_this_kind(4, state)) };
        self.now = State { factor, best, bad: bad as usize, cooling: cooling as usize };
        Ok(())
    }
}
