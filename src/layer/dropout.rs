//! Dropout: random zeros in training, the identity in inference.
//!
//! ```text
//! y = m ∘ x      m = 0 with probability p, else 1 / (1 − p)      d_x = m ∘ d_y
//! ```
//!
//! Source: Srivastava et al., *Dropout*, 2014, in the inverted form, so that inference needs no
//! factor. Variational dropout, with the same m at every step of a sequence: Gal and Ghahramani, *A
//! Theoretically Grounded Application of Dropout in Recurrent Neural Networks*, 2016.

use std::marker::PhantomData;

use ndarray::{Array, Array2, Array3, Dimension};
use rand::Rng;

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::layer::Layer;
use crate::layer::steps::{check, zero_padding, zip_map};
use crate::sequences::Sequences;
use crate::tensor::random::dropout_factors;

/// Dropout on arrays of any dimension and on sequences; see the [module](self).
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Dropout, Layer};
///
/// let (x, dropout) = (Array2::<f32>::ones((4, 6)), Dropout::new(0.5)?);
/// let (y, mask) = dropout.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(1))?;
/// assert!(y.iter().all(|&value| value == 0.0 || value == 2.0));
/// let d_x: Array2<f32> = dropout.backward(mask, &x, &mut dropout.clone())?;
/// assert_eq!(d_x, y);
/// assert_eq!(dropout.forward(&x)?, x); // inference
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout<T> {
    p: f64,
    elem: PhantomData<T>,
}
crate::arrays!(Dropout {});

/// Fails unless 0 ≤ p < 1.
pub(super) fn check_probability(p: f64) -> Result<()> {
    match (0.0..1.0).contains(&p) {
        true => Ok(()),
        false => Err(Error::argument("p", "0 ≤ p < 1", p)),
    }
}

impl<T: Float> Dropout<T> {
    /// Returns dropout with probability `p`.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64) -> Result<Self> {
        check_probability(p)?;
        Ok(Self { p, elem: PhantomData })
    }

    /// Returns the factors m for an array like `x`.
    pub(crate) fn mask<D: Dimension>(self, x: &Array<T, D>, rng: &mut dyn Rng) -> Array<T, D> {
        Array::from_shape_simple_fn(x.raw_dim(), dropout_factors(rng, self.p))
    }
}

/// The tape is the factors m.
impl<T: Float, D: Dimension> Layer<Array<T, D>> for Dropout<T> {
    type Output = Array<T, D>;
    type Tape = Array<T, D>;

    fn forward(&self, x: &Array<T, D>) -> Result<Array<T, D>> {
        Ok(x.clone())
    }

    fn forward_train(
        &self,
        x: &Array<T, D>,
        rng: &mut dyn Rng,
    ) -> Result<(Array<T, D>, Array<T, D>)> {
        let mask = self.mask(x, rng);
        Ok((x * &mask, mask))
    }

    fn backward(&self, mask: Array<T, D>, d_y: &Array<T, D>, _: &mut Self) -> Result<Array<T, D>> {
        check_shape("d_y", "as x", mask.shape(), d_y.shape())?;
        Ok(mask * d_y)
    }
}

/// The tape is the factors m.
impl<T: Float> Layer<Sequences<T>> for Dropout<T> {
    type Output = Sequences<T>;
    type Tape = Sequences<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        Ok(x.clone())
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Sequences<T>)> {
        let mask = self.mask(x.values(), rng);
        Ok((zip_map(x, &mask, |x, m| x * m)?, x.with_values(mask)?))
    }

    fn backward(
        &self,
        mask: Sequences<T>,
        d_y: &Sequences<T>,
        _: &mut Self,
    ) -> Result<Sequences<T>> {
        check("d_y", &mask, (mask.features(), "time, batch, features"), d_y)?;
        zip_map(&mask, d_y.values(), |m, d| m * d)
    }
}

/// Dropout with one mask for all steps of a sequence; see the [module](self).
///
/// ```
/// use ndarray::{Array3, Axis};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::Sequences;
/// use recurrent::layer::{Layer, VariationalDropout};
///
/// let x = Sequences::full(Array3::<f32>::ones((4, 2, 6)))?; // [time, batch, features]
/// let dropout = VariationalDropout::new(0.5)?;
/// let (y, mask) = dropout.forward_train(&x, &mut ChaCha8Rng::seed_from_u64(1))?;
/// assert_eq!(y.values().index_axis(Axis(0), 0), y.values().index_axis(Axis(0), 3));
/// assert_eq!(dropout.backward(mask, &x, &mut dropout.clone())?, y);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VariationalDropout<T>(Dropout<T>);
crate::arrays!(VariationalDropout {});

impl<T: Float> VariationalDropout<T> {
    /// Returns dropout with probability `p`.
    ///
    /// # Errors
    /// Unless 0 ≤ p < 1.
    pub fn new(p: f64) -> Result<Self> {
        Dropout::new(p).map(Self)
    }
}

/// The tape is the factors m [batch, features].
impl<T: Float> Layer<Sequences<T>> for VariationalDropout<T> {
    type Output = Sequences<T>;
    type Tape = Array2<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        Ok(x.clone())
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Array2<T>)> {
        let mask = self.0.mask(&Array2::zeros((x.batch(), x.features())), rng);
        Ok((masked(x, &mask)?, mask))
    }

    fn backward(&self, mask: Array2<T>, d_y: &Sequences<T>, _: &mut Self) -> Result<Sequences<T>> {
        let expected = [d_y.batch(), d_y.features()];
        check_shape("mask", "batch, features", &expected, mask.shape())?;
        masked(d_y, &mask)
    }
}

/// Returns every step of `x` times `mask` [batch, features], zero in the padding.
fn masked<T: Float>(x: &Sequences<T>, mask: &Array2<T>) -> Result<Sequences<T>> {
    let mut values: Array3<T> = x.values() * mask;
    zero_padding(&mut values, x.lengths());
    x.with_values(values)
}
