//! RMSprop, Adagrad and Adadelta, which scale the step of each value by the size of its gradients.
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
//! `torch.optim`. Adagrad's sum saturates at the largest finite number.

use super::optimizer::check_parts;
use super::{Compiled, Optimizer, OptimizerState, delegate, in_range, representable, walk};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::{Float, per_float};
use crate::tensor::update::{Number, Rule};

/// RMSprop; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | ε [`eps`](Self::eps) | 1e-8 | at least 1.2e-38 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | μ [`momentum`](Self::momentum) | 0 | 0 ≤ μ < 1 |
/// | α [`decay`](Self::decay) | 0.99 | 0 ≤ α < 1 |
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::RmsProp;
///
/// let mut theta = array![4.0_f64];
/// let mut rule = RmsProp::new(0.01)?.momentum(0.5)?;
/// for _ in 0..600 {
///     let grad = &theta * 2.0; // of θ²
///     rule.step(&mut theta, &grad)?;
/// }
/// assert!(theta[0].abs() < 0.1);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RmsProp<A>(State<A>);

/// Adagrad; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | ε [`eps`](Self::eps) | 1e-10 | at least 1.2e-38 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | κ [`rate_decay`](Self::rate_decay) | 0 | at least 0 |
#[derive(Clone, Debug)]
pub struct Adagrad<A>(State<A>);

/// Adadelta; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – (1 in the paper) | at least 0 |
/// | ε [`eps`](Self::eps) | 1e-6 | at least 1.2e-38 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | ρ [`decay`](Self::decay) | 0.9 | 0 ≤ ρ < 1 |
#[derive(Clone, Debug)]
pub struct Adadelta<A>(State<A>);

macro_rules! rules {
    ($($rule:ident $eps:literal $decay:literal)+) => {$(
        impl<A> $rule<A> {
            /// Creates the rule with the learning rate η.
            ///
            /// # Errors
            /// Unless η is finite and at least 0.
            pub fn new(learning_rate: f64) -> Result<Self> {
                let options = Options::new(Kind::$rule, learning_rate, $eps, $decay)?;
                Ok(Self(State { options, moments: Vec::new() }))
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
rules! { RmsProp 1e-8 0.99  Adagrad 1e-10 0.0  Adadelta 1e-6 0.9 }
delegate! { RmsProp Adagrad Adadelta }

impl<A> RmsProp<A> {
    /// Sets μ.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ μ < 1.
    pub fn momentum(mut self, momentum: f64) -> Result<Self> {
        self.0.options.momentum = in_range("momentum", momentum, 0.0, 1.0)?;
        Ok(self)
    }

    /// Sets α.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ α < 1.
    pub fn decay(mut self, decay: f64) -> Result<Self> {
        self.0.options.decay = in_range("decay", decay, 0.0, 1.0)?;
        Ok(self)
    }
}

impl<A> Adagrad<A> {
    /// Sets κ.
    ///
    /// # Errors
    /// Unless it is finite and at least 0.
    pub fn rate_decay(mut self, rate_decay: f64) -> Result<Self> {
        self.0.options.rate_decay = in_range("rate_decay", rate_decay, 0.0, f64::INFINITY)?;
        Ok(self)
    }
}

impl<A> Adadelta<A> {
    /// Sets ρ.
    ///
    /// # Errors
    /// Unless it lies in 0 ≤ ρ < 1.
    pub fn decay(mut self, decay: f64) -> Result<Self> {
        self.0.options.decay = in_range("decay", decay, 0.0, 1.0)?;
        Ok(self)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    RmsProp,
    Adagrad,
    Adadelta,
}

/// The part of the state that does not depend on the type of the parameters.
#[derive(Clone, Debug)]
struct Options {
    kind: Kind,
    learning_rate: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    decay: f64,
    rate_decay: f64,
    steps: u64,
}

#[derive(Clone, Debug)]
struct State<A> {
    options: Options,
    moments: Vec<A>,
}

impl<A> State<A> {
    fn step<T: Float>(&mut self, parameters: &mut A, grad: &A) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let rule = by_size::<T>(&self.options)?;
        walk(parameters, grad, &mut self.moments, &(&rule, &BY_SIZE))?;
        self.options.steps += 1;
        Ok(())
    }
}

impl Options {
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
        })
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        let Self { eps, weight_decay, momentum, decay, rate_decay, .. } = self;
        format!(
            "{name} {{ eps: {eps}, weight_decay: {weight_decay}, momentum: {momentum}, \
             decay: {decay}, rate_decay: {rate_decay} }}"
        )
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.learning_rate, self.steps as f64]
    }

    /// Restores the `scalars` of a state. Fails unless their number and that of `moments` are right.
    fn restore(&mut self, scalars: &[f64], moments: usize) -> Result<()> {
        check_parts((scalars.len(), moments), (2, 2))?;
        self.set_learning_rate(scalars[0])?;
        self.steps = scalars[1] as u64;
        Ok(())
    }
}

per_float! {
    /// Returns the scalars of the next step.
    fn by_size<'a, T>(options: &'a Options) -> Result<BySize> = by_size_of;
}

fn by_size_of<T: Float>(options: &Options) -> Result<BySize> {
    let rate = representable::<T>("learning_rate", options.learning_rate)?;
    let past = options.steps as f64;
    let adagrad = options.kind == Kind::Adagrad;
    Ok(BySize {
        kind: options.kind,
        rate: if adagrad { rate / (1.0 + past * options.rate_decay) } else { rate },
        eps: representable::<T>("eps", options.eps)?.max(T::min_positive_value().as_f64()),
        weight_decay: representable::<T>("weight_decay", options.weight_decay)?,
        momentum: options.momentum,
        rest: 1.0 - options.decay,
    })
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
    /// Returns d.
    #[inline(always)]
    fn slope<V: Number>(&self, theta: V, grad: V) -> V {
        theta.mul_add(theta.like(self.weight_decay), grad)
    }

    /// Returns the moving average `mean` after `square`.
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
