//! [`Windows`]: pieces of a time series, each with what follows it.
//!
//! ```text
//! rows  s … s + length                    what a model sees: all features
//! rows  s + length … s + length + horizon what it is to say: the target features
//! ```

use ndarray::{Array2, Array3, Axis, Slice};

use crate::data::Source;
use crate::data::scaler::check_columns;
use crate::error::{Error, Result, check_indices, check_size};
use crate::float::Float;
use crate::sequences::Sequences;

/// How a series is cut into windows; see the [module](self).
///
/// ```
/// use ndarray::Array2;
/// use recurrent::data::{Source, Windows};
///
/// let series = Array2::from_shape_fn((10, 2), |(t, j)| (10 * j + t) as f32); // [time, features]
/// let windows = Windows::new(3, 2)?.targets(&[1]);
/// let (train, test) = windows.split(&series, 7)?;
/// assert_eq!((train.len(), test.len()), (3, 2)); // no window of train sees row 7
/// let (x, y) = test.batch(&[0])?;
/// assert_eq!(x.values()[[0, 0, 0]], 4.0);
/// assert_eq!(y, ndarray::array![[17.0, 18.0]]); // [batch, horizon · targets]
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    length: usize,
    horizon: usize,
    stride: usize,
    targets: Option<Vec<usize>>,
}

impl Windows {
    /// Windows of `length` rows, of which one begins at each row, and the `horizon` rows that follow.
    ///
    /// # Errors
    /// Where one of them is zero.
    pub fn new(length: usize, horizon: usize) -> Result<Self> {
        check_size("length", &[length])?;
        check_size("horizon", &[horizon])?;
        Ok(Self { length, horizon, stride: 1, targets: None })
    }

    /// Rows from the beginning of a window to that of the next.
    ///
    /// # Errors
    /// Where it is zero.
    pub fn stride(mut self, stride: usize) -> Result<Self> {
        check_size("stride", &[stride])?;
        self.stride = stride;
        Ok(self)
    }

    /// The features that are to be foretold; at first all.
    pub fn targets(mut self, features: &[usize]) -> Self {
        self.targets = Some(features.to_vec());
        self
    }

    /// All windows of `series` [time, features].
    ///
    /// # Errors
    /// Where the series is shorter than a window and its horizon, or a target does not exist.
    pub fn cut<T: Float>(&self, series: &Array2<T>) -> Result<WindowedSeries<T>> {
        self.between(series, 0, series.nrows())
    }

    /// The windows of `series` whose rows, horizon included, all stand before `boundary`, and those
    /// whose horizon stands from `boundary` on. What the latter see before it is the past, which is
    /// known by then; nothing of what they are to foretell is ever in the former.
    ///
    /// # Errors
    /// Where one of the two has no window, or a target does not exist.
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
        let targets = match &self.targets {
            Some(targets) => targets.clone(),
            None => (0..series.ncols()).collect(),
        };
        check_columns("targets", &targets, series.ncols())?;
        Ok(WindowedSeries {
            // The windows share their rows: they are copied into batches, not before.
            series: series.slice_axis(Axis(0), Slice::from(first..end)).to_owned(),
            length: self.length,
            horizon: self.horizon,
            stride: self.stride,
            targets,
        })
    }
}

/// The windows of a series, made by [`Windows`].
///
/// A batch is the windows [length, batch, features] and what follows each, [batch, horizon · targets],
/// in which the targets of one row stand together.
#[derive(Clone, Debug)]
pub struct WindowedSeries<T> {
    series: Array2<T>,
    length: usize,
    horizon: usize,
    stride: usize,
    targets: Vec<usize>,
}

impl<T: Float> WindowedSeries<T> {
    /// The rows that the windows are cut from, [time, features].
    pub fn series(&self) -> &Array2<T> {
        &self.series
    }

    /// The row of [`series`](Self::series) at which window `index` begins.
    pub fn start(&self, index: usize) -> usize {
        index * self.stride
    }
}

impl<T: Float> Source<(Sequences<T>, Array2<T>)> for WindowedSeries<T> {
    fn len(&self) -> usize {
        (self.series.nrows() - self.length - self.horizon) / self.stride + 1
    }

    fn length(&self, _: usize) -> usize {
        self.length
    }

    fn batch(&self, indices: &[usize]) -> Result<(Sequences<T>, Array2<T>)> {
        check_indices("indices", indices, self.len(), "windows")?;
        check_size("indices", &[indices.len()])?;
        let x = (self.length, indices.len(), self.series.ncols());
        let x = Array3::from_shape_fn(x, |(t, b, j)| self.series[[self.start(indices[b]) + t, j]]);
        let width = self.targets.len();
        let y = Array2::from_shape_fn((indices.len(), self.horizon * width), |(b, k)| {
            let row = self.start(indices[b]) + self.length + k / width;
            self.series[[row, self.targets[k % width]]]
        });
        Ok((Sequences::full(x)?, y))
    }
}
