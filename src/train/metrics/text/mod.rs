//! Metrics of text: error rates, BLEU, chrF and exact match.
//!
//! The score of one sentence is a [`Score`](crate::train::Score). The score of a corpus is the scores of its
//! sentences, merged: counts are summed over sentences before any ratio is taken.
//!
//! ```
//! use recurrent::train::Score;
//! use recurrent::train::metrics::{Bleu, ErrorRate};
//!
//! let hypotheses = ["the cat sat on a mat", "hello there"];
//! let references = ["the cat sat on the mat", "hello"];
//!
//! let mut words = ErrorRate::default();
//! for (hypothesis, reference) in hypotheses.iter().zip(references) {
//!     words.merge(ErrorRate::words(hypothesis, reference));
//! }
//! assert_eq!((words.substitutions(), words.insertions()), (1, 1));
//! assert_eq!(words.rate(), 2.0 / 7.0);
//!
//! let bleu = Bleu::default().corpus(&hypotheses, &references.map(|reference| [reference]))?;
//! assert!((bleu.bleu() - 50.0).abs() < 0.005); // of 100
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! White space is that of Unicode and U+001C to U+001F, as in Python. A character is a Unicode scalar value.
//! Text is not normalised.
//!
//! | file | contents |
//! |---|---|
//! | `alignment` | [`Alignment`]: the edits that turn a reference into a hypothesis |
//! | `error_rate` | [`ErrorRate`] of words, characters or other tokens |
//! | `bleu` | [`Bleu`], [`BleuScore`] |
//! | `tokenizer` | [`BleuTokenizer`]: the words of BLEU |
//! | `chrf` | [`Chrf`], [`ChrfScore`] |
//! | `ngrams` | counts of n-grams |
//! | `exact_match` | [`ExactMatch`] |

use crate::error::{Error, Result, check_shape};

pub mod alignment;
pub mod bleu;
pub mod chrf;
pub mod error_rate;
mod exact_match;
mod ngrams;
mod tokenizer;

pub use alignment::{Alignment, Edit};
pub use bleu::{Bleu, BleuScore, BleuSmoothing};
pub use chrf::{Chrf, ChrfScore};
pub use error_rate::ErrorRate;
pub use exact_match::ExactMatch;
pub use tokenizer::BleuTokenizer;

/// Returns whether Python's `str.isspace` holds for `c`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Returns the parts of `text` between white space.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// Fails unless there is at least one reference.
fn check_references(count: usize) -> Result<()> {
    if count > 0 {
        return Ok(());
    }
    Err(Error::argument("references", "at least one reference", "none"))
}

/// Fails unless the length of the longest n-grams is from `least` to 1000.
fn check_order(argument: &'static str, least: usize, order: usize) -> Result<()> {
    if (least..=1000).contains(&order) {
        return Ok(());
    }
    Err(Error::argument(argument, format!("from {least} to 1000"), order))
}

/// Merges `of` the hypotheses and references of each sentence by `merge`. An error names the sentence.
fn corpus<H: AsRef<str>, R: AsRef<[S]>, S: AsRef<str>, C: Default>(
    hypotheses: &[H],
    references: &[R],
    of: impl Fn(&str, &[&str]) -> Result<C>,
    merge: impl Fn(&mut C, C),
) -> Result<C> {
    check_shape("references", "sentences", &[hypotheses.len()], &[references.len()])?;
    let mut total = C::default();
    for (i, (hypothesis, references)) in hypotheses.iter().zip(references).enumerate() {
        let references: Vec<&str> = references.as_ref().iter().map(AsRef::as_ref).collect();
        let sentence = of(hypothesis.as_ref(), &references);
        merge(&mut total, sentence.map_err(|error| error.prefixed(&format!("sentences[{i}].")))?);
    }
    Ok(total)
}
