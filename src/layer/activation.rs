//! Activation functions, applied elementwise.
//!
//! ```text
//! tanh      y = tanh x              d_x = d_y · (1 − y²)
//! sigmoid   y = 1 / (1 + e^−x)      d_x = d_y · y · (1 − y)
//! relu      y = max(x, 0)           d_x = d_y where y > 0, else 0
//! ```

use std::marker::PhantomData;

use ndarray::{Array, Array3, Dimension, Zip};
use rand::Rng;

use crate::error::{Result, check_shape};
use crate::float::Float;
use crate::layer::Layer;
use crate::layer::steps::{check, zero_padding, zip_map};
use crate::sequences::Sequences;
use crate::tensor::Level;
use crate::tensor::activation::{relu_slice, sigmoid_slice, tanh_slice};

/// An elementwise function without parameters; see the [module](self).
///
/// ```
/// use ndarray::{Array2, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Activation, Layer};
///
/// let relu = Activation::<f64>::relu();
/// let (y, tape) = relu.forward_train(&array![[-1.0, 2.0]], &mut ChaCha8Rng::seed_from_u64(1))?;
/// assert_eq!(y, array![[0.0, 2.0]]);
/// let d_x: Array2<f64> = relu.backward(tape, &array![[5.0, 5.0]], &mut relu.clone())?;
/// assert_eq!(d_x, array![[0.0, 5.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation<T> {
    kind: Kind,
    elem: PhantomData<T>,
}
crate::arrays!(Activation {});

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tanh,
    Sigmoid,
    Relu,
}

impl<T: Float> Activation<T> {
    /// Returns the hyperbolic tangent.
    pub fn tanh() -> Self {
        Self { kind: Kind::Tanh, elem: PhantomData }
    }

    /// Returns the logistic function.
    pub fn sigmoid() -> Self {
        Self { kind: Kind::Sigmoid, elem: PhantomData }
    }

    /// Returns the rectifier max(x, 0).
    pub fn relu() -> Self {
        Self { kind: Kind::Relu, elem: PhantomData }
    }

    #[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
    fn map<D: Dimension>(self, x: &Array<T, D>) -> Array<T, D> {
        let mut y = x.as_standard_layout().into_owned();
        let values = y.as_slice_mut().expect("values in standard layout");
        match self.kind {
            Kind::Tanh => tanh_slice(Level::new(), values),
            Kind::Sigmoid => sigmoid_slice(Level::new(), values),
            Kind::Relu => relu_slice(Level::new(), values),
        }
        y
    }

    /// Returns d_x of one value, from its y and d_y.
    fn slope(self, y: T, d_y: T) -> T {
        match self.kind {
            Kind::Tanh => d_y * (T::one() - y * y),
            Kind::Sigmoid => d_y * y * (T::one() - y),
            Kind::Relu if y > T::zero() => d_y,
            Kind::Relu => T::zero(),
        }
    }
}

/// Acts on an array of any dimension.
impl<T: Float, D: Dimension> Layer<Array<T, D>> for Activation<T> {
    type Output = Array<T, D>;
    type Tape = Array<T, D>;

    fn forward(&self, x: &Array<T, D>) -> Result<Array<T, D>> {
        Ok(self.map(x))
    }

    fn forward_train(
        &self,
        x: &Array<T, D>,
        _: &mut dyn Rng,
    ) -> Result<(Array<T, D>, Array<T, D>)> {
        let y = self.map(x);
        Ok((y.clone(), y))
    }

    fn backward(&self, y: Array<T, D>, d_y: &Array<T, D>, _: &mut Self) -> Result<Array<T, D>> {
        check_shape("d_y", "as y", y.shape(), d_y.shape())?;
        Ok(Zip::from(&y).and(d_y).map_collect(|&y, &d_y| self.slope(y, d_y)))
    }
}

/// Acts on every step; y is zero in the padding.
impl<T: Float> Layer<Sequences<T>> for Activation<T> {
    type Output = Sequences<T>;
    type Tape = Sequences<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        let mut y: Array3<T> = self.map(x.values());
        zero_padding(&mut y, x.lengths());
        x.with_values(y)
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        _: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Sequences<T>)> {
        let y = Layer::forward(self, x)?;
        Ok((y.clone(), y))
    }

    fn backward(&self, y: Sequences<T>, d_y: &Sequences<T>, _: &mut Self) -> Result<Sequences<T>> {
        check("d_y", &y, (y.features(), "time, batch, features"), d_y)?;
        zip_map(&y, d_y.values(), |y, d_y| self.slope(y, d_y))
    }
}
