//! Adam, AdamW, AMSGrad, NAdam and RAdam.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ              or, with decoupled weight decay, θ = θ·(1 − η·λ), d = ∂L/∂θ
//! m = m + (1 − β₁)·(d − m)     v = v + (1 − β₂)·(d² − v)
//! θ = θ − η/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)         AMSGrad: with the largest v so far
//!
//! NAdam   μₜ = β₁·(1 − ½·0.96^(ψ·t)), Πₜ = μ₁·…·μₜ
//!         θ = θ − η·((1 − μₜ)/(1 − Πₜ)·d + μₜ₊₁/(1 − Πₜ₊₁)·m) / (√v/√(1 − β₂ᵗ) + ε)
//! RAdam   ρ∞ = 2/(1 − β₂) − 1, ρ = ρ∞ − 2·t·β₂ᵗ/(1 − β₂ᵗ)
//!         θ = θ − η/(1 − β₁ᵗ) · m · q·√(1 − β₂ᵗ) / (√v + ε)     where ρ > 5, with
//!         q = √((ρ − 4)·(ρ − 2)·ρ∞ / ((ρ∞ − 4)·(ρ∞ − 2)·ρ)); else the fraction is 1
//! ```
//!
//! Each is computed as (s·d + r·m) / (√v + e) with scalars e, r and s of the step, which takes one
//! division. The new v lies between the old one and d², so the moments are finite if all d² are. A step
//! checks this before it changes anything.
//!
//! Source: Kingma and Ba, *Adam*, 2015; Loshchilov and Hutter, *Decoupled Weight Decay
//! Regularization*, 2019; Reddi, Kale and Kumar, *On the Convergence of Adam and Beyond*, 2018;
//! Dozat, *Incorporating Nesterov Momentum into Adam*, 2016; Liu et al., *On the Variance of the
//! Adaptive Learning Rate and Beyond*, 2020; options and defaults of `torch.optim`.

use super::{
    Checks, Optimizer, OptimizerState, Rules, between, by_decay, check_decays, count, delegate,
    in_range, representable, walk,
};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::{Float, per_float};
use crate::tensor::Compiled;
use crate::tensor::update::{Checked, Number, Rule, Step, decayed};

/// Adam; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | β₁, β₂ [`betas`](Self::betas) | 0.9, 0.999 | 0 ≤ β < 1 |
/// | ε [`eps`](Self::eps) | 1e-8 | at least 1.2e-38, so that it is not zero in f32 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | [`amsgrad`](Self::amsgrad) | false | |
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
pub struct Adam<A>(State<A>);

/// Adam with decoupled weight decay; see the [module](self). The options are those of [`Adam`].
#[derive(Clone, Debug)]
pub struct AdamW<A>(State<A>);

/// Adam with Nesterov's momentum and ψ = 0.004; see the [module](self). The options are those of
/// [`Adam`], without AMSGrad, and [`decoupled_weight_decay`](Self::decoupled_weight_decay).
#[derive(Clone, Debug)]
pub struct NAdam<A>(State<A>);

/// Rectified Adam, whose first steps do not use the second moment; see the [module](self). The
/// options are those of [`Adam`], without AMSGrad, and
/// [`decoupled_weight_decay`](Self::decoupled_weight_decay).
#[derive(Clone, Debug)]
pub struct RAdam<A>(State<A>);

impl<A> Adam<A> {
    /// Creates the rule with the learning rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn new(learning_rate: f64) -> Result<Self> {
        State::new(Kind::Plain, learning_rate, 0.0).map(Self)
    }
}

impl<A> AdamW<A> {
    /// Creates the rule with the learning rate η and the weight decay λ.
    ///
    /// # Errors
    /// Unless both are finite and at least 0.
    pub fn new(learning_rate: f64, weight_decay: f64) -> Result<Self> {
        let mut state = State::new(Kind::Plain, learning_rate, weight_decay)?;
        state.options.decoupled = true;
        Ok(Self(state))
    }
}

impl<A> NAdam<A> {
    /// Creates the rule with the learning rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn new(learning_rate: f64) -> Result<Self> {
        State::new(Kind::Nesterov { momentum_decay: 4e-3 }, learning_rate, 0.0).map(Self)
    }
}

impl<A> RAdam<A> {
    /// Creates the rule with the learning rate η.
    ///
    /// # Errors
    /// Unless η is finite and at least 0.
    pub fn new(learning_rate: f64) -> Result<Self> {
        State::new(Kind::Rectified, learning_rate, 0.0).map(Self)
    }
}

