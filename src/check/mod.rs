//! Checks of a model: its gradient against finite differences, and the gradient flow over time.
//!
//! | file | contents |
//! |---|---|
//! | `gradient` | [`GradientCheck`]: a gradient against central differences in f64 |
//! | `flow` | [`GradientFlow`]: ‖∂L/∂h_t‖ at each step |

pub mod flow;
pub mod gradient;

pub use flow::GradientFlow;
pub use gradient::{GradientCheck, GradientReport};
