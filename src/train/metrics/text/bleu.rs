//! [`Bleu`]: the BLEU score of translations, as sacreBLEU computes it.
//!
//! ```text
//! pₙ = 100·cₙ / tₙ     BP = min(1, e^(1 − r/h))     BLEU = BP·exp(mean over n of ln pₙ)
//! ```
//!
//! tₙ is the number of n-grams of the hypotheses. cₙ is the number of those that a reference has too, where an
//! n-gram of a sentence counts at most as often as in the reference that has it most often. h is the number of
//! words of the hypotheses, and r is that of the references, of which each sentence takes the one with the
//! nearest length, and the shorter of two. All are summed over the sentences.
//!
//! The score is 0 if no c is greater than 0. Orders from the first with tₙ = 0 on have pₙ = 0. The mean is over
//! all orders, or over those with tₙ > 0 by [`effective_order`](Bleu::effective_order). ln 0 is −9999999999.
//!
//! | smoothing | |
//! |---|---|
//! | none | – |
//! | floor | pₙ = 100·f/tₙ where cₙ = 0 |
//! | add-k | cₙ and tₙ are greater by k for n ≥ 2 |
//! | exp | pₙ = 100/(2ᵐ·tₙ) at the m-th n with cₙ = 0 |
//!
//! Source: Papineni et al., *BLEU: a Method for Automatic Evaluation of Machine Translation*, 2002; Post, *A
//! Call for Clarity in Reporting BLEU Scores*, 2018; Chen and Cherry, *A Systematic Comparison of Smoothing
//! Techniques for Sentence-Level BLEU*, 2014.
#![expect(clippy::indexing_slicing, reason = "an order is at most that of the counts")]

use std::fmt::{self, Display};

use super::ngrams::{Counts, common, count};
use super::{BleuTokenizer, check_order, check_references, corpus};
use crate::error::{Error, Result};
use crate::train::Score;

/// The smoothing of n-gram precisions; the [module](self) states the equations.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum BleuSmoothing {
    /// No smoothing. The score is 0 if an order has no match.
    None,
    /// A count of this size, greater than 0, in place of 0. sacreBLEU's default is 0.1.
    Floor(f64),
    /// This number, greater than 0, is added to the counts of the orders from 2. sacreBLEU's default is 1.
    AddK(f64),
    /// Halves the precision with each order without a match, as `mteval-v13a.pl` does.
    #[default]
    Exp,
}

/// The options of BLEU. The [module](self) states the equations; the defaults are those of sacreBLEU.
///
/// | option | default | range |
/// |---|---|---|
/// | [`tokenizer`](Self::tokenizer) | `V13a` | |
/// | [`smoothing`](Self::smoothing) | `Exp` | the number of `Floor` or `AddK`: finite, greater than 0 |
/// | [`lowercase`](Self::lowercase) | false | |
/// | [`max_ngram_order`](Self::max_ngram_order) | 4 | 1 to 1000 |
/// | [`effective_order`](Self::effective_order) | false | |
///
/// ```
/// use recurrent::train::metrics::Bleu;
///
/// let hypotheses = ["The dog bit the man.", "It was not surprising."];
/// let references = [
///     vec!["The dog bit the man.", "The dog had bitten the man."],
///     vec!["It was not unexpected."],
/// ];
/// let score = Bleu::default().corpus(&hypotheses, &references)?;
/// assert_eq!((score.hypothesis_words(), score.reference_words()), (11, 11));
/// assert!((score.bleu() - 74.19).abs() < 0.005);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bleu {
    tokenizer: BleuTokenizer,
    smoothing: BleuSmoothing,
    lowercase: bool,
    max_ngram_order: usize,
    effective_order: bool,
}

impl Default for Bleu {
    fn default() -> Self {
        Self {
            tokenizer: BleuTokenizer::default(),
            smoothing: BleuSmoothing::default(),
            lowercase: false,
            max_ngram_order: 4,
            effective_order: false,
        }
    }
}

