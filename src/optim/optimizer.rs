//! [`Optimizer`]: the common interface of all rules.

use crate::arrays::Arrays;
use crate::error::{Error, Result};

/// A rule that updates parameters by their gradient, with a state that can be saved.
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::{Adam, Optimizer};
///
/// let (mut theta, grad) = (array![4.0_f64], array![1.0]);
/// let mut adam: Box<dyn Optimizer<_>> = Box::new(Adam::new(0.1)?);
/// adam.step(&mut theta, &grad)?;
/// let (mut again, mut theta_again) = (Adam::new(0.5)?, theta.clone());
/// again.restore(adam.state())?; // with its rate and moments
/// adam.step(&mut theta, &grad)?;
/// again.step(&mut theta_again, &grad)?;
/// assert_eq!(theta, theta_again);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait Optimizer<A: Arrays> {
    /// Updates `parameters` by `grad`.
    ///
    /// # Errors
    /// If `grad` does not fit or is not finite, or a hyper-parameter lies outside the range of the
    /// element type. Nothing has changed then.
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()>;

    /// Returns the learning rate η.
    fn learning_rate(&self) -> f64;

    /// Sets η for the next steps. Schedules call it.
    ///
    /// # Errors
    /// Unless η is finite and at least 0. It is unchanged then.
    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()>;

    /// Returns a description of the rule and its hyper-parameters, without what
    /// [`state`](Optimizer::state) holds. A checkpoint stores it and refuses to resume under a
    /// different one. An empty string disables the comparison.
    fn options(&self) -> String {
        String::new()
    }

    /// Returns the state, on which the next steps depend beside the options.
    fn state(&self) -> OptimizerState<A>;

    /// Restores a [`state`](Optimizer::state) of an optimiser of the same kind and options.
    ///
    /// # Errors
    /// If the state is of another kind. The optimiser is unchanged then.
    fn restore(&mut self, state: OptimizerState<A>) -> Result<()>;
}

/// The state of an optimiser, on which its next steps depend beside the options.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState<A> {
    /// The learning rate and the counters of the rule.
    pub scalars: Vec<f64>,
    /// The moments, with the type and shapes of the parameters. Empty before the first step.
    pub moments: Vec<A>,
}

/// Fails unless the numbers of scalars and of moments, `got`, are the `expected` ones of a rule. The
/// moments may be absent.
pub(super) fn check_parts(got: (usize, usize), expected: (usize, usize)) -> Result<()> {
    if got.0 == expected.0 && (got.1 == 0 || got.1 == expected.1) {
        return Ok(());
    }
    let expected = format!("{} scalars and {} moments, or none", expected.0, expected.1);
    Err(Error::argument("state", expected, format!("{} and {}", got.0, got.1)))
}
