//! [`Archive`]: a zip file in memory, in which no entry hides another.

use std::fs::File;
use std::io::{Cursor, Read, Write};
#[cfg(feature = "pytorch")]
use std::ops::Range;
use std::path::Path;

use zip::result::{ZipError, ZipResult};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::{Error, Result};

/// The largest size of an unpacked entry, relative to the file.
const MAX_UNPACKED: u64 = 256;

/// Reads the regular file `path` into memory.
pub(super) fn read_regular(path: &Path, format: &'static str) -> Result<Vec<u8>> {
    let io_error = |source| Error::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let about = file.metadata().map_err(io_error)?;
    if !about.is_file() {
        let problem = "it is no regular file, and may have no end".to_owned();
        return Err(Error::Format { path: path.to_owned(), format, problem });
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(about.len() as usize).map_err(|error| io_error(error.into()))?;
    file.take(about.len()).read_to_end(&mut bytes).map_err(io_error)?;
    Ok(bytes)
}

/// Returns a zip file with the given entries. Its bytes depend on them alone. `path` is where it will be, for errors.
pub(super) fn zipped<N: AsRef<str>, B: AsRef<[u8]>>(
    path: &Path,
    entries: impl IntoIterator<Item = (N, B)>,
    compressed: bool,
) -> Result<Vec<u8>> {
    let method = if compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let write = || -> ZipResult<Vec<u8>> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            let bytes = bytes.as_ref();
            let large = bytes.len() as u64 >= zip::ZIP64_BYTES_THR;
            let options = SimpleFileOptions::default().compression_method(method);
            zip.start_file(name.as_ref(), options.large_file(large))?;
            zip.write_all(bytes)?;
        }
        Ok(zip.finish()?.into_inner())
    };
    let source = std::io::Error::other;
    write().map_err(|error| Error::Io { path: path.to_owned(), source: source(error) })
}

/// The entries of a zip file.
pub(super) struct Archive<'f> {
    path: &'f Path,
    format: &'static str,
    length: u64,
    zip: ZipArchive<Cursor<&'f [u8]>>,
}

impl<'f> Archive<'f> {
    /// Opens the file `path`, whose content is `bytes`. Entries that overlap or have one name are refused.
    pub(super) fn open(path: &'f Path, format: &'static str, bytes: &'f [u8]) -> Result<Self> {
        let refuse = |problem| Error::Format { path: path.to_owned(), format, problem };
        let zip = ZipArchive::new(Cursor::new(bytes));
        let mut zip = zip.map_err(|error| refuse(error.to_string()))?;
        if zip.has_duplicate_names() {
            return Err(refuse("two entries have the same name".to_owned()));
        }
        if zip.has_overlapping_entries().map_err(|error| refuse(error.to_string()))? {
            return Err(refuse("entries overlap".to_owned()));
        }
        Ok(Self { path, format, length: bytes.len() as u64, zip })
    }

    /// Returns the names of the entries.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let names = self.zip.file_names().map(|name| name.map(|name| name.into_owned()));
        names.collect::<Result<_, ZipError>>().map_err(|error| self.refuse(error.to_string()))
    }

    /// Returns the error of the `problem` of the file.
    pub(super) fn refuse(&self, problem: impl Into<String>) -> Error {
        let problem = problem.into();
        Error::Format { path: self.path.to_owned(), format: self.format, problem }
    }

    /// Returns the place of the entry `name` in the file, or `None` if there is no such entry. Fails if it is
    /// compressed or its checksum is another.
    #[cfg(feature = "pytorch")]
    pub(super) fn place(&mut self, name: &str) -> Result<Option<Range<usize>>> {
        let Some(entry) = self.zip.index_for_name(name) else { return Ok(None) };
        let stored = |entry: &mut zip::read::ZipFile<'_, Cursor<&[u8]>>| {
            if entry.compression() != CompressionMethod::Stored {
                return Err(format!("the entry {name} is compressed"));
            }
            // The end of the entry compares its checksum.
            let read = std::io::copy(entry, &mut std::io::sink());
            let read = read.map_err(|error| format!("the entry {name}: {error}"))?;
            let start =
                entry.data_start().ok_or_else(|| format!("the entry {name} has no place"))?;
            Ok(start as usize..(start + read) as usize)
        };
        let place = match self.zip.by_index(entry) {
            Ok(mut entry) => stored(&mut entry),
            Err(error) => Err(format!("the entry {name}: {error}")),
        };
        place.map(Some).map_err(|problem| self.refuse(problem))
    }

    /// Returns the bytes of the entry `name`, unpacked.
    pub(super) fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let most = self.length.saturating_mul(MAX_UNPACKED);
        let unpack = |entry: &mut zip::read::ZipFile<'_, Cursor<&[u8]>>| {
            if ![CompressionMethod::Stored, CompressionMethod::Deflated]
                .contains(&entry.compression())
            {
                return Err(format!("compression by {}", entry.compression()));
            }
            if entry.size() > most {
                return Err(format!(
                    "{} bytes unpacked, more than {MAX_UNPACKED} times the file",
                    entry.size()
                ));
            }
            let (size, mut bytes) = (entry.size(), Vec::new());
            let read = entry.take(size.saturating_add(1)).read_to_end(&mut bytes);
            match read.map_err(|error| error.to_string())? as u64 {
                read if read == size => Ok(bytes),
                _ => Err(format!("its header announces {size} bytes, it has others")),
            }
        };
        let bytes = match self.zip.by_name(name) {
            Ok(mut entry) => unpack(&mut entry),
            Err(error) => Err(error.to_string()),
        };
        bytes.map_err(|problem| self.refuse(format!("the entry {name}: {problem}")))
    }
}
