//! Files in the safetensors format: a header of names, types and shapes, then the values, little-endian.
//! The `safetensors` crate reads and writes the header.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors, View};

use crate::arrays::{Arrays, Views, ViewsMut, views, views_mut};
use crate::error::{Error, Result, check_shape};
use crate::float::{Float, bf16_to_f64, f16_to_f64, per_float};
use crate::io::atomic;

/// The key of the text of [`Writer::about`] in the header.
const ABOUT: &str = "recurrent";

/// The key of all such texts in the header, which no tensor may have.
const TEXTS: &str = "__metadata__";

/// The number of bytes of the header's length, at the start of a file.
const LENGTH: u64 = 8;

/// The largest header that the `safetensors` crate reads.
const MAX_HEADER: u64 = 100_000_000;

/// An array as bytes.
#[derive(Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl View for Tensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn dtype<T: Float>() -> Dtype {
    if size_of::<T>() == 4 { Dtype::F32 } else { Dtype::F64 }
}

/// A writer of one or more bundles, and a text about them, to one file.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-writer-{}", std::process::id()));
/// use ndarray::array;
/// use recurrent::io::{Reader, Writer};
///
/// let (weights, mean) = (array![[1.0, 2.0]], array![0.5]);
/// Writer::default().arrays("model.", &weights).arrays("ema.", &mean).about("two bundles").write(&path)?;
///
/// let (mut weights, file) = (array![[0.0, 0.0]], Reader::open(&path)?);
/// file.arrays("model.", &mut weights)?;
/// assert_eq!(weights, array![[1.0, 2.0]]);
/// assert_eq!(file.about(), Some("two bundles"));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Writer {
    tensors: BTreeMap<String, Tensor>,
    about: Option<String>,
    /// The first name that a tensor cannot have.
    refused: Option<String>,
}

impl Writer {
    /// Adds every array of `arrays`, under `prefix` and its name. [`write`](Self::write) fails if a tensor
    /// of that name has been added before.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(mut self, prefix: &str, arrays: &A) -> Self {
        add(&mut self, prefix, views(arrays));
        self
    }

    /// Sets the text that [`Reader::about`] returns, for example a configuration as JSON.
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.about = Some(text.into());
        self
    }

    /// Writes the file `path`, as [`save`] does.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::Argument`] if two tensors have the same name.
    pub fn write(self, path: impl AsRef<Path>) -> Result<()> {
        self.write_to(path.as_ref())
    }

    fn write_to(self, path: &Path) -> Result<()> {
        if let Some(name) = self.refused {
            let got = format!("{name:?} again");
            return Err(Error::argument("prefix", "a new name for each tensor", got));
        }
        // With several keys, their order and so the bytes would change from run to run.
        let about = self.about.map(|text| std::iter::once((ABOUT.to_owned(), text)).collect());
        let bytes = safetensors::serialize(self.tensors, about);
        atomic::write(path, &bytes.map_err(|error| format_error(path, error))?)
    }
}

/// A reader of a safetensors file.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    bytes: Vec<u8>,
    about: Option<String>,
    /// The names of the tensors after renaming, each with the name in the file.
    names: BTreeMap<String, String>,
    ensure_all_finite: bool,
}

