//! [`BeamSearch`]: the likeliest token sequences of a [`Decoder`].
//!
//! At each step, each of the `width` hypotheses of a sequence is continued by each token, and the `width`
//! likeliest continuations are kept. With y the tokens of a hypothesis, including the end token,
//!
//! ```text
//! log_probability(y) = Σ_t ln p(y_t | y_<t)            p = softmax(logits)
//! score(y)           = log_probability(y) / lp(|y|)
//! lp(n) = 1                  LengthPenalty::None
//!       = ((5 + n) / 6)^α    LengthPenalty::Wu(α)
//!       = n                  LengthPenalty::Mean
//! ```
//!
//! A continuation by the end token is complete if it is among the `width` likeliest. The `width` likeliest
//! other continuations stay in the beam. A token that is forbidden has probability zero, and the
//! probabilities of the others are not renormalised.
//!
//! Wu's length penalty: Wu et al., *Google's Neural Machine Translation System*, 2016.
//!
//! **Order.** Continuations of equal log-probability are ordered by their hypothesis, the likelier first,
//! then by their logit, then by their token, the lower first. Of results of equal score, the first is the
//! one that was complete first, then the one that is first in this order.

use std::fmt;
use std::sync::Arc;

use ndarray::Array2;

use crate::decode::{check_n_best, search};
use crate::error::{Error, Result, check_count, check_indices};
use crate::float::Float;

/// One step of a model that predicts the next token, for a batch of rows.
///
/// ```
/// use ndarray::{Array2, Axis, array};
/// use recurrent::Result;
/// use recurrent::decode::{BeamSearch, Decoder};
///
/// /// The logits of the next token depend on the last token alone.
/// struct Bigram(Array2<f64>);
///
/// impl Decoder for Bigram {
///     type Elem = f64;
///
///     fn step(&mut self, tokens: &[usize]) -> Result<Array2<f64>> {
///         Ok(self.0.select(Axis(0), tokens))
///     }
///
///     /// Nothing is kept between two steps.
///     fn select(&mut self, _rows: &[usize]) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let mut decoder = Bigram(array![[0.0, 2.0, 1.9], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]);
/// let greedy = BeamSearch::new(1)?.max_length(2)?.search(&mut decoder, &[0])?;
/// let wide = BeamSearch::new(2)?.max_length(2)?.search(&mut decoder, &[0])?;
/// assert_eq!(greedy[0][0].tokens, [1, 0]);
/// assert_eq!(wide[0][0].tokens, [2, 0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
pub trait Decoder {
    /// The type of the logits.
    type Elem: Float;

    /// Feeds one token to each row and returns the logits of the next, [rows, vocabulary].
    ///
    /// # Errors
    /// If there is not one token for each row, or one is too large. An error ends a search, which returns it.
    fn step(&mut self, tokens: &[usize]) -> Result<Array2<Self::Elem>>;

    /// Keeps the given rows, in this order; a row may occur several times or never. A search does not call it
    /// if all rows stay in their order.
    ///
    /// # Errors
    /// If a row is not less than their number. An error ends a search, which returns it.
    fn select(&mut self, rows: &[usize]) -> Result<()>;
}

/// A token sequence with its score, from [`BeamSearch::search`].
#[derive(Clone, Debug, PartialEq)]
pub struct Hypothesis {
    /// The tokens, without the first token that was given and without the end token.
    pub tokens: Vec<usize>,
    /// The log-probability divided by the length penalty.
    pub score: f64,
    /// The natural logarithm of the product of the tokens' probabilities, that of the end token included.
    pub log_probability: f64,
    /// Whether the end token follows. Without, the hypothesis has the greatest length.
    pub ended: bool,
}

/// The divisor of a hypothesis' log-probability; see the [module](self). Without one, a longer hypothesis
/// never has a higher score than its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LengthPenalty {
    /// 1: the score is the log-probability.
    #[default]
    None,
    /// ((5 + n) / 6)^α for n tokens, with α ≥ 0; 0.6 to 1 is usual.
    Wu(f64),
    /// n: the score is the mean log-probability of a token.
    Mean,
}

impl LengthPenalty {
    /// Returns the divisor for `length` tokens.
    pub(super) fn at(self, length: usize) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Wu(alpha) => ((5.0 + length as f64) / 6.0).powf(alpha),
            Self::Mean => length as f64,
        }
    }
}

/// The rule of [`BeamSearch::mask`].
type Mask<'m> = dyn Fn(usize, &[usize], &mut [bool]) + Send + Sync + 'm;

