//! Losses: each returns its value and its gradient together.
//!
//! All of them implement [`Loss`]. A loss takes rows `[batch, features]` or sequences. Every step of
//! every sequence has the same weight; the padding is left out. The value is a mean; [`Sum`] returns
//! the sum instead. Where nothing counts (no row or step, or all are ignored), value, gradient and
//! [`count`](Loss::count) are zero.
//!
//! | file | loss |
//! |---|---|
//! | `traits` | [`Loss`], the trait; [`Batch`]: rows or sequences |
//! | `mse` | [`Mse`]: squared error |
//! | `mae` | [`Mae`]: absolute error |
//! | `huber` | [`Huber`]: squared near zero, absolute far from it |
//! | `quantile` | [`Quantile`]: pinball loss, for several quantiles at once |
//! | `cross_entropy` | [`CrossEntropy`]: one class of several |
//! | `kl_divergence` | [`KlDivergence`]: a whole distribution over classes |
//! | `bce` | [`BceWithLogits`]: labels 0 or 1, from logits |
//! | `sum` | [`Sum`]: any of them with the sum in place of the mean |
//! | `weighted` | [`Weighted`]: a weighted sum of two losses, for outputs in pairs |

pub mod bce;
pub mod cross_entropy;
pub mod huber;
pub mod kl_divergence;
pub mod mae;
pub mod mse;
pub mod quantile;
mod sum;
mod traits;
mod weighted;

use ndarray::{Array3, ArrayView3};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;

pub use bce::BceWithLogits;
pub use cross_entropy::CrossEntropy;
pub use huber::Huber;
pub use kl_divergence::KlDivergence;
pub use mae::Mae;
pub use mse::Mse;
pub use quantile::Quantile;
pub use sum::Sum;
pub use traits::{Batch, Loss};
pub use weighted::Weighted;

/// Returns `sum / count`, or 0 if nothing counts.
fn mean(sum: f64, count: f64) -> f64 {
    if count > 0.0 { sum / count } else { 0.0 }
}

/// Returns `value`, rounded to `T`, and `gradient`. Fails if the value is not finite in `T`.
fn finite<T: Float, G>(value: f64, gradient: G) -> Result<(f64, G)> {
    let rounded = T::from_f64(value);
    if rounded.is_finite() {
        return Ok((rounded.as_f64(), gradient));
    }
    Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value })
}

/// Fails unless both have the same shape and lengths.
fn check_pair<P: Batch>(predicted: &P, target: &P) -> Result<()> {
    check_shape("target", P::AXES, predicted.shape(), target.shape())?;
    check_lengths(predicted, target)
}

/// Fails unless both have the same lengths.
fn check_lengths<P: Batch>(predicted: &P, target: &P) -> Result<()> {
    if let (Some(lengths), Some(got)) = (predicted.lengths(), target.lengths())
        && lengths != got
    {
        let expected = format!("the lengths {lengths:?} of predicted");
        return Err(Error::argument("target", expected, format!("{got:?}")));
    }
    Ok(())
}

/// Returns the mean of `f(j, p, y)` over all steps and features j, without the padding, and its
/// gradient. `f` returns the loss of one value and its derivative by p. `target` has the shape of
/// `predicted`.
fn elementwise<P: Batch>(
    predicted: &P,
    target: ArrayView3<'_, P::Elem>,
    f: impl Fn(usize, f64, f64) -> (f64, f64),
) -> Result<(f64, P)> {
    let values = predicted.values();
    let count = (predicted.steps() * values.dim().2) as f64;
    let mut gradient = Array3::zeros(values.dim());
    let mut sum = 0.0;
    let steps = values.outer_iter().zip(target.outer_iter());
    for (t, (mut d, (p, y))) in gradient.outer_iter_mut().zip(steps).enumerate() {
        for (b, mut d) in d.outer_iter_mut().enumerate() {
            if predicted.has_step(t, b) {
                for (j, ((d, p), y)) in d.iter_mut().zip(p.row(b)).zip(y.row(b)).enumerate() {
                    let (loss, slope) = f(j, p.as_f64(), y.as_f64());
                    sum += loss;
                    *d = P::Elem::from_f64(slope / count);
                }
            }
        }
    }
    finite::<P::Elem, _>(mean(sum, count), predicted.with_gradient(gradient)?)
}

/// Implements [`Loss`] for an elementwise loss. Its method `at(j, p, y)` is the `f` of
/// [`elementwise`]. The optional `fits(features)` checks parameters that exist for each feature.
macro_rules! elementwise_loss {
    ($loss:ty $(, $fits:ident)?) => {
        /// `target` has the shape and the lengths of `predicted`.
        impl<P: $crate::loss::Batch> $crate::loss::Loss<P> for $loss {
            type Target = P;

            fn loss(&self, predicted: &P, target: &P) -> $crate::error::Result<(f64, P)> {
                $crate::loss::check_pair(predicted, target)?;
                $(self.$fits(predicted.values().dim().2)?;)?
                let at = |j, p, y| self.at(j, p, y);
                $crate::loss::elementwise(predicted, target.values(), at)
            }

            fn count(&self, predicted: &P, target: &P) -> $crate::error::Result<f64> {
                $crate::loss::check_pair(predicted, target)?;
                Ok((predicted.steps() * predicted.values().dim().2) as f64)
            }
        }
    };
}
use elementwise_loss;
