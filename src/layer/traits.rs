//! [`Layer`]: a function with a forward and a backward pass.

use rand::Rng;

use crate::arrays::Arrays;
use crate::error::Result;

/// A differentiable function of an input `X`, with parameters.
///
/// `X` is a type such as [`Sequences`](crate::Sequences) `[time, batch, features]`, an array of rows
/// `[batch, features]`, or a pair. A layer may accept several types of input:
/// [`Linear`](crate::layer::Linear) maps rows, or every step of sequences. The compiler then needs the
/// type of the gradient: `let d_x: Array2<f32> = linear.backward(…)?`.
///
/// The gradient of a value has the type of the value: that of the parameters is a `Self`, that of the
/// input an `X`. The gradient of [`Sequences`](crate::Sequences) has the same lengths and is zero in the
/// padding. Tokens have no gradient; `backward` returns [zeros](Arrays::zeros_like) for them.
///
/// A layer of your own implements [`Arrays`], with the macro [`arrays!`](crate::arrays!), and three
/// functions:
///
/// ```
/// use ndarray::{Array1, Array2, Axis};
/// use rand::Rng;
/// use recurrent::layer::Layer;
/// use recurrent::{Arrays, Float, Result, arrays};
///
/// /// Multiplies each feature by a learned factor: y = w ∘ x.
/// #[derive(Clone)]
/// struct Scale<T> { weight: Array1<T> }
/// arrays!(Scale { weight: array });
///
/// impl<T: Float> Layer<Array2<T>> for Scale<T> {
///     type Output = Array2<T>;
///     type Tape = Array2<T>; // x, which the gradient of w needs
///
///     fn forward(&self, x: &Array2<T>) -> Result<Array2<T>> {
///         Ok(x * &self.weight)
///     }
///
///     fn forward_train(&self, x: &Array2<T>, _: &mut dyn Rng) -> Result<(Array2<T>, Array2<T>)> {
///         Ok((self.forward(x)?, x.clone()))
///     }
///
///     fn backward(&self, x: Array2<T>, d_y: &Array2<T>, grad: &mut Self) -> Result<Array2<T>> {
///         grad.weight += &(d_y * &x).sum_axis(Axis(0));
///         Ok(d_y * &self.weight)
///     }
/// }
///
/// let scale = Scale { weight: Array1::from_vec(vec![2.0, 3.0]) };
/// let mut grad = scale.zeros_like();
/// let d_x = scale.backward(Array2::ones((4, 2)), &Array2::ones((4, 2)), &mut grad)?;
/// assert_eq!((d_x[[0, 1]], grad.weight[0]), (3.0, 4.0));
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// [`check::GradientCheck`](crate::check::GradientCheck) compares such a backward pass with finite
/// differences.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a layer for inputs of type `{X}`",
    label = "`Layer<{X}>` is not implemented for `{Self}`",
    note = "recurrent layers, convolutions, embeddings and pooling take `Sequences`; `Linear`, `LayerNorm`, `Dropout` and `Activation` take `Sequences` and arrays of rows; all parts of a composition have one element type; annotate the gradient that `backward` returns: `let d_x: Array2<f32> = …`"
)]
pub trait Layer<X>: Arrays {
    /// The type of y.
    type Output;
    /// The values that [`forward_train`](Self::forward_train) stores for the backward pass.
    type Tape;

    /// Returns y of `x` for inference, without dropout.
    ///
    /// # Errors
    /// If `x` does not fit the layer.
    fn forward(&self, x: &X) -> Result<Self::Output>;

    /// Returns y of `x` for training, and the tape for [`backward`](Self::backward). Random factors,
    /// such as those of dropout, are drawn from `rng`.
    ///
    /// # Errors
    /// If `x` does not fit the layer.
    fn forward_train(&self, x: &X, rng: &mut dyn Rng) -> Result<(Self::Output, Self::Tape)>;

    /// Returns the gradient with respect to the input, from `d_y`, the gradient with respect to the
    /// output. Adds the gradients of the parameters to `grad`.
    ///
    /// # Errors
    /// If `d_y` or `grad` does not fit the layer and the input of the forward pass.
    fn backward(&self, tape: Self::Tape, d_y: &Self::Output, grad: &mut Self) -> Result<X>;
}
