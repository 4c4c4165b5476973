//! [`Windows`]: windows of a time series, each with the rows that follow it.
//!
//! ```text
//! rows  s … s + length                     the input: all features
//! rows  s + length … s + length + horizon  the target: the target features
//! ```

use ndarray::{Array2, Array3, Axis, Slice};

use crate::data::scaler::check_columns;
use crate::data::{Scaler, Source, check_positive, columns};
use crate::error::{Error, Result, check_indices, check_size};
use crate::float::Float;
use crate::sequences::Sequences;

/// A rule that divides a series into windows and targets, as the [module](self) shows.
///
/// A [`Forecaster`](crate::model::Forecaster) is built from the same rule.
///
/// ```
/// use ndarray::Array2;
/// use recurrent::data::{Source, Windows};
///
/// let series = Array2::from_shape_fn((10, 2), |(t, j)| (10 * j + t) as f32); // [time, features]
/// let windows = Windows::new(3, 2)?.targets(&[1]);
/// let (train, test) = windows.split(&series, 7)?;
/// assert_eq!((train.len(), test.len()), (3, 2)); // no window of train sees row 7
/// let batch = test.batch(&[0])?;
/// assert_eq!(batch.x.values()[[0, 0, 0]], 4.0);
/// assert_eq!(batch.y, ndarray::array![[17.0, 18.0]]); // [batch, horizon · targets]
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    length: usize,
    horizon: usize,
    stride: usize,
    targets: Option<Vec<usize>>,
    columns: Option<Vec<String>>,
}

impl Windows {
    /// Creates a rule for windows of `length` rows, one from each row on, with the `horizon` rows that
    /// follow as target.
    ///
    /// # Errors
    /// If `length` or `horizon` is zero.
    pub fn new(length: usize, horizon: usize) -> Result<Self> {
        check_positive("length", length)?;
        check_positive("horizon", horizon)?;
        Ok(Self { length, horizon, stride: 1, targets: None, columns: None })
    }

    /// Sets the number of rows from the start of a window to the start of the next. Default: 1.
    ///
    /// # Errors
    /// If `stride` is zero.
    pub fn stride(mut self, stride: usize) -> Result<Self> {
        check_positive("stride", stride)?;
        self.stride = stride;
        Ok(self)
    }

    /// Sets the features to forecast, by column. Default: all.
    pub fn targets(mut self, features: &[usize]) -> Self {
        self.targets = Some(features.to_vec());
        self
    }

    /// Names the features of the series, in order. A [`Forecaster`](crate::model::Forecaster) that is
    /// built from this rule keeps the names.
    pub fn columns<S: AsRef<str>>(mut self, names: &[S]) -> Self {
        self.columns = Some(columns::owned(names));
        self
    }

