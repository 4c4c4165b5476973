//! [`TimeSteps`]: checks the times of the rows of a series.
//!
//! A network sees rows, not their times. A row that is missing, repeated or out of order changes the
//! series without an error, so the times are checked before they are dropped.
#![expect(clippy::indexing_slicing, reason = "the rows are those of the times")]

use crate::error::{Error, Result};

/// A rule for the times of the rows of a series: each is later than the one before, by any step or by equal
/// ones.
///
/// | rule | error |
/// |---|---|
/// | [`increasing`](Self::increasing) | rows out of order, and two rows of one time |
/// | [`equal`](Self::equal) | these, and a step that differs from the first one: gaps |
/// | [`every`](Self::every) | these, and a step that differs from a given one: gaps |
///
/// `Table::times` reads and checks the times of a file. The tolerance of a step is
/// extended by the rounding errors of its two times.
///
/// ```
/// use recurrent::data::TimeSteps;
///
/// TimeSteps::equal(0.0)?.check(&[0.1, 0.2, 0.3])?;
/// let error = TimeSteps::every(60.0, 1.0)?.check(&[0.0, 60.5, 180.0]).unwrap_err();
/// assert_eq!(error.to_string(), "times[2]: expected 120.5 (60 after 60.5, tolerance 1), got 180");
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TimeSteps(Rule);

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    Increasing,
    /// Equal steps, of the size of the first one if none is given.
    Equal {
        step: Option<f64>,
        tolerance: f64,
    },
}

impl TimeSteps {
    /// Creates a rule for times that increase by any steps.
    pub fn increasing() -> Self {
        Self(Rule::Increasing)
    }

    /// Creates a rule for times that increase by steps which differ from the first one by at most
    /// `tolerance`.
    ///
    /// # Errors
    /// If `tolerance` is negative or not finite.
    pub fn equal(tolerance: f64) -> Result<Self> {
        check_tolerance(tolerance)?;
        Ok(Self(Rule::Equal { step: None, tolerance }))
    }

    /// Creates a rule for times that increase by steps which differ from `step` by at most `tolerance`.
    ///
    /// # Errors
    /// If `step` is not positive, `tolerance` is negative, or one of them is not finite.
    pub fn every(step: f64, tolerance: f64) -> Result<Self> {
        if !(step > 0.0 && step.is_finite()) {
            return Err(Error::argument("step", "a positive finite number", step));
        }
        check_tolerance(tolerance)?;
        Ok(Self(Rule::Equal { step: Some(step), tolerance }))
    }

    /// Fails unless the times of consecutive rows follow the rule.
    ///
    /// # Errors
    /// If a time is not finite or violates the rule. The error names the first such row.
    pub fn check(&self, times: &[f64]) -> Result<()> {
        match self.violation(times) {
            None => Ok(()),
            Some((row, expected)) => {
                Err(Error::argument(format!("times[{row}]"), expected, times[row]))
            }
        }
    }

    /// Returns the first row whose time violates the rule, and the expected time in words.
    pub(super) fn violation(&self, times: &[f64]) -> Option<(usize, String)> {
        if let Some(row) = times.iter().position(|time| !time.is_finite()) {
            return Some((row, "a finite time".to_owned()));
        }
        let first = times.get(1).map(|second| (second - times[0], rounding(times[0], *second)));
        let at = |row: usize| {
            let (before, time) = (times[row - 1], times[row]);
            if time <= before {
                return Some((row, format!("more than {before}, the time of the row before")));
            }
            let Rule::Equal { step: given, tolerance } = self.0 else { return None };
            let (step, of_step) = given.map(|step| (step, 0.0)).or(first)?;
            let allowed = tolerance + rounding(before, time) + of_step;
            if (time - before - step).abs() <= allowed {
                return None;
            }
            let expected = before + step;
            Some((row, format!("{expected} ({step} after {before}, tolerance {tolerance})")))
        };
        (1..times.len()).find_map(at)
    }
}

/// Returns a bound of the rounding error of the difference of two times.
fn rounding(before: f64, after: f64) -> f64 {
    2.0 * f64::EPSILON * before.abs().max(after.abs())
}

fn check_tolerance(tolerance: f64) -> Result<()> {
    if tolerance >= 0.0 && tolerance.is_finite() {
        return Ok(());
    }
    Err(Error::argument("tolerance", "a finite number of at least 0", tolerance))
}