impl Bleu {
    /// Sets how texts are divided into words.
    pub fn tokenizer(self, tokenizer: BleuTokenizer) -> Self {
        Self { tokenizer, ..self }
    }

    /// Sets the smoothing.
    ///
    /// # Errors
    /// If its number is out of range.
    pub fn smoothing(self, smoothing: BleuSmoothing) -> Result<Self> {
        if let BleuSmoothing::Floor(value) | BleuSmoothing::AddK(value) = smoothing
            && !(value.is_finite() && value > 0.0)
        {
            return Err(Error::argument("smoothing", "a finite value greater than 0", value));
        }
        Ok(Self { smoothing, ..self })
    }

    /// Sets whether texts are compared in lower case.
    pub fn lowercase(self, lowercase: bool) -> Self {
        Self { lowercase, ..self }
    }

    /// Sets the length of the longest n-grams.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn max_ngram_order(self, max_ngram_order: usize) -> Result<Self> {
        check_order("max_ngram_order", 1, max_ngram_order)?;
        Ok(Self { max_ngram_order, ..self })
    }

    /// Sets whether the mean is over the orders of which the hypothesis has n-grams, rather than over all.
    /// Advisable for single sentences.
    pub fn effective_order(self, effective_order: bool) -> Self {
        Self { effective_order, ..self }
    }

    /// Compares one hypothesis with its references.
    ///
    /// # Errors
    /// If there is no reference.
    pub fn sentence<S: AsRef<str>>(&self, hypothesis: &str, references: &[S]) -> Result<BleuScore> {
        let references: Vec<&str> = references.iter().map(AsRef::as_ref).collect();
        self.count(hypothesis, &references)
    }

    /// Compares hypotheses with the references of each, as many as there are.
    ///
    /// # Errors
    /// If there are not as many lists of references as hypotheses, or a list is empty.
    pub fn corpus<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>>(
        &self,
        hypotheses: &[H],
        references: &[R],
    ) -> Result<BleuScore> {
        let of = |hypothesis: &str, references: &[&str]| self.count(hypothesis, references);
        corpus(hypotheses, references, of, BleuScore::merge)
    }

    fn count(&self, hypothesis: &str, references: &[&str]) -> Result<BleuScore> {
        check_references(references.len())?;
        let words = self.words(hypothesis);
        let references: Vec<Vec<String>> = references.iter().map(|text| self.words(text)).collect();
        let lengths = references.iter().map(Vec::len);
        let nearest = lengths.min_by_key(|&length| (length.abs_diff(words.len()), length));
        let orders = 1..=self.max_ngram_order;
        let total = |n| (words.len() + 1).saturating_sub(n);
        let matches = |n| common(&count(&words, n), &most(&references, n));
        Ok(BleuScore {
            options: *self,
            sentences: 1,
            hypothesis_words: words.len(),
            reference_words: nearest.unwrap_or(0),
            counts: orders.clone().map(matches).collect(),
            totals: orders.map(total).collect(),
        })
    }

    fn words(&self, text: &str) -> Vec<String> {
        if self.lowercase {
            return self.tokenizer.words(&text.to_lowercase());
        }
        self.tokenizer.words(text)
    }
}

/// Returns the largest count of each n-gram in a reference.
fn most(references: &[Vec<String>], n: usize) -> Counts<'_, String> {
    let mut most = Counts::new();
    for reference in references {
        for (ngram, count) in count(reference, n) {
            let most = most.entry(ngram).or_insert(0);
            *most = count.max(*most);
        }
    }
    most
}

/// The BLEU score of one sentence, or of several after [`merge`](Score::merge).
///
/// A score without sentences is NaN; it takes the options of the first that is merged into it, and keeps them.
///
/// ```
/// use recurrent::train::Score;
/// use recurrent::train::metrics::{Bleu, BleuScore};
///
/// let (bleu, mut total) = (Bleu::default().lowercase(true), BleuScore::default());
/// total.merge(bleu.sentence("A b c d", &["a b c d"])?);
/// total.merge(bleu.sentence("e", &["f"])?);
/// assert_eq!((total.counts(), total.totals()), (&[4, 3, 2, 1][..], &[5, 3, 2, 1][..]));
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BleuScore {
    options: Bleu,
    sentences: usize,
    hypothesis_words: usize,
    reference_words: usize,
    counts: Vec<usize>,
    totals: Vec<usize>,
}

