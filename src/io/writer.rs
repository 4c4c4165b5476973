//! [`Writer`]: bundles of arrays to a safetensors file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{ArrayViewD, Axis};
use safetensors::{Dtype, View};

use crate::arrays::{Arrays, Views, views};
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::io::atomic;
use crate::io::safetensors::{ABOUT, SCALE, TEXTS, dtype, format_error};
use crate::tensor::Precision;
use crate::tensor::precision::{byte_of, half_of, scale_of};

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
    /// Whether the file that is replaced is kept.
    keep_previous: bool,
    /// The first name that a tensor cannot have.
    refused: Option<String>,
}

impl Writer {
    /// Adds every array of `arrays`, under `prefix` and its name. [`write`](Self::write) fails if a tensor
    /// of that name has been added before.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(mut self, prefix: &str, arrays: &A) -> Self {
        add(&mut self, prefix, views(arrays), Precision::Full);
        self
    }

    /// Adds every array of `arrays`, its matrices in the given precision, as [`save_with`](super::save_with)
    /// writes them.
    ///
    /// # Errors
    /// If a value is not finite or beyond the range of f32, unless the precision is full.
    pub fn arrays_with<T: Float, A: Arrays<Elem = T>>(
        mut self,
        prefix: &str,
        arrays: &A,
        precision: Precision,
    ) -> Result<Self> {
        let views = views(arrays);
        precision.check_range(&views)?;
        add(&mut self, prefix, views, precision);
        Ok(self)
    }

    /// Sets the text that [`Reader::about`](super::Reader::about) returns, for example a configuration as JSON.
    pub fn about(mut self, text: impl Into<String>) -> Self {
        self.about = Some(text.into());
        self
    }

    /// Sets whether a file that is replaced stays under its name with `.previous` at the end.
    pub(crate) fn keep_previous(mut self, keep: bool) -> Self {
        self.keep_previous = keep;
        self
    }

    /// Writes the file `path`, as [`save`](super::save) does.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::Argument`] if two tensors have the same name.
    pub fn write(self, path: impl AsRef<Path>) -> Result<()> {
        self.write_to(path.as_ref())
    }

    fn insert(&mut self, name: String, tensor: Tensor) {
        if self.tensors.contains_key(&name) || name == TEXTS {
            self.refused.get_or_insert(name);
        } else {
            self.tensors.insert(name, tensor);
        }
    }

    fn write_to(self, path: &Path) -> Result<()> {
        if let Some(name) = self.refused {
            let got = format!("{name:?} again");
            return Err(Error::argument("prefix", "a new name for each tensor", got));
        }
        // With several keys, their order and so the bytes would change from run to run.
        let about = self.about.map(|text| std::iter::once((ABOUT.to_owned(), text)).collect());
        let bytes = safetensors::serialize(self.tensors, about);
        let bytes = bytes.map_err(|error| format_error(path, error))?;
        atomic::write_with(path, &bytes, self.keep_previous)
    }
}

per_float! {
    fn add<'a, T>(
        writer: &mut Writer,
        prefix: &str,
        arrays: Views<'a, T>,
        precision: Precision,
    ) = add_each;
}

fn add_each<T: Float>(
    writer: &mut Writer,
    prefix: &str,
    arrays: Views<'_, T>,
    precision: Precision,
) {
    for (name, array) in arrays {
        let name = format!("{prefix}{name}");
        let shape = array.shape().to_vec();
        match precision {
            Precision::Bf16 if precision.applies(&array) => {
                let halves = array.iter().flat_map(|w| half_of(w.as_f64()).to_le_bytes());
                writer.insert(name, Tensor { dtype: Dtype::BF16, shape, bytes: halves.collect() });
            }
            Precision::Int8 if precision.applies(&array) => {
                let rows = vec![array.len_of(Axis(0))];
                let (bytes, scales) = quantized(array);
                let of_rows = Tensor { dtype: Dtype::F32, shape: rows, bytes: scales };
                writer.insert(format!("{name}{SCALE}"), of_rows);
                writer.insert(name, Tensor { dtype: Dtype::I8, shape, bytes });
            }
            _ => {
                let mut bytes = Vec::with_capacity(array.len() * size_of::<T>());
                array.iter().for_each(|value| value.write_le(&mut bytes));
                writer.insert(name, Tensor { dtype: dtype::<T>(), shape, bytes });
            }
        }
    }
}

/// Returns the int8 values of a matrix and the bytes of the scales of its rows.
fn quantized<T: Float>(matrix: ArrayViewD<'_, T>) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut scales) = (Vec::with_capacity(matrix.len()), Vec::new());
    for row in matrix.outer_iter() {
        let scale = scale_of(row.iter().copied());
        scales.extend(scale.to_le_bytes());
        bytes.extend(row.iter().map(|w| byte_of(w.as_f64(), scale).cast_unsigned()));
    }
    (bytes, scales)
}