/// A beam search over any [`Decoder`]; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | `width` of [`new`](Self::new) | | at least 1 |
/// | [`n_best`](Self::n_best) | 1 | 1 to `width` |
/// | [`end`](Self::end) | none | less than the vocabulary |
/// | [`max_length`](Self::max_length) | 100 | at least 1 |
/// | [`min_length`](Self::min_length) | 0 | at most `max_length`; needs `end` |
/// | [`length_penalty`](Self::length_penalty) | none | |
/// | [`no_repeat_ngram_size`](Self::no_repeat_ngram_size) | none | at least 1 |
/// | [`suppress_tokens`](Self::suppress_tokens) | none | less than the vocabulary |
/// | [`mask`](Self::mask) | none | |
/// | [`early_stopping`](Self::early_stopping) | true | |
///
/// With `width` 1 and no length penalty it is greedy decoding. If `width` is at least the number of all
/// sequences, it is an exhaustive search.
///
/// [`Decoder`] has an example.
#[derive(Clone)]
pub struct BeamSearch<'m> {
    pub(crate) width: usize,
    pub(super) n_best: usize,
    pub(super) end: Option<usize>,
    pub(crate) max_length: usize,
    pub(super) min_length: usize,
    pub(super) length_penalty: LengthPenalty,
    pub(super) no_repeat_ngram_size: Option<usize>,
    pub(super) suppress_tokens: Vec<usize>,
    pub(super) mask: Option<Arc<Mask<'m>>>,
    pub(super) early_stopping: bool,
}

impl fmt::Debug for BeamSearch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeamSearch")
            .field("width", &self.width)
            .field("n_best", &self.n_best)
            .field("end", &self.end)
            .field("max_length", &self.max_length)
            .field("min_length", &self.min_length)
            .field("length_penalty", &self.length_penalty)
            .field("no_repeat_ngram_size", &self.no_repeat_ngram_size)
            .field("suppress_tokens", &self.suppress_tokens)
            .field("mask", &self.mask.is_some())
            .field("early_stopping", &self.early_stopping)
            .finish()
    }
}

impl<'m> BeamSearch<'m> {
    /// Creates a search that keeps `width` hypotheses of each sequence.
    ///
    /// # Errors
    /// If `width` is zero.
    pub fn new(width: usize) -> Result<Self> {
        check_count("width", width)?;
        Ok(Self {
            width,
            n_best: 1,
            end: None,
            max_length: 100,
            min_length: 0,
            length_penalty: LengthPenalty::None,
            no_repeat_ngram_size: None,
            suppress_tokens: Vec::new(),
            mask: None,
            early_stopping: true,
        })
    }

    /// Sets the number of hypotheses that are returned for each sequence. Default: 1.
    ///
    /// # Errors
    /// If `count` is zero or greater than the width.
    pub fn n_best(mut self, count: usize) -> Result<Self> {
        check_n_best(count, self.width)?;
        self.n_best = count;
        Ok(self)
    }

    /// Sets the token that ends a hypothesis. Without one, all have the greatest length.
    pub fn end(mut self, token: usize) -> Self {
        self.end = Some(token);
        self
    }

    /// Sets the greatest number of steps. A hypothesis of so many tokens is complete without an end token.
    /// Default: 100.
    ///
    /// # Errors
    /// If `length` is zero.
    pub fn max_length(mut self, length: usize) -> Result<Self> {
        check_count("max_length", length)?;
        self.max_length = length;
        Ok(self)
    }

    /// Forbids the end token before `length` other tokens. Default: 0.
    pub fn min_length(mut self, length: usize) -> Self {
        self.min_length = length;
        self
    }

    /// Sets the divisor of the log-probability. Default: none.
    ///
    /// # Errors
    /// If an exponent is not finite or below 0.
    pub fn length_penalty(mut self, penalty: LengthPenalty) -> Result<Self> {
        if let LengthPenalty::Wu(alpha) = penalty
            && !(alpha.is_finite() && alpha >= 0.0)
        {
            return Err(Error::argument("length_penalty", "a finite α of at least 0", alpha));
        }
        self.length_penalty = penalty;
        Ok(self)
    }

    /// Forbids the last token of every sequence of `size` tokens that is in the hypothesis already. The
    /// first token that was given is not part of the hypothesis. Default: nothing is forbidden.
    ///
    /// # Errors
    /// If `size` is zero.
    pub fn no_repeat_ngram_size(mut self, size: usize) -> Result<Self> {
        check_count("no_repeat_ngram_size", size)?;
        self.no_repeat_ngram_size = Some(size);
        Ok(self)
    }

    /// Adds tokens that are never chosen. If the end token is one of them, every hypothesis has the
    /// greatest length.
    pub fn suppress_tokens(mut self, tokens: &[usize]) -> Self {
        self.suppress_tokens.extend_from_slice(tokens);
        self
    }

