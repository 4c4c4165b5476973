//! From logits to tokens.
//!
//! | file | duty |
//! |---|---|
//! | `sampling` | [`Sampling`]: greedy, or drawn with a temperature, among the k or the likeliest |

pub mod sampling;

pub use sampling::{Sampling, argmax};
