//! Optimisers: a rule per file over one array; clipping stands apart.
//!
//! A step reads each array once and writes parameters and moments once. Before that it reads the
//! gradient alone: an error must leave parameters and moments as they were, so all of the gradient
//! has to be known to be good before the first of them changes. To Adam's traffic that adds a seventh,
//! to plain descent's a third. Moments are bundles of the parameters' own type.
//!
//! | file | rule |
//! |---|---|
//! | `optimizer` | [`Optimizer`]: what every rule can do, and the state that it can save |
//! | `sgd` | [`Sgd`]: gradient descent, with momentum |
//! | `adam` | [`Adam`]: adaptive moments; AdamW, AMSGrad, NAdam, RAdam |
//! | `adaptive` | [`Adaptive`]: RMSprop, Adagrad, Adadelta |
//! | `groups` | [`Groups`]: own rates for some arrays, none for others, by name |
//! | `clip` | [`clip_global_norm`], [`clip_value`] |
//! | `ema` | [`Ema`]: the moving average of weights |
//! | `schedule` | [`Schedule`](schedule::Schedule): the learning rate over time |

pub mod adam;
pub mod adaptive;
pub mod clip;
pub mod ema;
mod groups;
mod optimizer;
pub mod schedule;
pub mod sgd;

use ndarray::ArrayViewD;

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::update::{Check, Rule, Step};
use crate::tensor::{self, Level};

pub use adam::Adam;
pub use adaptive::Adaptive;
pub use clip::{clip_global_norm, clip_value};
pub use ema::Ema;
pub use groups::Groups;
pub use optimizer::{Optimizer, OptimizerState};
pub use sgd::Sgd;

/// A hyper-parameter, if it is finite and `low ≤ value < high`.
fn in_range(argument: &'static str, value: f64, low: f64, high: f64) -> Result<f64> {
    if value.is_finite() && low <= value && value < high {
        return Ok(value);
    }
    let above = if high.is_finite() { format!(" < {high}") } else { String::new() };
    Err(Error::argument(argument, format!("a finite value, {low} ≤ {argument}{above}"), value))
}

/// A hyper-parameter, or what a step makes of it, if the parameters' type can hold it.
fn representable<T: Float>(argument: &'static str, value: f64) -> Result<f64> {
    if T::from_f64(value).is_finite() {
        return Ok(value);
    }
    Err(Error::argument(argument, format!("a value within the range of {}", T::NAME), value))
}

/// A rule with the instances of its kernels.
struct Compiled<R: Rule<N>, const N: usize> {
    step: tensor::Compiled<Step<R, N>>,
    check: tensor::Compiled<Check<R, N>>,
}

impl<R: Rule<N>, const N: usize> Compiled<R, N> {
    const fn new() -> Self {
        Self { step: tensor::Compiled::new(), check: tensor::Compiled::new() }
    }
}

/// One step of `rule` for each array of the parameters. The moments begin as zeros.
///
/// # Errors
/// Where `grad` does not fit or is not finite, what the rule checks is not finite, or an array has
/// no standard layout; nothing has changed then.
fn walk<T: Float, A: Arrays<Elem = T>, R: Rule<N>, const N: usize>(
    parameters: &mut A,
    grad: &A,
    moments: &mut Option<[A; N]>,
    (rule, compiled): (&R, &'static Compiled<R, N>),
) -> Result<()> {
    check_same_structure("grad", parameters, grad)?;
    if let Some(moments) = moments {
        moments.iter().try_for_each(|m| check_same_structure("parameters", m, parameters))?;
    }
    let mut grads = Vec::new();
    grad.for_each(&mut |_, array| grads.push(array));
    check(parameters, grad, &grads, (rule, compiled))?;
    let moments = moments.get_or_insert_with(|| std::array::from_fn(|_| parameters.zeros_like()));
    let mut moments = moments.each_mut().map(|moment| {
        let mut arrays = Vec::new();
        moment.for_each_mut(&mut |_, array| arrays.push(array));
        arrays.into_iter()
    });
    let (mut grads, level) = (grads.into_iter(), Level::new());
    parameters.for_each_mut(&mut |_, mut array| {
        let Some(grad) = grads.next() else { return };
        let grad = grad.as_standard_layout();
        let moments = moments
            .each_mut()
            .map(|arrays| arrays.next().and_then(|array| array.into_slice()).unwrap_or_default());
        if let (Some(theta), Some(grad)) = (array.as_slice_mut(), grad.as_slice())
            && moments.iter().all(|moment| moment.len() == theta.len())
        {
            compiled.step.call(level, (rule, theta, grad, moments));
        }
    });
    Ok(())
}

/// Fails unless every array has standard layout, `grad` is finite, and what the rule checks is.
fn check<T: Float, A: Arrays<Elem = T>, R: Rule<N>, const N: usize>(
    parameters: &A,
    grad: &A,
    grads: &[ArrayViewD<'_, T>],
    (rule, compiled): (&R, &'static Compiled<R, N>),
) -> Result<()> {
    let (mut grads, level, mut checked) = (grads.iter(), Level::new(), Ok(()));
    parameters.for_each(&mut |name, array| {
        let (Ok(()), Some(grad)) = (&checked, grads.next()) else { return };
        let grad = grad.as_standard_layout();
        let (Some(theta), Some(grad)) = (array.as_slice(), grad.as_slice()) else {
            checked = Err(uneven(name));
            return;
        };
        let number = |i: usize| compiled.check.call(level, (rule, &theta[i..=i], &grad[i..=i])).1;
        if !compiled.check.call(level, (rule, theta, grad)).0 {
            let mut numbers = (0..grad.len()).map(number).enumerate();
            let found = numbers.find(|(_, value)| !value.is_finite()).unwrap_or((0, T::nan()));
            let (name, (index, value)) = (format!("{}{name}", R::CHECKED), found);
            checked = Err(Error::NonFinite { name, index, value: value.as_f64() });
        }
    });
    // Where the gradient itself is to blame, it is named.
    checked.or_else(|error| grad.check_finite().and(Err(error)))
}

fn uneven(name: &str) -> Error {
    Error::argument(name.to_owned(), "an array in standard layout", "another layout")
}
