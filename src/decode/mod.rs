//! Choosing tokens from logits.
//!
//! | file | contents |
//! |---|---|
//! | `sampling` | [`Sampling`]: greedy, or random with a temperature, top-k and top-p |
//! | `beam` | [`BeamSearch`]: the likeliest token sequences of a [`Decoder`] |
//! | `search` | the steps of a beam search |

pub mod beam;
pub mod sampling;
mod search;

pub use beam::{BeamSearch, Decoder, Hypothesis, LengthPenalty};
pub use sampling::{Sampling, argmax};
