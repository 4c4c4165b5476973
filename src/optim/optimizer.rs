//! [`Optimizer`]: the common interface of all rules.

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;

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

    /// Updates `parameters` by `grad`, with the weight decay of each array in `weight_decay`, in the
    /// order of the arrays. `None` stands for the rule's own. [`Groups`](super::Groups) calls it.
    ///
    /// # Errors
    /// Those of [`step`](Optimizer::step), and unless `weight_decay` has an entry for each array, finite
    /// and at least 0. By default it fails unless each entry is `None`. Nothing has changed then.
    fn step_with_decay(
        &mut self,
        parameters: &mut A,
        grad: &A,
        weight_decay: &[Option<f64>],
    ) -> Result<()> {
        match weight_decay.iter().flatten().next() {
            None => self.step(parameters, grad),
            Some(decay) => {
                Err(Error::argument("weight_decay", "an optimiser with `step_with_decay`", decay))
            }
        }
    }

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

impl<A> OptimizerState<A> {
    /// Fails unless the state has the numbers of scalars and of moments that a rule keeps, all finite.
    /// The moments may be absent.
    pub(super) fn check<T: Float>(&self, (scalars, moments): (usize, usize)) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let got = (self.scalars.len(), self.moments.len());
        if got.0 != scalars || ![0, moments].contains(&got.1) {
            let expected = format!("{scalars} scalars and {moments} moments, or none");
            return Err(Error::argument("state", expected, format!("{} and {}", got.0, got.1)));
        }
        if let Some(scalar) = self.scalars.iter().find(|scalar| !scalar.is_finite()) {
            return Err(Error::argument("state", "finite scalars", scalar));
        }
        self.moments.iter().try_for_each(|moment| {
            moment.check_finite().map_err(|error| match error {
                Error::NonFinite { name, index, value } => {
                    Error::NonFinite { name: format!("moment of {name}"), index, value }
                }
                other => other,
            })
        })
    }
}
