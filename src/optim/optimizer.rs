//! [`Optimizer`]: what every rule can do, so that a loop over batches need not know which it has.

use crate::arrays::Arrays;
use crate::error::{Error, Result};

/// A rule that moves parameters down their gradient, with a state that can be saved.
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
    /// One step of `parameters` down `grad`.
    ///
    /// # Errors
    /// Where `grad` does not fit or is not finite, or a hyper-parameter lies outside the range of
    /// `T`; nothing has changed then.
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()>;

    /// The learning rate η.
    fn learning_rate(&self) -> f64;

    /// Sets η for the steps to come: what a schedule does.
    ///
    /// # Errors
    /// Unless η is finite and at least 0; it stays as it was then.
    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()>;

    /// The rule and its options in words, by which a checkpoint knows that it goes on under the same;
    /// without what [`state`](Optimizer::state) holds. Of no words there is nothing to compare.
    fn options(&self) -> String {
        String::new()
    }

    /// All that the steps to come depend on beside the options.
    fn state(&self) -> OptimizerState<A>;

    /// Goes on from a [`state`](Optimizer::state) of an optimiser of the same kind and options.
    ///
    /// # Errors
    /// Where the state is not of this kind; nothing has changed then.
    fn restore(&mut self, state: OptimizerState<A>) -> Result<()>;
}

/// What an optimiser knows beside its options.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState<A> {
    /// The learning rate, and what else the rule counts.
    pub scalars: Vec<f64>,
    /// The moments, bundles like the parameters; none before the first step.
    pub moments: Vec<A>,
}

impl<A> OptimizerState<A> {
    pub(super) fn new<const N: usize>(scalars: &[f64], moments: &Option<[A; N]>) -> Self
    where
        A: Clone,
    {
        let moments = moments.as_ref().map_or_else(Vec::new, |moments| moments.to_vec());
        Self { scalars: scalars.to_vec(), moments }
    }

    /// The parts, if there are as many as a rule with `S` scalars and `N` moments has.
    pub(super) fn parts<const S: usize, const N: usize>(
        self,
    ) -> Result<([f64; S], Option<[A; N]>)> {
        let (scalars, moments) = (self.scalars.len(), self.moments.len());
        let refuse = || {
            let expected = format!("{S} scalars and {N} moments, or none");
            Error::argument("state", expected, format!("{scalars} and {moments}"))
        };
        let scalars = self.scalars.try_into().map_err(|_| refuse())?;
        if moments == 0 {
            return Ok((scalars, None));
        }
        Ok((scalars, Some(self.moments.try_into().map_err(|_| refuse())?)))
    }
}
