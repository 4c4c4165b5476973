//! [`Sampling`]: the choice of a token by the logits of all tokens.
//!
//! ```text
//! p = softmax(x / temperature)
//! top-k: among the k likeliest tokens
//! top-p: among the fewest tokens whose p sum to at least top_p
//! ```
//!
//! Suppressed tokens, and those whose x is −∞, are left out first.
//!
//! Top-p is due to Holtzman et al., *The Curious Case of Neural Text Degeneration*, 2020. If both are
//! set, top-k is applied first, and top-p to the renormalised probabilities of the k tokens.
#![expect(clippy::indexing_slicing, reason = "tokens are checked at the entrance")]

use ndarray::ArrayView1;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_count, check_indices};
use crate::float::Float;

/// Returns the index of the largest of `values`, the first if there are several.
///
/// Returns `None` if `values` is empty or contains NaN.
///
/// ```
/// use ndarray::array;
/// use recurrent::decode::argmax;
///
/// assert_eq!(argmax(array![0.1, 0.7, 0.7].view()), Some(1));
/// assert_eq!(argmax(array![0.1, f64::NAN].view()), None);
/// ```
pub fn argmax<T: Float>(values: ArrayView1<'_, T>) -> Option<usize> {
    let mut best = None;
    for (i, &value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if best.is_none_or(|(_, max)| value > max) {
            best = Some((i, value));
        }
    }
    best.map(|(i, _)| i)
}

/// A rule for the choice of a token by logits; see the [module](self).
///
/// | option | default | range |
/// |---|---|---|
/// | [`temperature`](Self::temperature) | | finite, above 0; [`greedy`](Self::greedy) in place of 0 |
/// | [`top_k`](Self::top_k) | no limit | from 1 to the number of tokens; not with `greedy` |
/// | [`top_p`](Self::top_p) | 1 | 0 < p ≤ 1; not with `greedy` |
///
/// ```
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::decode::Sampling;
///
/// let (logits, mut rng) = (array![2.0, 1.0, 0.0, -9.0], ChaCha8Rng::seed_from_u64(1));
/// assert_eq!(Sampling::greedy().pick(logits.view(), &mut rng)?, 0);
///
/// let lively = Sampling::temperature(1.5)?.top_k(3)?.top_p(0.9)?;
/// assert!(lively.pick(logits.view(), &mut rng)? < 3);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Sampling(Stored);

/// The options of [`Sampling`], as in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// `None` means greedy.
    temperature: Option<f64>,
    /// `None` means no limit.
    top_k: Option<usize>,
    /// `None` means no limit.
    top_p: Option<f64>,
}

impl From<Sampling> for Stored {
    fn from(sampling: Sampling) -> Self {
        sampling.0
    }
}

impl TryFrom<Stored> for Sampling {
    type Error = Error;

    fn try_from(stored: Stored) -> Result<Self> {
        let mut sampling = stored.temperature.map_or(Ok(Self::greedy()), Self::temperature)?;
        if let Some(k) = stored.top_k {
            sampling = sampling.top_k(k)?;
        }
        stored.top_p.map_or(Ok(sampling), |p| sampling.top_p(p))
    }
}

impl Sampling {
    /// Creates a rule that always chooses the likeliest token, the first if there are several.
    pub fn greedy() -> Self {
        Self(Stored::default())
    }

    /// Creates a rule that draws a token by its probability.
    ///
    /// A temperature of 1 keeps the model's probabilities. A lower one favours likely tokens, and a higher
    /// one makes the probabilities more equal.
    ///
    /// # Errors
    /// If `temperature` is not a finite value above 0. The limit at 0 is [`greedy`](Self::greedy).
    pub fn temperature(temperature: f64) -> Result<Self> {
        if temperature.is_finite() && temperature > 0.0 {
            return Ok(Self(Stored { temperature: Some(temperature), ..Stored::default() }));
        }
        Err(Error::argument("temperature", "a finite value above 0", temperature))
    }

    /// Limits the choice to the `k` likeliest tokens. Default: no limit.
    ///
    /// # Errors
    /// If `k` is zero, or the rule is greedy. [`pick`](Self::pick) fails if there are fewer than `k` tokens.
    pub fn top_k(mut self, k: usize) -> Result<Self> {
        check_count("top_k", k)?;
        self.check_random("top_k", k)?;
        self.0.top_k = Some(k);
        Ok(self)
    }

