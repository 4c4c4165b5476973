//! Layers made of layers. The tape of a composition holds the tapes of its parts, so a composition
//! needs no backward pass written by hand.
//!
//! ```text
//! tuple      y = …(b(a(x)))           d_x = a'(b'(… d_y))
//! Residual   y = x + f(x)             d_x = d_y + f'(d_y)
//! Heads      y = (a(x), b(x))         d_x = a'(d_y₁) + b'(d_y₂)
//! Branches   y = (a(x₁), b(x₂))       d_x = (a'(d_y₁), b'(d_y₂))
//! ```

use rand::Rng;

use crate::arrays::{Arrays, check_same_structure};
use crate::error::Result;
use crate::float::Float;
use crate::layer::{Features, Layer};

/// Implements [`Layer`] for tuples of layers. Each layer is given by its type parameter, its index,
/// its input and output types, and the names of its input, output and tape. The indices and tapes
/// follow in reverse order, for the backward pass.
macro_rules! chains {
    ($((
        $first:ident 0 $first_y:ident ($p:ident $first_tape:ident),
        $($layer:ident $place:tt $x:ident $y:ident ($u:ident $v:ident $tape:ident)),+
    ) -> $output:ident $out:ident, [$last:tt $last_tape:ident $($back:tt $back_tape:ident)+];)+) => {$(
        /// Applies the layers in order. The names of the arrays of layer k begin with `k.`.
        impl<T, X, $first_y, $($y,)+ $first, $($layer),+> Layer<X> for ($first, $($layer),+)
        where
            T: Float,
            $first: Layer<X, Output = $first_y, Elem = T>,
            $($layer: Layer<$x, Output = $y, Elem = T>,)+
        {
            type Output = $output;
            type Tape = ($first::Tape, $($layer::Tape),+);

            fn forward(&self, x: &X) -> Result<$output> {
                let $p = self.0.forward(x)?;
                $(let $v = self.$place.forward(&$u)?;)+
                Ok($out)
            }

            fn forward_train(&self, x: &X, rng: &mut dyn Rng) -> Result<($output, Self::Tape)> {
                let ($p, $first_tape) = self.0.forward_train(x, rng)?;
                $(let ($v, $tape) = self.$place.forward_train(&$u, rng)?;)+
                Ok(($out, ($first_tape, $($tape),+)))
            }

            fn backward(&self, tape: Self::Tape, d_y: &$output, grad: &mut Self) -> Result<X> {
                // A later gradient that does not fit would be found after the first was added to.
                check_same_structure("grad", self, grad)?;
                let ($first_tape, $($tape),+) = tape;
                let d = self.$last.backward($last_tape, d_y, &mut grad.$last)?;
                $(let d = self.$back.backward($back_tape, &d, &mut grad.$back)?;)+
                Ok(d)
            }
        }
    )+};
}

chains! {
    (A 0 P (p a), B 1 P Q (p q b)) -> Q q, [1 b 0 a];
    (A 0 P (p a), B 1 P Q (p q b), C 2 Q R (q r c)) -> R r, [2 c 1 b 0 a];
    (A 0 P (p a), B 1 P Q (p q b), C 2 Q R (q r c), D 3 R S (r s d)) -> S s, [3 d 2 c 1 b 0 a];
    (A 0 P (p a), B 1 P Q (p q b), C 2 Q R (q r c), D 3 R S (r s d), E 4 S U (s u e))
        -> U u, [4 e 3 d 2 c 1 b 0 a];
    (A 0 P (p a), B 1 P Q (p q b), C 2 Q R (q r c), D 3 R S (r s d), E 4 S U (s u e),
        F 5 U V (u v f)) -> V v, [5 f 4 e 3 d 2 c 1 b 0 a];
}

/// A layer whose input is added to its output: y = x + layer(x).
///
/// ```
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::Arrays;
/// use recurrent::layer::{Layer, Linear, Residual};
///
/// let mut linear = Linear::<f64>::new(2, 2, &mut ChaCha8Rng::seed_from_u64(1))?;
/// linear.fill(1.0);
/// assert_eq!(Residual(linear).forward(&array![[1.0, 2.0]])?, array![[5.0, 6.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Residual<L>(pub L);
crate::arrays!([L: Arrays] Residual<L>: L::Elem { ..0 });

impl<X: Features, L: Layer<X, Output = X>> Layer<X> for Residual<L> {
    type Output = X;
    type Tape = L::Tape;

    fn forward(&self, x: &X) -> Result<X> {
        x.add(&self.0.forward(x)?)
    }

    fn forward_train(&self, x: &X, rng: &mut dyn Rng) -> Result<(X, L::Tape)> {
        let (y, tape) = self.0.forward_train(x, rng)?;
        Ok((x.add(&y)?, tape))
    }