    /// Sets a rule that forbids tokens. It is called for each hypothesis at each step with the index of the
    /// sequence, the tokens of the hypothesis so far, and whether each token is allowed: at first all are.
    /// A token that is set to false is not chosen.
    ///
    /// Several threads may call it at once. A hypothesis without an allowed token is dropped. If it was the last of its sequence,
    /// [`search`](Self::search) fails.
    ///
    /// ```
    /// # use ndarray::{Array2, Axis, array};
    /// # use recurrent::Result;
    /// # use recurrent::decode::{BeamSearch, Decoder};
    /// # struct Bigram(Array2<f64>);
    /// # impl Decoder for Bigram {
    /// #     type Elem = f64;
    /// #     fn step(&mut self, tokens: &[usize]) -> Result<Array2<f64>> {
    /// #         Ok(self.0.select(Axis(0), tokens))
    /// #     }
    /// #     fn select(&mut self, _rows: &[usize]) -> Result<()> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let mut decoder = Bigram(array![[0.0, 2.0, 1.9], [0.0, 0.0, 0.0], [9.0, 0.0, 0.0]]);
    /// // Every second token is 1.
    /// let search = BeamSearch::new(2)?.max_length(4)?.mask(|_, tokens, allowed| {
    ///     if tokens.len() % 2 == 1 {
    ///         allowed.fill(false);
    ///         allowed[1] = true;
    ///     }
    /// });
    /// let best = &search.search(&mut decoder, &[0])?[0][0];
    /// assert!(best.tokens[1] == 1 && best.tokens[3] == 1);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn mask(mut self, rule: impl Fn(usize, &[usize], &mut [bool]) + Send + Sync + 'm) -> Self {
        self.mask = Some(Arc::new(rule));
        self
    }

    /// Sets whether a sequence's search stops as soon as nothing that is still open can enter its
    /// [`n_best`](Self::n_best) results. The results are the same. Default: true.
    ///
    /// A hypothesis with the log-probability s reaches a score of at most s / lp(max_length), because s
    /// never increases and lp(n) never decreases. The bound is close if
    /// [`max_length`](Self::max_length) is.
    pub fn early_stopping(mut self, stop: bool) -> Self {
        self.early_stopping = stop;
        self
    }

    /// Returns the best hypotheses of each sequence, from the highest score to the lowest.
    ///
    /// `decoder` has one row for each sequence at first, and `first_tokens` are their first tokens, such as a
    /// start token or the last token of a prompt. The hypotheses of all sequences are the rows of one
    /// [`step`](Decoder::step), those of the first sequence first. Results do not depend on the other
    /// sequences if those of the decoder's rows do not. There are fewer than [`n_best`](Self::n_best) if
    /// there are no more that are allowed.
    ///
    /// After the search, or an error, the state of the decoder is unspecified.
    ///
    /// # Errors
    /// If there is no sequence, an option does not fit the vocabulary or another option, the logits have
    /// another shape than [rows, vocabulary], a logit is NaN or ∞, or no token is allowed in any hypothesis
    /// of a sequence. The last two name step and sequence. Errors of the decoder are returned.
    pub fn search<D: Decoder>(
        &self,
        decoder: &mut D,
        first_tokens: &[usize],
    ) -> Result<Vec<Vec<Hypothesis>>> {
        search::search(self, decoder, first_tokens, 0)
    }

    /// Searches as [`search`](Self::search), for the sequences from `first` on of a batch.
    pub(crate) fn search_part<D: Decoder>(
        &self,
        decoder: &mut D,
        first_tokens: &[usize],
        first: usize,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        search::search(self, decoder, first_tokens, first)
    }

    /// Returns this search with the end token of a model, and more tokens that are never chosen.
    pub(crate) fn for_model(&self, end: Option<usize>, suppress_tokens: &[usize]) -> Result<Self> {
        if let Some(own) = self.end.filter(|_| self.end != end) {
            let expected = end.map_or("none".to_owned(), |end| format!("{end} or none"));
            return Err(Error::argument("end", format!("{expected}, as in the model"), own));
        }
        Ok(Self { end, ..self.clone() }.suppress_tokens(suppress_tokens))
    }

    /// Fails unless the options fit each other and `vocabulary` tokens.
    pub(super) fn check(&self, vocabulary: usize) -> Result<()> {
        check_indices("suppress_tokens", &self.suppress_tokens, vocabulary, "vocabulary")?;
        match self.end {
            Some(end) if end >= vocabulary => {
                let expected = format!("less than {vocabulary} (vocabulary)");
                return Err(Error::argument("end", expected, end));
            }
            None if self.min_length > 0 => {
                let expected = "0: there is no end token";
                return Err(Error::argument("min_length", expected, self.min_length));
            }
            _ => {}
        }
        if self.min_length > self.max_length {
            let expected = format!("at most {} (max_length)", self.max_length);
            return Err(Error::argument("min_length", expected, self.min_length));
        }
        let longest = self.length_penalty.at(self.max_length);
        if longest.is_finite() {
            return Ok(());
        }
        Err(Error::argument("length_penalty", "a finite divisor of max_length tokens", longest))
    }
}
