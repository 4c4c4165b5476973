//! [`Imputer`]: fills missing values, which are NaN.
//!
//! ```text
//! mean:          y[t, j] = x[t, j] if it is known, else m_j, the mean of the known values of feature j
//!                          in the training part
//! forward fill:  y[t, j] = x[s, j], s the last row up to t in which feature j is known; m_j before the
//!                          first one
//! indicator:     y[t, F + j] = 1 if x[t, j] is missing, else 0
//! ```
//!
//! No value is filled from a later row of `x`: there is no interpolation, and no fill from the next row. The
//! means contain all rows that they are fitted on, and these must be of the training part, as for a
//! [`Scaler`](super::Scaler).
//!
//! Source: `SimpleImputer` with `add_indicator` of scikit-learn, `ffill` of pandas; the indicator as input
//! of a recurrent network: Z. C. Lipton, D. Kale, R. Wetzel, *Directly Modeling Missing Data in Sequences
//! with RNNs*, 2016.
#![expect(clippy::indexing_slicing, reason = "the number of features is compared at the entrance")]

use ndarray::{Array2, ArrayBase, ArrayView2, Data, Ix2};
use serde::{Deserialize, Serialize};

use crate::data::columns;
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;

/// A rule that fills missing values, which are NaN, fitted on data. The [module](self) states the
/// equations.
///
/// | option | default |
/// |---|---|
/// | [`forward_fill`](Self::forward_fill) | off: a missing value becomes the mean |
/// | [`add_indicator`](Self::add_indicator) | off |
///
/// Fit it on the training part only, and transform each sequence by itself. Transform a whole series before
/// it is divided into windows: the first rows of the test part are then filled from the rows before them,
/// and those of the training part do not depend on the test part.
///
/// ```
/// use ndarray::{array, s};
/// use recurrent::data::Imputer;
///
/// let missing = f64::NAN;
/// let series = array![[1.0, missing], [missing, 4.0], [3.0, 6.0], [missing, missing]]; // [time, features]
/// let train = series.slice(s![..3, ..]);
/// let mean = Imputer::mean(&[train])?;
/// assert_eq!(mean.transform(&series)?, array![[1.0, 5.0], [2.0, 4.0], [3.0, 6.0], [2.0, 5.0]]);
///
/// let last = mean.forward_fill(true);
/// assert_eq!(last.transform(&series)?, array![[1.0, 5.0], [1.0, 4.0], [3.0, 6.0], [3.0, 6.0]]);
///
/// let marked = last.add_indicator(true);
/// assert_eq!(marked.transform(&series)?.row(1), array![1.0, 4.0, 1.0, 0.0]);
/// assert_eq!(marked.names_out(&["a", "b"])?[2..], ["missingindicator_a", "missingindicator_b"]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Imputer {
    means: Vec<f64>,
    forward_fill: bool,
    add_indicator: bool,
}

/// The serialised form of [`Imputer`], whose means are not checked yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    means: Vec<f64>,
    forward_fill: bool,
    add_indicator: bool,
}

impl TryFrom<Stored> for Imputer {
    type Error = Error;

    fn try_from(Stored { means, forward_fill, add_indicator }: Stored) -> Result<Self> {
        check_size("means", &[means.len()])?;
        match means.iter().position(|mean| !mean.is_finite()) {
            Some(j) => Err(Error::argument(format!("means[{j}]"), "a finite value", means[j])),
            None => Ok(Self { means, forward_fill, add_indicator }),
        }
    }
}

