//! The distance between two arrays.

use ndarray::{Array, Dimension};

/// Returns the largest difference between two arrays of one shape.
pub(crate) fn distance<D: Dimension>(a: &Array<f64, D>, b: &Array<f64, D>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}