impl Reader {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not a safetensors file, [`Error::Io`] if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_path(path.as_ref().to_owned())
    }

    fn open_path(path: PathBuf) -> Result<Self> {
        let bytes = read_file(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        Self::from_bytes(path, bytes)
    }

    /// Returns a reader of `bytes`, the content of the file `path`.
    pub(crate) fn from_bytes(path: PathBuf, bytes: Vec<u8>) -> Result<Self> {
        let file = SafeTensors::deserialize(&bytes).map_err(|error| format_error(&path, error))?;
        let names = file.names().into_iter().map(|name| (name.to_owned(), name.to_owned()));
        let names = names.collect();
        let header = SafeTensors::read_metadata(&bytes);
        let (_, header) = header.map_err(|error| format_error(&path, error))?;
        let about = header.metadata().as_ref().and_then(|about| about.get(ABOUT).cloned());
        Ok(Self { path, bytes, about, names, ensure_all_finite: true })
    }

    /// Sets whether tensors with NaN or infinite values are refused. Default: true.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-finite-{}", std::process::id()));
    /// use ndarray::array;
    /// use recurrent::io::{self, Reader};
    ///
    /// io::save(&path, &array![0.0, f64::INFINITY])?;
    /// let mut maxima = array![0.0, 0.0];
    /// let error = io::load(&path, &mut maxima).unwrap_err().to_string();
    /// assert!(error.ends_with("tensor value: expected finite values, got inf at flat index 1"));
    /// Reader::open(&path)?.ensure_all_finite(false).arrays("", &mut maxima)?;
    /// assert_eq!(maxima[1], f64::INFINITY);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn ensure_all_finite(mut self, ensure: bool) -> Self {
        self.ensure_all_finite = ensure;
        self
    }

    /// Replaces the prefix `from` by `to` in the names of all tensors that have it, for example to load
    /// weights from PyTorch into a model whose layers have other names.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-rename-{}", std::process::id()));
    /// use ndarray::array;
    /// use recurrent::io::{Reader, Writer};
    ///
    /// Writer::default().arrays("rnn.", &array![1.0, 2.0]).write(&path)?;
    /// let mut weights = array![0.0, 0.0];
    /// Reader::open(&path)?.rename("rnn.", "recurrent.")?.arrays("recurrent.", &mut weights)?;
    /// assert_eq!(weights, array![1.0, 2.0]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If no name begins with `from`, or two tensors would have the same name.
    pub fn rename(mut self, from: &str, to: &str) -> Result<Self> {
        let mut names = BTreeMap::new();
        let mut renamed = false;
        for (name, stored) in self.names {
            let new = name.strip_prefix(from).map(|rest| format!("{to}{rest}"));
            renamed |= new.is_some();
            if let Some(other) = names.insert(new.unwrap_or(name), stored.clone()) {
                let got = format!("the same name for {other} and {stored}");
                return Err(Error::argument("to", "different names for all tensors", got));
            }
        }
        self.names = names;
        if renamed {
            return Ok(self);
        }
        let expected = format!("the start of a name in {}", self.path.display());
        Err(Error::argument("from", expected, format!("{from:?}")))
    }

    /// Returns the text of [`Writer::about`], if there is one.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the tensors under `prefix`, without it, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.names.keys().filter_map(|name| name.strip_prefix(prefix));
        names.map(str::to_owned).collect()
    }

    /// Returns the content of the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the number of values of all tensors together.
    pub(crate) fn count(&self) -> Result<usize> {
        let file = self.tensors()?;
        Ok(file.iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum())
    }

    /// Reads every array of `arrays`. The file must have no other tensors under `prefix`.
    ///
    /// # Errors
    /// As [`load`]. `arrays` is then unchanged.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(
        &self,
        prefix: &str,
        arrays: &mut A,
    ) -> Result<()> {
        read(self, prefix, views_mut(arrays))
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| format_error(&self.path, error))
    }

    /// Fails unless the names under `prefix` are exactly `names`.
    fn check_names(&self, prefix: &str, names: &[String]) -> Result<()> {
        let missing: Vec<String> =
            names.iter().filter(|&name| !self.names.contains_key(name)).cloned().collect();
        let here = self.names.keys().filter(|name| name.starts_with(prefix));
        let unused: Vec<String> = here.filter(|&name| !names.contains(name)).cloned().collect();
        if missing.is_empty() && unused.is_empty() {
            return Ok(());
        }
        Err(Error::Names { path: self.path.clone(), missing, unused })
    }

    /// Returns the tensor `name`. Fails unless it has the given shape, elements that are exact as `T`, and
    /// finite values, if these are ensured.
    fn tensor<'f, T: Float>(
        &self,
        file: &SafeTensors<'f>,
        name: &str,
        shape: &[usize],
    ) -> Result<TensorView<'f>> {
        let stored = &self.names[name];
        let tensor = file.tensor(stored).map_err(|error| format_error(&self.path, error))?;
        if ![dtype::<T>(), Dtype::F16, Dtype::BF16].contains(&tensor.dtype()) {
            return Err(Error::Dtype {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: T::NAME,
                got: format!("{:?}", tensor.dtype()).to_lowercase(),
            });
        }
        let argument = format!("{}: tensor {name}", self.path.display());
        check_shape(argument.clone(), "as in the model", shape, tensor.shape())?;
        if self.ensure_all_finite {
            let (mut index, mut bad) = (0, None);
            for_each_value(&tensor, |value: T| {
                if !value.is_finite() && bad.is_none() {
                    bad = Some((index, value.as_f64()));
                }
                index += 1;
            });
            if let Some((index, value)) = bad {
                return Err(Error::NonFinite { name: argument, index, value });
            }
        }
        Ok(tensor)
    }
}

