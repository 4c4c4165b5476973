//! Files: bundles of arrays in the safetensors format, under PyTorch's names.
//!
//! | file | contents |
//! |---|---|
//! | `safetensors` | [`save`] and [`load`] for one bundle; [`Writer`] and [`Reader`] for several in a file |
//! | `atomic` | atomic writes, and the removal of what killed ones left |
//! | `about` | descriptions in files, with the version of their format |

pub(crate) mod about;
pub(crate) mod atomic;
mod safetensors;

#[cfg(feature = "pytorch")]
pub(crate) use self::safetensors::read_file;
pub(crate) use atomic::{prepare, write};
pub use safetensors::{Reader, Writer, load, save};
