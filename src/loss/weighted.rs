//! A weighted sum of two losses.

use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::loss::Loss;
use crate::loss::reduce::finite;

/// A weighted sum of two losses. The first takes the first value of a pair of predictions, the second
/// the second. Nested pairs combine more than two losses.
///
/// ```
/// use ndarray::array;
/// use recurrent::loss::{CrossEntropy, Loss, Mse, Weighted};
///
/// let loss = Weighted::new((1.0, Mse), (0.5, CrossEntropy::default()))?;
/// let predicted = (array![[1.0]], array![[0.0_f64, 0.0]]); // [batch, numbers], [batch, classes]
/// let (value, d_predicted) = loss.loss(&predicted, &(array![[3.0]], vec![1]))?;
/// assert!((value - (4.0 + 0.5 * 2_f64.ln())).abs() < 1e-12);
/// assert_eq!(d_predicted.0, array![[-4.0]]);
/// assert!((d_predicted.1[[0, 0]] - 0.25).abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts<A, B>", bound(deserialize = "A: Deserialize<'de>, B: Deserialize<'de>"))]
pub struct Weighted<A, B> {
    first: (f64, A),
    second: (f64, B),
}

/// The serialised form of [`Weighted`], whose weights are not checked yet.
#[derive(Deserialize)]
struct Parts<A, B> {
    first: (f64, A),
    second: (f64, B),
}

impl<A, B> TryFrom<Parts<A, B>> for Weighted<A, B> {
    type Error = Error;

    fn try_from(parts: Parts<A, B>) -> Result<Self> {
        Self::new(parts.first, parts.second)
    }
}

impl<A, B> Weighted<A, B> {
    /// Returns the weighted sum of two losses, each given with its weight.
    ///
    /// # Errors
    /// Unless each weight is finite and at least 0, and one is above 0.
    pub fn new(first: (f64, A), second: (f64, B)) -> Result<Self> {
        for (argument, weight) in [("first", first.0), ("second", second.0)] {
            if !(weight.is_finite() && weight >= 0.0) {
                return Err(Error::argument(argument, "a finite weight of at least 0", weight));
            }
        }
        if first.0 + second.0 == 0.0 {
            return Err(Error::argument("first", "a weight above 0: that of second is 0", 0));
        }
        Ok(Self { first, second })
    }

    /// Returns the first loss and its weight.
    pub fn first(&self) -> &(f64, A) {
        &self.first
    }

    /// Returns the second loss and its weight.
    pub fn second(&self) -> &(f64, B) {
        &self.second
    }

    /// Returns the weighted sum of the `first` and the `second` value.
    pub(crate) fn total(&self, first: f64, second: f64) -> f64 {
        self.first.0 * first + self.second.0 * second
    }
}

impl<T, P, Q, A, B> Loss<(P, Q)> for Weighted<A, B>
where
    T: Float,
    P: Arrays<Elem = T>,
    Q: Arrays<Elem = T>,
    A: Loss<P>,
    B: Loss<Q>,
{
    type Target = (A::Target, B::Target);

    fn loss(&self, predicted: &(P, Q), target: &Self::Target) -> Result<(f64, (P, Q))> {
        let (first, mut d_first) = self.first.1.loss(&predicted.0, &target.0)?;
        let (second, mut d_second) = self.second.1.loss(&predicted.1, &target.1)?;
        let [a, b] = [self.first.0, self.second.0].map(T::from_f64);
        d_first.for_each_mut(&mut |_, mut array| array *= a);
        d_second.for_each_mut(&mut |_, mut array| array *= b);
        finite::<T, _>(self.total(first, second), (d_first, d_second))
    }

    /// Returns the weighted sum of both counts. A mean over batches by this weight is exact if the ratio of
    /// the two counts is the same in all batches.
    fn count(&self, predicted: &(P, Q), target: &Self::Target) -> Result<f64> {
        let first = self.first.1.count(&predicted.0, &target.0)?;
        Ok(self.total(first, self.second.1.count(&predicted.1, &target.1)?))
    }

    fn is_mean(&self) -> bool {
        self.first.1.is_mean() && self.second.1.is_mean()
    }
}
