//! Dropout: zeros at random while training, nothing otherwise.
//!
//! ```text
//! y = m ∘ x      m = 0 with probability p, else 1 / (1 − p)      d_x = m ∘ d_y
//! ```
//!
//! Source: Srivastava et al., *Dropout*, 2014, in the inverted form, so that prediction needs no
//! factor. Variational dropout, with the same m at every step of a sequence: Gal and Ghahramani, *A
//! Theoretically Grounded Application of Dropout in Recurrent Neural Networks*, 2016.

use ndarray::{Array, Array2, Array3, ArrayView3, Dimension};
use rand::Rng;

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;
use crate::tensor::random::dropout_mask;

/// Zeros at random; see the [module](self).
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::Dropout;
///
/// let x = Array2::<f32>::ones((4, 6));
/// let (y, mask) = Dropout::new(0.5)?.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(1));
/// assert!(y.iter().all(|&value| value == 0.0 || value == 2.0));
/// let d_y = Array2::<f32>::ones((4, 6));
/// let d_x = &mask * &d_y;
/// # assert_eq!(d_x, y);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    p: f64,
}

impl Dropout {
    /// Dropout with probability `p`.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64) -> Result<Self> {
        if (0.0..1.0).contains(&p) {
            return Ok(Self { p });
        }
        Err(Error::argument("p", "0 ≤ p < 1", p))
    }

    /// y and the factors m, both of the shape of `x`. d_x is m ∘ d_y.
    pub fn forward_train<T: Float, D: Dimension>(
        &self,
        x: &Array<T, D>,
        rng: &mut dyn Rng,
    ) -> (Array<T, D>, Array<T, D>) {
        let mut factors = dropout_mask(rng, self.p, x.len()).into_iter();
        let mask =
            Array::from_shape_simple_fn(x.raw_dim(), || factors.next().unwrap_or_else(T::one));
        (x * &mask, mask)
    }
}

/// Zeros at random, for each sequence and feature the same at every step; see the [module](self).
///
/// ```
/// use ndarray::{Array3, Axis};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Sequences, layer::VariationalDropout};
///
/// let x = Sequences::full(Array3::<f32>::ones((4, 2, 6)))?; // [time, batch, features]
/// let dropout = VariationalDropout::new(0.5)?;
/// let (y, mask) = dropout.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(1));
/// assert_eq!(y.values().index_axis(Axis(0), 0), y.values().index_axis(Axis(0), 3));
/// let d_x = dropout.backward(&mask, x.values().view())?;
/// # assert_eq!(&d_x, y.values());
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariationalDropout(Dropout);

impl VariationalDropout {
    /// Dropout with probability `p`.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64) -> Result<Self> {
        Dropout::new(p).map(Self)
    }

    /// y, and the factors m [batch, features].
    pub fn forward_train<T: Float>(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> (Sequences<T>, Array2<T>) {
        let ones = Array2::ones((x.batch(), x.features()));
        let (mask, _) = self.0.forward_train(&ones, rng);
        let mut y = x.clone();
        *y.values_mut() *= &mask;
        (y, mask)
    }

    /// d_x from `d_y` [time, batch, features] and the factors m [batch, features].
    ///
    /// # Errors
    /// Where their shapes do not fit each other.
    pub fn backward<T: Float>(
        &self,
        mask: &Array2<T>,
        d_y: ArrayView3<'_, T>,
    ) -> Result<Array3<T>> {
        let (_, batch, features) = d_y.dim();
        check_shape("mask", "batch, features", &[batch, features], mask.shape())?;
        Ok(&d_y * mask)
    }
}
