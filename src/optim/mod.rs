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
use crate::tensor::activation::zero_below;
use crate::tensor::{Lanes, Level, Simd, SimdBase, SimdFloat, Vector, dispatch, lanes};

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
    if T::of(value).is_finite() {
        return Ok(value);
    }
    Err(Error::argument(argument, format!("a value within the range of {}", T::NAME), value))
}

/// What an optimiser does to one array, with `N` moments.
trait Rule<T: Float, const N: usize> {
    /// What [`checked`](Self::checked) returns, in words that stand before the name of an array.
    const CHECKED: &'static str = "";

    /// The values of one vector that have to be finite for the step to make sense: the gradient, if
    /// a rule says no more.
    #[inline(always)]
    fn checked<S: Simd>(&self, l: Lanes<S, T>, _theta: &[T], grad: &[T]) -> Vector<S, T> {
        l.load(grad)
    }

    /// The step: all slices are of one length.
    fn apply<S: Simd>(&self, simd: S, theta: &mut [T], grad: &[T], moments: [&mut [T]; N]);
}

/// One step of `rule` for each array of the parameters. The moments begin as zeros.
///
/// # Errors
/// Where `grad` does not fit or is not finite, what the rule checks is not finite, or an array has
/// no standard layout; nothing has changed then.
fn walk<T: Float, A: Arrays<T>, R: Rule<T, N>, const N: usize>(
    parameters: &mut A,
    grad: &A,
    moments: &mut Option<[A; N]>,
    rule: &R,
) -> Result<()> {
    check_same_structure("grad", parameters, grad)?;
    if let Some(moments) = moments {
        moments.iter().try_for_each(|m| check_same_structure("parameters", m, parameters))?;
    }
    let mut grads = Vec::new();
    grad.for_each(&mut |_, array| grads.push(array));
    check(parameters, grad, &grads, rule)?;
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
            dispatch!(level, simd => rule.apply(simd, theta, grad, moments));
        }
    });
    Ok(())
}

/// Fails unless every array has standard layout, `grad` is finite, and what the rule checks is.
fn check<T: Float, A: Arrays<T>, R: Rule<T, N>, const N: usize>(
    parameters: &A,
    grad: &A,
    grads: &[ArrayViewD<'_, T>],
    rule: &R,
) -> Result<()> {
    let (mut grads, level, mut checked) = (grads.iter(), Level::new(), Ok(()));
    parameters.for_each(&mut |name, array| {
        let (Ok(()), Some(grad)) = (&checked, grads.next()) else { return };
        let grad = grad.as_standard_layout();
        let (Some(theta), Some(grad)) = (array.as_slice(), grad.as_slice()) else {
            checked = Err(uneven(name));
            return;
        };
        if !dispatch!(level, simd => all_finite(simd, rule, theta, grad)) {
            checked =
                Err(dispatch!(level, simd => first_not_finite(simd, rule, name, theta, grad)));
        }
    });
    // Where the gradient itself is to blame, it is named.
    checked.or_else(|error| grad.check_finite().and(Err(error)))
}

fn uneven(name: &str) -> Error {
    Error::argument(name.to_owned(), "an array in standard layout", "another layout")
}

#[inline(always)]
fn all_finite<S: Simd, T: Float, R: Rule<T, N>, const N: usize>(
    simd: S,
    rule: &R,
    theta: &[T],
    grad: &[T],
) -> bool {
    // 0·x is zero, or NaN where x is not finite.
    let zero = Vector::<S, T>::splat(simd, T::zero());
    let mut sum = zero;
    for l in lanes(simd, grad.len()) {
        sum = rule.checked(l, theta, grad).mul_add(zero, sum);
    }
    sum.reduce_sum() == T::zero()
}

#[inline(always)]
fn first_not_finite<S: Simd, T: Float, R: Rule<T, N>, const N: usize>(
    simd: S,
    rule: &R,
    name: &str,
    theta: &[T],
    grad: &[T],
) -> Error {
    let found = |index: usize, value: T| {
        let name = format!("{}{name}", R::CHECKED);
        Error::NonFinite { name, index, value: value.f64() }
    };
    for i in 0..grad.len() {
        for l in lanes(simd, 1) {
            let value = rule.checked(l, &theta[i..=i], &grad[i..=i]).as_slice()[0];
            if !value.is_finite() {
                return found(i, value);
            }
        }
    }
    found(0, T::nan())
}

/// `x`, or zero where it is no normal number: the moments of a value that has no gradient any more
/// would end there, where a step takes 20 to 40 times as long, and stay.
#[inline(always)]
fn flush<S: Simd, T: Float>(x: Vector<S, T>) -> Vector<S, T> {
    zero_below(x, T::min_positive_value().f64())
}