impl Imputer {
    /// Fits a rule that replaces missing values by the mean of the known values of their feature in all
    /// rows of `parts`, each [rows, features].
    ///
    /// # Errors
    /// If there is no part or no feature, the parts differ in features, a value is infinite, or a feature
    /// has no known value.
    pub fn mean<T: Float>(parts: &[ArrayView2<'_, T>]) -> Result<Self> {
        check_size("parts", &[parts.len()])?;
        let features = parts[0].ncols();
        if features == 0 {
            return Err(Error::argument("parts[0]", "at least one feature", 0));
        }
        for (i, part) in parts.iter().enumerate() {
            let expected = [part.nrows(), features];
            check_shape(format!("parts[{i}]"), "rows, features", &expected, part.shape())?;
            check_not_infinite(&format!("parts[{i}]"), part)?;
        }
        let mean = |j: usize| {
            let values = parts.iter().flat_map(|part| part.column(j).to_vec());
            let known: Vec<f64> = values.filter(|x| !x.is_nan()).map(Float::as_f64).collect();
            if known.is_empty() {
                let expected = "at least one known value of each feature";
                return Err(Error::argument("parts", expected, format!("none of feature {j}")));
            }
            Ok(mean_of(&known))
        };
        let means = (0..features).map(mean).collect::<Result<_>>()?;
        Ok(Self { means, forward_fill: false, add_indicator: false })
    }

    /// Sets whether a missing value becomes the last known one before it in the same array. Before the
    /// first known value it is the mean.
    pub fn forward_fill(mut self, forward_fill: bool) -> Self {
        self.forward_fill = forward_fill;
        self
    }

    /// Sets whether a second feature is added for each one: 1 where the value is missing, 0 elsewhere. The
    /// added features follow all others.
    pub fn add_indicator(mut self, add_indicator: bool) -> Self {
        self.add_indicator = add_indicator;
        self
    }

    /// Returns the number of features that [`transform`](Self::transform) takes.
    pub fn features(&self) -> usize {
        self.means.len()
    }

    /// Returns the number of features that [`transform`](Self::transform) returns.
    pub fn features_out(&self) -> usize {
        self.features() * (1 + usize::from(self.add_indicator))
    }

    /// Returns the names of the features that [`transform`](Self::transform) returns, if `names` are those
    /// that it takes. The indicator of `x` is `missingindicator_x`.
    ///
    /// # Errors
    /// If there are more or fewer names than features, or a name is repeated in the result.
    pub fn names_out<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<String>> {
        check_shape("names", "features", &[self.features()], &[names.len()])?;
        let mut all = columns::owned(names);
        if self.add_indicator {
            all.extend(names.iter().map(|name| format!("missingindicator_{}", name.as_ref())));
        }
        columns::check_unique("names", &all)?;
        Ok(all)
    }

    /// Returns `x` [time, features], one sequence in the order of time, without missing values.
    ///
    /// # Errors
    /// If `x` has another number of features, or a value is infinite.
    pub fn transform<T: Float, S: Data<Elem = T>>(
        &self,
        x: &ArrayBase<S, Ix2>,
    ) -> Result<Array2<T>> {
        let features = self.features();
        check_shape("x", "time, features", &[x.nrows(), features], x.shape())?;
        check_not_infinite("x", &x.view())?;
        let mut filled = Array2::zeros((x.nrows(), self.features_out()));
        let mut fill: Vec<T> = self.means.iter().map(|&mean| T::from_f64(mean)).collect();
        for ((t, j), &value) in x.indexed_iter() {
            let missing = value.is_nan();
            if !missing && self.forward_fill {
                fill[j] = value;
            }
            filled[[t, j]] = if missing { fill[j] } else { value };
            if missing && self.add_indicator {
                filled[[t, features + j]] = T::one();
            }
        }
        Ok(filled)
    }
}

/// Returns the mean of `values`, which are finite, even if their sum is not.
fn mean_of(values: &[f64]) -> f64 {
    let (sum, number) = (values.iter().sum::<f64>(), values.len() as f64);
    if sum.is_finite() { sum / number } else { values.iter().map(|value| value / number).sum() }
}

fn check_not_infinite<T: Float>(argument: &str, values: &ArrayView2<'_, T>) -> Result<()> {
    match values.indexed_iter().find(|(_, value)| value.is_infinite()) {
        None => Ok(()),
        Some(((row, column), value)) => Err(Error::argument(
            format!("{argument}[{row}, {column}]"),
            "a finite value, or NaN for a missing one",
            value,
        )),
    }
}
