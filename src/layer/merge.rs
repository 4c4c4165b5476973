//! Layers that join two values into one, by concatenation or addition.
//!
//! ```text
//! concat   y = [a, b]     d_a, d_b = the parts of d_y
//! add      y = a + b      d_a = d_b = d_y
//! ```

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, Axis, concatenate};
use rand::Rng;

use crate::arrays::Arrays;
use crate::error::{Error, Result, check_shape};
use crate::float::{Float, per_float};
use crate::layer::Layer;
use crate::layer::steps::{check, zero_padding, zip_map};
use crate::sequences::Sequences;

/// Values whose last axis is features: rows [batch, features], and sequences
/// [time, batch, features].
pub trait Features: Arrays {
    /// Returns the number of features.
    fn width(&self) -> usize;

    /// Returns the concatenated features of both, those of `self` first.
    ///
    /// # Errors
    /// If the other axes or the lengths differ.
    fn concat(&self, other: &Self) -> Result<Self>;

    /// Returns the first `width` features and the others.
    ///
    /// # Errors
    /// Unless each part has at least one feature.
    fn split(&self, width: usize) -> Result<(Self, Self)>;

    /// Returns the sum of both.
    ///
    /// # Errors
    /// If the shapes or the lengths differ.
    fn add(&self, other: &Self) -> Result<Self>;
}

/// Fails unless both parts of a split of `all` features at `width` have at least one.
fn check_split(width: usize, all: usize) -> Result<()> {
    match (1..all).contains(&width) {
        true => Ok(()),
        false => Err(Error::argument("width", format!("from 1 to less than {all}"), width)),
    }
}

impl<T: Float> Features for Array2<T> {
    fn width(&self) -> usize {
        self.ncols()
    }

    fn concat(&self, other: &Self) -> Result<Self> {
        let expected = [self.nrows(), other.ncols()];
        check_shape("second", "rows, features", &expected, other.shape())?;
        Ok(joined_rows(self.view(), other.view()))
    }

    fn split(&self, width: usize) -> Result<(Self, Self)> {
        check_split(width, self.ncols())?;
        let (first, second) = self.view().split_at(Axis(1), width);
        Ok((owned_rows(first), owned_rows(second)))
    }

    fn add(&self, other: &Self) -> Result<Self> {
        check_shape("second", "rows, features", self.shape(), other.shape())?;
        Ok(self + other)
    }
}

impl<T: Float> Features for Sequences<T> {
    fn width(&self) -> usize {
        self.features()
    }

    fn concat(&self, other: &Self) -> Result<Self> {
        check("second", self, (other.features(), "time, batch, features"), other)?;
        let mut values = joined_steps(self.values().view(), other.values().view());
        zero_padding(&mut values, self.lengths());
        self.with_values(values)
    }

    fn split(&self, width: usize) -> Result<(Self, Self)> {
        check_split(width, self.features())?;
        let (first, second) = self.values().view().split_at(Axis(2), width);
        let own = |part: ArrayView3<'_, T>| {
            let mut part = owned_steps(part);
            zero_padding(&mut part, self.lengths());
            self.with_values(part)
        };
        Ok((own(first)?, own(second)?))
    }

    fn add(&self, other: &Self) -> Result<Self> {
        check("second", self, (self.features(), "time, batch, features"), other)?;
        zip_map(self, other.values(), |a, b| a + b)
    }
}

per_float! {
    fn joined_rows<'a, T>(a: ArrayView2<'a, T>, b: ArrayView2<'a, T>) -> Array2<T> = join_rows;
    fn joined_steps<'a, T>(a: ArrayView3<'a, T>, b: ArrayView3<'a, T>) -> Array3<T> = join_steps;
    fn owned_rows<'a, T>(part: ArrayView2<'a, T>) -> Array2<T> = own_rows;
    fn owned_steps<'a, T>(part: ArrayView3<'a, T>) -> Array3<T> = own_steps;
}

#[expect(clippy::expect_used, reason = "the number of rows was compared")]
fn join_rows<T: Float>(a: ArrayView2<'_, T>, b: ArrayView2<'_, T>) -> Array2<T> {
    let joined = concatenate(Axis(1), &[a, b]).expect("as many rows, as was checked");
    own_rows(joined.view())
}

#[expect(clippy::expect_used, reason = "the numbers of steps and sequences were compared")]
fn join_steps<T: Float>(a: ArrayView3<'_, T>, b: ArrayView3<'_, T>) -> Array3<T> {
    let joined = concatenate(Axis(2), &[a, b]).expect("as many steps, as was checked");
    own_steps(joined.view())
}

fn own_rows<T: Float>(part: ArrayView2<'_, T>) -> Array2<T> {
    part.as_standard_layout().into_owned()
}

fn own_steps<T: Float>(part: ArrayView3<'_, T>) -> Array3<T> {
    part.as_standard_layout().into_owned()
}

/// Concatenation of the features of a pair, those of the first value first.
///
/// ```
/// use ndarray::array;
/// use recurrent::layer::{Concat, Layer};
///
/// let pair = (array![[1.0], [2.0]], array![[3.0, 4.0], [5.0, 6.0]]); // [batch, features] each
/// let y = Concat::<f64>::new().forward(&pair)?;
/// assert_eq!(y, array![[1.0, 3.0, 4.0], [2.0, 5.0, 6.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Concat<T>(PhantomData<T>);
crate::arrays!(Concat {});

impl<T: Float> Concat<T> {
    /// Creates the layer, which has no parameters.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Debug for Concat<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Concat")
    }
}

impl<T: Float, X: Features<Elem = T>> Layer<(X, X)> for Concat<T> {
    type Output = X;
    /// The widths of both inputs.
    type Tape = (usize, usize);

    fn forward(&self, (first, second): &(X, X)) -> Result<X> {
        first.concat(second)
    }

    fn forward_train(&self, x: &(X, X), _: &mut dyn Rng) -> Result<(X, Self::Tape)> {
        Ok((self.forward(x)?, (x.0.width(), x.1.width())))
    }

    fn backward(&self, (first, second): Self::Tape, d_y: &X, _: &mut Self) -> Result<(X, X)> {
        check_shape("d_y", "features", &[first + second], &[d_y.width()])?;
        d_y.split(first)
    }
}

/// The sum of both values of a pair.
///
/// ```
/// use ndarray::array;
/// use recurrent::layer::{Add, Layer};
///
/// let y = Add::<f64>::new().forward(&(array![[1.0, 2.0]], array![[3.0, 4.0]]))?;
/// assert_eq!(y, array![[4.0, 6.0]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Add<T>(PhantomData<T>);
crate::arrays!(Add {});

impl<T: Float> Add<T> {
    /// Creates the layer, which has no parameters.
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Debug for Add<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Add")
    }
}

impl<T: Float, X: Features<Elem = T>> Layer<(X, X)> for Add<T> {
    type Output = X;
    /// Empty, because the gradient of a sum does not depend on its values.
    type Tape = ();

    fn forward(&self, (first, second): &(X, X)) -> Result<X> {
        first.add(second)
    }

    fn forward_train(&self, x: &(X, X), _: &mut dyn Rng) -> Result<(X, ())> {
        Ok((self.forward(x)?, ()))
    }

    fn backward(&self, (): (), d_y: &X, _: &mut Self) -> Result<(X, X)> {
        Ok((d_y.clone(), d_y.clone()))
    }
}
