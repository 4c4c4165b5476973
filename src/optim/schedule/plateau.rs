//! A learning rate that is reduced when the loss stops falling, or a score stops rising.
//!
//! ```text
//! a value improves     mode Min                          mode Max
//!   relative           value < best − threshold·|best|   value > best + threshold·|best|
//!   absolute           value < best − threshold          value > best + threshold
//! after more than `patience` values in a row without improvement, the factor is multiplied by γ
//! ```
//!
//! The first value improves unless it is NaN or the worst infinity. Rule and defaults are those of
//! `torch.optim.lr_scheduler.ReduceLROnPlateau`, whose relative threshold has best in place of |best|: a
//! negative loss that rises a little is an improvement there.

use super::{Schedule, not_of_this_kind};
use crate::error::{Error, Result};
use crate::optim::{between, count, count_to_f64, in_range};

/// The direction in which the value of [`ReduceOnPlateau`] improves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Down, as a loss does.
    #[default]
    Min,
    /// Up, as an accuracy does.
    Max,
}

/// The meaning of the threshold of [`ReduceOnPlateau`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThresholdMode {
    /// A share of the best value.
    #[default]
    Rel,
    /// A difference from the best value.
    Abs,
}

/// A reduction after values, such as losses, that did not improve.
///
/// ```text
/// a value improves   Mode::Min                         Mode::Max
/// relative           value < best − threshold·|best|   value > best + threshold·|best|
/// absolute           value < best − threshold          value > best + threshold
/// ```
///
/// ```
/// use recurrent::optim::schedule::{Mode, ReduceOnPlateau, Schedule, ThresholdMode};
///
/// let schedule = ReduceOnPlateau::default().patience(1).mode(Mode::Max);
/// let mut schedule = schedule.threshold(0.5)?.threshold_mode(ThresholdMode::Abs);
/// for accuracy in [60.0, 70.0, 70.25, 70.5] {
///     schedule.observe(accuracy);
/// }
/// assert_eq!(schedule.factor(4), 0.1); // two values without improvement by more than ½
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    gamma: f64,
    patience: usize,
    threshold: f64,
    threshold_mode: ThresholdMode,
    mode: Mode,
    cooldown: usize,
    min_factor: f64,
    now: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    factor: f64,
    /// The best value so far, with the sign of a loss.
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
            threshold_mode: ThresholdMode::Rel,
            mode: Mode::Min,
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

    /// Sets the difference from the best value that a value must exceed to be an improvement. Default: 10⁻⁴.
    ///
    /// # Errors
    /// Unless it is finite and at least 0.
    pub fn threshold(mut self, threshold: f64) -> Result<Self> {
        self.threshold = in_range("threshold", threshold, 0.0, f64::INFINITY)?;
        Ok(self)
    }

    /// Sets whether the threshold is a share of the best value or a difference. Default:
    /// [`ThresholdMode::Rel`].
    pub fn threshold_mode(mut self, threshold_mode: ThresholdMode) -> Self {
        self.threshold_mode = threshold_mode;
        self
    }

    /// Sets the direction in which values improve. Default: [`Mode::Min`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets the number of losses after a reduction that are ignored. Default: 0.
    pub fn cooldown(mut self, cooldown: usize) -> Self {
        self.cooldown = cooldown;
        self
    }

    /// Sets the smallest factor. Default: 0.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ min_factor ≤ 1.
    pub fn min_factor(mut self, min_factor: f64) -> Result<Self> {
        self.min_factor = between("min_factor", min_factor, 0.0, 1.0)?;
        Ok(self)
    }

    /// Returns the least loss that is no improvement.
    fn bound(&self) -> f64 {
        let best = self.now.best;
        match self.threshold_mode {
            // The threshold of an infinite value could be NaN.
            _ if best.is_infinite() => best,
            ThresholdMode::Rel => best * (1.0 - self.threshold * best.signum()),
            ThresholdMode::Abs => best - self.threshold,
        }
    }
}

impl Schedule for ReduceOnPlateau {
    fn factor(&self, _: usize) -> f64 {
        self.now.factor
    }

    fn options(&self) -> String {
        let Self { gamma, patience, threshold, cooldown, min_factor, mode, .. } = self;
        format!(
            "ReduceOnPlateau {{ gamma: {gamma}, patience: {patience}, threshold: {threshold}, \
             threshold_mode: {:?}, mode: {mode:?}, cooldown: {cooldown}, min_factor: {min_factor} }}",
            self.threshold_mode
        )
    }

    fn observe(&mut self, loss: f64) {
        let loss = if self.mode == Mode::Min { loss } else { -loss };
        let improves = loss < self.bound();
        let now = &mut self.now;
        if improves {
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
        vec![factor, best, count_to_f64(bad), count_to_f64(cooling)]
    }

    fn restore(&mut self, state: &[f64]) -> Result<()> {
        let &[factor, best, bad, cooling] = state else { return Err(not_of_this_kind(4, state)) };
        if best.is_nan() {
            return Err(Error::argument("state", "the best loss", best));
        }
        self.now = State {
            factor: between("state: factor", factor, 0.0, 1.0)?,
            best,
            bad: count(bad)? as usize,
            cooling: count(cooling)? as usize,
        };
        Ok(())
    }
}
