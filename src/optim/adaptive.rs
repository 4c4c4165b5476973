//! RMSprop, Adagrad and Adadelta, which scale the step of each value by the size of its gradients.
//!
//! ```text
//! d = ∂L/∂θ + λ·θ
//! RMSprop    v = v + (1 − α)·(d² − v)      u = μ·u + d/(√v + ε)        θ = θ − η·u
//!   centred  m = m + (1 − α)·(d − m)       with √max(0, v − m²) in place of √v
//! Adagrad    v = v + d²                    θ = θ − η/(1 + (t − 1)·κ) · d/(√v + ε)
//! Adadelta   v = v + (1 − ρ)·(d² − v)      δ = d·√(u + ε)/√(v + ε)
//!            u = u + (1 − ρ)·(δ² − u)      θ = θ − η·δ
//! ```
//!
//! Source: Hinton, *Neural Networks for Machine Learning*, lecture 6e, 2012; Duchi, Hazan and Singer,
//! *Adaptive Subgradient Methods*, 2011; Zeiler, *ADADELTA*, 2012; Graves, *Generating Sequences With
//! Recurrent Neural Networks*, 2013 (centred RMSprop); options and defaults of `torch.optim`. Adagrad's
//! sum saturates at the largest finite number.

use super::{
    Checks, Optimizer, OptimizerState, Rules, by_decay, check_decays, count, delegate, in_range,
    representable, walk,
};
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::{Float, per_float};
use crate::tensor::Compiled;
use crate::tensor::update::{Checked, Number, Rule, Step, decayed};

/// RMSprop; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | η `learning_rate` | – | at least 0 |
/// | ε [`eps`](Self::eps) | 1e-8 | at least 1.2e-38 |
/// | λ [`weight_decay`](Self::weight_decay) | 0 | at least 0 |
/// | μ [`momentum`](Self::momentum) | 0 | 0 ≤ μ < 1 |
/// | α [`decay`](Self::decay) | 0.99 | 0 ≤ α < 1 |
/// | [`centered`](Self::centered) | false | |
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
/// | v at first [`initial_accumulator_value`](Self::initial_accumulator_value) | 0 | at least 0 |
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

    /// Sets whether steps are divided by an estimate of the standard deviation of the gradients instead
    /// of their root mean square. It takes a third moment.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::optim::RmsProp;
    ///
    /// let mut rule = RmsProp::new(0.1)?.decay(0.5)?.centered(true);
    /// let mut theta = array![0.0_f64];
    /// rule.step(&mut theta, &array![2.0])?; // v = 2, m = 1: the deviation is 1
    /// assert!((theta[0] + 0.2).abs() < 1e-8);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn centered(mut self, centered: bool) -> Self {
        self.0.options.centered = centered;
        self
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

    /// Sets the value of v before the first step.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::optim::Adagrad;
    ///
    /// let mut rule = Adagrad::new(0.1)?.initial_accumulator_value(9.0)?;
    /// let mut theta = array![0.0_f64];
    /// rule.step(&mut theta, &array![4.0])?; // v = 9 + 4²
    /// assert!((theta[0] + 0.1 * 4.0 / 5.0).abs() < 1e-10);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// Unless it is finite and at least 0.
    pub fn initial_accumulator_value(mut self, value: f64) -> Result<Self> {
        let value = in_range("initial_accumulator_value", value, 0.0, f64::INFINITY)?;
        self.0.options.initial_accumulator_value = value;
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
    centered: bool,
    initial_accumulator_value: f64,
    steps: u64,
}

#[derive(Clone, Debug)]
struct State<A> {
    options: Options,
    moments: Vec<A>,
}

