//! Writes of whole files: a file is replaced atomically, a device or a pipe is written to.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf, is_separator};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// The largest number of symbolic links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

/// Writes `bytes` to `path`, or to the target of a symbolic link.
///
/// An existing file is replaced only when all bytes are on the disk, and the new one has its permissions.
/// Anything else, such as a device or a named pipe, receives the bytes and stays what it is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_to(path, bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn write_to(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let last = path.as_os_str().as_encoded_bytes().last();
    if last.is_some_and(|&byte| is_separator(char::from(byte))) {
        return Err(ErrorKind::IsADirectory.into());
    }
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(old) if old.is_file() => match fs::canonicalize(path) {
            Ok(target) => replace(&target, Some(&old), bytes),
            // An open file of the process, such as `/dev/stdout`, that has lost its name.
            Err(_) => overwrite(path, bytes),
        },
        Ok(_) => overwrite(path, bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => replace(&follow(path)?, None, bytes),
        Err(error) => Err(error),
    }
}

/// Replaces the file `path`, which is `old` if it exists.
fn replace(path: &Path, old: Option<&Metadata>, bytes: &[u8]) -> io::Result<()> {
    if old.is_some() {
        // A rename needs no permission to write the file itself.
        OpenOptions::new().write(true).open(path)?;
    }
    let (mut file, temporary) = create_beside(path)?;
    // Permissions first: the bytes may be a secret.
    let kept = old.map_or(Ok(()), |old| keep(&file, old));
    let written = kept.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    drop(file);
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path);
    Ok(())
}

/// Gives `file` the permissions of `old`, and its owner and group as far as the process may.
fn keep(file: &File, old: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, fchown};
        let (user, group) = (Some(old.uid()), Some(old.gid()));
        let _ = fchown(file, user, group).or_else(|_| fchown(file, None, group));
    }
    match file.metadata()?.permissions() == old.permissions() {
        true => Ok(()),
        false => file.set_permissions(old.permissions()),
    }
}

/// Writes to `path`, which exists and cannot be replaced.
fn overwrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    match file.sync_all() {
        // Pipes and many devices cannot be synced.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Resolves symbolic links whose target does not exist.
fn follow(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.with_file_name("").join(target),
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// Creates a file with an unused name in the folder of `path`.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if path.file_name().is_none() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names no file"));
    }
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{}.{call}.tmp", std::process::id()));
        match File::create_new(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => return Ok((created?, temporary)),
        }
    }
}

/// Syncs the folder, so that the new name is on the disk too. Errors are ignored, because the file is
/// complete without it.
fn sync_folder(path: &Path) {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if cfg!(unix)
        && let Ok(folder) = File::open(folder.unwrap_or(Path::new(".")))
    {
        let _ = folder.sync_all();
    }
}
