//! Files: bundles of arrays in the safetensors format, under PyTorch's names.
//!
//! | file | contents |
//! |---|---|
//! | `safetensors` | [`save`] and [`load`] for one bundle; [`Writer`] and [`Reader`] for several in a file |
//! | `atomic` | atomic writes |

mod atomic;
mod safetensors;

pub use safetensors::{Reader, Writer, load, save};
