//! Layer normalisation of rows, or of every step of sequences.
//!
//! ```text
//! x̂ = (x − mean(x)) / √(variance(x) + ε)        y = w ∘ x̂ + b
//! d_x = (d_x̂ − mean(d_x̂) − x̂ ∘ mean(d_x̂ ∘ x̂)) / √(variance(x) + ε), d_x̂ = w ∘ d_y
//! dw = Σ d_y ∘ x̂     db = Σ d_y
//! ```
//!
//! Names, ε and initial values (w = 1, b = 0) are those of `torch.nn.LayerNorm`. Source: Ba, Kiros and
//! Hinton, *Layer Normalization*, 2016.

use ndarray::{Array1, Array2, ArrayView2, Zip};

use crate::arrays::check_same_structure;
use crate::error::{Error, Result, check_length, check_shape};
use crate::float::Float;
use crate::layer::steps::row_layer;
use crate::tensor::Level;
use crate::tensor::reduce::{normalize_rows, normalize_rows_backward};

/// Normalisation to mean 0 and variance 1 over the features, with a learned scale and offset; see the
/// [module](self).
///
/// ```
/// use ndarray::{Array2, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::Arrays;
/// use recurrent::layer::{Layer, LayerNorm};
///
/// let norm = LayerNorm::<f64>::new(2)?;
/// let x = array![[1.0, 3.0]]; // [rows, features]
/// let (y, tape) = norm.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(1))?;
/// assert!((y[[0, 0]] + 1.0).abs() < 1e-5 && (y[[0, 1]] - 1.0).abs() < 1e-5);
///
/// let mut grad = norm.zeros_like();
/// let d_x: Array2<f64> = norm.backward(tape, &array![[1.0, 1.0]], &mut grad)?;
/// assert!(d_x.sum().abs() < 1e-12);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct LayerNorm<T> {
    weight: Array1<T>,
    bias: Array1<T>,
    epsilon: f64,
}

impl<T: Float> LayerNorm<T> {
    /// Creates a layer for rows of `features` values, with ε = 10⁻⁵.
    ///
    /// # Errors
    /// If `features` is zero.
    pub fn new(features: usize) -> Result<Self> {
        check_length("features", features)?;
        Ok(Self { weight: Array1::ones(features), bias: Array1::zeros(features), epsilon: 1e-5 })
    }

    /// Sets ε.
    ///
    /// # Errors
    /// Unless it is finite and above 0.
    pub fn epsilon(mut self, epsilon: f64) -> Result<Self> {
        if !(epsilon.is_finite() && epsilon > 0.0) {
            return Err(Error::argument("epsilon", "a finite value above 0", epsilon));
        }
        self.epsilon = epsilon;
        Ok(self)
    }

    /// Returns y of `x`, both [rows, features].
    fn forward_rows(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        check_shape("x", "rows, features", &[x.nrows(), self.weight.len()], x.shape())?;
        let (mut y, _) = self.normalized(x);
        for mut row in y.rows_mut() {
            Zip::from(&mut row)
                .and(&self.weight)
                .and(&self.bias)
                .for_each(|y, &w, &b| *y = *y * w + b);
        }
        Ok(y)
    }

    /// Returns d_x from `d_y` at `x`, all [rows, features]. Adds dw and db to `grad`.
    #[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
    fn backward_rows(
        &self,
        x: ArrayView2<'_, T>,
        d_y: ArrayView2<'_, T>,
        grad: &mut Self,
    ) -> Result<Array2<T>> {
        let expected = [x.nrows(), self.weight.len()];
        check_shape("x", "rows, features", &expected, x.shape())?;
        check_shape("d_y", "rows, features", &expected, d_y.shape())?;
        check_same_structure("grad", self, grad)?;
        let (normalized, scales) = self.normalized(x);
        // The kernel needs contiguous rows, and d_y may have any layout.
        let mut d_x = d_y.as_standard_layout().into_owned();
        d_x *= &self.weight;
        let width = self.weight.len();
        let d = d_x.as_slice_mut().expect("rows in standard layout");
        let values = normalized.as_slice().expect("rows in standard layout");
        normalize_rows_backward(Level::new(), d, width, values, &scales);
        for (d_y, normalized) in d_y.rows().into_iter().zip(normalized.rows()) {
            grad.bias += &d_y;
            Zip::from(&mut grad.weight).and(d_y).and(normalized).for_each(|w, &d, &x| *w += d * x);
        }
        Ok(d_x)
    }

    fn features(&self) -> usize {
        self.weight.len()
    }

    /// Returns x̂ and 1 / √(variance + ε) of each row.
    #[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
    fn normalized(&self, x: ArrayView2<'_, T>) -> (Array2<T>, Vec<T>) {
        let mut normalized = x.as_standard_layout().into_owned();
        let values = normalized.as_slice_mut().expect("rows in standard layout");
        let (width, epsilon) = (self.weight.len(), T::from_f64(self.epsilon));
        let scales = normalize_rows(Level::new(), values, width, epsilon);
        (normalized, scales)
    }
}

row_layer!(LayerNorm, features "features", features "features");
crate::arrays!(LayerNorm { weight: array, bias: array });
