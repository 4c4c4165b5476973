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

pub use beam::{BeamSearch, Decoder, Hypothesis, LengthPenalty};
pub use sampling::{Sampling, argmax};
