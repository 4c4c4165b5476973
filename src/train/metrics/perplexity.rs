//! [`Perplexity`] of a language model.

use std::fmt::{self, Display};

use crate::train::Score;
use crate::train::metrics::Mean;

/// Perplexity and bits per token of a language model. They are NaN without tokens.
///
/// ```
/// use recurrent::train::metrics::Perplexity;
///
/// let mut score = Perplexity::default();
/// score.add(2_f64.ln(), 3); // three tokens of probability ½
/// assert!((score.perplexity() - 2.0).abs() < 1e-12 && (score.bits() - 1.0).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Perplexity {
    nats: Mean,
}

impl Perplexity {
    /// Adds the mean of −ln p over `count` tokens.
    pub fn add(&mut self, nats: f64, count: usize) {
        self.nats.add(nats, count as f64);
    }

    /// Returns the perplexity e^loss, the effective number of equally likely next tokens.
    pub fn perplexity(&self) -> f64 {
        self.nats.value().exp()
    }

    /// Returns the bits per token.
    pub fn bits(&self) -> f64 {
        self.nats.value() / std::f64::consts::LN_2
    }
}

impl Score for Perplexity {
    fn loss(&self) -> f64 {
        self.nats.value()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("loss", self.loss()), ("perplexity", self.perplexity()), ("bits", self.bits())]
    }

    fn merge(&mut self, other: Self) {
        self.nats.merge(other.nats);
    }

    fn to_numbers(&self) -> Option<Vec<f64>> {
        Some(self.nats.to_numbers())
    }

    fn from_numbers(numbers: &[f64]) -> Option<Self> {
        Some(Self { nats: Mean::from_numbers(numbers)? })
    }
}

impl Display for Perplexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} bits a token, perplexity {:.3}", self.bits(), self.perplexity())
    }
}
