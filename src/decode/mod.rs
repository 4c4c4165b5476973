//! Choosing tokens from logits.
//!
//! | file | contents |
//! |---|---|
//! | `ctc` | labels without times: greedy, prefix beam search, alignment |
//! | `sampling` | [`Sampling`]: greedy, or random with a temperature, top-k and top-p |
//! | `beam` | [`BeamSearch`]: the likeliest token sequences of a [`Decoder`] |
//! | `generate` | texts that are drawn token by token |
//! | `search` | the steps of a beam search |

pub mod beam;
pub mod ctc;
mod generate;
pub mod sampling;
mod search;

use crate::error::{Error, Result};

pub use beam::{BeamSearch, Decoder, Hypothesis, LengthPenalty};
pub use sampling::{Sampling, argmax};

/// Fails unless `n_best` is from 1 to `width`.
fn check_n_best(n_best: usize, width: usize) -> Result<()> {
    if (1..=width).contains(&n_best) {
        return Ok(());
    }
    Err(Error::argument("n_best", format!("1 to {width} (width)"), n_best))
}
