//! [`Scaler`]: brings features to a common scale and back.
//!
//! ```text
//! y = (x − offset) / scale          x = y·scale + offset
//! standard: offset = mean, scale = deviation          min-max: offset = min, scale = max − min
//! ```
//!
//! The scale of a constant feature is 1. A feature of n values is constant if its deviation is at most
//! n·ε·|mean|, the error of a sum, or its minimum is its maximum. Source: `_is_constant_feature` of
//! scikit-learn.
#![expect(clippy::indexing_slicing, reason = "the number of features is compared at the entrance")]

use ndarray::{Array, ArrayBase, ArrayView2, ArrayViewMutD, Data, Dimension};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::{Float, per_float};

/// An offset and a scale for each feature, fitted on data.
///
/// Fit it on the training part only. Otherwise the test part would influence the training. The
/// [module](self) states the equations.
///
/// ```
/// use ndarray::array;
/// use recurrent::data::Scaler;
///
/// let train = array![[1.0_f64, 10.0], [3.0, 10.0]]; // [rows, features]
/// let scaler = Scaler::standard(&[train.view()])?;
/// let scaled = scaler.transform(&train)?;
/// assert_eq!(scaled, array![[-1.0, 0.0], [1.0, 0.0]]); // a constant feature is only shifted
/// assert_eq!(scaler.inverse_transform(&scaled)?, train);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Scaler {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl TryFrom<Stored> for Scaler {
    type Error = Error;

    fn try_from(Stored { offset, scale }: Stored) -> Result<Self> {
        check_size("scale", &[scale.len()])?;
        check_shape("offset", "features", &[scale.len()], &[offset.len()])?;
        if let Some(j) = offset.iter().position(|offset| !offset.is_finite()) {
            return Err(Error::argument(format!("offset[{j}]"), "a finite value", offset[j]));
        }
        if let Some(j) = scale.iter().position(|&scale| !(scale > 0.0 && scale.is_finite())) {
            let expected = "a finite value greater than 0";
            return Err(Error::argument(format!("scale[{j}]"), expected, scale[j]));
        }
        Ok(Self { offset, scale })
    }
}

impl Scaler {
    /// Fits a scaler that gives each feature mean 0 and standard deviation 1 over all rows of
    /// `parts`, each [rows, features].
    ///
    /// # Errors
    /// If there is no row or no feature, the parts differ in features, or a value is not finite.
    pub fn standard<T: Float>(parts: &[ArrayView2<'_, T>]) -> Result<Self> {
        fit(parts, &mean_and_deviation)
    }

    /// Fits a scaler that maps the smallest value of each feature to 0 and the largest to 1, over all
    /// rows of `parts`, each [rows, features].
    ///
    /// # Errors
    /// As [`standard`](Self::standard), or if the largest value of a feature minus the smallest is more than
    /// the largest `f64`.
    pub fn min_max<T: Float>(parts: &[ArrayView2<'_, T>]) -> Result<Self> {
        fit(parts, &|values| {
            let (min, max) = range(values);
            (min, max - min)
        })
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.scale.len()
    }

    /// Returns the offset of each feature, in the units of the data.
    pub fn offset(&self) -> &[f64] {
        &self.offset
    }

    /// Returns the scale of each feature, greater than 0, in the units of the data.
    pub fn scale(&self) -> &[f64] {
        &self.scale
    }

    /// Scales `x`, whose last axis is the features.
    ///
    /// # Errors
    /// If `x` has another number of features, or a finite value is out of the range of `T` when it is scaled.
    pub fn transform<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        x: &ArrayBase<S, D>,
    ) -> Result<Array<T, D>> {
        self.map("x", x, |value, offset, scale| {
            let difference = value - offset;
            if difference.is_infinite() {
                return (0.5 * value - 0.5 * offset) / scale * 2.0;
            }
            difference / scale
        })
    }

    /// Undoes [`transform`](Self::transform): returns `y`, whose last axis is the features, in the
    /// units of the data.
    ///
    /// # Errors
    /// If `y` has another number of features, or a finite value is out of the range of `T` in those units.
    pub fn inverse_transform<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        y: &ArrayBase<S, D>,
    ) -> Result<Array<T, D>> {
        self.map("y", y, |value, offset, scale| {
            let product = value * scale;
            if product.is_infinite() {
                return (0.5 * value * scale + 0.5 * offset) * 2.0;
            }
            product + offset
        })
    }

    fn map<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        argument: &'static str,
        values: &ArrayBase<S, D>,
        f: impl Fn(f64, f64, f64) -> f64,
    ) -> Result<Array<T, D>> {
        let mut mapped = values.to_owned();
        map(self, argument, mapped.view_mut().into_dyn(), &f)?;
        Ok(mapped)
    }

    /// Returns the scaler of the given features alone, in that order, for example of those that are
    /// targets.
    ///
    /// # Errors
    /// If `columns` is empty, or one of them does not exist.
    pub fn columns(&self, columns: &[usize]) -> Result<Self> {
        check_columns("columns", columns, self.features())?;
        let of = |values: &[f64]| columns.iter().map(|&j| values[j]).collect();
        Ok(Self { offset: of(&self.offset), scale: of(&self.scale) })
    }
}

