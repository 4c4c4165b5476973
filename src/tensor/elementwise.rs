//! Arithmetic of `ndarray` that is compiled in this crate: a program that calls it generically compiles it again.

use ndarray::{Array1, Array2, ArrayViewD, ArrayViewMutD, Axis};

use crate::float::{Float, per_float};

per_float! {
    /// Multiplies each of `values` by the value of `factors` at its place.
    pub(crate) fn multiply<'a, T>(values: ArrayViewMutD<'a, T>, factors: ArrayViewD<'a, T>) = multiply_each;
    /// Multiplies each column of `matrix` by its factor.
    pub(crate) fn scale_columns<'a, T>(matrix: ArrayViewMutD<'a, T>, factors: &'a [T]) = scale_each;
    /// Returns a + b.
    pub(crate) fn sum<'a, T>(a: &'a Array1<T>, b: &'a Array1<T>) -> Array1<T> = sum_of;
    /// Returns the sum of the rows of `matrix`, as a matrix of one row.
    pub(crate) fn sum_of_rows<'a, T>(matrix: &'a Array2<T>) -> Array2<T> = sum_rows;
}

fn multiply_each<T: Float>(mut values: ArrayViewMutD<'_, T>, factors: ArrayViewD<'_, T>) {
    values *= &factors;
}

fn scale_each<T: Float>(mut matrix: ArrayViewMutD<'_, T>, factors: &[T]) {
    for mut row in matrix.rows_mut() {
        row.iter_mut().zip(factors).for_each(|(value, &factor)| *value *= factor);
    }
}

fn sum_of<T: Float>(a: &Array1<T>, b: &Array1<T>) -> Array1<T> {
    a + b
}

fn sum_rows<T: Float>(matrix: &Array2<T>) -> Array2<T> {
    matrix.sum_axis(Axis(0)).insert_axis(Axis(0))
}
