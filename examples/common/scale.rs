//! Standardising: mean 0 and deviation 1.

use ndarray::{Array1, Array2, Axis};

/// Mean and standard deviation of each column, taken from one set and applied to others.
#[derive(Clone)]
pub(crate) struct Scale {
    mean: Array1<f32>,
    deviation: Array1<f32>,
}

impl Scale {
    /// The scale of `rows`; a column that never changes keeps its size.
    pub(crate) fn of(rows: &Array2<f32>) -> Self {
        let mean = rows.sum_axis(Axis(0)) / rows.nrows() as f32;
        let deviation = rows.std_axis(Axis(0), 0.0);
        Self { mean, deviation: deviation.mapv(|d| if d > 0.0 { d } else { 1.0 }) }
    }

    /// `rows` with mean 0 and deviation 1, as far as they are like those the scale was taken of.
    pub(crate) fn apply(&self, rows: &Array2<f32>) -> Array2<f32> {
        (rows - &self.mean) / &self.deviation
    }
}
