//! Atomic writes: to a temporary file `.<process>.<number>.tmp` in the same folder, which is then renamed.
//!
//! A writer that is killed leaves its temporary file. The next process that writes to the folder removes
//! it. A writer holds a lock on its file until it has renamed it, and the system drops the lock of a
//! process that ends, so a file that is being written is never removed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// The largest number of symbolic links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

/// Writes `bytes` to `path`, or to the target of a symbolic link. An existing file is replaced only when
/// all bytes are on the disk.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes).map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Checks that a file `path` can be created or replaced, and removes the temporary files in its folder
/// whose writers were killed.
pub(crate) fn prepare(path: &Path) -> Result<()> {
    let prepared = follow(path).and_then(|path| {
        let (_locked, temporary) = create_beside(&path)?;
        fs::remove_file(temporary)?;
        remove_abandoned(folder(&path));
        Ok(())
    });
    prepared.map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = &follow(path)?;
    let (mut file, temporary) = create_beside(path)?;
    remove_abandoned_once(folder(path));
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // The lock is held until the file has its name.
    let renamed = written.and_then(|()| fs::rename(&temporary, path));
    drop(file);
    if let Err(error) = renamed {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path);
    Ok(())
}

/// Resolves symbolic links. The target need not exist.
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

/// Returns the folder of the file `path`.
fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Creates a file with an unused name in the folder of `path`, and locks it.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if path.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
    }
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{}.{call}.tmp", std::process::id()));
        let file = match File::create_new(&temporary) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            created => created?,
        };
        // Another process may take the file for an abandoned one until it is locked.
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            // Where files cannot be locked, none is ever removed.
            Ok(()) | Err(TryLockError::Error(_)) if temporary.exists() => {
                return Ok((file, temporary));
            }
            _ => {}
        }
    }
}

/// Removes the abandoned files of `folder`, the first time that this process writes to it.
fn remove_abandoned_once(folder: &Path) {
    static DONE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if DONE.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned()) {
        remove_abandoned(folder);
    }
}

/// Removes the temporary files of `folder` whose writers were killed. Errors are ignored: the files only
/// take space.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Some(writer) = entry.file_name().to_str().and_then(writer_of) else { continue };
        let Ok(file) = OpenOptions::new().read(true).write(true).open(entry.path()) else {
            continue;
        };
        let written = file.metadata().and_then(|about| about.modified());
        let abandoned = written.is_ok_and(|written| !may_run(writer, written));
        if file.try_lock().is_ok() && abandoned {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Returns the process that wrote the temporary file `name`; `None` for the name of another file.
fn writer_of(name: &str) -> Option<u32> {
    let (process, call) = name.strip_prefix('.')?.strip_suffix(".tmp")?.split_once('.')?;
    call.parse::<u64>().ok()?;
    process.parse().ok()
}

/// Returns whether the process `writer` runs and is not younger than its file, `written` at that time. A
/// younger one, such as the first process of a restarted container, only has the same number. Where the
/// system has no list of processes, returns false.
fn may_run(writer: u32, written: SystemTime) -> bool {
    /// The units of start times in a second.
    const TICKS: f64 = 100.0;
    let Ok(about) = fs::read_to_string(format!("/proc/{writer}/stat")) else { return false };
    let fields: Vec<&str> =
        about.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ended = fields.first().is_some_and(|state| ["Z", "X"].contains(state));
    let start = fields.get(19).and_then(|ticks| ticks.parse::<f64>().ok());
    let uptime = fs::read_to_string("/proc/uptime").ok();
    let uptime = uptime.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    let age = start.zip(uptime).map(|(start, uptime)| uptime - start / TICKS);
    let (Some(age), Ok(of_file)) = (age, written.elapsed()) else { return !ended };
    !ended && of_file.as_secs_f64() <= age + 1.0
}

/// Syncs the folder, so that the new name is on the disk too. Errors are ignored, because the file is
/// complete without it.
fn sync_folder(path: &Path) {
    if cfg!(unix)
        && let Ok(folder) = File::open(folder(path))
    {
        let _ = folder.sync_all();
    }
}
