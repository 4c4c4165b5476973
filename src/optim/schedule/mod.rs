//! Schedules: the learning rate over time, as a factor of the rate that the optimiser began with.
//!
//! The caller decides whether a step is an epoch or a step of the optimiser. A factor depends on the
//! number of the step alone, so a training can resume at any step. Only [`ReduceOnPlateau`] depends on
//! losses; its state can be saved.
//!
//! | file | schedules |
//! |---|---|
//! | `decay` | [`Constant`], [`StepDecay`], [`Exponential`], [`Cosine`], [`CosineRestarts`] |
//! | `warmup` | [`Warmup`], then any other; [`OneCycle`] |
//! | `plateau` | [`ReduceOnPlateau`] |

mod decay;
mod plateau;
mod warmup;

use crate::error::{Error, Result};

pub use decay::{Constant, Cosine, CosineRestarts, Exponential, StepDecay};
pub use plateau::ReduceOnPlateau;
pub use warmup::{OneCycle, Warmup};

/// The learning rate over time.
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
    /// Returns the factor of the first learning rate at `step`, from 0.
    fn factor(&self, step: usize) -> f64;

    /// Takes the loss after a step. By default it is ignored.
    fn observe(&mut self, loss: f64) {
        let _ = loss;
    }

    /// Returns a description of the schedule and its options, without what [`state`](Schedule::state)
    /// holds. A checkpoint stores it and refuses to resume under a different one. An empty string
    /// disables the comparison.
    fn options(&self) -> String {
        String::new()
    }

    /// Returns all that the next factors depend on, beside the options and the number of the step.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Restores a [`state`](Schedule::state) of a schedule of the same kind and options.
    ///
    /// # Errors
    /// Where the state is of another kind. The schedule is unchanged then.
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

/// Returns a number of steps, if it is at least 1.
fn steps(argument: &'static str, steps: usize) -> Result<usize> {
    if steps > 0 {
        return Ok(steps);
    }
    Err(Error::argument(argument, "at least 1 step", steps))
}
