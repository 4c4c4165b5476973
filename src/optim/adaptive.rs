//! RMSprop, Adagrad and Adadelta: a rate for each value by the size of its gradients.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ
//! RMSprop    v = v + (1 − α)·(d² − v)      u = μ·u + d/(√v + ε)        θ = θ − η·u
//! Adagrad    v = v + d²                    θ = θ − η/(1 + (t − 1)·κ) · d/(√v + ε)
//! Adadelta   v = v + (1 − ρ)·(d² − v)      δ = d·√(u + ε)/√(v + ε)
//!            u = u + (1 − ρ)·(δ² − u)      θ = θ − η·δ
//! ```
//!
//! Source: Hinton, *Neural Networks for Machine Learning*, lecture 6e, 2012; Duchi, Hazan and Singer,
//! *Adaptive Subgradient Methods*, 2011; Zeiler, *ADADELTA*, 2012; options and defaults of
//! `torch.optim`. Adagrad's sum stays at the largest number where it would overflow.

use super::{Compiled, Optimizer, OptimizerState, in_range, representable, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::update::{Number, Rule};

/// One of the adaptive rules; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | ε [`eps`](Self::eps) | RMSprop 1e-8, Adagrad 1e-10, Adadelta 1e-6 | at least 1.2e-38 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | μ [`momentum`](Self::momentum), of RMSprop | 0 | 0 ≤ μ < 1 |
/// | α, ρ [`decay`](Self::decay), of RMSprop and Adadelta | 0.99, 0.9 | 0 ≤ decay < 1 |
/// | κ [`rate_decay`](Self::rate_decay), of Adagrad | 0 | at least 0 |
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::{Adaptive, Optimizer};
///
/// let mut theta = array![4.0_f64];
/// let mut rule = Adaptive::rmsprop(0.01)?.momentum(0.5)?;
/// for _ in 0..600 {
///     let grad = &theta * 2.0; // of θ²
///     rule.step(&mut theta, &grad)?;
/// }
/// assert!(theta[0].abs() < 0.1);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Adaptive<A> {
    kind: Kind,
    learning_rate: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    decay: f64,
    rate_decay: f64,
    steps: u64,
    moments: Option<[A; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    RmsProp,
    Adagrad,
    Adadelta,
}

impl<A> Adaptive<A> {
    fn new(kind: Kind, learning_rate: f64, eps: f64, decay: f64) -> Result<Self> {
        Ok(Self {
            kind,
            learning_rate: in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?,
            eps,
            weight_decay: 0.0,
            momentum: 0.0,
            decay,
            rate_decay: 0.0,
            steps: 0,
            moments: None,
        })
    }

    /// RMSprop at the given rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn rmsprop(learning_rate: f64) -> Result<Self> {
        Self::new(Kind::RmsProp, learning_rate, 1e-8, 0.99)
    }

    /// Adagrad at the given rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn adagrad(learning_rate: f64) -> Result<Self> {
        Self::new(Kind::Adagrad, learning_rate, 1e-10, 0.0)
    }

    /// Adadelta at the given rate η, by its paper 1.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn adadelta(learning_rate: f64) -> Result<Self> {
        Self::new(Kind::Adadelta, learning_rate, 1e-6, 0.9)
    }

    /// Sets ε.
    pub fn eps(mut self, eps: f64) -> Result<Self> {
        self.eps = in_range("eps", eps, f64::from(f32::MIN_POSITIVE), f64::INFINITY)?;
        Ok(self)
    }

    /// Sets λ.
    pub fn weight_decay(mut self, weight_decay: f64) -> Result<Self> {
        self.weight_decay = in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?;
        Ok(self)
    }

    /// Sets μ; only RMSprop reads it.
    pub fn momentum(mut self, momentum: f64) -> Result<Self> {
        self.momentum = in_range("momentum", momentum, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets α or ρ; Adagrad, which forgets nothing, does not read it.
    pub fn decay(mut self, decay: f64) -> Result<Self> {
        self.decay = in_range("decay", decay, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets κ; only Adagrad reads it.
    pub fn rate_decay(mut self, rate_decay: f64) -> Result<Self> {
        self.rate_decay = in_range("rate_decay", rate_decay, 0.0, f64::INFINITY)?;
        Ok(self)
    }
}

impl<T: Float, A: Arrays<Elem = T>> Optimizer<A> for Adaptive<A> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        let past = self.steps as f64;
        let rate = representable::<T>("learning_rate", self.learning_rate)?;
        let rule = BySize {
            kind: self.kind,
            rate: if self.kind == Kind::Adagrad {
                rate / (1.0 + past * self.rate_decay)
            } else {
                rate
            },
            eps: representable::<T>("eps", self.eps)?.max(T::min_positive_value().as_f64()),
            weight_decay: representable::<T>("weight_decay", self.weight_decay)?,
            momentum: self.momentum,
            rest: 1.0 - self.decay,
        };
        walk(parameters, grad, &mut self.moments, (&rule, &BY_SIZE))?;
        self.steps += 1;
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
    }

    fn options(&self) -> String {
        let Self { kind, eps, weight_decay, momentum, decay, rate_decay, .. } = self;
        format!(
            "{kind:?} {{ eps: {eps}, weight_decay: {weight_decay}, momentum: {momentum}, \
             decay: {decay}, rate_decay: {rate_decay} }}"
        )
    }

    fn state(&self) -> OptimizerState<A> {
        OptimizerState::new(&[self.learning_rate, self.steps as f64], &self.moments)
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        let ([rate, steps], moments) = state.parts()?;
        self.learning_rate = in_range("learning_rate", rate, 0.0, f64::INFINITY)?;
        (self.steps, self.moments) = (steps as u64, moments);
        Ok(())
    }
}

struct BySize {
    kind: Kind,
    rate: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    /// 1 − α or 1 − ρ.
    rest: f64,
}

impl BySize {
    /// d.
    #[inline(always)]
    fn slope<V: Number>(&self, theta: V, grad: V) -> V {
        theta.mul_add(theta.like(self.weight_decay), grad)
    }

    /// Returns a mean moved towards `square`.
    #[inline(always)]
    fn toward<V: Number>(&self, mean: V, square: V) -> V {
        (square - mean).mul_add(mean.like(self.rest), mean).flush()
    }
}

static BY_SIZE: Compiled<BySize, 2> = Compiled::new();

impl Rule<2> for BySize {
    const CHECKED: &'static str = "square of ";

    #[inline(always)]
    fn checked<V: Number>(&self, theta: V, grad: V) -> V {
        let d = self.slope(theta, grad);
        d * d
    }

    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [v, u]: [V; 2]) -> (V, [V; 2]) {
        let (d, eps) = (self.slope(theta, grad), theta.like(self.eps));
        let (v_t, u_t, step) = match self.kind {
            Kind::RmsProp => {
                let v_t = self.toward(v, d * d);
                let scaled = d / (v_t.sqrt() + eps);
                let u_t = u.mul_add(u.like(self.momentum), scaled).flush();
                (v_t, u_t, u_t)
            }
            Kind::Adagrad => {
                let v_t = d.mul_add(d, v).at_most_finite();
                (v_t, u, d / (v_t.sqrt() + eps))
            }
            Kind::Adadelta => {
                let v_t = self.toward(v, d * d);
                let step = (u + eps).sqrt() / (v_t + eps).sqrt() * d;
                (v_t, self.toward(u, step * step), step)
            }
        };
        (step.mul_add(step.like(-self.rate), theta), [v_t, u_t])
    }
}
