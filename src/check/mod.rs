//! Checks that users run on their own models: gradients against finite differences, how far back a
//! gradient reaches, and what a network did at each step.
//!
//! | file | duty |
//! |---|---|
//! | `gradient` | [`GradientCheck`]: a gradient against central differences in f64 |
//! | `flow` | [`GradientFlow`]: ‖∂L/∂h_t‖ at each step |
//! | `inspect` | gates, states and inputs in a [`Tape`](crate::Tape) |

pub mod flow;
pub mod gradient;
mod inspect;

pub use flow::GradientFlow;
pub use gradient::{GradientCheck, GradientReport};
