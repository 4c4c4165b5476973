//! Stochastic gradient descent, with momentum.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ
//! v = μ·v + d              (v = d at the first step)
//! θ = θ − η·v              or, with Nesterov's momentum, θ = θ − η·(d + μ·v)
//! ```
//!
//! This is `torch.optim.SGD` with dampening 0. Nesterov's momentum: Sutskever et al., *On the
//! Importance of Initialization and Momentum in Deep Learning*, 2013. Without momentum there is no
//! velocity.

use super::optimizer::check_parts;
use super::{Compiled, Optimizer, OptimizerState, in_range, representable, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::update::{Number, Rule};

/// Stochastic gradient descent; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | μ [`momentum`](Self::momentum) | 0 | 0 ≤ μ < 1 |
/// | [`nesterov`](Self::nesterov) | false | |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::Sgd;
///
/// let mut theta = array![4.0_f64];
/// let mut sgd = Sgd::new(0.25)?.momentum(0.5)?;
/// for _ in 0..60 {
///     let grad = &theta * 2.0; // of θ²
///     sgd.step(&mut theta, &grad)?;
/// }
/// assert!(theta[0].abs() < 1e-6);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Sgd<A> {
    learning_rate: f64,
    momentum: f64,
    nesterov: bool,
    weight_decay: f64,
    velocity: Vec<A>,
}

impl<A> Sgd<A> {
    /// Creates the rule with the learning rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn new(learning_rate: f64) -> Result<Self> {
        let mut sgd = Self {
            learning_rate: 0.0,
            momentum: 0.0,
            nesterov: false,
            weight_decay: 0.0,
            velocity: Vec::new(),
        };
        sgd.set_learning_rate(learning_rate)?;
        Ok(sgd)
    }

    /// Returns η.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Sets η for the next steps. Schedules call it.
    ///
    /// # Errors
    /// Unless η is finite and at least 0. It is unchanged then.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
    }

    /// Sets μ.
    ///
    /// # Errors
    /// Unless 0 ≤ μ < 1.
    pub fn momentum(mut self, momentum: f64) -> Result<Self> {
        self.momentum = in_range("momentum", momentum, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets whether momentum has Nesterov's form.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Sets λ.
    ///
    /// # Errors
    /// Unless it is finite and at least 0.
    pub fn weight_decay(mut self, weight_decay: f64) -> Result<Self> {
        self.weight_decay = in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?;
        Ok(self)
    }

    /// Updates `parameters` by `grad`.
    ///
    /// # Errors
    /// If `grad` does not fit or is not finite, or a hyper-parameter lies outside the range of `T`.
    /// Nothing has changed then.
    pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let rule = Descent {
            rate: representable::<T>("learning_rate", self.learning_rate)?,
            momentum: self.momentum,
            nesterov: self.nesterov,
            decay: representable::<T>("weight_decay", self.weight_decay)?,
        };
        if self.momentum == 0.0 {
            self.velocity.clear();
            return walk(parameters, grad, &mut self.velocity, &(&rule, &DESCENT));
        }
        walk(parameters, grad, &mut self.velocity, &(&rule, &WITH_VELOCITY))
    }
}

impl<T: Float, A: Arrays<Elem = T>> Optimizer<A> for Sgd<A> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        self.step(parameters, grad)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.set_learning_rate(learning_rate)
    }

    fn options(&self) -> String {
        let Self { momentum, nesterov, weight_decay, .. } = self;
        format!(
            "Sgd {{ momentum: {momentum}, nesterov: {nesterov}, weight_decay: {weight_decay} }}"
        )
    }

    fn state(&self) -> OptimizerState<A> {
        OptimizerState { scalars: vec![self.learning_rate], moments: self.velocity.clone() }
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        check_parts((state.scalars.len(), state.moments.len()), (1, 1))?;
        self.set_learning_rate(state.scalars[0])?;
        self.velocity = state.moments;
        Ok(())
    }
}

struct Descent {
    rate: f64,
    momentum: f64,
    nesterov: bool,
    decay: f64,
}

impl Descent {
    /// Returns d.
    #[inline(always)]
    fn slope<V: Number>(&self, theta: V, grad: V) -> V {
        theta.mul_add(theta.like(self.decay), grad)
    }
}

static DESCENT: Compiled<Descent, 0> = Compiled::new();
static WITH_VELOCITY: Compiled<Descent, 1> = Compiled::new();

impl Rule<0> for Descent {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, []: [V; 0]) -> (V, [V; 0]) {
        (self.slope(theta, grad).mul_add(theta.like(-self.rate), theta), [])
    }
}

impl Rule<1> for Descent {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [v]: [V; 1]) -> (V, [V; 1]) {
        let (d, momentum) = (self.slope(theta, grad), theta.like(self.momentum));
        let v_t = v.mul_add(momentum, d).flush();
        let step = if self.nesterov { v_t.mul_add(momentum, d) } else { v_t };
        (step.mul_add(theta.like(-self.rate), theta), [v_t])
    }
}
