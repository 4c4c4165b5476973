//! The paths of the examples' data.

use std::path::{Path, PathBuf};

/// Returns the path of a file in `examples/data`.
pub(crate) fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(file)
}
