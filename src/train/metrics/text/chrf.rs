//! [`Chrf`]: the chrF and chrF++ scores of translations, as sacreBLEU computes them.
//!
//! ```text
//! Pₙ = mₙ / hₙ     Rₙ = mₙ / rₙ     F(P, R) = (1 + β²)·P·R / (β²·P + R)
//! chrF = 100·F(mean over n of Pₙ, mean over n of Rₙ)
//! ```
//!
//! hₙ, rₙ and mₙ are the numbers of n-grams of the hypotheses, of the references and of both, for each length n
//! of n-grams of characters and then of words, summed over the sentences. Of several references, the one with
//! the greatest chrF of the sentence is taken. Where a reference has no n-gram of a length, those of the
//! hypothesis do not count. Words are separated by white space. One symbol of ASCII at the end of a word, or
//! else at its start, is a word of its own.
//!
//! The means are over the lengths of which both sides have n-grams, and the score is 0 if there is none. With
//! [`eps_smoothing`](Chrf::eps_smoothing), as in `chrF++.py`, the score is 100 times the mean of F(Pₙ, Rₙ) over
//! all lengths, where a ratio with the denominator 0 is 10⁻¹⁶.
//!
//! Source: Popović, *chrF: character n-gram F-score for automatic MT evaluation*, 2015; Popović, *chrF++: words
//! helping character n-grams*, 2017.

use std::fmt::{self, Display};
use std::hash::Hash;

use super::ngrams::{common, count};
use super::{check_order, check_references, corpus, is_space, words};
use crate::error::{Error, Result};
use crate::train::Score;

/// The options of chrF. The [module](self) states the equations; the defaults are those of sacreBLEU.
///
/// | option | default | range |
/// |---|---|---|
/// | [`char_order`](Self::char_order) | 6 | 1 to 1000 |
/// | [`word_order`](Self::word_order) | 0; 2 for chrF++ | 0 to 1000 |
/// | [`beta`](Self::beta) | 2 | 0 to 10⁶ |
/// | [`lowercase`](Self::lowercase) | false | |
/// | [`whitespace`](Self::whitespace) | false | |
/// | [`eps_smoothing`](Self::eps_smoothing) | false | |
///
/// ```
/// use recurrent::train::metrics::Chrf;
///
/// let (hypothesis, references) = ("It was not surprising.", ["It was not unexpected."]);
/// let chrf = Chrf::default().sentence(hypothesis, &references)?.chrf();
/// let plus_plus = Chrf::plus_plus().sentence(hypothesis, &references)?.chrf();
/// assert!((chrf - 36.11).abs() < 0.005 && (plus_plus - 43.34).abs() < 0.005);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chrf {
    char_order: usize,
    word_order: usize,
    beta: f64,
    lowercase: bool,
    whitespace: bool,
    eps_smoothing: bool,
}

impl Default for Chrf {
    fn default() -> Self {
        Self {
            char_order: 6,
            word_order: 0,
            beta: 2.0,
            lowercase: false,
            whitespace: false,
            eps_smoothing: false,
        }
    }
}

impl Chrf {
    /// Returns the options of chrF++, which counts words and pairs of words too.
    pub fn plus_plus() -> Self {
        Self { word_order: 2, ..Self::default() }
    }

    /// Sets the length of the longest n-grams of characters.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn char_order(self, char_order: usize) -> Result<Self> {
        check_order("char_order", 1, char_order)?;
        Ok(Self { char_order, ..self })
    }

    /// Sets the length of the longest n-grams of words, 0 for none.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn word_order(self, word_order: usize) -> Result<Self> {
        check_order("word_order", 0, word_order)?;
        Ok(Self { word_order, ..self })
    }

    /// Sets the weight β of recall.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn beta(self, beta: f64) -> Result<Self> {
        if !(0.0..=1e6).contains(&beta) {
            return Err(Error::argument("beta", "from 0 to 1e6", beta));
        }
        Ok(Self { beta, ..self })
    }

    /// Sets whether texts are compared in lower case.
    pub fn lowercase(self, lowercase: bool) -> Self {
        Self { lowercase, ..self }
    }

    /// Sets whether white space belongs to the n-grams of characters.
    pub fn whitespace(self, whitespace: bool) -> Self {
        Self { whitespace, ..self }
    }

    /// Sets whether the score is the mean of the F-scores of all lengths.
    pub fn eps_smoothing(self, eps_smoothing: bool) -> Self {
        Self { eps_smoothing, ..self }
    }

    /// Compares one hypothesis with its references.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence<S: AsRef<str>>(&self, hypothesis: &str, references: &[S]) -> Result<ChrfScore> {
        let references: Vec<&str> = references.iter().map(AsRef::as_ref).collect();
        self.best(hypothesis, &references)
    }

    /// Compares hypotheses with the references of each, as many as there are.
    ///
    /// # Errors
    /// If there are not as many lists of references as hypotheses, or a list is empty.
    pub fn corpus<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[R],
    ) -> Result<ChrfScore> {
        let of = |hypothesis: &str, references: &[&str]| self.best(hypothesis, references);
        corpus(hypotheses, references, of, ChrfScore::merge)
    }

    /// Returns the comparison with the reference that gives the greatest score, the first if there are several.
    fn best(&self, hypothesis: &str, references: &[&str]) -> Result<ChrfScore> {
        check_references(references.len())?;
        let hypothesis = self.in_case(hypothesis);
        let mut best: Option<ChrfScore> = None;
        for reference in references {
            let score = self.compare(&hypothesis, &self.in_case(reference));
            if best.as_ref().is_none_or(|best| score.chrf() > best.chrf()) {
                best = Some(score);
            }
        }
        Ok(best.unwrap_or_default())
    }

    fn compare(&self, hypothesis: &str, reference: &str) -> ChrfScore {
        let characters = |text: &str| -> Vec<char> {
            text.chars().filter(|&c| self.whitespace || !is_space(c)).collect()
        };
        let mut matches = compare(&characters(hypothesis), &characters(reference), self.char_order);
        let (hypothesis, reference) = (separate(hypothesis), separate(reference));
        matches.extend(compare(&hypothesis, &reference, self.word_order));
        ChrfScore { options: *self, sentences: 1, matches }
    }

    fn in_case(&self, text: &str) -> String {
        if self.lowercase { text.to_lowercase() } else { text.to_owned() }
    }

    fn f_score(&self, precision: f64, recall: f64) -> f64 {
        let factor = self.beta * self.beta;
        (1.0 + factor) * precision * recall / (factor * precision + recall)
    }
}

