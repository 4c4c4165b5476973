//! [`Sequences`]: a batch of sequences of any lengths.

use ndarray::{Array2, Array3, ArrayView3, Axis};

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Error, Result, check_shape, check_size};
use crate::float::Float;

/// Values [time, batch, features] with the length of each sequence, in any order.
///
/// What stands past a sequence's end is padding. It never changes a result, by one bit.
///
/// ```
/// use ndarray::Array3;
/// use recurrent::Sequences;
///
/// let x = Sequences::new(Array3::<f32>::zeros((5, 2, 3)), vec![5, 2])?;
/// assert_eq!((x.time(), x.batch(), x.features()), (5, 2, 3));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Sequences<T> {
    values: Array3<T>,
    lengths: Vec<usize>,
}

/// Fails unless `lengths` has one entry of at most `time` for each of `batch` sequences.
pub(crate) fn check_lengths(lengths: &[usize], time: usize, batch: usize) -> Result<()> {
    check_shape("lengths", "batch", &[batch], &[lengths.len()])?;
    match lengths.iter().position(|&length| length > time) {
        None => Ok(()),
        Some(b) => {
            let argument = format!("lengths[{b}]");
            Err(Error::argument(argument, format!("at most {time} (time)"), lengths[b]))
        }
    }
}

impl<T: Float> Sequences<T> {
    /// A batch of `values` [time, batch, features], of which sequence b has the first `lengths[b]`
    /// steps, from none to all.
    ///
    /// # Errors
    /// Where a size is zero, or `lengths` has not one entry of at most `time` per sequence.
    pub fn new(values: Array3<T>, lengths: Vec<usize>) -> Result<Self> {
        let (time, batch, _) = values.dim();
        check_size("values [time, batch, features]", values.shape())?;
        check_lengths(&lengths, time, batch)?;
        let values = match values.is_standard_layout() {
            true => values,
            false => values.as_standard_layout().into_owned(),
        };
        Ok(Self { values, lengths })
    }

    /// A batch in which every sequence has all steps of `values` [time, batch, features].
    pub fn full(values: Array3<T>) -> Result<Self> {
        let (time, batch, _) = values.dim();
        Self::new(values, vec![time; batch])
    }

    /// A batch from `values` [batch, time, features], the other common order.
    pub fn from_batch_first(values: ArrayView3<'_, T>, lengths: Vec<usize>) -> Result<Self> {
        Self::new(values.permuted_axes([1, 0, 2]).to_owned(), lengths)
    }

    /// A batch from one array [time, features] per sequence, padded with zeros to the longest.
    pub fn from_list(sequences: &[Array2<T>]) -> Result<Self> {
        let features = sequences.first().map_or(0, Array2::ncols);
        let lengths: Vec<usize> = sequences.iter().map(Array2::nrows).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        check_size("sequences [time, batch, features]", &[time, sequences.len(), features])?;
        let mut values = Array3::zeros((time, sequences.len(), features));
        for (b, sequence) in sequences.iter().enumerate() {
            let expected = [sequence.nrows(), features];
            check_shape(format!("sequences[{b}]"), "time, features", &expected, sequence.shape())?;
            let mut column = values.index_axis_mut(Axis(1), b);
            for (mut to, from) in column.rows_mut().into_iter().zip(sequence.rows()) {
                to.assign(&from);
            }
        }
        Self::new(values, lengths)
    }

    /// A batch of the same lengths with other values [time, batch, any width].
    pub fn with_values(&self, values: Array3<T>) -> Result<Self> {
        let expected = [self.time(), self.batch(), values.dim().2];
        check_shape("values", "time, batch, features", &expected, values.shape())?;
        Self::new(values, self.lengths.clone())
    }

    /// The values [time, batch, features].
    pub fn values(&self) -> &Array3<T> {
        &self.values
    }

    /// The values, without the lengths.
    pub fn into_values(self) -> Array3<T> {
        self.values
    }

    /// The length of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Steps of the longest sequence that would fit.
    pub fn time(&self) -> usize {
        self.values.dim().0
    }

    /// How many sequences there are.
    pub fn batch(&self) -> usize {
        self.values.dim().1
    }

    /// Values per step.
    pub fn features(&self) -> usize {
        self.values.dim().2
    }

    /// Steps of all sequences together.
    pub fn steps(&self) -> usize {
        self.lengths.iter().sum()
    }
}

/// The values are one array, named `value`, padding included.
impl<T: Float> Arrays<T> for Sequences<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.values.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.values.for_each_mut(f);
    }
}
