//! How far two arrays are from each other.

use ndarray::{Array, Dimension};

/// The largest difference between two arrays of one shape.
pub(crate) fn distance<D: Dimension>(a: &Array<f64, D>, b: &Array<f64, D>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}
