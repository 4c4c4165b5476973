//! Clipping a gradient by its global norm.
//!
//! ```text
//! g = g · min(1, max_norm / (‖g‖ + 10⁻⁶))        ‖g‖ over all arrays together
//! ```
//!
//! Source: Pascanu, Mikolov and Bengio, *On the Difficulty of Training Recurrent Neural Networks*,
//! 2013; `torch.nn.utils.clip_grad_norm_`.

use super::in_range;
use crate::arrays::Arrays;
use crate::error::Result;
use crate::float::Float;

/// Scales `grad` so that its norm is at most `max_norm`; returns the norm before.
///
/// # Errors
/// Where `max_norm` is negative or not finite, or a gradient is not finite (its name is in the
/// error); nothing has changed then.
pub fn clip_global_norm<T: Float, A: Arrays<T>>(grad: &mut A, max_norm: f64) -> Result<f64> {
    let max_norm = in_range("max_norm", max_norm, 0.0, f64::INFINITY)?;
    grad.check_finite()?;
    // Relative to the largest value no square overflows.
    let (mut largest, mut sum) = (f64::MIN_POSITIVE, 0.0);
    grad.for_each(&mut |_, array| {
        largest = array.iter().fold(largest, |largest, g| largest.max(g.f64().abs()));
    });
    grad.for_each(&mut |_, array| {
        sum += array.iter().map(|g| (g.f64() / largest).powi(2)).sum::<f64>();
    });
    let norm = largest * sum.sqrt();
    let scale = max_norm / (norm + 1e-6);
    if scale < 1.0 {
        let scale = T::of(scale);
        grad.for_each_mut(&mut |_, mut array| array.mapv_inplace(|g| g * scale));
    }
    Ok(norm)
}
