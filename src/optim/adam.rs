//! Adam, and AdamW.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ  (Adam)      or      θ = θ·(1 − η·λ), d = ∂L/∂θ  (AdamW)
//! m = m + (1 − β₁)·(d − m)     v = v + (1 − β₂)·(d² − v)
//! θ = θ − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)
//! ```
//!
//! The last line is computed as r · (m / (√v + e)) with the scalars e = ε·√(1 − β₂ᵗ) and
//! r = η·√(1 − β₂ᵗ)/(1 − β₁ᵗ): one division. As v lies between its last value and d², the moments
//! are finite if all d² are, and that is what a step checks before it begins.
//!
//! Source: Kingma and Ba, *Adam*, 2015; Loshchilov and Hutter, *Decoupled Weight Decay
//! Regularization*, 2019; options and defaults of `torch.optim.Adam` and `AdamW`.

use super::{Optimizer, OptimizerState, Rule, flush, in_range, representable, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::{Lanes, Simd, SimdFloat, Vector, lanes};

/// Adam or AdamW; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | β₁, β₂ [`betas`](Self::betas) | 0.9, 0.999 | 0 ≤ β < 1 |
/// | ε [`eps`](Self::eps) | 1e-8 | at least 1.2e-38: above zero in f32 too |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::Adam;
///
/// let mut theta = array![4.0_f32, -2.0];
/// let mut adam = Adam::new(0.1)?;
/// for step in 0..400 {
///     adam.set_learning_rate(0.1 / f64::from(1 + step / 100))?;
///     let grad = &theta * 2.0; // of Σ θ²
///     adam.step(&mut theta, &grad)?;
/// }
/// assert!(theta.iter().all(|value| value.abs() < 1e-3));
/// # Ok::<(), recurrent::Error>(())
/// ```
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
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn new(learning_rate: f64) -> Result<Self> {
        let mut adam = Self {
            learning_rate: 0.0,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            steps: 0,
            moments: None,
        };
        adam.set_learning_rate(learning_rate)?;
        Ok(adam)
    }

    /// AdamW at the given rate η and weight decay λ.
    pub fn decoupled(learning_rate: f64, weight_decay: f64) -> Result<Self> {
        let adam = Self::new(learning_rate)?.weight_decay(weight_decay)?;
        Ok(Self { decoupled: true, ..adam })
    }

    /// η.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// Sets η for the steps to come: what a schedule does.
    ///
    /// # Errors
    /// As [`new`](Self::new); η stays as it was then.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
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
    /// Where `grad` does not fit, a gradient or its square is not finite, or a hyper-parameter lies
    /// outside the range of `T`; nothing has changed then.
    pub fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<T>,
    {
        let rule = self.rule::<T>((self.steps + 1) as f64)?;
        walk(parameters, grad, &mut self.moments, &rule)?;
        self.steps += 1;
        Ok(())
    }

    /// The scalars of step `t`.
    fn rule<T: Float>(&self, t: f64) -> Result<Moments> {
        let (beta_1, beta_2) = self.betas;
        let correction = (1.0 - beta_2.powf(t)).sqrt();
        let rate = representable::<T>("learning_rate", self.learning_rate)? * correction;
        let rate = representable::<T>("learning_rate", rate / (1.0 - beta_1.powf(t)))?;
        let eps = representable::<T>("eps", self.eps)? * correction;
        let decay = representable::<T>("weight_decay", self.weight_decay)?;
        let (decay, shrink) =
            if self.decoupled { (0.0, self.learning_rate * decay) } else { (decay, 0.0) };
        Ok(Moments {
            rate,
            rest: (1.0 - beta_1, 1.0 - beta_2),
            // Above zero, whatever the correction.
            eps: eps.max(T::min_positive_value().f64()),
            keep: 1.0 - representable::<T>("learning_rate × weight_decay", shrink)?,
            decay,
        })
    }
}

impl<T: Float, A: Arrays<T>> Optimizer<T, A> for Adam<A> {
    fn step(&mut self, parameters: &mut A, grad: &A) -> Result<()> {
        self.step(parameters, grad)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.set_learning_rate(learning_rate)
    }

    fn state(&self) -> OptimizerState<A> {
        OptimizerState::new(&[self.learning_rate, self.steps as f64], &self.moments)
    }

    fn restore(&mut self, state: OptimizerState<A>) -> Result<()> {
        let ([rate, steps], moments) = state.parts()?;
        self.set_learning_rate(rate)?;
        (self.steps, self.moments) = (steps as u64, moments);
        Ok(())
    }
}

struct Moments {
    /// r.
    rate: f64,
    /// 1 − β₁ and 1 − β₂.
    rest: (f64, f64),
    /// e.
    eps: f64,
    /// 1 − η·λ in AdamW, else 1.
    keep: f64,
    /// λ in Adam, else 0.
    decay: f64,
}

impl Moments {
    /// d.
    #[inline(always)]
    fn slope<S: Simd, T: Float>(&self, l: Lanes<S, T>, theta: &[T], grad: &[T]) -> Vector<S, T> {
        if self.decay == 0.0 {
            return l.load(grad);
        }
        l.load(theta).mul_add(l.splat(self.decay), l.load(grad))
    }
}

impl<T: Float> Rule<T, 2> for Moments {
    const CHECKED: &'static str = "second moment of ";

    #[inline(always)]
    fn checked<S: Simd>(&self, l: Lanes<S, T>, theta: &[T], grad: &[T]) -> Vector<S, T> {
        let d = self.slope(l, theta, grad);
        d * d
    }

    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, theta: &mut [T], grad: &[T], [m, v]: [&mut [T]; 2]) {
        for l in lanes(simd, theta.len()) {
            let d = self.slope(l, theta, grad);
            let (m_t, v_t) = (l.load(m), l.load(v));
            let m_t = flush::<S, T>((d - m_t).mul_add(l.splat(self.rest.0), m_t));
            let v_t = flush::<S, T>((d * d - v_t).mul_add(l.splat(self.rest.1), v_t));
            l.store(m, m_t);
            l.store(v, v_t);
            let kept = l.load(theta) * l.splat(self.keep);
            let step = m_t / (v_t.sqrt() + l.splat(self.eps));
            l.store(theta, step.mul_add(l.splat(-self.rate), kept));
        }
    }
}