    /// Returns the number of rows to forecast.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// Returns the names of the features, if there are any.
    pub(crate) fn column_names(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// Returns the target features of a series of so many `features`.
    pub(crate) fn targets_of(&self, features: usize) -> Vec<usize> {
        self.targets.clone().unwrap_or_else(|| (0..features).collect())
    }

    /// Returns all windows of `series` [time, features].
    ///
    /// # Errors
    /// If the series is shorter than a window and its horizon, a target feature does not exist, or
    /// [`columns`](Self::columns) does not fit.
    pub fn cut<T: Float>(&self, series: &Array2<T>) -> Result<WindowedSeries<T>> {
        self.between(series, 0, series.nrows())
    }

    /// Splits the windows of `series` at row `boundary` into a training and a test part.
    ///
    /// The training part has the windows whose rows, horizon included, are all before `boundary`. The
    /// test part has those whose horizon begins at `boundary` or later. A test window may contain rows
    /// before `boundary`, which are known by then. No row that a test window forecasts is in the
    /// training part.
    ///
    /// # Errors
    /// If one of the parts has no window, a target feature does not exist, or
    /// [`columns`](Self::columns) does not fit.
    pub fn split<T: Float>(
        &self,
        series: &Array2<T>,
        boundary: usize,
    ) -> Result<(WindowedSeries<T>, WindowedSeries<T>)> {
        let boundary = boundary.min(series.nrows());
        let first = boundary.saturating_sub(self.length);
        let late = self.between(series, first, series.nrows())?;
        Ok((self.between(series, 0, boundary)?, late))
    }

    fn between<T: Float>(
        &self,
        series: &Array2<T>,
        first: usize,
        end: usize,
    ) -> Result<WindowedSeries<T>> {
        let rows = self.length.saturating_add(self.horizon);
        if end - first < rows {
            let expected = format!("at least {rows} rows (length + horizon) on each side");
            return Err(Error::argument("series", expected, end - first));
        }
        check_size("series [time, features]", series.shape())?;
        let targets = self.targets_of(series.ncols());
        check_columns("targets", &targets, series.ncols())?;
        if let Some(names) = self.column_names() {
            columns::check_names(names, series.ncols())?;
        }
        Ok(WindowedSeries {
            // Windows overlap: their rows are copied only into batches.
            series: series.slice_axis(Axis(0), Slice::from(first..end)).to_owned(),
            scaled: None,
            length: self.length,
            horizon: self.horizon,
            stride: self.stride,
            targets,
            columns: self.columns.clone().unwrap_or_default(),
        })
    }
}

/// Windows with the rows that follow them: a batch of a [`WindowedSeries`].
#[derive(Clone, Debug, PartialEq)]
pub struct WindowBatch<T: Float> {
    /// The windows, [length, batch, features].
    pub x: Sequences<T>,
    /// The target features of the rows that follow each window, [batch, horizon · targets]. The targets
    /// of one row are adjacent.
    pub y: Array2<T>,
    /// The features that `y` holds, in that order. A [`Forecaster`](crate::model::Forecaster) refuses
    /// others than its own.
    pub targets: Vec<usize>,
}

/// The windows of a series; made by [`Windows`].
#[derive(Clone, Debug)]
pub struct WindowedSeries<T> {
    series: Array2<T>,
    /// The series that the inputs come from, if it is a scaled one.
    scaled: Option<Array2<T>>,
    length: usize,
    horizon: usize,
    stride: usize,
    targets: Vec<usize>,
    columns: Vec<String>,
}

impl<T: Float> WindowedSeries<T> {
    /// Returns the part of the series that the windows cover, [time, features].
    pub fn series(&self) -> &Array2<T> {
        &self.series
    }

    /// Returns the row of [`series`](Self::series) at which window `index` begins.
    pub fn start(&self, index: usize) -> usize {
        index * self.stride
    }
}

impl<T: Float> Source<WindowBatch<T>> for WindowedSeries<T> {
    fn len(&self) -> usize {
        (self.series.nrows() - self.length - self.horizon) / self.stride + 1
    }

    fn length(&self, _: usize) -> usize {
        self.length
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn scaled_once(&self, scaler: &Scaler) -> Result<Option<Box<dyn Source<WindowBatch<T>> + '_>>> {
        let scaled = Some(scaler.transform(&self.series)?);
        Ok(Some(Box::new(Self { scaled, ..self.clone() })))
    }

    fn batch(&self, indices: &[usize]) -> Result<WindowBatch<T>> {
        check_indices("indices", indices, self.len(), "windows")?;
        check_size("indices", &[indices.len()])?;
        let x = (self.length, indices.len(), self.series.ncols());
        let inputs = self.scaled.as_ref().unwrap_or(&self.series);
        let x = Array3::from_shape_fn(x, |(t, b, j)| inputs[[self.start(indices[b]) + t, j]]);
        let width = self.targets.len();
        let y = Array2::from_shape_fn((indices.len(), self.horizon * width), |(b, k)| {
            let row = self.start(indices[b]) + self.length + k / width;
            self.series[[row, self.targets[k % width]]]
        });
        Ok(WindowBatch { x: Sequences::full(x)?, y, targets: self.targets.clone() })
    }
}
