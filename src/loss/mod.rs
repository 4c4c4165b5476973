//! Losses: each returns its value and its gradient together.
//!
//! Every loss takes rows, or sequences, whose steps then count alike and whose padding counts
//! nothing. The reduction is the mean; [`Sum`] makes it the sum.
//!
//! | file | loss |
//! |---|---|
//! | `mse` | [`Mse`]: squared error |
//! | `mae` | [`Mae`]: absolute error |
//! | `huber` | [`Huber`]: squared near zero, absolute far from it |
//! | `quantile` | [`Quantile`]: pinball loss, for several quantiles at once |
//! | `cross_entropy` | [`CrossEntropy`]: one class of several |
//! | `kl_divergence` | [`KlDivergence`]: a whole distribution over classes |
//! | `bce` | [`BceWithLogits`]: yes or no, from a logit |
//! | `sum` | [`Sum`]: any of them with the sum in place of the mean |

pub mod bce;
pub mod cross_entropy;
pub mod huber;
pub mod kl_divergence;
pub mod mae;
pub mod mse;
pub mod quantile;
mod sum;

use ndarray::{Array3, ArrayView2};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub use huber::Huber;
pub use kl_divergence::KlDivergence;
pub use mae::Mae;
pub use mse::Mse;
pub use quantile::Quantile;
pub use sum::Sum;

/// `value` and `gradient`, unless the value is not finite in `T`.
fn finite<T: Float, G>(value: f64, gradient: G) -> Result<(T, G)> {
    if T::from_f64(value).is_finite() {
        return Ok((T::from_f64(value), gradient));
    }
    Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value })
}

/// Fails unless both have the same shape and lengths, and there is a step.
fn check_pair<T: Float>(predicted: &Sequences<T>, target: &Sequences<T>) -> Result<()> {
    let shape = predicted.values().shape();
    check_shape("target", "time, batch, features", shape, target.values().shape())?;
    if predicted.lengths() != target.lengths() {
        let expected = format!("the lengths {:?} of predicted", predicted.lengths());
        return Err(Error::argument("target", expected, format!("{:?}", target.lengths())));
    }
    match predicted.steps() {
        0 => Err(Error::argument("predicted", "at least one step", "empty sequences alone")),
        _ => Ok(()),
    }
}

/// The mean over all real steps and features j of `f(j, p, y)`, which returns the loss of one value
/// and its derivative by p.
fn elementwise<T: Float>(
    predicted: &Sequences<T>,
    target: &Sequences<T>,
    f: impl Fn(usize, f64, f64) -> (f64, f64),
) -> Result<(T, Array3<T>)> {
    check_pair(predicted, target)?;
    let count = (predicted.steps() * predicted.features()) as f64;
    let mut gradient = Array3::zeros(predicted.values().dim());
    let mut sum = 0.0;
    let steps = predicted.values().outer_iter().zip(target.values().outer_iter());
    for (t, (mut d, (p, y))) in gradient.outer_iter_mut().zip(steps).enumerate() {
        for (b, mut d) in d.outer_iter_mut().enumerate() {
            if t < predicted.lengths()[b] {
                for (j, ((d, p), y)) in d.iter_mut().zip(p.row(b)).zip(y.row(b)).enumerate() {
                    let (loss, slope) = f(j, p.as_f64(), y.as_f64());
                    sum += loss;
                    *d = T::from_f64(slope / count);
                }
            }
        }
    }
    finite(sum / count, gradient)
}

/// The calls of a loss of one value at a time, whose method `at(j, p, y)` is as in [`elementwise`].
/// A loss that has something for each feature says by `fits(features)` whether it has enough.
macro_rules! elementwise_loss {
    ($loss:ty $(, $fits:ident)?) => {
        impl $loss {
            /// The loss and ∂L/∂predicted, of `predicted` and `target`, both [rows, features].
            ///
            /// # Errors
            /// Where the shapes differ, there is nothing, or the loss is not finite.
            pub fn rows<T: $crate::float::Float>(
                &self,
                predicted: ndarray::ArrayView2<'_, T>,
                target: ndarray::ArrayView2<'_, T>,
            ) -> $crate::error::Result<(T, ndarray::Array2<T>)> {
                let (shape, axes) = (predicted.shape(), "rows, features");
                $crate::error::check_shape("target", axes, shape, target.shape())?;
                let predicted = $crate::loss::as_sequences(predicted)?;
                let target = $crate::loss::as_sequences(target)?;
                let (loss, gradient) = self.sequences(&predicted, &target)?;
                Ok((loss, gradient.index_axis_move(ndarray::Axis(0), 0)))
            }

            /// The loss and ∂L/∂predicted, of `predicted` and `target`, both
            /// [time, batch, features], with the same lengths.
            ///
            /// # Errors
            /// Where shapes or lengths differ, there is no step, or the loss is not finite.
            pub fn sequences<T: $crate::float::Float>(
                &self,
                predicted: &$crate::sequences::Sequences<T>,
                target: &$crate::sequences::Sequences<T>,
            ) -> $crate::error::Result<(T, ndarray::Array3<T>)> {
                $(self.$fits(predicted.features())?;)?
                $crate::loss::elementwise(predicted, target, |j, p, y| self.at(j, p, y))
            }
        }
    };
}
use elementwise_loss;

/// Rows as a batch of sequences of one step.
fn as_sequences<T: Float>(rows: ArrayView2<'_, T>) -> Result<Sequences<T>> {
    Sequences::full(rows.to_owned().insert_axis(ndarray::Axis(0)))
}
