//! Files: the weights of any bundle of arrays, to and from safetensors under PyTorch's names.
//!
//! | file | duty |
//! |---|---|
//! | `safetensors` | [`save`] and [`load`] |
//! | `atomic` | a file is written whole, or not at all |

mod atomic;
mod safetensors;

pub use safetensors::{load, save};
