//! [`Windows`]: windows of one or several time series, each with the rows that follow it.
//!
//! ```text
//! rows  s … s + length                     the input: all features
//! rows  s + length … s + length + horizon  the target: the target features
//! ```
#![expect(
    clippy::indexing_slicing,
    reason = "windows lie within their series, as was checked when they were made"
)]

use std::collections::HashSet;
use std::ops::Range;

use ndarray::{Array2, Array3, ArrayView2, Axis, Slice};

use crate::data::scaler::check_columns;
use crate::data::source::check_steps;
use crate::data::{Scaler, Source, columns};
use crate::error::{Error, Result, check_count, check_indices, check_shape, check_size};
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
        check_count("length", length)?;
        check_count("horizon", horizon)?;
        Ok(Self { length, horizon, stride: 1, targets: None, columns: None })
    }

    /// Sets the number of rows from the start of a window to the start of the next. Default: 1.
    ///
    /// # Errors
    /// If `stride` is zero.
    pub fn stride(mut self, stride: usize) -> Result<Self> {
        check_count("stride", stride)?;
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

    /// Returns the target features of a series of so many `features`; none if there is no memory for them, which
    /// a series or a model refuses.
    pub(crate) fn targets_of(&self, features: usize) -> Vec<usize> {
        self.targets.clone().unwrap_or_else(|| {
            let mut all = Vec::new();
            if all.try_reserve_exact(features).is_ok() {
                all.extend(0..features);
            }
            all
        })
    }

    /// Returns all windows of `series` [time, features].
    ///
    /// # Errors
    /// If the series is shorter than a window and its horizon, a target feature does not exist, or
    /// [`columns`](Self::columns) does not fit.
    pub fn cut<T: Float>(&self, series: &Array2<T>) -> Result<WindowedSeries<T>> {
        self.of_parts(&[Part::of("series", 0, series, 0..series.nrows())])
    }

    /// Returns all windows of several series, each [time, features], in order. No window contains rows of
    /// two series.
    ///
    /// To divide whole series into a training and a test part, use [`split_series`](Self::split_series);
    /// to divide each series at a row, [`split_many`](Self::split_many).
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::data::{Source, Windows};
    ///
    /// let series = [array![[1.0], [2.0], [3.0], [4.0]], array![[10.0], [20.0], [30.0]]];
    /// let windows = Windows::new(2, 1)?.many(&series)?;
    /// assert_eq!(windows.len(), 3); // of 1 2 | 3, of 2 3 | 4 and of 10 20 | 30
    /// assert_eq!(windows.batch(&[1, 2])?.y, array![[4.0], [30.0]]);
    /// assert_eq!((windows.series_of(1)?, windows.series_of(2)?), (0, 1));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If there is no series, one of them is shorter than a window and its horizon, they differ in their
    /// features, a target feature does not exist, or [`columns`](Self::columns) does not fit.
    pub fn many<T: Float>(&self, series: &[Array2<T>]) -> Result<WindowedSeries<T>> {
        self.select_series(series, &(0..series.len()).collect::<Vec<_>>())
    }

    /// Divides several series, each [time, features], into a training and a test part by the indices that a
    /// function of [`split`](super::split) returns. All windows of a series are in one part.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use recurrent::data::{Source, Windows, split};
    ///
    /// let series = vec![Array2::<f32>::zeros((6, 2)); 10];
    /// let parts = split::random(series.len(), 0.2, 1)?;
    /// let (train, test) = Windows::new(4, 1)?.split_series(&series, &parts)?;
    /// assert_eq!((train.len(), test.len()), (16, 4));
    /// assert_eq!(test.series_of(3)?, parts.1[1]);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`many`](Self::many); if an index is too large, or a series is in both parts.
    pub fn split_series<T: Float>(
        &self,
        series: &[Array2<T>],
        parts: &(Vec<usize>, Vec<usize>),
    ) -> Result<(WindowedSeries<T>, WindowedSeries<T>)> {
        let train: HashSet<&usize> = parts.0.iter().collect();
        if let Some(both) = parts.1.iter().find(|index| train.contains(index)) {
            return Err(Error::argument(
                "parts",
                "each series in one part",
                format!("{both} in both"),
            ));
        }
        Ok((self.select_series(series, &parts.0)?, self.select_series(series, &parts.1)?))
    }

    fn select_series<T: Float>(
        &self,
        series: &[Array2<T>],
        indices: &[usize],
    ) -> Result<WindowedSeries<T>> {
        check_size("series", &[series.len()])?;
        check_size("indices", &[indices.len()])?;
        check_indices("indices", indices, series.len(), "series")?;
        let all =
            |&i: &usize| Part::of(format!("series[{i}]"), i, &series[i], 0..series[i].nrows());
        self.of_parts(&indices.iter().map(all).collect::<Vec<_>>())
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
        let (early, late) = self.at_boundary("series", 0, series, boundary);
        Ok((self.of_parts(&[early])?, self.of_parts(&[late])?))
    }

    /// Splits the windows of several series, each at its row of `boundaries`, as [`split`](Self::split)
    /// splits those of one.
    ///
    /// If series share the time, choose boundaries of the same time. Otherwise the training part of one
    /// series is in the future of the test part of another.
    ///
    /// ```
    /// use ndarray::Array2;
    /// use recurrent::data::{Source, Windows};
    ///
    /// let series = [Array2::<f32>::zeros((10, 2)), Array2::zeros((8, 2))];
    /// let (train, test) = Windows::new(3, 2)?.split_many(&series, &[7, 5])?;
    /// assert_eq!((train.len(), test.len()), (3 + 1, 2 + 2));
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`many`](Self::many), where each side of each boundary needs a window; if there are more or fewer
    /// boundaries than series.
    pub fn split_many<T: Float>(
        &self,
        series: &[Array2<T>],
        boundaries: &[usize],
    ) -> Result<(WindowedSeries<T>, WindowedSeries<T>)> {
        check_size("series", &[series.len()])?;
        check_shape("boundaries", "series", &[series.len()], &[boundaries.len()])?;
        let each = series.iter().zip(boundaries).enumerate();
        let (early, late): (Vec<_>, Vec<_>) = each
            .map(|(i, (one, &row))| self.at_boundary(&format!("series[{i}]"), i, one, row))
            .unzip();
        Ok((self.of_parts(&early)?, self.of_parts(&late)?))
    }

    /// Returns the rows of the windows before `boundary`, and of those that forecast from there on.
    fn at_boundary<'a, T>(
        &self,
        argument: &str,
        index: usize,
        series: &'a Array2<T>,
        boundary: usize,
    ) -> (Part<'a, T>, Part<'a, T>) {
        let (boundary, end) = (boundary.min(series.nrows()), series.nrows());
        let first = boundary.saturating_sub(self.length);
        let early = Part::of(format!("{argument}[..{boundary}]"), index, series, 0..boundary);
        (early, Part::of(format!("{argument}[{first}..]"), index, series, first..end))
    }

    fn of_parts<T: Float>(&self, parts: &[Part<'_, T>]) -> Result<WindowedSeries<T>> {
        let rows = self.length.saturating_add(self.horizon);
        let features = parts.first().map_or(0, |part| part.rows.ncols());
        let (mut runs, mut start, mut windows) = (Vec::new(), 0, 0);
        for Part { argument, index, rows: part } in parts {
            if part.nrows() < rows {
                let expected = format!("at least {rows} rows (length + horizon)");
                return Err(Error::argument(argument.clone(), expected, part.nrows()));
            }
            check_size(format!("{argument} [time, features]"), part.shape())?;
            let expected = [part.nrows(), features];
            check_shape(argument.clone(), "time, features", &expected, part.shape())?;
            runs.push(Run { index: *index, start, windows });
            start += part.nrows();
            windows += (part.nrows() - rows) / self.stride + 1;
        }
        let targets = self.targets_of(features);
        check_columns("targets", &targets, features)?;
        if let Some(names) = self.column_names() {
            columns::check_names(names, features)?;
        }
        // Windows overlap: their rows are copied only into batches.
        let mut series = Array2::zeros((start, features));
        for (run, part) in runs.iter().zip(parts) {
            let rows = Slice::from(run.start..run.start + part.rows.nrows());
            series.slice_axis_mut(Axis(0), rows).assign(&part.rows);
        }
        Ok(WindowedSeries {
            series,
            scaled: None,
            runs,
            windows,
            length: self.length,
            horizon: self.horizon,
            stride: self.stride,
            targets,
            columns: self.columns.clone().unwrap_or_default(),
        })
    }
}

