//! Clipping a gradient by its global norm, or each of its values.
//!
//! ```text
//! norm   g = g · min(1, max_norm / (‖g‖ + 10⁻⁶))        ‖g‖ over all arrays together
//!        ‖g‖ₚ = (Σ |g|ᵖ)^(1/p), ‖g‖_∞ = max |g|; p = 2 unless another is named
//! value  g = max(−limit, min(g, limit))
//! ```
//!
//! The norm takes one pass over memory, which also detects values that are not finite. A second pass
//! scales the gradient if the norm is too large. Squares are summed in blocks, in the element type of
//! the gradient. A block whose squares overflow or underflow is summed again relative to its largest
//! value while it is in the cache. The norms of the blocks are combined in f64, in the order of the
//! arrays. Powers of other norms are summed in f64.
//!
//! Source: Pascanu, Mikolov and Bengio, *On the Difficulty of Training Recurrent Neural Networks*,
//! 2013; `torch.nn.utils.clip_grad_norm_` (`norm_type` is p), `get_total_norm` and `clip_grad_value_`.

use ndarray::ArrayViewD;

use super::{between, in_range};
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
    clip_global_norm_of_type(grad, max_norm, 2.0)
}

/// Scales `grad` so that its p-norm is at most `max_norm`, where p = `norm_type`, and returns the norm
/// before scaling.
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::clip_global_norm_of_type;
///
/// let mut grad = array![3.0, -4.0];
/// assert_eq!(clip_global_norm_of_type(&mut grad, 2.0, f64::INFINITY)?, 4.0);
/// assert!((grad[0] - 1.5_f64).abs() < 1e-6 && (grad[1] + 2.0_f64).abs() < 1e-6);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// Those of [`clip_global_norm`] and [`global_norm`]. `grad` is unchanged then.
pub fn clip_global_norm_of_type<T: Float, A: Arrays<Elem = T>>(
    grad: &mut A,
    max_norm: f64,
    norm_type: f64,
) -> Result<f64> {
    let max_norm = in_range("max_norm", max_norm, 0.0, f64::INFINITY)?;
    let norm = global_norm(grad, norm_type)?;
    let scale = max_norm / (norm + 1e-6);
    if scale < T::min_positive_value().as_f64() && max_norm > 0.0 {
        // Two factors, whose product T may not represent.
        let root = T::from_f64(max_norm.sqrt() / (norm + 1e-6).sqrt());
        scale_all(views_mut(grad), root);
        scale_all(views_mut(grad), root);
    } else if scale < 1.0 {
        scale_all(views_mut(grad), T::from_f64(scale));
    }
    Ok(norm)
}

/// Returns the p-norm of all values of `grad` together, where p = `norm_type`: 1, 2, any number between or
/// above, or infinity for the largest magnitude. Without values it is 0.
///
/// ```
/// use ndarray::array;
/// use recurrent::optim::global_norm;
///
/// let grad = (array![3.0], array![[-4.0, 0.0]]);
/// assert_eq!(global_norm(&grad, 2.0)?, 5.0);
/// assert_eq!(global_norm(&grad, 1.0)?, 7.0);
/// assert_eq!(global_norm(&grad, f64::INFINITY)?, 4.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `norm_type` is NaN or less than 1, a value is not finite (the error names it), or the norm lies
/// outside the range of f64.
pub fn global_norm<T: Float, A: Arrays<Elem = T>>(grad: &A, norm_type: f64) -> Result<f64> {
    let order = between("norm_type", norm_type, 1.0, f64::INFINITY)?;
    checked_norm(&views(grad), order)
}

per_float! {
    fn checked_norm<'a, T>(grad: &[(String, ArrayViewD<'a, T>)], order: f64) -> Result<f64> = norm_of;
    fn clamp_all<'a, T>(grad: ViewsMut<'a, T>, limit: f64) = clamp_each;
}

/// Returns the norm of the given order. Fails if it is not finite.
fn norm_of<T: Float>(grad: &[(String, ArrayViewD<'_, T>)], order: f64) -> Result<f64> {
    let norm = if order == 2.0 { euclidean(grad) } else { norm_of_order(grad, order) };
    if !norm.is_finite() {
        check_all_finite(grad)?;
        return Err(Error::NonFinite { name: "norm".to_owned(), index: 0, value: norm });
    }
    Ok(norm)
}

/// Calls `f` with the values of each block, in order.
#[expect(clippy::expect_used, reason = "a standard layout is contiguous")]
fn for_each_block<T: Float>(grad: &[(String, ArrayViewD<'_, T>)], mut f: impl FnMut(&[T])) {
    for (_, array) in grad {
        let array = array.as_standard_layout();
        let values = array.as_slice().expect("a standard layout is contiguous");
        values.chunks(BLOCK).for_each(&mut f);
    }
}

fn euclidean<T: Float>(grad: &[(String, ArrayViewD<'_, T>)]) -> f64 {
    let (mut total, level) = (Norm { largest: 0.0, squares: 0.0 }, Level::new());
    for_each_block(grad, |block| total.add(block_norm(level, block)));
    total.value()
}

/// Returns largest · (Σ (|g|/largest)ᵖ)^(1/p), where p = `order`. It is not finite if a value is not.
fn norm_of_order<T: Float>(grad: &[(String, ArrayViewD<'_, T>)], order: f64) -> f64 {
    let magnitude = |g: &T| g.as_f64().abs();
    let mut largest = 0.0;
    for_each_block(grad, |block| {
        for g in block.iter().map(magnitude) {
            // Once NaN, it stays NaN.
            if g > largest || g.is_nan() {
                largest = g;
            }
        }
    });
    if largest == 0.0 || !largest.is_finite() || order == f64::INFINITY {
        return largest;
    }
    // The sum of magnitudes needs no division, which would round.
    let unit = if order == 1.0 { 1.0 } else { largest };
    let mut total = 0.0;
    for_each_block(grad, |block| {
        let powers = block.iter().map(|g| (magnitude(g) / unit).powf(order));
        total += powers.sum::<f64>();
    });
    unit * total.powf(1.0 / order)
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