/// Divides a text into words and the symbols of ASCII at their ends.
fn separate(text: &str) -> Vec<&str> {
    let mut separated = Vec::new();
    for word in words(text) {
        // A symbol of ASCII is one byte.
        let parts = if word.ends_with(|c: char| c.is_ascii_punctuation()) {
            word.split_at_checked(word.len() - 1)
        } else if word.starts_with(|c: char| c.is_ascii_punctuation()) {
            word.split_at_checked(1)
        } else {
            None
        };
        match parts {
            Some((first, last)) if !first.is_empty() && !last.is_empty() => {
                separated.extend([first, last]);
            }
            _ => separated.push(word),
        }
    }
    separated
}

/// Counts the n-grams of each length up to `order`.
fn compare<S: Eq + Hash>(hypothesis: &[S], reference: &[S], order: usize) -> Vec<Matches> {
    let total = |tokens: &[S], n: usize| (tokens.len() + 1).saturating_sub(n);
    let of = |n| {
        let both = common(&count(hypothesis, n), &count(reference, n));
        let reference = total(reference, n);
        let hypothesis = if reference > 0 { total(hypothesis, n) } else { 0 };
        Matches { hypothesis, reference, both }
    };
    (1..=order).map(of).collect()
}

/// The numbers of n-grams of one length.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Matches {
    hypothesis: usize,
    reference: usize,
    both: usize,
}

/// The chrF score of one sentence, or of several after [`merge`](Score::merge).
///
/// A score without sentences is NaN; it takes the options of the first that is merged into it, and keeps them.
///
/// ```
/// use recurrent::train::Score;
/// use recurrent::train::metrics::{Chrf, ChrfScore};
///
/// let mut total = ChrfScore::default();
/// assert!(total.chrf().is_nan());
/// total.merge(Chrf::default().sentence("surely", &["surely"])?);
/// assert!((total.chrf() - 100.0).abs() < 1e-9);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChrfScore {
    options: Chrf,
    sentences: usize,
    matches: Vec<Matches>,
}

impl ChrfScore {
    /// Returns the score, from 0 to 100, NaN without sentences.
    pub fn chrf(&self) -> f64 {
        const EPS: f64 = 1e-16;
        if self.sentences == 0 {
            return f64::NAN;
        }
        let ratio = |part: usize, of: usize| if of > 0 { part as f64 / of as f64 } else { EPS };
        let of = |m: &Matches| (ratio(m.both, m.hypothesis), ratio(m.both, m.reference));
        if self.options.eps_smoothing {
            let f_score = |(precision, recall): (f64, f64)| {
                let f_score = self.options.f_score(precision, recall);
                if f_score.is_nan() { EPS } else { f_score }
            };
            let sum: f64 = self.matches.iter().map(|m| f_score(of(m))).sum();
            return 100.0 * sum / self.matches.len() as f64;
        }
        let both = self.matches.iter().filter(|m| m.hypothesis > 0 && m.reference > 0);
        let (mut count, mut precision, mut recall) = (0.0, 0.0, 0.0);
        for (p, r) in both.map(of) {
            count += 1.0;
            precision += p;
            recall += r;
        }
        if precision + recall == 0.0 {
            return 0.0;
        }
        100.0 * self.options.f_score(precision / count, recall / count)
    }
}

impl Score for ChrfScore {
    /// Returns 100 minus the score.
    fn loss(&self) -> f64 {
        100.0 - self.chrf()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("chrf", self.chrf())]
    }

    fn merge(&mut self, other: Self) {
        if self.sentences == 0 {
            *self = other;
            return;
        }
        self.sentences += other.sentences;
        for (to, from) in self.matches.iter_mut().zip(&other.matches) {
            to.hypothesis += from.hypothesis;
            to.reference += from.reference;
            to.both += from.both;
        }
    }
}

impl Display for ChrfScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chrF {:.2}", self.chrf())
    }
}
