//! Losses: each returns its value and its gradient together.
//!
//! Every loss takes rows, or sequences, whose steps then count alike and whose padding counts
//! nothing. The reduction is the mean.
//!
//! | file | loss |
//! |---|---|
//! | `mse` | [`Mse`]: squared error |
//! | `cross_entropy` | [`CrossEntropy`]: one class of several |
//! | `bce` | [`BceWithLogits`]: yes or no, from a logit |

pub mod bce;
pub mod cross_entropy;
pub mod mse;

use ndarray::{Array3, ArrayView2};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub use mse::Mse;

/// `value` and `gradient`, unless the value is not finite in `T`.
fn finite<T: Float, G>(value: f64, gradient: G) -> Result<(T, G)> {
    if T::of(value).is_finite() {
        return Ok((T::of(value), gradient));
    }
    Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value })
}

/// The mean over all real steps of `Σ f(p, y)` over features, where `f` returns the loss of one
/// value and its derivative by p.
fn elementwise<T: Float>(
    predicted: &Sequences<T>,
    target: &Sequences<T>,
    f: impl Fn(f64, f64) -> (f64, f64),
) -> Result<(T, Array3<T>)> {
    let shape = predicted.values().shape();
    check_shape("target", "time, batch, features", shape, target.values().shape())?;
    if predicted.lengths() != target.lengths() {
        let expected = format!("the lengths {:?} of predicted", predicted.lengths());
        return Err(Error::argument("target", expected, format!("{:?}", target.lengths())));
    }
    let count = (predicted.steps() * predicted.features()) as f64;
    if count == 0.0 {
        return Err(Error::argument("predicted", "at least one step", "empty sequences alone"));
    }
    let mut gradient = Array3::zeros(predicted.values().dim());
    let mut sum = 0.0;
    let steps = predicted.values().outer_iter().zip(target.values().outer_iter());
    for (t, (mut d, (p, y))) in gradient.outer_iter_mut().zip(steps).enumerate() {
        for (b, mut d) in d.outer_iter_mut().enumerate() {
            if t < predicted.lengths()[b] {
                for ((d, p), y) in d.iter_mut().zip(p.row(b)).zip(y.row(b)) {
                    let (loss, slope) = f(p.f64(), y.f64());
                    sum += loss;
                    *d = T::of(slope / count);
                }
            }
        }
    }
    finite(sum / count, gradient)
}

/// Rows as a batch of sequences of one step.
fn as_sequences<T: Float>(rows: ArrayView2<'_, T>) -> Result<Sequences<T>> {
    Sequences::full(rows.to_owned().insert_axis(ndarray::Axis(0)))
}