/// Calls `f` with each value of `tensor`, whose elements are `T` or of half precision.
fn for_each_value<T: Float>(tensor: &TensorView<'_>, mut f: impl FnMut(T)) {
    let bits = |bytes: &[u8]| bytes.first_chunk().map_or(0, |&bytes| u16::from_le_bytes(bytes));
    let halves = tensor.data().chunks_exact(2).map(bits);
    match tensor.dtype() {
        Dtype::F16 => halves.for_each(|bits| f(T::from_f64(f16_to_f64(bits)))),
        Dtype::BF16 => halves.for_each(|bits| f(T::from_f64(bf16_to_f64(bits)))),
        _ => tensor.data().chunks_exact(size_of::<T>()).for_each(|bytes| f(T::read_le(bytes))),
    }
}

/// Reads the file `path` as far as its header announces. A device may have no end.
pub(crate) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let (mut file, mut bytes) = (File::open(path)?, Vec::new());
    read_more(&mut file, LENGTH, &mut bytes)?;
    let length = bytes.first_chunk().map(|&bytes| u64::from_le_bytes(bytes));
    let Some(length) = length.filter(|&length| length <= MAX_HEADER) else { return Ok(bytes) };
    read_more(&mut file, length, &mut bytes)?;
    // The bytes of an invalid header are the ones to refuse.
    if let Ok(header) = serde_json::from_slice::<Metadata>(&bytes[LENGTH as usize..]) {
        read_more(&mut file, (header.data_len() as u64).saturating_add(1), &mut bytes)?;
    }
    Ok(bytes)
}

/// Appends up to `count` bytes of `file` to `bytes`.
fn read_more(file: &mut File, count: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
    let held = file.metadata()?.len().saturating_sub(bytes.len() as u64).min(count);
    bytes.try_reserve_exact(held as usize)?;
    file.take(count).read_to_end(bytes)?;
    Ok(())
}

per_float! {
    fn add<'a, T>(writer: &mut Writer, prefix: &str, arrays: Views<'a, T>) = add_each;
    fn read<'a, T>(reader: &Reader, prefix: &str, arrays: ViewsMut<'a, T>) -> Result<()> = read_each;
}

fn add_each<T: Float>(writer: &mut Writer, prefix: &str, arrays: Views<'_, T>) {
    for (name, array) in arrays {
        let name = format!("{prefix}{name}");
        if writer.tensors.contains_key(&name) || name == TEXTS {
            writer.refused.get_or_insert(name);
            continue;
        }
        let mut bytes = Vec::with_capacity(array.len() * size_of::<T>());
        array.iter().for_each(|value| value.write_le(&mut bytes));
        let tensor = Tensor { dtype: dtype::<T>(), shape: array.shape().to_vec(), bytes };
        writer.tensors.insert(name, tensor);
    }
}

fn read_each<T: Float>(reader: &Reader, prefix: &str, arrays: ViewsMut<'_, T>) -> Result<()> {
    let names: Vec<String> = arrays.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    reader.check_names(prefix, &names)?;
    let file = reader.tensors()?;
    let checked = names.iter().zip(&arrays);
    let checked = checked.map(|(name, (_, array))| reader.tensor::<T>(&file, name, array.shape()));
    // All tensors are checked before the first array is changed.
    let tensors: Vec<TensorView<'_>> = checked.collect::<Result<_>>()?;
    for ((_, mut array), tensor) in arrays.into_iter().zip(tensors) {
        let mut places = array.iter_mut();
        for_each_value(&tensor, |value| {
            if let Some(place) = places.next() {
                *place = value;
            }
        });
    }
    Ok(())
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

/// Reads every array of `arrays` from the file `path`, by name.
///
/// A tensor has the element type of the arrays, or the types F16 and BF16 of half precision, whose values
/// are exact in both.
///
/// # Errors
/// [`Error::Names`] if a tensor is missing or unused, [`Error::Shape`] or [`Error::Dtype`] if one does
/// not fit, [`Error::NonFinite`] if a value is NaN or infinite, [`Error::Format`] if the file is not a
/// safetensors file, [`Error::Io`] if it cannot be read. `arrays` is then unchanged. For a file with other
/// names see [`Reader::rename`], for values that are not finite [`Reader::ensure_all_finite`].
pub fn load<T: Float, A: Arrays<Elem = T>>(path: impl AsRef<Path>, arrays: &mut A) -> Result<()> {
    Reader::open(path)?.arrays("", arrays)
}

fn format_error(path: &Path, error: safetensors::SafeTensorError) -> Error {
    Error::Format { path: path.to_owned(), format: "safetensors", problem: error.to_string() }
}
