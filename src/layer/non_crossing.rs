//! Quantiles that do not cross.
//!
//! Of the k features of a target, the first is the lowest quantile, and each other one determines the step
//! to the next quantile:
//!
//! ```text
//! y_0 = x_0              y_j = y_{j−1} + softplus(x_j)              softplus(x) = ln(1 + eˣ) ≥ 0
//! d_x_0 = Σ_m d_y_m      d_x_j = σ(x_j)·Σ_{m ≥ j} d_y_m
//! ```
//!
//! Source: Park et al., *Learning Quantile Functions without Quantile Crossing for Distribution-free Time
//! Series Forecasting*, 2022.

use std::marker::PhantomData;

use ndarray::{Array2, ArrayView2};

use crate::error::{Result, check_shape, check_size};
use crate::float::Float;
use crate::layer::steps::row_layer;

/// A last layer for the loss [`Quantile`](crate::loss::Quantile) with ascending levels, whose quantiles
/// never cross; see the [module](self). It has no parameters.
///
/// Feature i·k + j is quantile j of target i, as in the loss. It acts on rows and on every step of
/// sequences.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Layer, Linear, NonCrossing};
/// use recurrent::loss::{Loss, Quantile};
///
/// let loss = Quantile::new(vec![0.1, 0.5, 0.9])?;
/// let linear = Linear::<f64>::new(4, 3, &mut ChaCha8Rng::seed_from_u64(1))?;
/// let head = (linear, NonCrossing::new(1, 3)?); // one target, three levels
/// let quantiles: Array2<f64> = head.forward(&Array2::ones((2, 4)))?; // [rows, targets · levels]
/// assert!(quantiles.rows().into_iter().all(|q| q[0] <= q[1] && q[1] <= q[2]));
/// let (value, _) = loss.loss(&quantiles, &Array2::zeros((2, 1)))?;
/// # assert!(value > 0.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NonCrossing<T> {
    targets: usize,
    pub(crate) levels: usize,
    elem: PhantomData<T>,
}
crate::arrays!(NonCrossing {});

impl<T: Float> NonCrossing<T> {
    /// Creates the layer for `targets` of `levels` quantiles each.
    ///
    /// # Errors
    /// If one of them is zero.
    pub fn new(targets: usize, levels: usize) -> Result<Self> {
        check_size("targets × levels", &[targets, levels])?;
        Ok(Self { targets, levels, elem: PhantomData })
    }

    fn features(&self) -> usize {
        self.targets * self.levels
    }

    pub(crate) fn forward_rows(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.check("x", x.nrows(), x)?;
        let mut y = x.to_owned();
        for mut row in y.rows_mut() {
            for j in (0..row.len()).filter(|j| j % self.levels > 0) {
                row[j] = row[j - 1] + softplus(row[j]);
            }
        }
        Ok(y)
    }

    pub(crate) fn backward_rows(
        &self,
        x: ArrayView2<'_, T>,
        d_y: ArrayView2<'_, T>,
        _: &mut Self,
    ) -> Result<Array2<T>> {
        self.check("x", x.nrows(), x)?;
        self.check("d_y", x.nrows(), d_y)?;
        let mut d_x = d_y.to_owned();
        for (mut d, x) in d_x.rows_mut().into_iter().zip(x.rows()) {
            for j in (1..x.len()).rev().filter(|j| j % self.levels > 0) {
                let sum = d[j];
                d[j - 1] += sum;
                d[j] = sum * sigmoid(x[j]);
            }
        }
        Ok(d_x)
    }

    fn check(&self, argument: &'static str, rows: usize, given: ArrayView2<'_, T>) -> Result<()> {
        let expected = [rows, self.features()];
        check_shape(argument, "rows, targets · levels", &expected, given.shape())
    }
}

/// Returns ln(1 + eˣ), without overflow.
fn softplus<T: Float>(x: T) -> T {
    let x = x.as_f64();
    T::from_f64(x.max(0.0) + (-x.abs()).exp().ln_1p())
}

/// Returns 1 / (1 + e^−x), the derivative of [`softplus`].
fn sigmoid<T: Float>(x: T) -> T {
    let x = x.as_f64();
    let e = (-x.abs()).exp();
    T::from_f64(if x < 0.0 { e } else { 1.0 } / (1.0 + e))
}

row_layer!(NonCrossing, features "targets · levels", features "targets · levels");
