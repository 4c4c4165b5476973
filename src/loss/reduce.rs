//! The mean over rows or steps, with its gradient: the common part of most losses.

use ndarray::{Array2, Array3, ArrayView1, ArrayView2, ArrayView3, ArrayViewMut1, Axis};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::loss::Batch;

/// A loss by rows: of rows or of steps. The macro [`row_loss!`] makes it a
/// [`Loss`](crate::loss::Loss) and a [`RowLoss`](crate::loss::RowLoss).
pub(super) trait Rows<P: Batch> {
    /// Returns the number of terms of each row.
    fn terms(&self, predicted: &P) -> usize {
        predicted.values().dim().2
    }

    /// Fails if `target` does not fit `predicted`, or they do not fit the loss.
    fn check(&self, predicted: &P, target: &P) -> Result<()> {
        check_pair(predicted, target)
    }

    /// Returns the sum of the terms of the row at `place`, and writes its gradient, multiplied by `share`,
    /// to `d`.
    fn row(
        &self,
        predicted: &P,
        target: &P,
        place: Place,
        share: Share,
        d: ArrayViewMut1<'_, P::Elem>,
    ) -> Result<f64>;
}

/// The step and the sequence of a row.
#[derive(Clone, Copy)]
pub(super) struct Place {
    t: usize,
    b: usize,
}

impl Place {
    pub(super) fn new(t: usize, b: usize) -> Self {
        Self { t, b }
    }

