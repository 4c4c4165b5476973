//! Files: the weights of any bundle of arrays, to and from safetensors under PyTorch's names.
//!
//! | file | duty |
//! |---|---|
//! | `safetensors` | [`save`] and [`load`] one bundle; [`Writer`] and [`Reader`] for several in a file |
//! | `atomic` | a file is written whole, or not at all |

mod atomic;
mod safetensors;

pub use safetensors::{Reader, Writer, load, save};
