//! [`Groups`]: parameter groups by name.
//!
//! ```text
//! θ = θ + k·(step of the rule)        k: the factor of the array's group, 0 if it is frozen
//! ```
//!
//! The step of every rule is proportional to its learning rate, weight decay included. So k scales the
//! learning rate, like the rates of parameter groups in `torch.optim`. Each step with a k other than 1
//! copies the parameters once. The weight decay of a group replaces that of the rule.

use crate::arrays::{Arrays, Views, ViewsMut, matches, views, views_mut};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::optim::{Optimizer, OptimizerState, check_decays, in_range, representable};

/// An optimiser with parameter groups; see the [module](crate::optim).
///
/// In a pattern `*` matches any text. If several patterns match an array, the first one is used: of those
/// of [`rate`](Self::rate) and [`frozen`](Self::frozen) for its learning rate, and of those of
/// [`weight_decay`](Self::weight_decay) for its weight decay. A step fails if a pattern matches no array, or
/// only such arrays as earlier patterns match.
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
///     .rate("recurrent.*", 0.1)? // a tenth of the rate
///     .weight_decay("head.weight", 0.1)? // instead of 0.01
///     .no_decay_for_biases_and_norms();
/// let trainer: Trainer<'_, SequenceClassifier<LstmCell<f32>>> = Trainer::new(optimizer);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Groups<O> {
    inner: O,
    /// Patterns and factors of the learning rate.
    groups: Vec<(String, f64)>,
    /// Patterns and weight decays.
    decays: Vec<(String, f64)>,
    /// Whether vectors that match no pattern have no weight decay.
    matrices_only: bool,
}

impl<O> Groups<O> {
    /// Wraps `optimizer`, with no groups yet.
    pub fn new(optimizer: O) -> Self {
        Self { inner: optimizer, groups: Vec::new(), decays: Vec::new(), matrices_only: false }
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

    /// Sets the weight decay λ of the arrays that match `pattern`, instead of the rule's own.
    ///
    /// # Errors
    /// Unless λ is finite and at least 0.
    pub fn weight_decay(mut self, pattern: impl Into<String>, weight_decay: f64) -> Result<Self> {
        let decay = in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?;
        self.decays.push((pattern.into(), decay));
        Ok(self)
    }

    /// Sets the weight decay of biases and of the weights of normalisation to 0: of all arrays of fewer
    /// than two dimensions that match no pattern of [`weight_decay`](Self::weight_decay). Peephole
    /// weights and the query of attention are vectors too.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::optim::{Groups, Optimizer, Sgd};
    ///
    /// let mut sgd = Groups::new(Sgd::new(0.5)?.weight_decay(0.5)?).no_decay_for_biases_and_norms();
    /// let mut affine = (array![[4.0]], array![4.0]); // a weight and a bias
    /// sgd.step(&mut affine, &(array![[0.0]], array![0.0]))?;
    /// assert_eq!(affine, (array![[3.0]], array![4.0]));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn no_decay_for_biases_and_norms(mut self) -> Self {
        self.matrices_only = true;
        self
    }
}

/// Returns the value of the first pattern that matches each array. Fails if a pattern matches none, or none
/// that an earlier pattern leaves.
fn by_pattern(patterns: &[(String, f64)], names: &[&str]) -> Result<Vec<Option<f64>>> {
    let mut first = vec![None; names.len()];
    for (i, (pattern, _)) in patterns.iter().enumerate() {
        let matched = |place: &usize| matches(pattern, names[*place]);
        let places: Vec<usize> = (0..names.len()).filter(matched).collect();
        let free: Vec<usize> = places.iter().copied().filter(|&p| first[p].is_none()).collect();
        if let (true, Some(&place)) = (free.is_empty(), places.first()) {
            let (earlier, _) = &patterns[first[place].unwrap_or(i)];
            let expected = format!(
                "one that matches an array that no earlier pattern does, such as {earlier:?} for {}",
                names[place]
            );
            return Err(Error::argument("pattern", expected, pattern));
        }
        if free.is_empty() {
            let expected = format!("a pattern that matches one of {names:?}");
            return Err(Error::argument("pattern", expected, pattern));
        }
        free.into_iter().for_each(|place| first[place] = Some(i));
    }
    Ok(first.into_iter().map(|first| first.map(|i| patterns[i].1)).collect())
}

/// The factor of the learning rate and the weight decay of each array.
type Settings = (Vec<f64>, Vec<Option<f64>>);

impl<O> Groups<O> {
    /// Returns the settings of each array, where `given` are the weight decays of a caller. Fails if a
    /// pattern matches no array, or `T` cannot represent a factor.
    fn settings<T: Float>(
        &self,
        parameters: &Views<'_, T>,
        given: &[Option<f64>],
    ) -> Result<Settings> {
        let names: Vec<&str> = parameters.iter().map(|(name, _)| name.as_str()).collect();
        let factors = by_pattern(&self.groups, &names)?
            .into_iter()
            .map(|factor| representable::<T>("factor", factor.unwrap_or(1.0)));
        let factors = factors.collect::<Result<_>>()?;
        let mut decays = by_pattern(&self.decays, &names)?;
        for (i, (_, array)) in parameters.iter().enumerate() {
            let of_vector = (self.matrices_only && array.ndim() < 2).then_some(0.0);
            decays[i] = given.get(i).copied().flatten().or(decays[i]).or(of_vector);
        }
        Ok((factors, decays))
    }

    fn step_with<T: Float, A: Arrays<Elem = T>>(
        &mut self,
        parameters: &mut A,
        grad: &A,
        given: &[Option<f64>],
    ) -> Result<()>
    where
        O: Optimizer<A>,
    {
        let (factors, decays) = self.settings(&views(parameters), given)?;
        let scaled = factors.iter().any(|&factor| factor != 1.0);
        let before = scaled.then(|| parameters.clone());
        if decays.iter().all(Option::is_none) {
            self.inner.step(parameters, grad)?;
        } else {
            self.inner.step_with_decay(parameters, grad, &decays)?;
        }
        if let Some(before) = &before {
            scale_steps(views_mut(parameters), views(before), &factors);
        }
        Ok(())
    }
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
        self.step_with(parameters, grad, &[])
    }

    fn step_with_decay(
        &mut self,
        parameters: &mut A,
        grad: &A,
        weight_decay: &[Option<f64>],
    ) -> Result<()> {
        check_decays(weight_decay, parameters)?;
        self.step_with(parameters, grad, weight_decay)
    }

    fn learning_rate(&self) -> f64 {
        self.inner.learning_rate()
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.inner.set_learning_rate(learning_rate)
    }

    fn options(&self) -> String {
        let Self { inner, groups, decays, matrices_only } = self;
        let inner = inner.options();
        format!(
            "Groups {{ groups: {groups:?}, weight_decay: {decays:?}, \
             no_decay_for_biases_and_norms: {matrices_only}, of: {inner} }}"
        )
    }

    fn state(&self) -> OptimizerState<A> {
        self.inner.state()
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        self.inner.restore(state)
    }
}
