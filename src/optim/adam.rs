//! Adam, and AdamW.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ  (Adam)      or      θ = θ·(1 − η·λ), d = ∂L/∂θ  (AdamW)
//! m = β₁·m + (1 − β₁)·d        v = β₂·v + (1 − β₂)·d²
//! θ = θ − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
//! ```
//!
//! Source: Kingma and Ba, *Adam*, 2015; Loshchilov and Hutter, *Decoupled Weight Decay
//! Regularization*, 2019; the order of operations of `torch.optim.Adam` and `AdamW`.

use super::{in_range, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;

/// Adam or AdamW; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | β₁, β₂ [`betas`](Self::betas) | 0.9, 0.999 | 0 ≤ β < 1 |
/// | ε [`eps`](Self::eps) | 1e-8 | at least 1.2e-38: above zero in f32 too |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
#[derive(Clone, Debug)]
pub struct Adam<A> {
    learning_rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    steps: u64,
    moments: Option<[A; 2]>,
}

impl<A> Adam<A> {
    /// Adam at the given rate η.
    pub fn new(learning_rate: f64) -> Result<Self> {
        Ok(Self {
            learning_rate: in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            steps: 0,
            moments: None,
        })
    }

    /// AdamW at the given rate η and weight decay λ.
    pub fn decoupled(learning_rate: f64, weight_decay: f64) -> Result<Self> {
        let adam = Self::new(learning_rate)?.weight_decay(weight_decay)?;
        Ok(Self { decoupled: true, ..adam })
    }

    /// Sets β₁ and β₂.
    pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Result<Self> {
        self.betas = (in_range("beta_1", beta_1, 0.0, 1.0)?, in_range("beta_2", beta_2, 0.0, 1.0)?);
        Ok(self)
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

    /// One step of `parameters` down `grad`.
    ///
    /// # Errors
    /// Where `grad` does not fit or is not finite; nothing has changed then.
    pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<T>,
    {
        let t = (self.steps + 1) as f64;
        let (beta_1, beta_2) = self.betas;
        let rate = T::of(self.learning_rate / (1.0 - beta_1.powf(t)));
        let correction = T::of((1.0 - beta_2.powf(t)).sqrt());
        let (rest_1, rest_2) = (T::of(1.0 - beta_1), T::of(1.0 - beta_2));
        let (beta_1, beta_2, eps) = (T::of(beta_1), T::of(beta_2), T::of(self.eps));
        let shrink = if self.decoupled { self.learning_rate * self.weight_decay } else { 0.0 };
        let shrink = T::of(1.0 - shrink);
        let decay = T::of(if self.decoupled { 0.0 } else { self.weight_decay });
        walk(parameters, grad, &mut self.moments, &mut |theta, grad, [m, v]| {
            for (((theta, &grad), m), v) in theta.iter_mut().zip(grad).zip(m).zip(v) {
                *theta *= shrink;
                let d = grad + decay * *theta;
                *m = beta_1 * *m + rest_1 * d;
                *v = beta_2 * *v + rest_2 * (d * d);
                *theta -= rate * (*m / (v.sqrt() / correction + eps));
            }
        })?;
        self.steps += 1;
        Ok(())
    }
}
