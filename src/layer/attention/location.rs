//! The part of the scores of attention that depends on the weights of the query before:
//!
//! ```text
//! f_s,k = Σ_j F_k,j α_{s + j − r}     r = (kernel − 1) / 2, zeros beyond the ends
//! y_s = U f_s
//! ```

use ndarray::{Array1, Array2, ArrayView1, Axis};
use rand::Rng;

use crate::error::{Error, Result, check_length, check_size};
use crate::float::Float;
use crate::layer::Linear;
use crate::tensor::Init;

#[derive(Clone, Debug)]
pub(super) struct Location<T> {
    /// F, [filters, kernel].
    convolution: Array2<T>,
    /// U, [size, filters].
    projection: Linear<T>,
}
crate::arrays!(Location { convolution: array, projection });

impl<T: Float> Location<T> {
    pub(super) fn new(
        size: usize,
        filters: usize,
        kernel_size: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        check_length("filters", filters)?;
        if kernel_size.is_multiple_of(2) {
            return Err(Error::argument("kernel_size", "an odd number", kernel_size));
        }
        check_size("filters × kernel_size", &[filters, kernel_size])?;
        let mut convolution = Array2::zeros((filters, kernel_size));
        Init::Uniform(1.0 / (kernel_size as f64).sqrt()).fill(convolution.view_mut(), rng);
        let init = Init::Uniform(1.0 / (filters as f64).sqrt());
        let projection = Linear::with_options(filters, size, false, init, rng)?;
        Ok(Self { convolution, projection })
    }

    /// Returns F and U.
    #[cfg(feature = "onnx")]
    pub(super) fn parts(&self) -> (&Array2<T>, &Linear<T>) {
        (&self.convolution, &self.projection)
    }

    /// Calls `f` with row s, filter k, offset j and index s + j − r of each term of the convolution over
    /// `length` rows.
    fn for_each_term(&self, length: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (filters, kernel) = self.convolution.dim();
        for s in 0..length {
            for j in 0..kernel {
                let Some(u) = (s + j).checked_sub(kernel / 2).filter(|&u| u < length) else {
                    continue;
                };
                (0..filters).for_each(|k| f(s, k, j, u));
            }
        }
    }

    /// Returns f [rows, filters].
    fn features(&self, weights: ArrayView1<'_, T>) -> Array2<T> {
        let mut features = Array2::zeros((weights.len(), self.convolution.nrows()));
        self.for_each_term(weights.len(), |s, k, j, u| {
            features[[s, k]] += self.convolution[[k, j]] * weights[u];
        });
        features
    }

    /// Returns y [rows, size] of the `weights` before.
    pub(super) fn forward(&self, weights: ArrayView1<'_, T>) -> Result<Array2<T>> {
        self.projection.forward_rows(self.features(weights).view())
    }

    /// Returns the gradient of the `weights` before from `d_y` [rows, size]. Adds the gradients of the
    /// parameters to `grad`.
    pub(super) fn backward(
        &self,
        weights: ArrayView1<'_, T>,
        d_y: &Array2<T>,
        grad: &mut Self,
    ) -> Result<Array1<T>> {
        let features = self.features(weights);
        let d_features =
            self.projection.backward_rows(features.view(), d_y.view(), &mut grad.projection)?;
        let mut d_weights = Array1::zeros(weights.len_of(Axis(0)));
        self.for_each_term(weights.len(), |s, k, j, u| {
            grad.convolution[[k, j]] += d_features[[s, k]] * weights[u];
            d_weights[u] += d_features[[s, k]] * self.convolution[[k, j]];
        });
        Ok(d_weights)
    }
}