macro_rules! options {
    ($($rule:ident)+) => {$(
        impl<A> $rule<A> {
            /// Sets β₁ and β₂.
            ///
            /// # Errors
            /// Unless both lie in 0 ≤ β < 1.
            pub fn betas(mut self, beta_1: f64, beta_2: f64) -> Result<Self> {
                let beta_1 = in_range("beta_1", beta_1, 0.0, 1.0)?;
                self.0.options.betas = (beta_1, in_range("beta_2", beta_2, 0.0, 1.0)?);
                Ok(self)
            }

            /// Sets ε.
            ///
            /// # Errors
            /// Unless it is finite and at least 1.2e-38.
            pub fn eps(mut self, eps: f64) -> Result<Self> {
                let low = f64::from(f32::MIN_POSITIVE);
                self.0.options.eps = in_range("eps", eps, low, f64::INFINITY)?;
                Ok(self)
            }

            /// Sets λ.
            ///
            /// # Errors
            /// Unless it is finite and at least 0.
            pub fn weight_decay(mut self, weight_decay: f64) -> Result<Self> {
                let decay = in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?;
                self.0.options.weight_decay = decay;
                Ok(self)
            }
        }
    )+};
}
options! { Adam AdamW NAdam RAdam }
delegate! { Adam AdamW NAdam RAdam }

macro_rules! amsgrad {
    ($($rule:ident)+) => {$(
        impl<A> $rule<A> {
            /// Sets whether to divide by the largest second moment so far (AMSGrad) instead of the current
            /// one.
            pub fn amsgrad(mut self, amsgrad: bool) -> Self {
                self.0.options.amsgrad = amsgrad;
                self
            }
        }
    )+};
}
amsgrad! { Adam AdamW }

macro_rules! decoupled {
    ($($rule:ident)+) => {$(
        impl<A> $rule<A> {
            /// Sets whether weight decay multiplies the weights by 1 − η·λ, as in [`AdamW`], instead of
            /// adding λ·θ to the gradient. Default: false.
            pub fn decoupled_weight_decay(mut self, decoupled: bool) -> Self {
                self.0.options.decoupled = decoupled;
                self
            }
        }
    )+};
}
decoupled! { NAdam RAdam }

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Nesterov { momentum_decay: f64 },
    Rectified,
}

/// The part of the state that does not depend on the type of the parameters.
#[derive(Clone, Debug)]
struct Options {
    kind: Kind,
    learning_rate: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    decoupled: bool,
    amsgrad: bool,
    steps: u64,
    /// Πₜ of NAdam.
    product: f64,
}

#[derive(Clone, Debug)]
struct State<A> {
    options: Options,
    /// m and v, and the largest v so far with AMSGrad.
    moments: Vec<A>,
}

impl<A> State<A> {
    fn new(kind: Kind, learning_rate: f64, weight_decay: f64) -> Result<Self> {
        Ok(Self { options: Options::new(kind, learning_rate, weight_decay)?, moments: Vec::new() })
    }

    fn step<T: Float>(&mut self, parameters: &mut A, grad: &A, decays: &[Option<f64>]) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let (rules, product) = rules::<T>(&self.options, decays)?;
        if self.options.amsgrad {
            walk(parameters, grad, &mut self.moments, &Rules(&rules, &WITH_LARGEST))?;
        } else {
            walk(parameters, grad, &mut self.moments, &Rules(&rules, &MOMENTS))?;
        }
        (self.options.steps, self.options.product) = (self.options.steps + 1, product);
        Ok(())
    }
}

impl Options {
    fn new(kind: Kind, learning_rate: f64, weight_decay: f64) -> Result<Self> {
        Ok(Self {
            kind,
            learning_rate: in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?,
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: in_range("weight_decay", weight_decay, 0.0, f64::INFINITY)?,
            decoupled: false,
            amsgrad: false,
            steps: 0,
            product: 1.0,
        })
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        let Self { kind, betas, eps, weight_decay, decoupled, amsgrad, .. } = self;
        format!(
            "{name} {{ kind: {kind:?}, betas: {betas:?}, eps: {eps}, weight_decay: {weight_decay}, \
             decoupled_weight_decay: {decoupled}, amsgrad: {amsgrad} }}"
        )
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.learning_rate, self.steps as f64, self.product]
    }

    /// Returns the numbers of scalars and moments of a state.
    fn parts(&self) -> (usize, usize) {
        (3, 2 + usize::from(self.amsgrad))
    }

    /// Restores the `scalars` of a state. Fails, and changes nothing, if they are out of range.
    fn restore(&mut self, scalars: &[f64]) -> Result<()> {
        let steps = count(scalars[1])?;
        let product = between("state: product of momenta", scalars[2], 0.0, 1.0)?;
        self.set_learning_rate(scalars[0])?;
        (self.steps, self.product) = (steps, product);
        Ok(())
    }
}

per_float! {
    /// Returns the rules of the next step, and Πₜ.
    fn rules<'a, T>(options: &'a Options, decays: &'a [Option<f64>]) -> Result<(Vec<Moments>, f64)> = rules_of;
}

