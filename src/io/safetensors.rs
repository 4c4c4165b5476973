//! Weights to and from safetensors: a header of names, types and shapes, then the values,
//! little-endian. The format is that of the `safetensors` crate, which reads and writes the header.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};

use crate::arrays::Arrays;
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::io::atomic;

/// An array on its way to a file.
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
pub fn save<T: Float, A: Arrays<T>>(path: impl AsRef<Path>, arrays: &A) -> Result<()> {
    let path = path.as_ref();
    let mut tensors = BTreeMap::new();
    arrays.for_each(&mut |name, array| {
        let mut bytes = Vec::with_capacity(array.len() * size_of::<T>());
        array.iter().for_each(|value| value.write_le(&mut bytes));
        let tensor = Tensor { dtype: dtype::<T>(), shape: array.shape().to_vec(), bytes };
        tensors.insert(name.to_owned(), tensor);
    });
    let bytes = safetensors::serialize(tensors, None).map_err(|error| format_error(path, error))?;
    atomic::write(path, &bytes)
}

/// Reads every array of `arrays` from the file `path`, by name.
///
/// # Errors
/// [`Error::Names`] where a tensor is missing or unused, [`Error::Shape`] or [`Error::Dtype`] where
/// one does not fit, [`Error::Format`] where the file is no safetensors file, [`Error::Io`] where it
/// cannot be read. `arrays` is then as before.
pub fn load<T: Float, A: Arrays<T>>(path: impl AsRef<Path>, arrays: &mut A) -> Result<()> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| format_error(path, error))?;
    check::<T, A>(path, &file, arrays)?;
    arrays.for_each_mut(&mut |name, mut array| {
        if let Ok(tensor) = file.tensor(name) {
            let values = tensor.data().chunks_exact(size_of::<T>()).map(T::read_le);
            array.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        }
    });
    Ok(())
}

/// Fails unless the file holds the arrays' tensors and no others.
fn check<T: Float, A: Arrays<T>>(path: &Path, file: &SafeTensors<'_>, arrays: &A) -> Result<()> {
    let names = arrays.names();
    let missing: Vec<String> =
        names.iter().filter(|name| file.tensor(name).is_err()).cloned().collect();
    let mut unused: Vec<String> = file
        .names()
        .into_iter()
        .filter(|&name| !names.iter().any(|n| n == name))
        .map(str::to_owned)
        .collect();
    unused.sort();
    if !(missing.is_empty() && unused.is_empty()) {
        return Err(Error::Names { path: path.to_owned(), missing, unused });
    }
    let mut checked = Ok(());
    arrays.for_each(&mut |name, array| {
        let Ok(tensor) = file.tensor(name) else { return };
        if checked.is_ok() && tensor.dtype() != dtype::<T>() {
            checked = Err(Error::Dtype {
                path: path.to_owned(),
                name: name.to_owned(),
                expected: T::NAME,
                got: format!("{:?}", tensor.dtype()).to_lowercase(),
            });
        }
        if checked.is_ok() {
            let argument = format!("{}: tensor {name}", path.display());
            checked = check_shape(argument, "as in the model", array.shape(), tensor.shape());
        }
    });
    checked
}

fn format_error(path: &Path, error: safetensors::SafeTensorError) -> Error {
    Error::Format { path: path.to_owned(), format: "safetensors", problem: error.to_string() }
}