impl BleuScore {
    /// Returns the score, from 0 to 100, NaN without sentences.
    pub fn bleu(&self) -> f64 {
        if self.sentences == 0 {
            return f64::NAN;
        }
        let precisions = self.precisions();
        if self.counts.iter().all(|&count| count == 0) {
            return 0.0;
        }
        let order =
            if self.options.effective_order { self.effective_order() } else { precisions.len() };
        let ln = |&p: &f64| if p == 0.0 { -9_999_999_999.0 } else { p.ln() };
        let sum: f64 = precisions[..order].iter().map(ln).sum();
        self.brevity_penalty() * (sum / order as f64).exp()
    }

    /// Returns the smoothed precisions of the n-grams of each length from 1, each from 0 to 100. They are zero
    /// if no n-gram matches.
    pub fn precisions(&self) -> Vec<f64> {
        let mut precisions = vec![0.0; self.counts.len()];
        if self.counts.iter().all(|&count| count == 0) {
            return precisions;
        }
        let mut halves = 1.0;
        for n in 0..self.effective_order() {
            let (count, total) = self.smoothed(n);
            let count = match self.options.smoothing {
                BleuSmoothing::Exp if count == 0.0 => {
                    halves *= 2.0;
                    1.0 / halves
                }
                BleuSmoothing::Floor(value) if count == 0.0 => value,
                _ => count,
            };
            precisions[n] = 100.0 * count / total;
        }
        precisions
    }

    /// Returns the numbers of matches and n-grams of length n + 1, with what is added to them.
    fn smoothed(&self, n: usize) -> (f64, f64) {
        let added = match self.options.smoothing {
            BleuSmoothing::AddK(k) if n > 0 => k,
            _ => 0.0,
        };
        (self.counts[n] as f64 + added, self.totals[n] as f64 + added)
    }

    /// Returns the number of orders before the first without n-grams.
    fn effective_order(&self) -> usize {
        (0..self.counts.len()).take_while(|&n| self.smoothed(n).1 > 0.0).count()
    }

    /// Returns the brevity penalty, from 0 to 1.
    pub fn brevity_penalty(&self) -> f64 {
        let (hypothesis, reference) = (self.hypothesis_words as f64, self.reference_words as f64);
        if hypothesis >= reference {
            1.0
        } else if hypothesis > 0.0 {
            (1.0 - reference / hypothesis).exp()
        } else {
            0.0
        }
    }

    /// Returns the numbers of matching n-grams of each length from 1.
    pub fn counts(&self) -> &[usize] {
        &self.counts
    }

    /// Returns the numbers of n-grams of the hypotheses, of each length from 1.
    pub fn totals(&self) -> &[usize] {
        &self.totals
    }

    /// Returns the number of words of the hypotheses.
    pub fn hypothesis_words(&self) -> usize {
        self.hypothesis_words
    }

    /// Returns the number of words of the references with the nearest lengths.
    pub fn reference_words(&self) -> usize {
        self.reference_words
    }
}

impl Score for BleuScore {
    /// Returns 100 minus the score.
    fn loss(&self) -> f64 {
        100.0 - self.bleu()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("bleu", self.bleu())]
    }

    fn merge(&mut self, other: Self) {
        if self.sentences == 0 {
            *self = other;
            return;
        }
        self.sentences += other.sentences;
        self.hypothesis_words += other.hypothesis_words;
        self.reference_words += other.reference_words;
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
        self.totals.iter_mut().zip(&other.totals).for_each(|(to, from)| *to += from);
    }
}

impl Display for BleuScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BLEU {:.2}", self.bleu())
    }
}
