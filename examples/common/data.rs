//! Where the data of the examples stand.

use std::path::{Path, PathBuf};

/// The path of a file below `examples/data`.
pub(crate) fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file)
}
