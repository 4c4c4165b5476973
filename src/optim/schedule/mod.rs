//! Schedules of the learning rate, as a factor of the optimiser's initial rate.
//!
//! The caller decides whether a step is an epoch or a step of the optimiser. A factor depends only on
//! the number of the step, so training can resume at any step. [`ReduceOnPlateau`] depends on the losses
//! too; its state can be saved.
//!
//! | file | schedules |
//! |---|---|
//! | `decay` | [`Constant`], [`StepDecay`], [`MultiStep`], [`Exponential`], [`Cosine`], [`CosineRestarts`] |
//! | `ramp` | [`LinearRamp`], [`Polynomial`] |
//! | `warmup` | [`Warmup`], then any other |
//! | `one_cycle` | [`OneCycle`] |
//! | `plateau` | [`ReduceOnPlateau`] |

mod decay;
mod one_cycle;
mod plateau;
mod ramp;
mod warmup;

use std::f64::consts::PI;

use crate::error::{Error, Result};

pub use decay::{Constant, Cosine, CosineRestarts, Exponential, MultiStep, StepDecay};
pub use one_cycle::{Anneal, OneCycle};
pub use plateau::{Mode, ReduceOnPlateau, ThresholdMode};
pub use ramp::{LinearRamp, Polynomial};
pub use warmup::Warmup;

/// A schedule of the learning rate.
///
/// ```
/// use recurrent::optim::schedule::{Cosine, Schedule, Warmup};
///
/// let schedule = Warmup::new(4, Cosine::new(10)?)?;
/// assert_eq!(schedule.factor(0), 0.25);
/// assert_eq!(schedule.factor(4), 1.0); // where the cosine begins
/// assert!((schedule.factor(9) - 0.5).abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait Schedule {
    /// Returns the factor of the initial learning rate at `step`, counted from 0.
    fn factor(&self, step: usize) -> f64;

    /// Receives the loss after a step. By default it is ignored.
    fn observe(&mut self, loss: f64) {
        let _ = loss;
    }

    /// Returns a description of the schedule and its options, without what [`state`](Schedule::state)
    /// holds. A checkpoint stores it and refuses to resume under a different one. An empty string
    /// disables the comparison.
    fn options(&self) -> String {
        String::new()
    }

    /// Returns the state, on which the next factors depend beside the options and the number of the step.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Restores a [`state`](Schedule::state) of a schedule of the same kind and options.
    ///
    /// # Errors
    /// If the state is of another kind. The schedule is unchanged then.
    fn restore(&mut self, state: &[f64]) -> Result<()> {
        match state {
            [] => Ok(()),
            _ => Err(not_of_this_kind(0, state)),
        }
    }
}

fn not_of_this_kind(expected: usize, state: &[f64]) -> Error {
    Error::argument("state", format!("{expected} numbers"), format!("{state:?}"))
}

/// Returns a number of steps. Fails unless it is at least 1.
fn steps(argument: &'static str, steps: usize) -> Result<usize> {
    if steps > 0 {
        return Ok(steps);
    }
    Err(Error::argument(argument, "at least 1 step", steps))
}

/// Returns `part`/`whole`, or 1 from the end of the whole on, which may be empty. `part` is at least 0.
fn share(part: f64, whole: f64) -> f64 {
    if part < whole { part / whole } else { 1.0 }
}

/// Returns a factor that goes from `from` to `to` in a line as `share` rises from 0 to 1. It has these
/// values at both ends, without rounding.
fn blend(from: f64, to: f64, share: f64) -> f64 {
    from * (1.0 - share) + to * share
}

/// Returns a factor that goes from `from` to `to` in half a cosine as `share` rises from 0 to 1.
fn half_cosine(from: f64, to: f64, share: f64) -> f64 {
    blend(from, to, (1.0 - (PI * share).cos()) / 2.0)
}

/// Returns γⁿ, or the largest finite number if it is greater.
fn power(gamma: f64, n: f64) -> f64 {
    gamma.powf(n).min(f64::MAX)
}
