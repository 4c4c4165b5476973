//! Stochastic gradient descent, with momentum.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ
//! v = μ·v + (1 − τ)·d      (v = d at the first step)
//! θ = θ − η·v              or, with Nesterov's momentum, θ = θ − η·(d + μ·v)
//! ```
//!
//! This is `torch.optim.SGD`. Nesterov's momentum: Sutskever et al., *On the Importance of
//! Initialization and Momentum in Deep Learning*, 2013. Without momentum there is no velocity.

use super::{
    Checks, Optimizer, OptimizerState, Rules, between, by_decay, check_decays, in_range,
    representable, walk,
};
use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::Compiled;
use crate::tensor::update::{Checked, Number, Rule, Step, decayed};

/// Stochastic gradient descent; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | μ [`momentum`](Self::momentum) | 0 | 0 ≤ μ < 1 |
/// | τ [`dampening`](Self::dampening) | 0 | 0 ≤ τ ≤ 1, and 0 with Nesterov's momentum |
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
    dampening: f64,
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
            dampening: 0.0,
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

    /// Sets τ, the share of the gradient that the velocity does not receive.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::optim::Sgd;
    ///
    /// // With τ = μ the velocity is a moving average of the gradients.
    /// let mut sgd = Sgd::new(1.0)?.momentum(0.5)?.dampening(0.5)?;
    /// let mut theta = array![0.0];
    /// sgd.step(&mut theta, &array![4.0])?; // v = 4
    /// sgd.step(&mut theta, &array![2.0])?; // v = ½·4 + ½·2 = 3
    /// assert_eq!(theta, array![-7.0]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// Unless 0 ≤ τ ≤ 1. [`step`](Self::step) fails if τ is not 0 with Nesterov's momentum.
    pub fn dampening(mut self, dampening: f64) -> Result<Self> {
        self.dampening = between("dampening", dampening, 0.0, 1.0)?;
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
    /// If `grad` does not fit or is not finite, weight decay makes it infinite, a hyper-parameter lies
    /// outside the range of `T`, or Nesterov's momentum has dampening. Nothing has changed then.
    pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        self.step_with(parameters, grad, &[])
    }

    fn step_with<T: Float>(
        &mut self,
        parameters: &mut A,
        grad: &A,
        decays: &[Option<f64>],
    ) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        if self.nesterov && self.dampening != 0.0 {
            let expected = "0 with Nesterov's momentum";
            return Err(Error::argument("dampening", expected, self.dampening));
        }
        let rate = representable::<T>("learning_rate", self.learning_rate)?;
        let (momentum, nesterov) = (self.momentum, self.nesterov);
        let share = if self.velocity.is_empty() { 1.0 } else { 1.0 - self.dampening };
        let rules = by_decay(self.weight_decay, decays, |decay| {
            let decay = representable::<T>("weight_decay", decay)?;
            Ok(Descent { rate, momentum, share, nesterov, decay })
        })?;
        if self.momentum == 0.0 {
            walk(parameters, grad, &mut self.velocity, &Rules(&rules, &DESCENT))
        } else {
            walk(parameters, grad, &mut self.velocity, &Rules(&rules, &WITH_VELOCITY))
        }
    }
}

impl<T: Float, A: Arrays<Elem = T>> Optimizer<A> for Sgd<A> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        self.step(parameters, grad)
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
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.set_learning_rate(learning_rate)
    }

    fn options(&self) -> String {
        let Self { momentum, dampening, nesterov, weight_decay, .. } = self;
        format!(
            "Sgd {{ momentum: {momentum}, dampening: {dampening}, nesterov: {nesterov}, \
             weight_decay: {weight_decay} }}"
        )
    }

    fn state(&self) -> OptimizerState<A> {
        OptimizerState { scalars: vec![self.learning_rate], moments: self.velocity.clone() }
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        state.check((1, 1))?;
        self.set_learning_rate(state.scalars[0])?;
        self.velocity = state.moments;
        Ok(())
    }
}

struct Descent {
    rate: f64,
    momentum: f64,
    /// 1 − τ, or 1 at the first step.
    share: f64,
    nesterov: bool,
    decay: f64,
}

impl Checks for Descent {
    const CHECKED: &'static str = "gradient with weight decay of ";

    fn checked(&self) -> Checked {
        Checked { decay: self.decay, squared: false }
    }
}

static DESCENT: Compiled<Step<Descent, 0>> = Compiled::new();
static WITH_VELOCITY: Compiled<Step<Descent, 1>> = Compiled::new();

impl Rule<0> for Descent {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, []: [V; 0]) -> (V, [V; 0]) {
        let d = decayed(self.decay, theta, grad);
        (d.mul_add(theta.like(-self.rate), theta), [])
    }
}

impl Rule<1> for Descent {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [v]: [V; 1]) -> (V, [V; 1]) {
        let (d, momentum) = (decayed(self.decay, theta, grad), theta.like(self.momentum));
        let v_t = v.mul_add(momentum, d * d.like(self.share)).flush();
        let step = if self.nesterov { v_t.mul_add(momentum, d) } else { v_t };
        (step.mul_add(theta.like(-self.rate), theta), [v_t])
    }
}
