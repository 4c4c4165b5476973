//! Products as loops, as they are defined: the reference of the kernels.

use ndarray::{Array2, ArrayView2};
use recurrent::Float;

/// Returns start + a · b for `a` [m, k], `b` [k, n] and `start` [m, n]. Each element is one chain in the
/// order of k, whose multiply-adds are rounded once (`fused`) or twice.
pub(crate) fn product<T: Float>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    start: ArrayView2<'_, T>,
    fused: bool,
) -> Array2<T> {
    Array2::from_shape_fn(start.dim(), |(i, j)| {
        let mut sum = start[[i, j]];
        for k in 0..a.ncols() {
            sum =
                if fused { a[[i, k]].mul_add(b[[k, j]], sum) } else { sum + a[[i, k]] * b[[k, j]] };
        }
        sum
    })
}

/// Returns the largest rounding error of any order of summation, for each element of
/// start + a · b: (k + 1)·ε·(|start| + |a| · |b|).
pub(crate) fn product_error_bound<T: Float>(
    a: ArrayView2<'_, T>,
    b: ArrayView2<'_, T>,
    start: ArrayView2<'_, T>,
) -> Array2<T> {
    let size = |array: ArrayView2<'_, T>| array.mapv(|value| value.abs());
    let sizes = product(size(a).view(), size(b).view(), size(start).view(), false);
    sizes * T::from_f64(a.ncols() as f64 + 1.0) * T::epsilon()
}
