//! Choosing tokens from logits.
//!
//! | file | contents |
//! |---|---|
//! | `ctc` | labels without times: greedy, prefix beam search, alignment |
//! | `sampling` | [`Sampling`]: greedy, or random with a temperature, top-k and top-p |

pub mod ctc;
pub mod sampling;

pub use sampling::{Sampling, argmax};
