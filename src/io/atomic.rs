//! A file is written whole, or not at all: to a temporary file beside it, which is then renamed.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Writes `bytes` to `path`. What stood there stays until all bytes are on the disk.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let error = |source| Error::Io { path: path.to_owned(), source };
    let (mut file, temporary) = create_beside(path).map_err(error)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    drop(file);
    written.and_then(|()| fs::rename(&temporary, path)).map_err(|source| {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        error(source)
    })
}

/// A new file in the folder of `path`, under a name that no file there has.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    };
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.{call}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            created => return Ok((created?, temporary)),
        }
    }
}
