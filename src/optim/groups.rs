//! [`Groups`]: parameter groups by name.
//!
//! ```text
//! θ = θ + k·(step of the rule)        k the factor of the array's group, 0 where it is frozen
//! ```
//!
//! The step of every rule here is proportional to its learning rate, weight decay included, so that k
//! is a factor of the rate, as of the groups of a `torch.optim` optimiser. It costs one more copy of
//! the parameters a step.

use crate::arrays::{Arrays, matches};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::optim::{Optimizer, OptimizerState, in_range};

/// An optimiser with own rates for some arrays; see the [module](crate::optim).
///
/// A pattern is a name in which `*` stands for anything. Of several that match an array, the first
/// decides.
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::model::SequenceClassifier;
/// use recurrent::optim::{Adam, Groups};
/// use recurrent::train::Trainer;
///
/// let optimizer = Groups::new(Adam::decoupled(1e-3, 0.01)?)
///     .frozen("embedding.*") // keeps its bits: no decay either
///     .rate("recurrent.*", 0.1)?; // a tenth of the rate
/// let trainer: Trainer<'_, SequenceClassifier<LstmCell<f32>>> = Trainer::new(optimizer);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Groups<O> {
    inner: O,
    groups: Vec<(String, f64)>,
}

impl<O> Groups<O> {
    /// `optimizer`, with no groups yet.
    pub fn new(optimizer: O) -> Self {
        Self { inner: optimizer, groups: Vec::new() }
    }

    /// The arrays that match `pattern` learn at `factor` times the rate.
    ///
    /// # Errors
    /// Unless `factor` is finite and at least 0.
    pub fn rate(mut self, pattern: impl Into<String>, factor: f64) -> Result<Self> {
        let factor = in_range("factor", factor, 0.0, f64::INFINITY)?;
        self.groups.push((pattern.into(), factor));
        Ok(self)
    }

    /// The arrays that match `pattern` stay as they are.
    pub fn frozen(mut self, pattern: impl Into<String>) -> Self {
        self.groups.push((pattern.into(), 0.0));
        self
    }

    /// The factor of each array, if every pattern matches one.
    fn factors(&self, names: &[String]) -> Result<Vec<f64>> {
        for (pattern, _) in &self.groups {
            if !names.iter().any(|name| matches(pattern, name)) {
                let expected = format!("a pattern that matches one of {names:?}");
                return Err(Error::argument("pattern", expected, pattern));
            }
        }
        let factor = |name: &String| {
            let group = self.groups.iter().find(|(pattern, _)| matches(pattern, name));
            group.map_or(1.0, |(_, factor)| *factor)
        };
        Ok(names.iter().map(factor).collect())
    }
}

impl<T: Float, A: Arrays<Elem = T>, O: Optimizer<A>> Optimizer<A> for Groups<O> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        let mut factors = self.factors(&parameters.names())?.into_iter();
        let before = parameters.clone();
        self.inner.step(parameters, grad)?;
        parameters.zip_mut(
            "parameters",
            &before,
            &mut |_, mut after, before| match factors.next() {
                None | Some(1.0) => {}
                Some(0.0) => after.assign(&before),
                Some(factor) => {
                    let factor = T::from_f64(factor);
                    after.zip_mut_with(&before, |after, &before| {
                        *after = before + factor * (*after - before);
                    });
                }
            },
        )
    }

    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.inner.set_learning_rate(learning_rate)
    }

    fn options(&self) -> String {
        format!("Groups {{ groups: {:?}, of: {} }}", self.groups, self.inner.options())
    }

    fn state(&self) -> OptimizerState<A> {
        self.inner.state()
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        self.inner.restore(state)
    }
}
