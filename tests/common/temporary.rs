//! Files and folders that are removed at the end of a test, with names that no other test has.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

/// Returns a path in the system's folder of temporary files, which ends in `name`.
fn unused(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    env::temp_dir().join(format!("recurrent-{}-{count}-{name}", process::id()))
}

/// A file.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    /// Names a file that does not exist yet.
    pub(crate) fn new(name: &str) -> Self {
        Self(unused(name))
    }

    /// Writes a file.
    pub(crate) fn with(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let file = Self::new(name);
        fs::write(&file.0, bytes).unwrap();
        file
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

/// A folder.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    /// Creates an empty folder.
    pub(crate) fn new(name: &str) -> Self {
        let path = unused(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Returns the path of the file `name` in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }

    /// Returns the names of all files in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
