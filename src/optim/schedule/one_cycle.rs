//! The one-cycle schedule, in two phases or three.
//!
//! ```text
//! two phases     from 1/f to 1 in the first rise·n steps, then to 1/(f·l) at the last step
//! three phases   from 1/f to 1, back to 1/f in as many steps, then to 1/(f·l) at the last step
//! ```
//!
//! n is the number of steps, and f and l are the divisors. Each phase is half a cosine, or a line. As in
//! torch's `OneCycleLR`, the phases end at the steps rise·n − 1, 2·rise·n − 2 and n − 1, which need not be
//! whole numbers. A phase without steps is skipped.
//!
//! Source: Smith and Topin, *Super-Convergence*, 2018.

use super::{Schedule, blend, half_cosine, share, steps};
use crate::error::{Error, Result};
use crate::optim::in_range;

/// The form of the phases of [`OneCycle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A line.
    Linear,
}

/// One increase and one long decay. The initial rate of the optimiser is the largest of the cycle.
///
/// ```
/// use recurrent::optim::schedule::{Anneal, OneCycle, Schedule};
///
/// // Up to step 3, down to step 6, and on to the end.
/// let cycle = OneCycle::new(10)?.rise(0.4)?.divisors(4.0, 100.0)?;
/// let cycle = cycle.three_phase(true)?.anneal_strategy(Anneal::Linear);
/// assert_eq!([0, 3, 6].map(|step| cycle.factor(step)), [0.25, 1.0, 0.25]);
/// assert_eq!(cycle.factor(9), 0.25 / 100.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    steps: usize,
    rise: f64,
    divisor: f64,
    final_divisor: f64,
    three_phase: bool,
    anneal: Anneal,
}

impl OneCycle {
    /// Creates a cycle of `steps` steps.
    ///
    /// # Errors
    /// Unless `steps` ≥ 1.
    pub fn new(steps: usize) -> Result<Self> {
        Ok(Self {
            steps: self::steps("steps", steps)?,
            rise: 0.3,
            divisor: 25.0,
            final_divisor: 1e4,
            three_phase: false,
            anneal: Anneal::Cosine,
        })
    }

    /// Sets the share of the steps with an increasing rate. Default: 0.3.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ rise < 1, or with three phases in 0 ≤ rise ≤ 0.5.
    pub fn rise(mut self, rise: f64) -> Result<Self> {
        self.rise = in_range("rise", rise, 0.0, 1.0)?;
        self.fitting()
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

    /// Sets whether the rate first falls back to where it began, in as many steps as it rose. Default:
    /// false.
    ///
    /// # Errors
    /// If the increase takes more than half of the steps.
    pub fn three_phase(mut self, three_phase: bool) -> Result<Self> {
        self.three_phase = three_phase;
        self.fitting()
    }

    /// Sets the form of the phases. Default: [`Anneal::Cosine`].
    pub fn anneal_strategy(mut self, anneal: Anneal) -> Self {
        self.anneal = anneal;
        self
    }

    /// Fails unless the phases fit in the steps.
    fn fitting(self) -> Result<Self> {
        if self.three_phase && self.rise > 0.5 {
            return Err(Error::argument("rise", "at most 0.5 with three phases", self.rise));
        }
        Ok(self)
    }

    /// Returns the step of the largest rate. It may be negative: then the cycle begins with the decay.
    fn top(&self) -> f64 {
        let rising = self.rise * self.steps as f64;
        // The product of a share and a number of steps that is meant to be whole may not be.
        let whole = (rising - rising.round()).abs() <= 4.0 * f64::EPSILON * rising;
        if whole { rising.round() - 1.0 } else { rising - 1.0 }
    }
}

impl Schedule for OneCycle {
    fn factor(&self, step: usize) -> f64 {
        let (step, top, first) = (step as f64, self.top(), 1.0 / self.divisor);
        let down = if self.three_phase { (2.0 * top, first) } else { (top, 1.0) };
        let last = ((self.steps - 1) as f64, first / self.final_divisor);
        // Each phase begins where the one before ends.
        let ends = [(0.0, first), (top, 1.0), down, last];
        let end = ends.iter().skip(1).position(|&(end, _)| step <= end).unwrap_or(2) + 1;
        let ((from_step, from), (to_step, to)) = (ends[end - 1], ends[end]);
        let share = share(step - from_step, to_step - from_step);
        match self.anneal {
            Anneal::Cosine => half_cosine(from, to, share),
            Anneal::Linear => blend(from, to, share),
        }
    }

    fn options(&self) -> String {
        format!("{self:?}")
    }
}
