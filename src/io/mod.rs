//! Files: bundles of arrays in the safetensors format, under PyTorch's names.
//!
//! | file | contents |
//! |---|---|
//! | `safetensors` | [`save`] and [`load`] for one bundle; [`save_with`] for smaller files |
//! | `writer`, `reader` | [`Writer`] and [`Reader`] for several bundles in a file |
//! | `atomic` | atomic writes, and the removal of what killed ones left |
//! | `about` | descriptions in files, with the version of their format |

pub(crate) mod about;
pub(crate) mod atomic;
mod reader;
mod safetensors;
mod writer;

pub(crate) use atomic::{prepare, write};
pub use reader::Reader;
#[cfg(feature = "pytorch")]
pub(crate) use reader::read_file;
pub use safetensors::{load, save, save_with};
pub use writer::Writer;
