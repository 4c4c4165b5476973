//! [`Sampling`]: the choice of a token by the logits of all tokens.
//!
//! ```text
//! p = softmax(x / temperature)
//! top-k: among the k likeliest tokens
//! top-p: among the fewest tokens whose p sum to at least top_p
//! ```
//!
//! Top-p is due to Holtzman et al., *The Curious Case of Neural Text Degeneration*, 2020. If both are
//! set, top-k is applied first, and top-p to the renormalised probabilities of the k tokens.

use ndarray::ArrayView1;
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, check_count};
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
pub struct Sampling {
    /// `None` means greedy.
    temperature: Option<f64>,
    top_k: usize,
    top_p: f64,
}

impl Sampling {
    /// Creates a rule that always chooses the likeliest token.
    pub fn greedy() -> Self {
        Self { temperature: None, top_k: usize::MAX, top_p: 1.0 }
    }

    /// Creates a rule that draws a token by its probability.
    ///
    /// A temperature of 1 keeps the model's probabilities. A lower one favours likely tokens, and a higher
    /// one makes the probabilities more equal.
    ///
    /// # Errors
    /// If `temperature` is not a finite value above 0.
    pub fn temperature(temperature: f64) -> Result<Self> {
        if temperature.is_finite() && temperature > 0.0 {
            return Ok(Self { temperature: Some(temperature), ..Self::greedy() });
        }
        Err(Error::argument("temperature", "a finite value above 0", temperature))
    }

    /// Limits the choice to the `k` likeliest tokens. Default: no limit.
    ///
    /// # Errors
    /// If `k` is zero.
    pub fn top_k(mut self, k: usize) -> Result<Self> {
        check_count("top_k", k)?;
        self.top_k = k;
        Ok(self)
    }

    /// Limits the choice to the fewest tokens whose probabilities sum to at least `p`. Default: 1.
    ///
    /// # Errors
    /// If `p` is not above 0 and at most 1.
    pub fn top_p(mut self, p: f64) -> Result<Self> {
        if !(0.0 < p && p <= 1.0) {
            return Err(Error::argument("top_p", "0 < p ≤ 1", p));
        }
        self.top_p = p;
        Ok(self)
    }

    /// Chooses a token by the `logits` of all tokens. A token whose logit is −∞ is never chosen.
    ///
    /// # Errors
    /// If a logit is NaN or ∞, or none is finite.
    pub fn pick<T: Float>(&self, logits: ArrayView1<'_, T>, rng: &mut dyn Rng) -> Result<usize> {
        let bad = |x: &T| x.is_nan() || *x == T::infinity();
        if let Some(index) = logits.iter().position(bad) {
            let value = logits[index].as_f64();
            return Err(Error::NonFinite { name: "logits".to_owned(), index, value });
        }
        let likeliest = argmax(logits).filter(|&best| logits[best] > T::neg_infinity());
        let expected = || Error::argument("logits", "at least one finite value", "none");
        let likeliest = likeliest.ok_or_else(expected)?;
        let Some(temperature) = self.temperature else { return Ok(likeliest) };

        let max = logits[likeliest].as_f64();
        let weight = |(i, x): (usize, &T)| (i, ((x.as_f64() - max) / temperature).exp());
        let mut weights: Vec<(usize, f64)> = logits.iter().enumerate().map(weight).collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        weights.truncate(self.top_k);
        let sum = |weights: &[(usize, f64)]| weights.iter().map(|(_, w)| w).sum::<f64>();
        let enough = self.top_p * sum(&weights);
        let mut reached = 0.0;
        let count = weights.iter().position(|(_, weight)| {
            reached += weight;
            reached >= enough
        });
        weights.truncate(count.map_or(weights.len(), |last| last + 1));
        let mut left = rng.random::<f64>() * sum(&weights);
        let drawn = weights.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        Ok(drawn.map_or(likeliest, |&(token, _)| token))
    }
}