    /// Limits the choice to the fewest tokens whose probabilities sum to at least `p`. Default: 1.
    ///
    /// # Errors
    /// If `p` is not above 0 and at most 1, or the rule is greedy.
    pub fn top_p(mut self, p: f64) -> Result<Self> {
        if !(0.0 < p && p <= 1.0) {
            return Err(Error::argument("top_p", "0 < p ≤ 1", p));
        }
        self.check_random("top_p", p)?;
        self.0.top_p = Some(p);
        Ok(self)
    }

    /// Fails if the rule is greedy: limits of a draw would have no effect.
    fn check_random(&self, option: &'static str, value: impl ToString) -> Result<()> {
        let expected = "none: a greedy choice draws nothing (Sampling::temperature)";
        let random = self.0.temperature.map(|_| ());
        random.ok_or_else(|| Error::argument(option, expected, value))
    }

    /// Fails if the limit to the likeliest is more than there are `tokens`.
    pub(crate) fn check(&self, tokens: usize) -> Result<()> {
        match self.0.top_k {
            Some(k) if k > tokens => {
                Err(Error::argument("top_k", format!("at most {tokens} (tokens)"), k))
            }
            _ => Ok(()),
        }
    }

    /// Chooses a token by the `logits` of all tokens. A token whose logit is −∞ is never chosen.
    ///
    /// # Errors
    /// If a logit is NaN or ∞, none is finite, or there are fewer tokens than [`top_k`](Self::top_k).
    pub fn pick<T: Float>(&self, logits: ArrayView1<'_, T>, rng: &mut dyn Rng) -> Result<usize> {
        self.pick_except(logits, &[], rng)
    }

    /// Chooses a token as [`pick`](Self::pick) does, but none of `suppress_tokens`. The probabilities of
    /// the others are renormalised.
    ///
    /// ```
    /// use ndarray::array;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::decode::Sampling;
    ///
    /// let (logits, mut rng) = (array![2.0, 1.0, 0.0], ChaCha8Rng::seed_from_u64(1));
    /// assert_eq!(Sampling::greedy().pick_except(logits.view(), &[0], &mut rng)?, 1);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`pick`](Self::pick); also if no token is left, or a suppressed token is not less than the number
    /// of tokens.
    pub fn pick_except<T: Float>(
        &self,
        logits: ArrayView1<'_, T>,
        suppress_tokens: &[usize],
        rng: &mut dyn Rng,
    ) -> Result<usize> {
        self.check(logits.len())?;
        check_indices("suppress_tokens", suppress_tokens, logits.len(), "tokens")?;
        let bad = |x: &T| x.is_nan() || *x == T::infinity();
        if let Some(index) = logits.iter().position(bad) {
            let value = logits[index].as_f64();
            return Err(Error::NonFinite { name: "logits".to_owned(), index, value });
        }
        let Stored { temperature, top_k, top_p } = self.0;
        let mut allowed: Vec<bool> = logits.iter().map(|x| *x > T::neg_infinity()).collect();
        suppress_tokens.iter().for_each(|&token| allowed[token] = false);
        let left = || logits.iter().enumerate().filter(|(token, _)| allowed[*token]);
        let Some((likeliest, max)) = left().reduce(|best, x| if x.1 > best.1 { x } else { best })
        else {
            let expected = "at least one finite value of a token that is not suppressed";
            return Err(Error::argument("logits", expected, "none"));
        };
        let Some(temperature) = temperature else { return Ok(likeliest) };

        // The largest weight is 1, so the sum is no smaller.
        let weight = |(i, x): (usize, &T)| (i, ((x.as_f64() - max.as_f64()) / temperature).exp());
        let mut weights: Vec<(usize, f64)> = left().map(weight).collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weights.truncate(top_k.unwrap_or(weights.len()));
        let sum = |weights: &[(usize, f64)]| weights.iter().map(|(_, w)| w).sum::<f64>();
        let enough = top_p.unwrap_or(1.0) * sum(&weights);
        let mut reached = 0.0;
        let count = weights.iter().position(|(_, weight)| {
            reached += weight;
            reached >= enough
        });
        weights.truncate(count.map_or(weights.len(), |last| last + 1));
        let mut rest = rng.random::<f64>() * sum(&weights);
        let drawn = weights.iter().find(|(_, weight)| {
            rest -= weight;
            rest < 0.0
        });
        Ok(drawn.map_or(likeliest, |&(token, _)| token))
    }
}
