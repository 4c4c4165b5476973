//! One vector for a whole sequence: its mean over time.
//!
//! ```text
//! y = Σ_t x_t / length         d_x_t = d_y / length
//! ```

use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::sequences::Sequences;

/// The mean [batch, features] of each sequence's own steps.
///
/// ```
/// use ndarray::array;
/// use recurrent::Sequences;
/// use recurrent::layer::pooling::{mean_over_time, mean_over_time_backward};
///
/// let x = Sequences::from_list(&[array![[1.0], [3.0]], array![[5.0]]])?;
/// assert_eq!(mean_over_time(&x)?, array![[2.0], [5.0]]); // [batch, features]
///
/// let d_mean = array![[1.0], [1.0]];
/// let d_x = mean_over_time_backward(x.lengths(), x.time(), d_mean.view())?;
/// assert_eq!(d_x, array![[[0.5], [1.0]], [[0.5], [0.0]]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// Where a sequence is empty: it has no mean.
pub fn mean_over_time<T: Float>(x: &Sequences<T>) -> Result<Array2<T>> {
    check_not_empty(x.lengths())?;
    let mut mean = Array2::zeros((x.batch(), x.features()));
    for (t, step) in x.values().outer_iter().enumerate() {
        for (b, &length) in x.lengths().iter().enumerate() {
            if t < length {
                let mut sum = mean.row_mut(b);
                sum += &step.row(b);
            }
        }
    }
    for (mut row, &length) in mean.rows_mut().into_iter().zip(x.lengths()) {
        row /= T::of(length as f64);
    }
    Ok(mean)
}

/// d_x [time, batch, features] from `d_mean` [batch, features]; zero in the padding.
///
/// # Errors
/// Where a sequence is empty, or longer than `time`.
pub fn mean_over_time_backward<T: Float>(
    lengths: &[usize],
    time: usize,
    d_mean: ArrayView2<'_, T>,
) -> Result<Array3<T>> {
    let (batch, features) = d_mean.dim();
    check_shape("lengths", "batch", &[batch], &[lengths.len()])?;
    check_not_empty(lengths)?;
    let d_x = Array3::zeros((time, batch, features));
    let mut d_x = Sequences::new(d_x, lengths.to_vec())?.into_values();
    for (t, mut step) in d_x.axis_iter_mut(Axis(0)).enumerate() {
        for (b, &length) in lengths.iter().enumerate() {
            if t < length {
                step.row_mut(b).assign(&(&d_mean.row(b) / T::of(length as f64)));
            }
        }
    }
    Ok(d_x)
}

fn check_not_empty(lengths: &[usize]) -> Result<()> {
    match lengths.iter().position(|&length| length == 0) {
        None => Ok(()),
        Some(b) => {
            let expected = "at least 1: an empty sequence has no mean";
            Err(Error::argument(format!("lengths[{b}]"), expected, 0))
        }
    }
}
