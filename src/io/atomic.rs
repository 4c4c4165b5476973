//! Writes of whole files: a file is replaced atomically, a device or a pipe is written to.
//!
//! A file is replaced by a temporary file `.<process>.<number>.tmp` in the same folder, which is renamed. A
//! writer that is killed leaves it. The next process that writes to the folder removes it. A writer holds a
//! lock on its file until it has renamed it, and the system drops the lock of a process that ends, so a file
//! that is being written is never removed.

use std::collections::BTreeSet;
use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf, is_separator};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// The largest number of symbolic links that are followed, as in Linux.
const MAX_LINKS: usize = 40;

/// The way in which a path is written.
enum Place {
    /// The file, which has this metadata if it exists, is replaced.
    File(PathBuf, Option<Metadata>),
    /// A device, a pipe or an open file without a name receives the bytes.
    Open,
}

/// Writes `bytes` to `path`, or to the target of a symbolic link.
///
/// An existing file is replaced only when all bytes are on the disk, and the new one has its permissions.
/// Anything else, such as a device or a named pipe, receives the bytes and stays what it is.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, bytes, false)
}

/// Writes `bytes` as [`write`] does. If `keep_previous`, the file that is replaced stays under the name with
/// `.previous` at the end.
pub(super) fn write_with(path: &Path, bytes: &[u8], keep_previous: bool) -> Result<()> {
    let written = write_to(path, bytes, keep_previous);
    written.map_err(|source| Error::Io { path: path.to_owned(), source })
}

fn write_to(path: &Path, bytes: &[u8], keep_previous: bool) -> io::Result<()> {
    match place(path)? {
        Place::File(path, old) => replace(&path, old.as_ref(), bytes, keep_previous),
        Place::Open => overwrite(path, bytes),
    }
}

/// Checks that `path` can be written, and removes the temporary files in its folder whose writers were
/// killed.
pub(crate) fn prepare(path: &Path) -> Result<()> {
    let prepared = place(path).and_then(|place| {
        let Place::File(path, old) = place else { return Ok(()) };
        check_writable(&path, old.as_ref())?;
        let (_locked, temporary) = create_beside(&path)?;
        fs::remove_file(temporary)?;
        remove_abandoned(folder(&path));
        Ok(())
    });
    prepared.map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Returns how `path` is written. Fails if it is a folder.
fn place(path: &Path) -> io::Result<Place> {
    let last = path.as_os_str().as_encoded_bytes().last();
    if last.is_some_and(|&byte| is_separator(char::from(byte))) {
        return Err(ErrorKind::IsADirectory.into());
    }
    match fs::metadata(path) {
        Ok(old) if old.is_dir() => Err(ErrorKind::IsADirectory.into()),
        Ok(old) if old.is_file() => Ok(match fs::canonicalize(path) {
            Ok(target) => Place::File(target, Some(old)),
            // An open file of the process, such as `/dev/stdout`, that has lost its name.
            Err(_) => Place::Open,
        }),
        Ok(_) => Ok(Place::Open),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Place::File(follow(path)?, None)),
        Err(error) => Err(error),
    }
}

/// Fails unless the file `path` may be written, if it exists. A rename would need no such permission.
fn check_writable(path: &Path, old: Option<&Metadata>) -> io::Result<()> {
    old.map_or(Ok(()), |_| OpenOptions::new().write(true).open(path).map(drop))
}

/// Replaces the file `path`, which is `old` if it exists.
fn replace(
    path: &Path,
    old: Option<&Metadata>,
    bytes: &[u8],
    keep_previous: bool,
) -> io::Result<()> {
    check_writable(path, old)?;
    let (mut file, temporary) = create_beside(path)?;
    remove_abandoned_once(folder(path));
    // Permissions first: the bytes may be a secret.
    let kept = old.map_or(Ok(()), |old| keep(&file, old));
    let written = kept.and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match old {
        Some(_) if keep_previous => link_beside(path).map(Some),
        _ => Ok(None),
    });
    // The lock is held until the file has its name. The one before gets its name after it, so that at no moment
    // both are names of one file, which a damage would take.
    let renamed = linked.and_then(|linked| {
        let renamed = fs::rename(&temporary, path);
        let Some(linked) = linked else { return renamed };
        let kept = renamed.and_then(|()| fs::rename(&linked, previous(path)));
        kept.inspect_err(|_| _ = fs::remove_file(&linked))
    });
    drop(file);
    if let Err(error) = renamed {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(path);
    Ok(())
}

/// Gives the file `path` a second name, that of a temporary file.
fn link_beside(path: &Path) -> io::Result<PathBuf> {
    let (file, temporary) = create_beside(path)?;
    drop(file);
    fs::remove_file(&temporary)?;
    // Some file systems have no hard links.
    fs::hard_link(path, &temporary).or_else(|_| fs::copy(path, &temporary).map(drop))?;
    Ok(temporary)
}

/// Returns the name of the file that `path` was before the last write.
fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".previous");
    name.into()
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

/// Returns the folder of the file `path`.
fn folder(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Creates a file with an unused name in the folder of `path`, and locks it.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    if path.file_name().is_none() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "the path names no file"));
    }
    loop {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{}.{call}.tmp", std::process::id()));
        let file = match File::create_new(&temporary) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
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