    /// Returns the row of `values`.
    pub(super) fn of<T>(self, values: ArrayView3<'_, T>) -> ArrayView1<'_, T> {
        values.index_axis_move(Axis(0), self.t).index_axis_move(Axis(0), self.b)
    }

    /// Returns the index of the row for an error: `target[t, b]`, or `target[b]` of rows.
    pub(super) fn row_name<P: Batch>(self, name: &str, of: &P) -> String {
        match of.lengths() {
            Some(_) => format!("{name}[{}, {}]", self.t, self.b),
            None => format!("{name}[{}]", self.b),
        }
    }

    /// Returns the index of a feature of the row for an error.
    pub(super) fn name<P: Batch>(self, name: &str, of: &P, feature: usize) -> String {
        let mut row = self.row_name(name, of);
        row.truncate(row.len() - 1);
        format!("{row}, {feature}]")
    }

    /// Returns the error about a loss that is not finite, with the index of a feature of the row in
    /// `predicted`.
    pub(super) fn non_finite<P: Batch>(self, predicted: &P, feature: usize, value: f64) -> Error {
        let (_, batch, width) = predicted.values().dim();
        let index = (self.t * batch + self.b) * width + feature;
        Error::NonFinite { name: "loss".to_owned(), index, value }
    }
}

/// The factor of a row's gradient: its weight over the sum of weights.
#[derive(Clone, Copy)]
pub(super) struct Share {
    weight: f64,
    count: f64,
}

impl Share {
    /// Returns the part of `slope` in the gradient of the mean.
    pub(super) fn of(self, slope: f64) -> f64 {
        slope * self.weight / self.count
    }
}

/// Implements [`Loss`](crate::loss::Loss) and [`RowLoss`](crate::loss::RowLoss) by [`Rows`].
macro_rules! row_loss {
    ($(#[$doc:meta])* $loss:ty) => {
        $(#[$doc])*
        impl<P: $crate::loss::Batch> $crate::loss::Loss<P> for $loss {
            type Target = P;

            fn loss(&self, predicted: &P, target: &P) -> $crate::error::Result<(f64, P)> {
                $crate::loss::reduce::mean(self, predicted, target, None)
            }

            fn count(&self, predicted: &P, target: &P) -> $crate::error::Result<f64> {
                $crate::loss::reduce::count(self, predicted, target, None)
            }
        }

        impl<P: $crate::loss::Batch> $crate::loss::RowLoss<P> for $loss {
            fn losses(&self, predicted: &P, target: &P) -> $crate::error::Result<P::Losses> {
                $crate::loss::reduce::losses(self, predicted, target)
            }

            fn weighted(
                &self,
                predicted: &P,
                target: &P,
                weights: Option<ndarray::ArrayView2<'_, f64>>,
            ) -> $crate::error::Result<(f64, P)> {
                $crate::loss::reduce::mean(self, predicted, target, weights)
            }

            fn weighted_count(
                &self,
                predicted: &P,
                target: &P,
                weights: Option<ndarray::ArrayView2<'_, f64>>,
            ) -> $crate::error::Result<f64> {
                $crate::loss::reduce::count(self, predicted, target, weights)
            }
        }
    };
}
pub(super) use row_loss;

/// Implements [`Rows`], and all that [`row_loss!`] does, for an elementwise loss. Its method
/// `at(j, p, y)` returns the loss of feature j and its derivative by p.
macro_rules! elementwise_loss {
    ($loss:ty) => {
        impl<P: $crate::loss::Batch> $crate::loss::reduce::Rows<P> for $loss {
            fn row(
                &self,
                predicted: &P,
                target: &P,
                place: $crate::loss::reduce::Place,
                share: $crate::loss::reduce::Share,
                d: ndarray::ArrayViewMut1<'_, P::Elem>,
            ) -> $crate::error::Result<f64> {
                let y = place.of(target.values());
                let at = |j: usize, p| self.at(j, p, $crate::Float::as_f64(y[j]));
                $crate::loss::reduce::sum_of_row(predicted, place, share, d, at)
            }
        }

        $crate::loss::reduce::row_loss! {
            /// `target` has the shape and the lengths of `predicted`.
            $loss
        }
    };
}
pub(super) use elementwise_loss;

/// Returns the sum of `at(j, p)` over the features j of a row of `predicted`, and writes its gradient to
/// `d`. `at` returns the loss of one value and its derivative by p.
pub(super) fn sum_of_row<P: Batch>(
    predicted: &P,
    place: Place,
    share: Share,
    mut d: ArrayViewMut1<'_, P::Elem>,
    at: impl Fn(usize, f64) -> (f64, f64),
) -> Result<f64> {
    let mut sum = 0.0;
    for (j, (d, p)) in d.iter_mut().zip(place.of(predicted.values())).enumerate() {
        let (loss, slope) = at(j, p.as_f64());
        if !loss.is_finite() {
            return Err(place.non_finite(predicted, j, loss));
        }
        sum += loss;
        *d = P::Elem::from_f64(share.of(slope));
    }
    Ok(sum)
}

/// Returns the weighted mean of the losses of all rows, and its gradient. Rows of weight zero are not
/// read.
pub(super) fn mean<P: Batch, L: Rows<P>>(
    loss: &L,
    predicted: &P,
    target: &P,
    weights: Option<ArrayView2<'_, f64>>,
) -> Result<(f64, P)> {
    let count = count(loss, predicted, target, weights)?;
    let (losses, gradient) = rows(loss, predicted, target, (weights, count))?;
    let sum = losses.iter().sum::<f64>(); // in the order of time: the padding changes no bit
    let mean = if count > 0.0 { sum / count } else { 0.0 };
    finite::<P::Elem, _>(mean, predicted.with_gradient(gradient)?)
}

/// Returns the mean of the terms of each row, zero in the padding.
pub(super) fn losses<P: Batch, L: Rows<P>>(
    loss: &L,
    predicted: &P,
    target: &P,
) -> Result<P::Losses> {
    loss.check(predicted, target)?;
    let losses = rows(loss, predicted, target, (None, 1.0))?.0;
    Ok(P::losses(losses / loss.terms(predicted).max(1) as f64))
}

/// Returns the number of terms, each weighted by the weight of its row.
pub(super) fn count<P: Batch, L: Rows<P>>(
    loss: &L,
    predicted: &P,
    target: &P,
    weights: Option<ArrayView2<'_, f64>>,
) -> Result<f64> {
    loss.check(predicted, target)?;
    Ok(total(predicted, weights)? * loss.terms(predicted) as f64)
}

/// Returns the weighted losses of all rows, [time, batch], and their gradient divided by `count`.
fn rows<P: Batch, L: Rows<P>>(
    loss: &L,
    predicted: &P,
    target: &P,
    (weights, count): (Option<ArrayView2<'_, f64>>, f64),
) -> Result<(Array2<f64>, Array3<P::Elem>)> {
    let (time, batch, features) = predicted.values().dim();
    let mut gradient = Array3::zeros((time, batch, features));
    let mut losses = Array2::zeros((time, batch));
    for (t, mut step) in gradient.outer_iter_mut().enumerate() {
        for (b, d) in step.outer_iter_mut().enumerate() {
            let weight = weight_at(predicted, weights, t, b);
            if weight > 0.0 {
                let share = Share { weight, count };
                let place = Place { t, b };
                let value = loss.row(predicted, target, place, share, d)?;
                if !value.is_finite() {
                    return Err(place.non_finite(predicted, 0, value));
                }
                losses[[t, b]] = weight * value;
            }
        }
    }
    Ok((losses, gradient))
}

/// Returns the weight of step `t` of sequence `b`: zero in the padding, and 1 elsewhere without weights.
pub(super) fn weight_at<P: Batch>(
    predicted: &P,
    weights: Option<ArrayView2<'_, f64>>,
    t: usize,
    b: usize,
) -> f64 {
    if !predicted.has_step(t, b) {
        return 0.0;
    }
    weights.map_or(1.0, |weights| weights[[t, b]])
}

/// Returns the sum of the weights of all rows. Fails unless there is a finite weight of at least 0 for
/// each.
pub(super) fn total<P: Batch>(predicted: &P, weights: Option<ArrayView2<'_, f64>>) -> Result<f64> {
    let Some(given) = weights else { return Ok(predicted.steps() as f64) };
    let (time, batch, _) = predicted.values().dim();
    check_shape("weights", "time, batch", &[time, batch], given.shape())?;
    let mut sum = 0.0;
    for (t, b) in (0..time).flat_map(|t| (0..batch).map(move |b| (t, b))) {
        let weight = weight_at(predicted, weights, t, b);
        if !(weight.is_finite() && weight >= 0.0) {
            let argument = format!("weights[{t}, {b}]");
            return Err(Error::argument(argument, "a finite weight of at least 0", weight));
        }
        sum += weight;
    }
    if sum.is_finite() {
        return Ok(sum);
    }
    Err(Error::argument("weights", "a finite sum", sum))
}

/// Returns `value`, rounded to `T`, and `gradient`. Fails if the value is not finite in `T`.
pub(super) fn finite<T: Float, G>(value: f64, gradient: G) -> Result<(f64, G)> {
    let rounded = T::from_f64(value);
    if rounded.is_finite() {
        return Ok((rounded.as_f64(), gradient));
    }
    Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value })
}

/// Fails unless both have the same shape and lengths.
pub(super) fn check_pair<P: Batch>(predicted: &P, target: &P) -> Result<()> {
    check_shape("target", P::AXES, predicted.shape(), target.shape())?;
    check_lengths(predicted, target)
}

/// Fails unless both have the same lengths.
pub(super) fn check_lengths<P: Batch>(predicted: &P, target: &P) -> Result<()> {
    if let (Some(lengths), Some(got)) = (predicted.lengths(), target.lengths())
        && lengths != got
    {
        let expected = format!("the lengths {lengths:?} of predicted");
        return Err(Error::argument("target", expected, format!("{got:?}")));
    }
    Ok(())
}