impl<A> State<A> {
    fn step<T: Float>(&mut self, parameters: &mut A, grad: &A, decays: &[Option<f64>]) -> Result<()>
    where
        A: Arrays<Elem = T>,
    {
        let rules = rules::<T>(&self.options, decays)?;
        if self.options.centered {
            walk(parameters, grad, &mut self.moments, &Rules(&rules, &CENTERED))?;
        } else {
            walk(parameters, grad, &mut self.moments, &Rules(&rules, &BY_SIZE))?;
        }
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
            centered: false,
            initial_accumulator_value: 0.0,
            steps: 0,
        })
    }

    fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.learning_rate = in_range("learning_rate", learning_rate, 0.0, f64::INFINITY)?;
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        let Self { eps, weight_decay, momentum, decay, rate_decay, centered, .. } = self;
        format!(
            "{name} {{ eps: {eps}, weight_decay: {weight_decay}, momentum: {momentum}, \
             decay: {decay}, rate_decay: {rate_decay}, centered: {centered}, \
             initial_accumulator_value: {} }}",
            self.initial_accumulator_value
        )
    }

    fn scalars(&self) -> Vec<f64> {
        vec![self.learning_rate, self.steps as f64]
    }

    /// Returns the numbers of scalars and moments of a state.
    fn parts(&self) -> (usize, usize) {
        (2, 2 + usize::from(self.centered))
    }

    /// Restores the `scalars` of a state. Fails, and changes nothing, if they are out of range.
    fn restore(&mut self, scalars: &[f64]) -> Result<()> {
        let steps = count(scalars[1])?;
        self.set_learning_rate(scalars[0])?;
        self.steps = steps;
        Ok(())
    }
}

per_float! {
    /// Returns the rules of the next step.
    fn rules<'a, T>(options: &'a Options, decays: &'a [Option<f64>]) -> Result<Vec<BySize>> = rules_of;
}

fn rules_of<T: Float>(options: &Options, decays: &[Option<f64>]) -> Result<Vec<BySize>> {
    let rate = representable::<T>("learning_rate", options.learning_rate)?;
    let (past, value) = (options.steps as f64, options.initial_accumulator_value);
    let adagrad = options.kind == Kind::Adagrad;
    let rule = BySize {
        kind: options.kind,
        rate: if adagrad { rate / (1.0 + past * options.rate_decay) } else { rate },
        eps: representable::<T>("eps", options.eps)?.max(T::min_positive_value().as_f64()),
        weight_decay: 0.0,
        momentum: options.momentum,
        rest: 1.0 - options.decay,
        initial: representable::<T>("initial_accumulator_value", value)?,
    };
    by_decay(options.weight_decay, decays, |decay| {
        Ok(BySize { weight_decay: representable::<T>("weight_decay", decay)?, ..rule })
    })
}

#[derive(Clone, Copy)]
struct BySize {
    kind: Kind,
    rate: f64,
    eps: f64,
    weight_decay: f64,
    momentum: f64,
    /// 1 − α or 1 − ρ.
    rest: f64,
    /// v before the first step.
    initial: f64,
}

impl BySize {
    /// Returns the moving average `mean` after `value`.
    #[inline(always)]
    fn toward<V: Number>(&self, mean: V, value: V) -> V {
        (value - mean).mul_add(mean.like(self.rest), mean).flush()
    }

    /// Returns u after the step of RMSprop that divides `d` by the root of `square`.
    #[inline(always)]
    fn push<V: Number>(&self, u: V, d: V, square: V) -> V {
        let scaled = d / (square.sqrt() + d.like(self.eps));
        u.mul_add(u.like(self.momentum), scaled).flush()
    }
}

static BY_SIZE: Compiled<Step<BySize, 2>> = Compiled::new();
static CENTERED: Compiled<Step<BySize, 3>> = Compiled::new();

impl Checks for BySize {
    const CHECKED: &'static str = "square of ";

    fn checked(&self) -> Checked {
        Checked { decay: self.weight_decay, squared: true }
    }

    fn initial(&self, moment: usize) -> f64 {
        if moment == 0 { self.initial } else { 0.0 }
    }
}

impl Rule<2> for BySize {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [v, u]: [V; 2]) -> (V, [V; 2]) {
        let (d, eps) = (decayed(self.weight_decay, theta, grad), theta.like(self.eps));
        let (v_t, u_t, step) = match self.kind {
            Kind::RmsProp => {
                let v_t = self.toward(v, d * d);
                let u_t = self.push(u, d, v_t);
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

/// Centred RMSprop.
impl Rule<3> for BySize {
    #[inline(always)]
    fn step<V: Number>(&self, theta: V, grad: V, [v, u, m]: [V; 3]) -> (V, [V; 3]) {
        let d = decayed(self.weight_decay, theta, grad);
        let (v_t, m_t) = (self.toward(v, d * d), self.toward(m, d));
        // Rounding can make the difference negative.
        let variance = (-m_t).mul_add(m_t, v_t).greater(d.like(0.0));
        let u_t = self.push(u, d, variance);
        (u_t.mul_add(u_t.like(-self.rate), theta), [v_t, u_t, m_t])
    }
}
