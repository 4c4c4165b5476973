//! Stochastic gradient descent, with momentum.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ
//! v = μ·v + d          (v = d at the first step)
//! θ = θ − η·v
//! ```
//!
//! As `torch.optim.SGD` with dampening 0.

use super::{in_range, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;

/// Gradient descent; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | μ [`momentum`](Self::momentum) | 0 | 0 ≤ μ < 1 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
#[derive(Clone, Debug)]
pub struct Sgd<A> {
    learning_rate: f64,
    momentum: f64,
    weight_decay: f64,
    velocity: Option<[A; 1]>,
}

impl<A> Sgd<A> {
    /// Descent at the given rate η.
    pub fn new(learning_rate: f64) -> Result<Self> {
        let learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(Self { learning_rate, momentum: 0.0, weight_decay: 0.0, velocity: None })
    }

    /// Sets μ.
    pub fn momentum(mut self, momentum: f64) -> Result<Self> {
        self.momentum = in_range("momentum", momentum, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets λ.
    pub fn weight_decay(mut self, weight_decay: f64) -> Result<Self> {
        self.weight_decay = in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?;
        Ok(self)
    }

    /// One step of `parameters` down `grad`.
    ///
    /// # Errors
    /// Where `grad` does not fit or is not finite; nothing has changed then.
    pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<T>,
    {
        let (rate, momentum) = (T::of(self.learning_rate), T::of(self.momentum));
        let decay = T::of(self.weight_decay);
        walk(parameters, grad, &mut self.velocity, &mut |theta, grad, [velocity]| {
            for ((theta, &grad), v) in theta.iter_mut().zip(grad).zip(velocity) {
                *v = momentum * *v + (grad + decay * *theta);
                *theta -= rate * *v;
            }
        })
    }
}
