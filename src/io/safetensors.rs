//! Files in the safetensors format: a header of names, types and shapes, then the values, little-endian.
//! The `safetensors` crate reads and writes the header.

use std::path::Path;

use safetensors::Dtype;

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::io::{Reader, Writer};
use crate::tensor::Precision;

/// The key of the text of [`Writer::about`] in the header.
pub(super) const ABOUT: &str = "recurrent";

/// The key of all such texts in the header, which no tensor may have.
pub(super) const TEXTS: &str = "__metadata__";

/// The end of the name of the scales of a tensor of int8.
pub(super) const SCALE: &str = ".scale";

pub(super) fn dtype<T: Float>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// Writes every array of `arrays`, under its name, to the file `path`.
///
/// The bytes depend on names and values alone. They are written to a temporary file in the same
/// folder, which is renamed once it is on the disk. An existing file is replaced only then, and keeps its
/// permissions. A device or a named pipe is written to instead.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-{}.safetensors", std::process::id()));
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, Lstm, io};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let lstm = Lstm::<f32>::builder(3, 8).build(&mut rng)?;
/// io::save(&path, &lstm)?;
///
/// let mut again = lstm.zeros_like();
/// io::load(&path, &mut again)?;
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be written, [`Error::Argument`] if two arrays have the same name.
pub fn save<T: Float, A: Arrays<Elem = T>>(path: impl AsRef<Path>, arrays: &A) -> Result<()> {
    Writer::default().arrays("", arrays).write(path)
}

/// Writes a smaller file: matrices, which are arrays of two axes or more, have the given precision.
///
/// In [`Int8`](Precision::Int8), a matrix is a tensor of I8, and `NAME.scale`, one F32 for each of its rows.
/// [`load`] returns the products; they are the values of [`Precision::round`].
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-int8-{}.safetensors", std::process::id()));
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Arrays, Lstm, io, tensor::Precision};
///
/// let mut lstm = Lstm::<f32>::builder(64, 128).build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// io::save_with(&path, &lstm, Precision::Int8)?;
/// let quarter = 4 * lstm.count() as u64 / 4;
/// assert!(std::fs::metadata(&path)?.len() < quarter + quarter / 10);
///
/// let mut again = lstm.zeros_like();
/// io::load(&path, &mut again)?;
/// Precision::Int8.round(&mut lstm)?;
/// again.zip_mut("lstm", &lstm, &mut |name, loaded, rounded| assert_eq!(loaded, rounded, "{name}"))?;
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As for [`save`], and if a value is not finite or beyond the range of f32, unless the precision is full.
pub fn save_with<T: Float, A: Arrays<Elem = T>>(
    path: impl AsRef<Path>,
    arrays: &A,
    precision: Precision,
) -> Result<()> {
    Writer::default().arrays_with("", arrays, precision)?.write(path)
}

/// Reads every array of `arrays` from the file `path`, by name.
///
/// A tensor has the element type of the arrays, one of the types F16 and BF16 of half precision, whose values
/// are exact in both, or I8 beside its scales, as [`save_with`] writes them.
///
/// # Errors
/// [`Error::Names`] if a tensor is missing or unused, [`Error::Shape`] or [`Error::Dtype`] if one does
/// not fit, [`Error::NonFinite`] if a value is NaN or infinite, [`Error::Format`] if the file is not a
/// safetensors file, [`Error::Io`] if it cannot be read. `arrays` is then unchanged. For a file with other
/// names see [`Reader::rename`], for values that are not finite [`Reader::ensure_all_finite`].
pub fn load<T: Float, A: Arrays<Elem = T>>(path: impl AsRef<Path>, arrays: &mut A) -> Result<()> {
    Reader::open(path)?.arrays("", arrays)
}

pub(super) fn format_error(path: &Path, error: safetensors::SafeTensorError) -> Error {
    Error::Format { path: path.to_owned(), format: "safetensors", problem: error.to_string() }
}
