//! Clipping a gradient by its global norm, or each of its values.
//!
//! ```text
//! norm   g = g · min(1, max_norm / (‖g‖ + 10⁻⁶))        ‖g‖ over all arrays together
//! value  g = max(−limit, min(g, limit))
//! ```
//!
//! The norm takes one pass over memory, which also detects values that are not finite. A second pass
//! scales the gradient if the norm is too large. Squares are summed in blocks, in the element type of
//! the gradient. A block whose squares overflow or underflow is summed again relative to its largest
//! value while it is in the cache. The norms of the blocks are combined in f64.
//!
//! Source: Pascanu, Mikolov and Bengio, *On the Difficulty of Training Recurrent Neural Networks*,
//! 2013; `torch.nn.utils.clip_grad_norm_` and `clip_grad_value_`.

use ndarray::ArrayViewD;

use super::in_range;
use crate::arrays::{Arrays, ViewsMut, check_all_finite, scale_all, views, views_mut};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::tensor::Level;
use crate::tensor::reduce::norm as block_norm;

/// The number of values in a block, small enough that a sum of squares is accurate in f32.
const BLOCK: usize = 1024;

/// Scales `grad` so that its norm is at most `max_norm`, and returns the norm before scaling.
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::clip_global_norm;
///
/// let mut grad = array![3.0, 4.0];
/// assert_eq!(clip_global_norm(&mut grad, 1.0)?, 5.0);
/// assert!((grad[0] - 0.6_f64).abs() < 1e-6 && (grad[1] - 0.8_f64).abs() < 1e-6);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `max_norm` is negative or not finite, a gradient is not finite (the error names it), or the norm
/// lies outside the range of f64. `grad` is unchanged then.
pub fn clip_global_norm<T: Float, A: Arrays<Elem = T>>(grad: &mut A, max_norm: f64) -> Result<f64> {
    let max_norm = in_range("max_norm", max_norm, 0.0, f64::INFINITY)?;
    let norm = checked_norm(&views(grad))?;
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 {
        scale_all(views_mut(grad), T::from_f64(scale));
    }
    Ok(norm)
}

per_float! {
    fn checked_norm<'a, T>(grad: &[(String, ArrayViewD<'a, T>)]) -> Result<f64> = norm_of;
    fn clamp_all<'a, T>(grad: ViewsMut<'a, T>, limit: f64) = clamp_each;
}

/// Returns the norm. Fails if it is not finite.
fn norm_of<T: Float>(grad: &[(String, ArrayViewD<'_, T>)]) -> Result<f64> {
    let (mut total, level) = (Norm { largest: 0.0, squares: 0.0 }, Level::new());
    for (_, array) in grad {
        let array = array.as_standard_layout();
        let values = array.as_slice().expect("a standard layout is contiguous");
        values.chunks(BLOCK).for_each(|block| total.add(block_norm(level, block)));
    }
    let norm = total.value();
    if !norm.is_finite() {
        check_all_finite(grad)?;
        return Err(Error::NonFinite { name: "norm".to_owned(), index: 0, value: norm });
    }
    Ok(norm)
}

fn clamp_each<T: Float>(grad: ViewsMut<'_, T>, limit: f64) {
    let limit = T::from_f64(limit);
    for (_, mut array) in grad {
        array.mapv_inplace(|g| g.max(-limit).min(limit));
    }
}

/// Limits the magnitude of each value of `grad` to `limit`.
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::clip_value;
///
/// let mut grad = array![3.0, -4.0, 0.5];
/// clip_value(&mut grad, 1.0)?;
/// assert_eq!(grad, array![1.0, -1.0, 0.5]);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `limit` is negative or not finite, or a gradient is not finite (the error names it). `grad` is
/// unchanged then.
pub fn clip_value<T: Float, A: Arrays<Elem = T>>(grad: &mut A, limit: f64) -> Result<()> {
    let limit = in_range("limit", limit, 0.0, f64::INFINITY)?;
    grad.check_finite()?;
    clamp_all(views_mut(grad), limit);
    Ok(())
}

/// The norm of several parts, largest · √squares, which overflows only if the norm does.
struct Norm {
    largest: f64,
    squares: f64,
}

impl Norm {
    /// Adds a part, given by its norm.
    fn add(&mut self, part: f64) {
        if part > self.largest {
            self.squares = 1.0 + self.squares * (self.largest / part).powi(2);
            self.largest = part;
        } else if part != 0.0 {
            self.squares += (part / self.largest).powi(2);
        }
    }

    fn value(&self) -> f64 {
        self.largest * self.squares.sqrt()
    }
}
