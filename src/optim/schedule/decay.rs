//! Schedules that decay from 1, once or repeatedly.
//!
//! ```text
//! constant      1
//! step          γ^⌊t/n⌋                                                  torch's StepLR
//! exponential   γ^t                                                      ExponentialLR
//! cosine        m + (1 − m)·(1 + cos(π·min(t, n)/n))/2                   CosineAnnealingLR
//! restarts      the cosine over the t − start steps since restart i, with n·kⁱ in place of n
//!                                                                        CosineAnnealingWarmRestarts
//! ```
//!
//! Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017. After n
//! steps the cosine stays at its smallest value, while torch's rises again.

use std::f64::consts::PI;

use super::{Schedule, steps};
use crate::error::Result;
use crate::optim::in_range;

/// The factor 1 at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Constant;

impl Schedule for Constant {
    fn factor(&self, _: usize) -> f64 {
        1.0
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// A decay by a constant factor every few steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDecay {
    step_size: usize,
    gamma: f64,
}

impl StepDecay {
    /// Creates a decay by the factor γ = `gamma` every `step_size` steps.
    ///
    /// # Errors
    /// Unless `step_size` ≥ 1 and 0 ≤ γ is finite.
    pub fn new(step_size: usize, gamma: f64) -> Result<Self> {
        let gamma = in_range("gamma", gamma, 0.0, f64::INFINITY)?;
        Ok(Self { step_size: steps("step_size", step_size)?, gamma })
    }
}

impl Schedule for StepDecay {
    fn factor(&self, step: usize) -> f64 {
        self.gamma.powf((step / self.step_size) as f64)
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// A decay by a constant factor every step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exponential {
    gamma: f64,
}

impl Exponential {
    /// Creates a decay by the factor γ = `gamma` every step.
    ///
    /// # Errors
    /// Unless 0 ≤ γ is finite.
    pub fn new(gamma: f64) -> Result<Self> {
        Ok(Self { gamma: in_range("gamma", gamma, 0.0, f64::INFINITY)? })
    }
}

impl Schedule for Exponential {
    fn factor(&self, step: usize) -> f64 {
        self.gamma.powf(step as f64)
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// A decay along half a cosine, then a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    steps: usize,
    min_factor: f64,
}

impl Cosine {
    /// Creates a decay to 0 in `steps` steps.
    ///
    /// # Errors
    /// Unless `steps` ≥ 1.
    pub fn new(steps: usize) -> Result<Self> {
        Ok(Self { steps: self::steps("steps", steps)?, min_factor: 0.0 })
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

impl Schedule for Cosine {
    fn factor(&self, step: usize) -> f64 {
        half_cosine(self.min_factor, step.min(self.steps) as f64 / self.steps as f64)
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// Returns a factor that falls from 1 to `min_factor` as `share` rises from 0 to 1.
pub(super) fn half_cosine(min_factor: f64, share: f64) -> f64 {
    min_factor + (1.0 - min_factor) * (1.0 + (PI * share).cos()) / 2.0
}

/// Cosine decays with restarts, each longer than the last by a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CosineRestarts {
    cosine: Cosine,
    growth: usize,
}

impl CosineRestarts {
    /// Creates decays like `first`, each `growth` times as long as the one before.
    ///
    /// # Errors
    /// Unless `growth` ≥ 1.
    pub fn new(first: Cosine, growth: usize) -> Result<Self> {
        Ok(Self { cosine: first, growth: steps("growth", growth)? })
    }
}

impl Schedule for CosineRestarts {
    fn factor(&self, step: usize) -> f64 {
        let (mut since, mut cosine) = (step, self.cosine);
        if self.growth == 1 {
            return cosine.factor(since % cosine.steps);
        }
        while since >= cosine.steps {
            since -= cosine.steps;
            cosine.steps = cosine.steps.saturating_mul(self.growth);
        }
        cosine.factor(since)
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}
