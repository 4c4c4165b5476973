//! Texts that are drawn token by token.
#![expect(clippy::indexing_slicing, reason = "a row is picked for each text")]

use rand::Rng;

use crate::decode::{Decoder, Sampling};
use crate::error::{Error, Result};

impl Sampling {
    /// Returns the tokens after `first`, one for each row of `decoder`: at most `max_len`, without the end
    /// token. `suppressed` tokens are never chosen.
    ///
    /// # Errors
    /// If a step of the decoder fails, and as [`pick_except`](Self::pick_except), naming step and text.
    pub(crate) fn generate(
        &self,
        decoder: &mut dyn Decoder<Elem = impl crate::Float>,
        first: Vec<usize>,
        (end, suppressed): (Option<usize>, &[usize]),
        max_len: usize,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Vec<usize>>> {
        let mut next = first;
        let mut texts = vec![Vec::new(); next.len()];
        let mut ended = vec![false; next.len()];
        for step in 0..max_len {
            let logits = decoder.step(&next)?;
            next.clear();
            for (b, row) in logits.rows().into_iter().enumerate() {
                let token = self.pick_except(row, suppressed, rng);
                let token = token.map_err(|error| at_step(error, step, b))?;
                ended[b] |= Some(token) == end;
                if !ended[b] {
                    texts[b].push(token);
                }
                next.push(token);
            }
            if ended.iter().all(|&ended| ended) {
                break;
            }
        }
        Ok(texts)
    }
}

/// Returns the error of a choice of a token with the place of the choice.
fn at_step(error: Error, step: usize, text: usize) -> Error {
    let named = |name: &str| format!("{name} of step {step} of text {text}");
    match error {
        Error::NonFinite { name, index, value } => {
            Error::NonFinite { name: named(&name), index, value }
        }
        Error::Argument { argument, expected, got } => {
            Error::Argument { argument: named(&argument).into(), expected, got }
        }
        other => other,
    }
}