/// Consecutive rows of a series that are to be cut.
struct Part<'a, T> {
    /// The name of the rows in an error.
    argument: String,
    /// The index of the series.
    index: usize,
    rows: ArrayView2<'a, T>,
}

impl<'a, T> Part<'a, T> {
    fn of(
        argument: impl Into<String>,
        index: usize,
        series: &'a Array2<T>,
        rows: Range<usize>,
    ) -> Self {
        let rows = series.slice_axis(Axis(0), Slice::from(rows));
        Self { argument: argument.into(), index, rows }
    }
}

/// Consecutive rows of [`WindowedSeries::series`] that come from one series.
#[derive(Clone, Debug)]
struct Run {
    /// The index of the series.
    index: usize,
    /// Its first row.
    start: usize,
    /// The number of windows in the runs before it.
    windows: usize,
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

/// The windows of one or several series; made by [`Windows`].
#[derive(Clone, Debug)]
pub struct WindowedSeries<T> {
    series: Array2<T>,
    /// The series that the inputs come from, if it is a scaled one.
    scaled: Option<Array2<T>>,
    /// The rows of each series. No window spans two of them.
    runs: Vec<Run>,
    /// The number of windows.
    windows: usize,
    length: usize,
    horizon: usize,
    stride: usize,
    targets: Vec<usize>,
    columns: Vec<String>,
}

impl<T: Float> WindowedSeries<T> {
    /// Returns the part of the series that the windows cover, [time, features]. Several series follow one
    /// another.
    pub fn series(&self) -> &Array2<T> {
        &self.series
    }

