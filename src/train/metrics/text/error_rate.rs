//! [`ErrorRate`]: the word or character error rate.
//!
//! ```text
//! rate = (S + D + I) / N
//! ```
//!
//! S, D and I are the numbers of substitutions, deletions and insertions of the [`Alignment`](super::Alignment),
//! and N is the number of tokens of the references, all summed over the sentences.

use std::fmt::{self, Display};

use super::alignment::{Edits, edits};
use super::{is_space, words};
use crate::train::Score;

/// The names of the rates of words, characters and tokens.
const NAMES: [&str; 3] = ["wer", "cer", "error_rate"];

/// The word error rate, the character error rate, or that of other tokens.
///
/// The rate is a ratio of sums over all sentences. It is NaN if no reference has a token and there are no
/// insertions, and infinite if there are only insertions. It can be greater than 1.
///
/// ```
/// use recurrent::train::Score;
/// use recurrent::train::metrics::ErrorRate;
///
/// let mut rate = ErrorRate::words("the big cat", "the cat");
/// rate.merge(ErrorRate::words("sat", "sat down"));
/// assert_eq!((rate.insertions(), rate.deletions(), rate.rate()), (1, 1, 0.5));
/// assert_eq!(ErrorRate::characters("cart", "cat").rate(), 1.0 / 3.0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ErrorRate {
    /// The name in a history, or `None` in a score without sentences.
    name: Option<&'static str>,
    edits: Edits,
    tokens: usize,
}

impl ErrorRate {
    /// Compares the words of two texts, which are the parts between white space.
    ///
    /// jiwer's words are the same, except that it keeps a single tab or line feed in a word.
    pub fn words(hypothesis: &str, reference: &str) -> Self {
        let split = |text| words(text).collect::<Vec<_>>();
        Self { name: Some(NAMES[0]), ..Self::tokens(&split(hypothesis), &split(reference)) }
    }

    /// Compares the characters of two texts, without white space at the start and end.
    pub fn characters(hypothesis: &str, reference: &str) -> Self {
        let split = |text: &str| text.trim_matches(is_space).chars().collect::<Vec<_>>();
        Self { name: Some(NAMES[1]), ..Self::tokens(&split(hypothesis), &split(reference)) }
    }

    /// Compares other tokens, for example phonemes, or the graphemes of a
    /// [`Vocabulary`](crate::data::Vocabulary).
    pub fn tokens<S: PartialEq>(hypothesis: &[S], reference: &[S]) -> Self {
        let (name, edits) = (Some(NAMES[2]), edits(hypothesis, reference));
        Self { name, edits, tokens: reference.len() }
    }

    /// Returns the error rate, from 0 for equal texts.
    pub fn rate(&self) -> f64 {
        self.edits.sum() as f64 / self.tokens as f64
    }

    /// Returns the number of tokens of the references that the hypotheses have too.
    pub fn hits(&self) -> usize {
        self.tokens - self.edits.substitutions - self.edits.deletions
    }

    /// Returns the number of substituted tokens.
    pub fn substitutions(&self) -> usize {
        self.edits.substitutions
    }

    /// Returns the number of tokens of the references that the hypotheses lack.
    pub fn deletions(&self) -> usize {
        self.edits.deletions
    }

    /// Returns the number of tokens of the hypotheses that the references lack.
    pub fn insertions(&self) -> usize {
        self.edits.insertions
    }

    /// Returns the number of tokens of the references.
    pub fn reference_tokens(&self) -> usize {
        self.tokens
    }
}

impl Score for ErrorRate {
    fn loss(&self) -> f64 {
        self.rate()
    }

    /// Returns the rate as `wer` or `cer`, or as `error_rate` for other tokens.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![(self.name.unwrap_or(NAMES[2]), self.rate())]
    }

    fn merge(&mut self, other: Self) {
        self.name = self.name.or(other.name);
        self.tokens += other.tokens;
        self.edits.substitutions += other.edits.substitutions;
        self.edits.deletions += other.edits.deletions;
        self.edits.insertions += other.edits.insertions;
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        let name =
            NAMES.iter().position(|&name| Some(name) == self.name).map_or(-1.0, |i| i as f64);
        let Edits { substitutions, deletions, insertions } = self.edits;
        let counts = [substitutions, deletions, insertions, self.tokens].map(|count| count as f64);
        Some([&[name][..], &counts].concat())
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        let [name, ref counts @ ..] = *numbers else { return None };
        let [substitutions, deletions, insertions, tokens] = *counts else { return None };
        let [substitutions, deletions, insertions, tokens] =
            [substitutions, deletions, insertions, tokens].map(|count| count as usize);
        let name = if name < 0.0 { None } else { NAMES.get(name as usize).copied() };
        Some(Self { name, edits: Edits { substitutions, deletions, insertions }, tokens })
    }
}

impl Display for ErrorRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Edits { substitutions, deletions, insertions } = self.edits;
        write!(f, "error rate {:.4} (", self.rate())?;
        write!(f, "{substitutions} substitutions, {deletions} deletions, ")?;
        write!(f, "{insertions} insertions of {} tokens)", self.tokens)
    }
}
