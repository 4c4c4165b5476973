//! [`Groups`]: parameter groups by name.
//!
//! ```text
//! θ = θ + k·(step of the rule)        k: the factor of the array's group, 0 if it is frozen
//! ```
//!
//! The step of every rule is proportional to its learning rate, weight decay included. So k scales the
//! learning rate, like the rates of parameter groups in `torch.optim`. Each step copies the parameters
//! once.

use crate::arrays::{Arrays, Views, ViewsMut, matches, views, views_mut};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::optim::{Optimizer, OptimizerState, in_range};

/// An optimiser with parameter groups; see the [module](crate::optim).
///
/// In a pattern `*` matches any text. If several patterns match an array, the first one is used.
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::cell::LstmCell;
/// use recurrent::model::SequenceClassifier;
/// use recurrent::optim::{AdamW, Groups};
/// use recurrent::train::Trainer;
///
/// let optimizer = Groups::new(AdamW::new(1e-3, 0.01)?)
///     .frozen("embedding.*") // unchanged, by weight decay too
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
    /// Wraps `optimizer`, with no groups yet.
    pub fn new(optimizer: O) -> Self {
        Self { inner: optimizer, groups: Vec::new() }
    }

    /// Multiplies the learning rate of the arrays that match `pattern` by `factor`.
    ///
    /// # Errors
    /// Unless `factor` is finite and at least 0.
    pub fn rate(mut self, pattern: impl Into<String>, factor: f64) -> Result<Self> {
        let factor = in_range("factor", factor, 0.0, f64::INFINITY)?;
        self.groups.push((pattern.into(), factor));
        Ok(self)
    }

    /// Freezes the arrays that match `pattern`.
    pub fn frozen(mut self, pattern: impl Into<String>) -> Self {
        self.groups.push((pattern.into(), 0.0));
        self
    }
}

/// Returns the factor of each array. Fails if a pattern matches none.
fn factors(groups: &[(String, f64)], names: &[String]) -> Result<Vec<f64>> {
    for (pattern, _) in groups {
        if !names.iter().any(|name| matches(pattern, name)) {
            let expected = format!("a pattern that matches one of {names:?}");
            return Err(Error::argument("pattern", expected, pattern));
        }
    }
    let factor = |name: &String| {
        let group = groups.iter().find(|(pattern, _)| matches(pattern, name));
        group.map_or(1.0, |(_, factor)| *factor)
    };
    Ok(names.iter().map(factor).collect())
}

per_float! {
    fn scale_steps<'a, T>(after: ViewsMut<'a, T>, before: Views<'a, T>, factors: &[f64]) = scale_each_step;
}

/// Multiplies the step from `before` to `after` by the factor of each array.
fn scale_each_step<T: Float>(after: ViewsMut<'_, T>, before: Views<'_, T>, factors: &[f64]) {
    for (((_, mut after), (_, before)), &factor) in after.into_iter().zip(before).zip(factors) {
        if factor == 0.0 {
            after.assign(&before);
        } else if factor != 1.0 {
            let factor = T::from_f64(factor);
            after.zip_mut_with(&before, |after, &before| {
                *after = before + factor * (*after - before);
            });
        }
    }
}

impl<T: Float, A: Arrays<Elem = T>, O: Optimizer<A>> Optimizer<A> for Groups<O> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        let factors = factors(&self.groups, &parameters.names())?;
        let before = parameters.clone();
        self.inner.step(parameters, grad)?;
        scale_steps(views_mut(parameters), views(&before), &factors);
        Ok(())
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