    /// Returns the row of [`series`](Self::series) at which window `index` begins.
    ///
    /// # Errors
    /// If there is no such window.
    pub fn start(&self, index: usize) -> Result<usize> {
        self.check(index)?;
        Ok(self.row(index))
    }

    /// Returns the index of the series that window `index` is from, in the list of series that
    /// [`Windows`] divided.
    ///
    /// # Errors
    /// If there is no such window.
    pub fn series_of(&self, index: usize) -> Result<usize> {
        self.check(index)?;
        Ok(self.run(index).index)
    }

    fn check(&self, index: usize) -> Result<()> {
        if index < self.windows {
            return Ok(());
        }
        Err(Error::argument("index", format!("less than {} (windows)", self.windows), index))
    }

    /// Returns the run of a window that exists.
    fn run(&self, index: usize) -> &Run {
        &self.runs[self.runs.partition_point(|run| run.windows <= index) - 1]
    }

    /// Returns the first row of a window that exists.
    fn row(&self, index: usize) -> usize {
        let run = self.run(index);
        run.start + (index - run.windows) * self.stride
    }
}

impl<T: Float> Source<WindowBatch<T>> for WindowedSeries<T> {
    fn len(&self) -> usize {
        self.windows
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

    fn check_finite(&self, index: usize) -> Result<()> {
        let WindowBatch { x, y, targets } = self.batch(&[index])?;
        check_steps("", x.values().index_axis(Axis(1), 0), &self.columns)?;
        match y.iter().enumerate().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some((k, value)) => {
                let (step, feature) = (k / targets.len(), targets[k % targets.len()]);
                let place = format!("target, step {step}, feature {feature}");
                Err(Error::argument(place, "a finite value", value))
            }
        }
    }

    fn batch(&self, indices: &[usize]) -> Result<WindowBatch<T>> {
        check_indices("indices", indices, self.len(), "windows")?;
        check_size("indices", &[indices.len()])?;
        let rows: Vec<usize> = indices.iter().map(|&index| self.row(index)).collect();
        let x = (self.length, indices.len(), self.series.ncols());
        let inputs = self.scaled.as_ref().unwrap_or(&self.series);
        let x = Array3::from_shape_fn(x, |(t, b, j)| inputs[[rows[b] + t, j]]);
        let width = self.targets.len();
        let y = Array2::from_shape_fn((indices.len(), self.horizon * width), |(b, k)| {
            self.series[[rows[b] + self.length + k / width, self.targets[k % width]]]
        });
        Ok(WindowBatch { x: Sequences::full(x)?, y, targets: self.targets.clone() })
    }
}