fn rules_of<T: Float>(options: &Options, decays: &[Option<f64>]) -> Result<(Vec<Moments>, f64)> {
    let (scalars, product) = scalars::<T>(options)?;
    let (beta_1, beta_2) = options.betas;
    let rules = by_decay(options.weight_decay, decays, |decay| {
        let decay = representable::<T>("weight_decay", decay)?;
        let shrink = if options.decoupled { options.learning_rate * decay } else { 0.0 };
        let keep = 1.0 - representable::<T>("learning_rate × weight_decay", shrink)?;
        let decay = if options.decoupled { 0.0 } else { decay };
        Ok(Moments { scalars, rest: (1.0 - beta_1, 1.0 - beta_2), keep, decay })
    });
    Ok((rules?, product))
}

/// Returns the scalars of the next step, and Πₜ.
fn scalars<T: Float>(options: &Options) -> Result<(Scalars, f64)> {
    let t = (options.steps + 1) as f64;
    let (beta_1, beta_2) = options.betas;
    let (rest_1, rest_2) = (1.0 - beta_1.powf(t), 1.0 - beta_2.powf(t));
    let (rate, correction) = (options.learning_rate, rest_2.sqrt());
    let mut scalars = Scalars {
        slope: 0.0,
        momentum: rate * correction / rest_1,
        eps: options.eps * correction,
        divide: true,
    };
    let mut product = options.product;
    match options.kind {
        Kind::Plain => {}
        Kind::Nesterov { momentum_decay } => {
            let mu = |t: f64| beta_1 * (1.0 - 0.5 * 0.96_f64.powf(t * momentum_decay));
            let (now, next) = (mu(t), mu(t + 1.0));
            product *= now;
            scalars.slope = rate * correction * (1.0 - now) / (1.0 - product);
            scalars.momentum = rate * correction * next / (1.0 - product * next);
        }
        Kind::Rectified => {
            let all = 2.0 / (1.0 - beta_2) - 1.0;
            let rho = all - 2.0 * t * beta_2.powf(t) / rest_2;
            let rectified = (rho - 4.0) * (rho - 2.0) * all;
            let rectified = (rectified / ((all - 4.0) * (all - 2.0) * rho)).sqrt();
            scalars.divide = rho > 5.0;
            scalars.eps = options.eps;
            scalars.momentum = rate / rest_1;
            if scalars.divide {
                scalars.momentum *= rectified * correction;
            }
        }
    }
    for value in [rate, scalars.momentum, scalars.slope] {
        representable::<T>("learning_rate", value)?;
    }
    representable::<T>("eps", options.eps)?;
    // The product with the correction may underflow; the divisor must not be zero.
    scalars.eps = scalars.eps.max(T::min_positive_value().as_f64());
    Ok((scalars, product))
}

/// The scalars of the step (slope·d + momentum·m) / (√v + eps), in which `divide` keeps the division.
#[derive(Clone, Copy)]
struct Scalars {
    slope: f64,
    momentum: f64,
    eps: f64,
    divide: bool,
}

struct Moments {
    scalars: Scalars,
    /// 1 − β₁ and 1 − β₂.
    rest: (f64, f64),
    /// 1 − η·λ with decoupled weight decay, else 1.
    keep: f64,
    /// λ, or 0 with decoupled weight decay.
    decay: f64,
}

impl Moments {
    /// Returns d and both moments after the step.
    #[inline(always)]
    fn advance<V: Number>(&self, theta: V, grad: V, [m, v]: [V; 2]) -> [V; 3] {
        let d = decayed(self.decay, theta, grad);
        let m_t = (d - m).mul_add(d.like(self.rest.0), m).flush();
        let v_t = (d * d - v).mul_add(d.like(self.rest.1), v).flush();
        [d, m_t, v_t]
    }

    /// Returns θ after the step.
    #[inline(always)]
    fn descend<V: Number>(&self, theta: V, [d, m_t, v_t]: [V; 3]) -> V {
        let Scalars { slope, momentum, eps, divide } = self.scalars;
        let kept = theta * d.like(self.keep);
        let below = if divide { v_t.sqrt() + d.like(eps) } else { d.like(1.0) };
        // Without the term in d the division comes first, which rounds like Adam's equation.
        if slope == 0.0 {
            return (m_t / below).mul_add(d.like(-momentum), kept);
        }
        kept - d.mul_add(d.like(slope), m_t * d.like(momentum)) / below
    }
}

static MOMENTS: Compiled<Step<Moments, 2>> = Compiled::new();
static WITH_LARGEST: Compiled<Step<Moments, 3>> = Compiled::new();

impl Checks for Moments {
    const CHECKED: &'static str = "second moment of ";

    fn checked(&self) -> Checked {
        Checked { decay: self.decay, squared: true }
    }
}

impl Rule<2> for Moments {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, moments: [V; 2]) -> (V, [V; 2]) {
        let moved @ [_, m_t, v_t] = self.advance(theta, grad, moments);
        (self.descend(theta, moved), [m_t, v_t])
    }
}

impl Rule<3> for Moments {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [m, v, largest]: [V; 3]) -> (V, [V; 3]) {
        let [d, m_t, v_t] = self.advance(theta, grad, [m, v]);
        let largest = v_t.greater(largest);
        (self.descend(theta, [d, m_t, largest]), [m_t, v_t, largest])
    }
}
