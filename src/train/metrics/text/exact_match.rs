//! [`ExactMatch`]: the share of hypotheses that equal a reference.

use std::fmt::{self, Display};

use super::check_references;
use crate::error::Result;
use crate::train::Score;

/// The share of hypotheses that equal one of their references, NaN without sentences. Texts are compared
/// as they are, with case, punctuation and white space.
///
/// ```
/// use recurrent::train::Score;
/// use recurrent::train::metrics::ExactMatch;
///
/// let mut exact = ExactMatch::sentence(&"four", &["4", "four"])?;
/// exact.merge(ExactMatch::sentence(&[1, 2], &[[2, 1]])?);
/// assert_eq!(exact.share(), 0.5);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExactMatch {
    matches: usize,
    count: usize,
}

impl ExactMatch {
    /// Compares a hypothesis, a text or a list of tokens, with its references.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence<T: PartialEq>(hypothesis: &T, references: &[T]) -> Result<Self> {
        check_references(references.len())?;
        Ok(Self { matches: usize::from(references.contains(hypothesis)), count: 1 })
    }

    /// Returns the share of hypotheses that equal a reference.
    pub fn share(&self) -> f64 {
        self.matches as f64 / self.count as f64
    }

    /// Returns the number of sentences.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Score for ExactMatch {
    /// Returns the share of hypotheses that equal no reference.
    fn loss(&self) -> f64 {
        1.0 - self.share()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("exact_match", self.share())]
    }

    fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        self.count += other.count;
    }
}

impl Display for ExactMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exact match {:.4}", self.share())
    }
}
