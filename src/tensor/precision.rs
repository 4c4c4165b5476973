//! [`Precision`]: weights of 16 or 8 bits.

use ndarray::{ArrayViewD, ArrayViewMutD, Axis};

use crate::arrays::{Arrays, Views, ViewsMut, check_all_finite, views, views_mut};
use crate::error::{Error, Result};
use crate::float::{Float, bf16_to_f64, per_float};

/// The numbers that weights are stored as.
///
/// ```text
/// Bf16   w is the upper half of an f32, rounded to nearest, ties to even
/// Int8   w = s·q, q in −127…127, s = max |w| / 127 over the row of the matrix
/// ```
///
/// A scale s has 16 significant bits, so that each product s·q is exact in f32. In an array of more than two
/// axes, a row has all values with the same first index. Arrays of one axis, such as biases, keep the
/// element type of the network, because they take little memory.
///
/// Such weights are used by streams ([`Recurrent::stream_with`](crate::Recurrent::stream_with) and the
/// `stream_with` of models), workspaces ([`Recurrent::workspace_with`](crate::Recurrent::workspace_with), and
/// [`Seq2Seq::workspace_with`](crate::model::Seq2Seq::workspace_with) for decoding) and files
/// ([`io::save_with`](crate::io::save_with)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// The element type of the network.
    #[default]
    Full,
    /// bfloat16: 8 bits of exponent and 7 of significand, half the memory of f32.
    Bf16,
    /// Integers of 8 bits with a scale for each row of a weight matrix, a quarter of the memory of f32.
    Int8,
}

impl Precision {
    /// Replaces the values of all matrices by those that this precision stores. A stream of this precision
    /// has the same outputs before and after, unless its network has a learned initial state: a stream does
    /// not round it.
    ///
    /// ```
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::{Arrays, Lstm, tensor::Precision};
    ///
    /// let mut lstm = Lstm::<f32>::builder(3, 8).build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let exact = lstm.clone();
    /// Precision::Int8.round(&mut lstm)?;
    /// lstm.zip_mut("exact", &exact, &mut |_, rounded, exact| {
    ///     let largest = exact.iter().fold(0.0_f32, |most, w| most.max(w.abs()));
    ///     assert!(rounded.iter().zip(exact).all(|(a, b)| (a - b).abs() <= largest / 253.0));
    /// })?;
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If a value is not finite or beyond the range of f32. Nothing is changed then.
    pub fn round<A: Arrays>(self, arrays: &mut A) -> Result<()> {
        self.check_range(&views(arrays))?;
        round_all(self, views_mut(arrays));
        Ok(())
    }

    /// Fails unless products with the arrays can have this precision.
    pub(crate) fn check<A: Arrays>(self, arrays: &A) -> Result<()> {
        if self == Self::Full {
            return Ok(());
        }
        if A::Elem::NAME != f32::NAME {
            let expected = format!("Full for weights of {}", A::Elem::NAME);
            return Err(Error::argument("precision", expected, format!("{self:?}")));
        }
        self.check_range(&views(arrays))
    }

    /// Fails unless all values can be stored in this precision.
    pub(crate) fn check_range<T: Float>(self, arrays: &Views<'_, T>) -> Result<()> {
        if self == Self::Full {
            return Ok(());
        }
        check_all_finite(arrays)?;
        let far = |value: &T| !(value.as_f64() as f32).is_finite();
        for (name, array) in arrays {
            if let Some(value) = array.iter().find(|value| far(value)) {
                let expected = "Full for weights beyond the range of f32";
                let got = format!("{self:?}, and {:e} in {name}", value.as_f64());
                return Err(Error::argument("precision", expected, got));
            }
        }
        Ok(())
    }

    /// Returns whether an array is stored in this precision, and not in the element type of the network.
    pub(crate) fn applies<T>(self, array: &ArrayViewD<'_, T>) -> bool {
        self != Self::Full && array.ndim() >= 2
    }
}

per_float! {
    fn round_all<'a, T>(precision: Precision, arrays: ViewsMut<'a, T>) = round_each;
}

fn round_each<T: Float>(precision: Precision, arrays: ViewsMut<'_, T>) {
    for (_, mut array) in arrays {
        if precision.applies(&array.view()) {
            array.axis_iter_mut(Axis(0)).for_each(|row| round_row(precision, row));
        }
    }
}

/// Rounds one row of a matrix.
pub(crate) fn round_row<T: Float>(precision: Precision, mut row: ArrayViewMutD<'_, T>) {
    match precision {
        Precision::Full => {}
        Precision::Bf16 => row.mapv_inplace(|w| T::from_f64(bf16_to_f64(half_of(w.as_f64())))),
        Precision::Int8 => {
            let scale = scale_of(row.iter().copied());
            row.mapv_inplace(|w| {
                T::from_f64(f64::from(scale) * f64::from(byte_of(w.as_f64(), scale)))
            });
        }
    }
}

/// Returns the scale of a row in int8, whose last 8 bits are zero.
pub(crate) fn scale_of<T: Float>(row: impl Iterator<Item = T>) -> f32 {
    let largest = row.map(|w| w.as_f64().abs()).fold(0.0, f64::max);
    let bits = ((largest / 127.0) as f32).to_bits();
    f32::from_bits((bits + 0x7f + (bits >> 8 & 1)) & !0xff)
}

/// Returns the q of a weight, where `scale`·q is nearest to it.
pub(crate) fn byte_of(w: f64, scale: f32) -> i8 {
    let q = if scale > 0.0 { (w / f64::from(scale)).round_ties_even() } else { 0.0 };
    // A subnormal scale is rounded so much that q may be more than 127.
    q.clamp(-127.0, 127.0) as i8
}

/// Returns the bits of the bfloat16 nearest to a weight, ties to even. It is finite.
pub(crate) fn half_of(w: f64) -> u16 {
    let bits = (w as f32).to_bits();
    let rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    // Of magnitudes that would become infinite, the largest that is finite.
    let infinite = rounded & 0x7fff == 0x7f80;
    (rounded - u32::from(infinite)) as u16
}
