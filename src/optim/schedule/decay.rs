//! Schedules that decay from 1, once or repeatedly.
//!
//! ```text
//! constant      1
//! step          γ^⌊t/n⌋                                                  torch's StepLR
//! multi-step    γ^(number of milestones ≤ t)                             MultiStepLR
//! exponential   γ^t                                                      ExponentialLR
//! cosine        m + (1 − m)·(1 + cos(π·min(t, n)/n))/2                   CosineAnnealingLR
//! restarts      the cosine over the t − start steps since restart i, with n·kⁱ in place of n
//!                                                                        CosineAnnealingWarmRestarts
//! ```
//!
//! Source: Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, 2017. After n
//! steps the cosine stays at its smallest value, while torch's rises again. A power with γ > 1 is at most
//! the largest finite number.

use super::{Schedule, half_cosine, power, share, steps};
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
        power(self.gamma, (step / self.step_size) as f64)
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}

/// A decay by a constant factor at given steps.
///
/// ```
/// use recurrent::optim::schedule::{MultiStep, Schedule};
///
/// let schedule = MultiStep::new([30, 80], 0.5)?;
/// assert_eq!([29, 30, 79, 80].map(|step| schedule.factor(step)), [1.0, 0.5, 0.5, 0.25]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct MultiStep {
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStep {
    /// Creates a decay by the factor γ = `gamma` at each step of `milestones`, in any order. A step that
    /// is there twice counts twice.
    ///
    /// # Errors
    /// Unless 0 ≤ γ is finite.
    pub fn new(milestones: impl Into<Vec<usize>>, gamma: f64) -> Result<Self> {
        let gamma = in_range("gamma", gamma, 0.0, f64::INFINITY)?;
        let mut milestones = milestones.into();
        milestones.sort_unstable();
        Ok(Self { milestones, gamma })
    }
}

impl Schedule for MultiStep {
    fn factor(&self, step: usize) -> f64 {
        let passed = self.milestones.partition_point(|&milestone| milestone <= step);
        power(self.gamma, passed as f64)
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
        power(self.gamma, step as f64)
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
        half_cosine(1.0, self.min_factor, share(step as f64, self.steps as f64))
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
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