    fn backward(&self, tape: L::Tape, d_y: &X, grad: &mut Self) -> Result<X> {
        d_y.add(&self.0.backward(tape, d_y, &mut grad.0)?)
    }
}

/// Two layers on the same input, such as the heads of a model with two outputs. The output is a pair.
/// The gradient of the input is the sum of both. Nested `Heads` make more than two outputs.
///
/// If the second part of d_y does not fit, `backward` fails after it has added to the gradient of the first layer.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Heads, Layer, Linear};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let heads = Heads::new(Linear::<f32>::new(8, 3, &mut rng)?, Linear::new(8, 1, &mut rng)?);
/// let (classes, value) = heads.forward(&Array2::ones((5, 8)))?;
/// assert_eq!((classes.dim(), value.dim()), ((5, 3), (5, 1)));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads<A, B> {
    /// The layer of the first output.
    pub first: A,
    /// The layer of the second output.
    pub second: B,
}
crate::arrays!([T: Float, A: Arrays<Elem = T>, B: Arrays<Elem = T>] Heads<A, B>: T { first, second });

impl<A, B> Heads<A, B> {
    /// Creates the composition of two layers with the same input.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<T, X, A, B> Layer<X> for Heads<A, B>
where
    T: Float,
    X: Arrays<Elem = T>,
    A: Layer<X, Elem = T>,
    B: Layer<X, Elem = T>,
{
    type Output = (A::Output, B::Output);
    type Tape = (A::Tape, B::Tape);

    fn forward(&self, x: &X) -> Result<Self::Output> {
        Ok((self.first.forward(x)?, self.second.forward(x)?))
    }

    fn forward_train(&self, x: &X, rng: &mut dyn Rng) -> Result<(Self::Output, Self::Tape)> {
        let (first, first_tape) = self.first.forward_train(x, rng)?;
        let (second, second_tape) = self.second.forward_train(x, rng)?;
        Ok(((first, second), (first_tape, second_tape)))
    }

    fn backward(&self, tape: Self::Tape, d_y: &Self::Output, grad: &mut Self) -> Result<X> {
        check_same_structure("grad", self, grad)?;
        let mut d_x = self.first.backward(tape.0, &d_y.0, &mut grad.first)?;
        let d_second = self.second.backward(tape.1, &d_y.1, &mut grad.second)?;
        d_x.add_arrays("d_x of the second head", &d_second)?;
        Ok(d_x)
    }
}

/// Two layers on two inputs, a map from pairs to pairs. [`Concat`](crate::layer::Concat) or
/// [`Add`](crate::layer::Add) joins the outputs.
///
/// If the second part of d_y does not fit, `backward` fails after it has added to the gradient of the first layer.
///
/// ```
/// use ndarray::Array2;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Branches, Concat, Layer, Linear};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let branches = Branches::new(Linear::<f32>::new(2, 4, &mut rng)?, Linear::new(3, 5, &mut rng)?);
/// let joined = (branches, Concat::new());
/// assert_eq!(joined.forward(&(Array2::ones((6, 2)), Array2::ones((6, 3))))?.dim(), (6, 9));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branches<A, B> {
    /// The layer of the first input.
    pub first: A,
    /// The layer of the second input.
    pub second: B,
}
crate::arrays!([T: Float, A: Arrays<Elem = T>, B: Arrays<Elem = T>] Branches<A, B>: T { first, second });

impl<A, B> Branches<A, B> {
    /// Creates the composition of a layer for each input.
    pub fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<T, X, Y, A, B> Layer<(X, Y)> for Branches<A, B>
where
    T: Float,
    A: Layer<X, Elem = T>,
    B: Layer<Y, Elem = T>,
{
    type Output = (A::Output, B::Output);
    type Tape = (A::Tape, B::Tape);

    fn forward(&self, (x, y): &(X, Y)) -> Result<Self::Output> {
        Ok((self.first.forward(x)?, self.second.forward(y)?))
    }

    fn forward_train(&self, x: &(X, Y), rng: &mut dyn Rng) -> Result<(Self::Output, Self::Tape)> {
        let (first, first_tape) = self.first.forward_train(&x.0, rng)?;
        let (second, second_tape) = self.second.forward_train(&x.1, rng)?;
        Ok(((first, second), (first_tape, second_tape)))
    }

    fn backward(&self, tape: Self::Tape, d_y: &Self::Output, grad: &mut Self) -> Result<(X, Y)> {
        check_same_structure("grad", self, grad)?;
        let d_x = self.first.backward(tape.0, &d_y.0, &mut grad.first)?;
        Ok((d_x, self.second.backward(tape.1, &d_y.1, &mut grad.second)?))
    }
}