per_float! {
    /// Returns the scaler whose offset and scale of each feature are what `of` computes from its values.
    fn fit<'a, T>(
        parts: &'a [ArrayView2<'a, T>],
        of: &'a dyn Fn(&[f64]) -> (f64, f64),
    ) -> Result<Scaler> = fit_parts;

    /// Replaces each value by `f` of it and of the offset and the scale of its feature.
    fn map<'a, T>(
        scaler: &'a Scaler,
        argument: &'static str,
        values: ArrayViewMutD<'a, T>,
        f: &'a dyn Fn(f64, f64, f64) -> f64,
    ) -> Result<()> = map_values;
}

fn fit_parts<T: Float>(
    parts: &[ArrayView2<'_, T>],
    of: &dyn Fn(&[f64]) -> (f64, f64),
) -> Result<Scaler> {
    let features = parts.first().map_or(0, |part| part.ncols());
    check_size("parts", &[parts.len()])?;
    if features == 0 {
        return Err(Error::argument("parts[0]", "at least one feature", 0));
    }
    if parts.iter().all(|part| part.nrows() == 0) {
        return Err(Error::argument("parts", "at least one row", "none"));
    }
    for (i, part) in parts.iter().enumerate() {
        let expected = [part.nrows(), features];
        check_shape(format!("parts[{i}]"), "rows, features", &expected, part.shape())?;
        if let Some(((row, column), value)) = part.indexed_iter().find(|x| !x.1.is_finite()) {
            let argument = format!("parts[{i}][{row}, {column}]");
            return Err(Error::argument(argument, "a finite value", value));
        }
    }
    let (mut offset, mut scale) = (Vec::new(), Vec::new());
    for j in 0..features {
        let columns = parts.iter().map(|part| part.column(j));
        let values: Vec<f64> = columns.flatten().map(|value| value.as_f64()).collect();
        let (o, s) = of(&values);
        if s.is_infinite() {
            let (argument, expected) =
                (format!("parts[..][.., {j}]"), "a difference that f64 holds");
            let (min, max) = range(&values);
            return Err(Error::argument(argument, expected, format!("{min:e} to {max:e}")));
        }
        offset.push(o);
        scale.push(if s > 0.0 { s } else { 1.0 });
    }
    Ok(Scaler { offset, scale })
}

fn map_values<T: Float>(
    scaler: &Scaler,
    argument: &'static str,
    mut values: ArrayViewMutD<'_, T>,
    f: &dyn Fn(f64, f64, f64) -> f64,
) -> Result<()> {
    let got = values.shape().last().map_or(&[][..], std::slice::from_ref);
    check_shape(argument, "features", &[scaler.features()], got)?;
    for mut row in values.rows_mut() {
        for ((value, &offset), &scale) in row.iter_mut().zip(&scaler.offset).zip(&scaler.scale) {
            let given = *value;
            *value = T::from_f64(f(given.as_f64(), offset, scale));
            if given.is_finite() && !value.is_finite() {
                let expected = format!("values that {} holds in the other units", T::NAME);
                return Err(Error::argument(argument, expected, format!("{given:e}")));
            }
        }
    }
    Ok(())
}

/// Returns the smallest and the largest of `values`.
fn range(values: &[f64]) -> (f64, f64) {
    let min = values.iter().copied().fold(f64::INFINITY, f64::min);
    (min, values.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// Returns 2ᵏ for −1022 ≤ k ≤ 1023.
fn power_of_two(k: i32) -> f64 {
    f64::from_bits(((1023 + k) as u64) << 52)
}

/// Returns the mean of `values` and their standard deviation, which is 0 for a constant feature.
fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let (n, (min, max)) = (values.len() as f64, range(values));
    if min == max {
        return (min, 0.0);
    }
    // A power of two near the largest magnitude is exact, and keeps sums and squares from over- and
    // underflow.
    let exponent = (max.max(-min).to_bits() >> 52) as i32 - 1023;
    let exponent = exponent.clamp(-1000, 1000);
    let (down, up) = (power_of_two(-exponent), power_of_two(exponent));
    let sum = |of: &dyn Fn(f64) -> f64| values.iter().map(|value| of(value * down)).sum::<f64>();
    let rough = sum(&|value| value) / n;
    let mean = rough + sum(&|value| value - rough) / n;
    let deviation = (sum(&|value| (value - mean) * (value - mean)) / n).sqrt();
    let constant = deviation <= n * f64::EPSILON * mean.abs();
    let deviation =
        if constant { 0.0 } else { (deviation * up).clamp(f64::from_bits(1), f64::MAX) };
    ((mean * up).clamp(min, max), deviation)
}

/// Fails unless `columns`, the argument of that name, has entries and each is less than `features`.
pub(crate) fn check_columns(
    argument: &'static str,
    columns: &[usize],
    features: usize,
) -> Result<()> {
    check_size(argument, &[columns.len()])?;
    check_indices(argument, columns, features, "features")
}
