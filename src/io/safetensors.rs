//! Weights to and from safetensors: a header of names, types and shapes, then the values,
//! little-endian. The format is that of the `safetensors` crate, which reads and writes the header.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors, View};

use crate::arrays::Arrays;
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::io::atomic;

/// The key of the text about a file, in its header.
const ABOUT: &str = "recurrent";

/// An array on its way to a file.
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

/// Arrays of one or more bundles, and a text about them, on their way to one file.
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
}

impl Writer {
    /// Adds every array of `arrays`, under `prefix` and its name.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(mut self, prefix: &str, arrays: &A) -> Self {
        arrays.for_each(&mut |name, array| {
            let mut bytes = Vec::with_capacity(array.len() * size_of::<T>());
            array.iter().for_each(|value| value.write_le(&mut bytes));
            let tensor = Tensor { dtype: dtype::<T>(), shape: array.shape().to_vec(), bytes };
            self.tensors.insert(format!("{prefix}{name}"), tensor);
        });
        self
    }

    /// The text that [`Reader::about`] returns: a configuration, as JSON for instance.
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.about = Some(text.into());
        self
    }

    /// Writes the file `path`, as [`save`] does.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn write(self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // One key alone: the order of several would change from run to run, and the bytes with it.
        let about = self.about.map(|text| std::iter::once((ABOUT.to_owned(), text)).collect());
        let bytes = safetensors::serialize(self.tensors, about);
        atomic::write(path, &bytes.map_err(|error| format_error(path, error))?)
    }
}

/// A file of [`Writer`] or [`save`], or any other safetensors file, to read arrays from.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    bytes: Vec<u8>,
    about: Option<String>,
}

impl Reader {
    /// Reads the file `path`.
    ///
    /// # Errors
    /// [`Error::Format`] where it is no safetensors file, [`Error::Io`] where it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let bytes = fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        SafeTensors::deserialize(&bytes).map_err(|error| format_error(&path, error))?;
        let header = SafeTensors::read_metadata(&bytes);
        let (_, header) = header.map_err(|error| format_error(&path, error))?;
        let about = header.metadata().as_ref().and_then(|about| about.get(ABOUT).cloned());
        Ok(Self { path, bytes, about })
    }

    /// The text that [`Writer::about`] left.
    pub fn about(&self) -> Option<&str> {
        self.about.as_deref()
    }

    /// The file's name, for errors about what it holds.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the tensors under `prefix`, without it, sorted.
    ///
    /// # Errors
    /// [`Error::Format`] where the file is no safetensors file.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let file = self.tensors()?;
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(prefix));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// Reads every array of `arrays`, which must be all that stand under `prefix`.
    ///
    /// # Errors
    /// As [`load`]; `arrays` is then as before.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(
        &self,
        prefix: &str,
        arrays: &mut A,
    ) -> Result<()> {
        let file = self.tensors()?;
        self.check::<T, A>(&file, prefix, arrays)?;
        arrays.for_each_mut(&mut |name, mut array| {
            if let Ok(tensor) = file.tensor(&format!("{prefix}{name}")) {
                let values = tensor.data().chunks_exact(size_of::<T>()).map(T::read_le);
                array.iter_mut().zip(values).for_each(|(to, value)| *to = value);
            }
        });
        Ok(())
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| format_error(&self.path, error))
    }

    /// Fails unless the file holds, under `prefix`, the arrays' tensors and no others.
    fn check<T: Float, A: Arrays<Elem = T>>(
        &self,
        file: &SafeTensors<'_>,
        prefix: &str,
        arrays: &A,
    ) -> Result<()> {
        let names = arrays.names().into_iter().map(|name| format!("{prefix}{name}"));
        let names: Vec<String> = names.collect();
        let missing: Vec<String> =
            names.iter().filter(|name| file.tensor(name).is_err()).cloned().collect();
        let here = file.names().into_iter().filter(|name| name.starts_with(prefix));
        let mut unused: Vec<String> =
            here.filter(|&name| !names.iter().any(|n| n == name)).map(str::to_owned).collect();
        unused.sort();
        if !(missing.is_empty() && unused.is_empty()) {
            return Err(Error::Names { path: self.path.clone(), missing, unused });
        }
        let mut checked = Ok(());
        arrays.for_each(&mut |name, array| {
            let name = format!("{prefix}{name}");
            let Ok(tensor) = file.tensor(&name) else { return };
            if checked.is_ok() && tensor.dtype() != dtype::<T>() {
                checked = Err(Error::Dtype {
                    path: self.path.clone(),
                    name: name.clone(),
                    expected: T::NAME,
                    got: format!("{:?}", tensor.dtype()).to_lowercase(),
                });
            }
            if checked.is_ok() {
                let argument = format!("{}: tensor {name}", self.path.display());
                checked = check_shape(argument, "as in the model", array.shape(), tensor.shape());
            }
        });
        checked
    }
}

/// Writes every array of `arrays`, under its name, to the file `path`.
///
/// The bytes depend on names and values alone. They go to a temporary file in the same folder,
/// which is renamed when all is on the disk; what stood at `path` stays until then.
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
/// [`Error::Io`] where the file cannot be written.
pub fn save<T: Float, A: Arrays<Elem = T>>(path: impl AsRef<Path>, arrays: &A) -> Result<()> {
    Writer::default().arrays("", arrays).write(path)
}

/// Reads every array of `arrays` from the file `path`, by name.
///
/// # Errors
/// [`Error::Names`] where a tensor is missing or unused, [`Error::Shape`] or [`Error::Dtype`] where
/// one does not fit, [`Error::Format`] where the file is no safetensors file, [`Error::Io`] where it
/// cannot be read. `arrays` is then as before.
pub fn load<T: Float, A: Arrays<Elem = T>>(path: impl AsRef<Path>, arrays: &mut A) -> Result<()> {
    Reader::open(path)?.arrays("", arrays)
}

fn format_error(path: &Path, error: safetensors::SafeTensorError) -> Error {
    Error::Format { path: path.to_owned(), format: "safetensors", problem: error.to_string() }
}
