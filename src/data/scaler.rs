//! [`Scaler`]: brings features to a common scale and back.
//!
//! ```text
//! y = (x − offset) / scale          x = y·scale + offset
//! standard: offset = mean, scale = deviation          min-max: offset = min, scale = max − min
//! ```

use ndarray::{Array, ArrayBase, ArrayView2, Data, Dimension};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;

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
pub struct Scaler {
    offset: Vec<f64>,
    scale: Vec<f64>,
}

impl Scaler {
    /// Fits a scaler that gives each feature mean 0 and standard deviation 1 over all rows of
    /// `parts`, each [rows, features].
    ///
    /// # Errors
    /// If there is no row or no feature, the parts differ in features, or a value is not finite.
    pub fn standard<T: Float>(parts: &[ArrayView2<'_, T>]) -> Result<Self> {
        Self::fit(parts, |values| {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares = values.iter().map(|value| (value - mean).powi(2));
            (mean, (squares.sum::<f64>() / values.len() as f64).sqrt())
        })
    }

    /// Fits a scaler that maps the smallest value of each feature to 0 and the largest to 1, over all
    /// rows of `parts`, each [rows, features].
    ///
    /// # Errors
    /// As [`standard`](Self::standard).
    pub fn min_max<T: Float>(parts: &[ArrayView2<'_, T>]) -> Result<Self> {
        Self::fit(parts, |values| {
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            (min, values.iter().copied().fold(f64::NEG_INFINITY, f64::max) - min)
        })
    }

    /// Computes offset and scale of each feature by `of` from its values.
    fn fit<T: Float>(
        parts: &[ArrayView2<'_, T>],
        of: impl Fn(&[f64]) -> (f64, f64),
    ) -> Result<Self> {
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
            offset.push(o);
            scale.push(if s > 0.0 { s } else { 1.0 });
        }
        Ok(Self { offset, scale })
    }

    /// Returns the number of features.
    pub fn features(&self) -> usize {
        self.scale.len()
    }

    /// Scales `x`, whose last axis is the features.
    ///
    /// # Errors
    /// If `x` has another number of features.
    pub fn transform<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        x: &ArrayBase<S, D>,
    ) -> Result<Array<T, D>> {
        self.map("x", x, |value, offset, scale| (value - offset) / scale)
    }

    /// Undoes [`transform`](Self::transform): returns `y`, whose last axis is the features, in the
    /// units of the data.
    ///
    /// # Errors
    /// If `y` has another number of features.
    pub fn inverse_transform<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        y: &ArrayBase<S, D>,
    ) -> Result<Array<T, D>> {
        self.map("y", y, |value, offset, scale| value * scale + offset)
    }

    fn map<T: Float, S: Data<Elem = T>, D: Dimension>(
        &self,
        argument: &'static str,
        values: &ArrayBase<S, D>,
        f: impl Fn(f64, f64, f64) -> f64,
    ) -> Result<Array<T, D>> {
        let got = values.shape().last().map_or(&[][..], std::slice::from_ref);
        check_shape(argument, "features", &[self.features()], got)?;
        let mut mapped = values.to_owned();
        for mut row in mapped.rows_mut() {
            for ((value, &offset), &scale) in row.iter_mut().zip(&self.offset).zip(&self.scale) {
                *value = T::from_f64(f(value.as_f64(), offset, scale));
            }
        }
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

/// Fails unless `columns`, the argument of that name, has entries and each is less than `features`.
pub(crate) fn check_columns(
    argument: &'static str,
    columns: &[usize],
    features: usize,
) -> Result<()> {
    check_size(argument, &[columns.len()])?;
    check_indices(argument, columns, features, "features")
}
