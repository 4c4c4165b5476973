//! Choosing tokens from logits.
//!
//! | file | contents |
//! |---|---|
//! | `sampling` | [`Sampling`]: greedy, or random with a temperature, top-k and top-p |

pub mod sampling;

pub use sampling::{Sampling, argmax};
