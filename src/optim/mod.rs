//! Optimisers: a rule per file over one array; clipping stands apart.
//!
//! Each step checks first that the gradient has the parameters' arrays and is finite; then it walks
//! over memory once. Moments are bundles of the parameters' own type.
//!
//! | file | rule |
//! |---|---|
//! | `sgd` | [`Sgd`]: gradient descent, with momentum |
//! | `adam` | [`Adam`]: adaptive moments, and AdamW |
//! | `clip` | [`clip_global_norm`] |

pub mod adam;
pub mod clip;
pub mod sgd;

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Error, Result};
use crate::float::Float;

pub use adam::Adam;
pub use clip::clip_global_norm;
pub use sgd::Sgd;

/// A hyper-parameter, if it is finite and `low ≤ value < high`.
fn in_range(argument: &'static str, value: f64, low: f64, high: f64) -> Result<f64> {
    if value.is_finite() && low <= value && value < high {
        return Ok(value);
    }
    let above = if high.is_finite() { format!(" < {high}") } else { String::new() };
    Err(Error::argument(argument, format!("a finite value, {low} ≤ {argument}{above}"), value))
}

/// What a rule sees of one array: its values, their gradient and `N` moments.
type Rule<'r, T, const N: usize> = dyn FnMut(&mut [T], &[T], [&mut [T]; N]) + 'r;

/// Calls `rule` with each array of the parameters. The moments begin as zeros.
///
/// # Errors
/// Where `grad` does not fit or is not finite, or an array has no standard layout; nothing has
/// changed then.
fn walk<T: Float, A: Arrays<T>, const N: usize>(
    parameters: &mut A,
    grad: &A,
    moments: &mut Option<[A; N]>,
    rule: &mut Rule<'_, T, N>,
) -> Result<()> {
    check_same_structure("grad", parameters, grad)?;
    grad.check_finite()?;
    let mut uneven = None;
    parameters.for_each(&mut |name, array| {
        if !array.is_standard_layout() {
            uneven = Some(name.to_owned());
        }
    });
    if let Some(name) = uneven {
        return Err(Error::argument(name, "an array in standard layout", "another layout"));
    }
    let moments = moments.get_or_insert_with(|| std::array::from_fn(|_| parameters.zeros_like()));
    for moment in moments.iter() {
        check_same_structure("parameters", moment, parameters)?;
    }
    let mut grads = Vec::new();
    grad.for_each(&mut |_, array| grads.push(array));
    let mut moments = moments.each_mut().map(|moment| {
        let mut arrays = Vec::new();
        moment.for_each_mut(&mut |_, array| arrays.push(array));
        arrays.into_iter()
    });
    let mut grads = grads.into_iter();
    parameters.for_each_mut(&mut |_, mut array| {
        let Some(grad) = grads.next() else { return };
        let grad = grad.as_standard_layout();
        let moments = moments
            .each_mut()
            .map(|arrays| arrays.next().and_then(|array| array.into_slice()).unwrap_or_default());
        if let (Some(array), Some(grad)) = (array.as_slice_mut(), grad.as_slice()) {
            rule(array, grad, moments);
        }
    });
    Ok(())
}
