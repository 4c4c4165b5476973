//! The check of a gradient against central differences in f64, for any bundle of arrays: parameters,
//! inputs, states, or several of them as a tuple.
//!
//! It is the five-point difference, of order four:
//!
//! ```text
//! f'(x) ≈ (8·(f(x + s) − f(x − s)) − (f(x + 2s) − f(x − 2s))) / 12s
//! ```
//!
//! With s = 10⁻³ and a smooth loss near 1, both the truncation error (s⁴·f⁽⁵⁾/30) and the rounding
//! error (10⁻¹⁶/s) are about 10⁻¹³.

use crate::arrays::{Arrays, check_same_structure};
use crate::error::{Error, Result};

/// A comparison of gradients with finite differences, and its options.
///
/// | field | default | meaning |
/// |---|---|---|
/// | `step` | 1e-3 | s of the difference |
/// | `floor` | 1e-4 | the smallest denominator of a relative error |
/// | `max_entries` | `usize::MAX` | the number of entries of each array that are checked, evenly spread |
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradientCheck {
    /// The step of the difference.
    pub step: f64,
    /// The smallest denominator of a relative error: |a − n| / max(|a|, |n|, floor).
    pub floor: f64,
    /// The largest number of entries of each array that are checked, evenly spread.
    pub max_entries: usize,
}

impl Default for GradientCheck {
    fn default() -> Self {
        Self { step: 1e-3, floor: 1e-4, max_entries: usize::MAX }
    }
}

/// The entry at which a gradient and its finite difference disagree most.
#[derive(Clone, Debug, PartialEq)]
pub struct GradientReport {
    /// The array's name.
    pub name: String,
    /// The index of the entry, in row-major order.
    pub index: usize,
    /// The value of the gradient.
    pub analytic: f64,
    /// The value of the difference.
    pub numeric: f64,
    /// |analytic − numeric| / max(|analytic|, |numeric|, floor).
    pub relative_error: f64,
    /// The number of entries compared.
    pub checked: usize,
}

impl std::fmt::Display for GradientReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, index, analytic, numeric, relative_error, checked } = self;
        write!(
            f,
            "worst of {checked}: {name}[{index}] analytic {analytic:.6e}, numeric {numeric:.6e}, \
             relative error {relative_error:.1e}"
        )
    }
}

impl GradientCheck {
    /// Compares `gradient`, the gradient of `loss` at `point`, with finite differences of `loss`.
    ///
    /// ```
    /// use ndarray::array;
    /// use recurrent::check::GradientCheck;
    ///
    /// let x = array![0.3, -0.7];
    /// let gradient = x.mapv(f64::cos); // of Σ sin(x)
    /// let report = GradientCheck::default().run(&x, &gradient, |x| Ok(x.mapv(f64::sin).sum()))?;
    /// assert!(report.relative_error < 1e-10, "{report}");
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If `gradient` and `point` differ in names or shapes, there are no entries, or `loss` fails or is
    /// not finite.
    pub fn run<A: Arrays<Elem = f64>>(
        &self,
        point: &A,
        gradient: &A,
        mut loss: impl FnMut(&A) -> Result<f64>,
    ) -> Result<GradientReport> {
        check_same_structure("gradient", point, gradient)?;
        let mut entries = Vec::new();
        gradient.for_each(&mut |name, array| {
            let stride = array.len().div_ceil(self.max_entries.max(1)).max(1);
            for (index, &analytic) in array.iter().enumerate().step_by(stride) {
                entries.push((name.to_owned(), index, analytic));
            }
        });
        let checked = entries.len();
        let mut worst: Option<GradientReport> = None;
        for (name, index, analytic) in entries {
            let mut at = |offset: f64| -> Result<f64> {
                let value = loss(&moved(point, &name, index, offset * self.step))?;
                if value.is_finite() {
                    return Ok(value);
                }
                Err(Error::NonFinite { name: format!("loss at moved {name}"), index, value })
            };
            let near = at(1.0)? - at(-1.0)?;
            let far = at(2.0)? - at(-2.0)?;
            let numeric = (8.0 * near - far) / (12.0 * self.step);
            let size = analytic.abs().max(numeric.abs()).max(self.floor);
            let relative_error = ((analytic - numeric) / size).abs();
            // `total_cmp` makes a NaN in the gradient worse than any number.
            let worse =
                |worst: &GradientReport| relative_error.total_cmp(&worst.relative_error).is_gt();
            if worst.as_ref().is_none_or(worse) {
                let report =
                    GradientReport { name, index, analytic, numeric, relative_error, checked };
                worst = Some(report);
            }
        }
        worst.ok_or_else(|| Error::argument("point", "arrays with entries to check", "none"))
    }
}

/// Returns `point` with one entry moved by `offset`.
fn moved<A: Arrays<Elem = f64>>(point: &A, moved: &str, index: usize, offset: f64) -> A {
    let mut point = point.clone();
    point.for_each_mut(&mut |name, mut array| {
        if name == moved
            && let Some(value) = array.iter_mut().nth(index)
        {
            *value += offset;
        }
    });
    point
}
