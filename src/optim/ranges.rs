//! The ranges of hyper-parameters, and of the numbers that are computed from them.

use crate::error::{Error, Result};
use crate::float::Float;

/// The largest count in a saved state, up to which every whole number is an `f64`.
const MOST_STEPS: f64 = (1_u64 << 53) as f64;

/// Returns a hyper-parameter. Fails unless it is finite and `low ≤ value < high`.
pub(super) fn in_range(argument: &'static str, value: f64, low: f64, high: f64) -> Result<f64> {
    if value.is_finite() && low <= value && value < high {
        return Ok(value);
    }
    let above = if high.is_finite() { format!(" < {high}") } else { String::new() };
    Err(Error::argument(argument, format!("a finite value, {low} ≤ {argument}{above}"), value))
}

/// Returns a hyper-parameter. Fails unless `low ≤ value ≤ high`, which may be infinite.
pub(super) fn between(argument: &'static str, value: f64, low: f64, high: f64) -> Result<f64> {
    if low <= value && value <= high {
        return Ok(value);
    }
    Err(Error::argument(argument, format!("a value, {low} ≤ {argument} ≤ {high}"), value))
}

/// Returns a scalar of a step, computed from the hyper-parameter `argument`. Fails if the type of the
/// parameters cannot represent it.
pub(super) fn representable<T: Float>(argument: &'static str, value: f64) -> Result<f64> {
    if T::from_f64(value).is_finite() {
        return Ok(value);
    }
    Err(Error::argument(argument, format!("a value within the range of {}", T::NAME), value))
}

/// Returns a count from a saved state. Fails unless it is a whole number from 0 to 2⁵³.
pub(super) fn count(value: f64) -> Result<u64> {
    if (0.0..=MOST_STEPS).contains(&value) && value.fract() == 0.0 {
        return Ok(value as u64);
    }
    Err(Error::argument("state", "a number of steps", value))
}

/// Returns a count as a number of a saved state: at most 2⁵³, which no training counts to.
pub(super) fn count_to_f64(count: usize) -> f64 {
    (count as f64).min(MOST_STEPS)
}
