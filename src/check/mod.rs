//! Checks that users run on their own models: gradients against finite differences.
//!
//! | file | duty |
//! |---|---|
//! | `gradient` | [`gradient`](gradient::gradient): a gradient against central differences in f64 |

pub mod gradient;

pub use gradient::{GradientCheck, GradientReport};
