//! [`Reader`]: bundles of arrays from a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorView};
use safetensors::{Dtype, SafeTensors};

use crate::arrays::{Arrays, ViewsMut, views_mut};
use crate::error::{Error, Result, check_shape};
use crate::float::{Float, bf16_to_f64, f16_to_f64, per_float};
use crate::io::safetensors::{ABOUT, SCALE, dtype, format_error};

/// The number of bytes of the header's length, at the start of a file.
const LENGTH: u64 = 8;

/// The largest header that the `safetensors` crate reads.
const MAX_HEADER: u64 = 100_000_000;

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
        let is_int8 =
            |name: &str| file.tensor(name).is_ok_and(|tensor| tensor.dtype() == Dtype::I8);
        let names =
            file.names().into_iter().filter(|name| !name.strip_suffix(SCALE).is_some_and(is_int8));
        let names = names.map(|name| (name.to_owned(), name.to_owned())).collect();
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

    /// Returns the text of [`Writer::about`](super::Writer::about), if there is one.
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
        let count = |name| file.tensor(name).map(|tensor| tensor.shape().iter().product::<usize>());
        let counts = self.names.values().map(|name| count(name));
        counts.sum::<std::result::Result<_, _>>().map_err(|error| format_error(&self.path, error))
    }

    /// Reads every array of `arrays`. The file must have no other tensors under `prefix`.
    ///
    /// # Errors
    /// As [`load`](super::load). `arrays` is then unchanged.
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
    ) -> Result<Stored<'f>> {
        let Some(stored) = self.names.get(name) else {
            let (missing, unused) = (vec![name.to_owned()], Vec::new());
            return Err(Error::Names { path: self.path.clone(), missing, unused });
        };
        let tensor = file.tensor(stored).map_err(|error| format_error(&self.path, error))?;
        let of_rows = format!("{stored}{SCALE}");
        let scales = file.tensor(&of_rows).ok().filter(|_| tensor.dtype() == Dtype::I8);
        let types = [dtype::<T>(), Dtype::F16, Dtype::BF16];
        if scales.is_none() && !types.contains(&tensor.dtype()) {
            return Err(self.dtype_error(name, T::NAME, tensor.dtype()));
        }
        let argument = |name| format!("{}: tensor {name}", self.path.display());
        check_shape(argument(name), "as in the model", shape, tensor.shape())?;
        if let Some(scales) = &scales {
            if scales.dtype() != Dtype::F32 {
                return Err(self.dtype_error(&of_rows, f32::NAME, scales.dtype()));
            }
            check_shape(
                argument(&of_rows),
                "rows",
                shape.split_at(shape.len().min(1)).0,
                scales.shape(),
            )?;
        }
        let stored = Stored { tensor, scales };
        if self.ensure_all_finite {
            let (mut index, mut bad) = (0, None);
            stored.for_each_value(|value: T| {
                if !value.is_finite() && bad.is_none() {
                    bad = Some((index, value.as_f64()));
                }
                index += 1;
            });
            if let Some((index, value)) = bad {
                return Err(Error::NonFinite { name: argument(name), index, value });
            }
        }
        Ok(stored)
    }

    fn dtype_error(&self, name: &str, expected: &'static str, got: Dtype) -> Error {
        let got = format!("{got:?}").to_lowercase();
        Error::Dtype { path: self.path.clone(), name: name.to_owned(), expected, got }
    }
}

/// A tensor of a file.
struct Stored<'f> {
    tensor: TensorView<'f>,
    /// The scales of the rows of int8.
    scales: Option<TensorView<'f>>,
}

impl Stored<'_> {
    /// Calls `f` with each value. The elements are `T`, of half precision, or int8 with scales.
    fn for_each_value<T: Float>(&self, mut f: impl FnMut(T)) {
        let data = self.tensor.data();
        if let Some(scales) = &self.scales {
            let scales = scales.data().chunks_exact(size_of::<f32>()).map(f32::read_le);
            let rows = data.chunks(data.len().div_ceil(scales.len().max(1)).max(1));
            for (row, scale) in rows.zip(scales) {
                let value = |q: u8| f64::from(scale) * f64::from(q.cast_signed());
                row.iter().for_each(|&q| f(T::from_f64(value(q))));
            }
            return;
        }
        let bits = |bytes: &[u8]| bytes.first_chunk().map_or(0, |&bytes| u16::from_le_bytes(bytes));
        let halves = data.chunks_exact(2).map(bits);
        match self.tensor.dtype() {
            Dtype::F16 => halves.for_each(|bits| f(T::from_f64(f16_to_f64(bits)))),
            Dtype::BF16 => halves.for_each(|bits| f(T::from_f64(bf16_to_f64(bits)))),
            _ => data.chunks_exact(size_of::<T>()).for_each(|bytes| f(T::read_le(bytes))),
        }
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
    let header = bytes.get(LENGTH as usize..).unwrap_or_default();
    if let Ok(header) = serde_json::from_slice::<Metadata>(header) {
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
    fn read<'a, T>(reader: &Reader, prefix: &str, arrays: ViewsMut<'a, T>) -> Result<()> = read_each;
}

fn read_each<T: Float>(reader: &Reader, prefix: &str, arrays: ViewsMut<'_, T>) -> Result<()> {
    let names: Vec<String> = arrays.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    reader.check_names(prefix, &names)?;
    let file = reader.tensors()?;
    let checked = names.iter().zip(&arrays);
    let checked = checked.map(|(name, (_, array))| reader.tensor::<T>(&file, name, array.shape()));
    // All tensors are checked before the first array is changed.
    let tensors: Vec<Stored<'_>> = checked.collect::<Result<_>>()?;
    for ((_, mut array), tensor) in arrays.into_iter().zip(tensors) {
        let mut places = array.iter_mut();
        tensor.for_each_value(|value| {
            if let Some(place) = places.next() {
                *place = value;
            }
        });
    }
    Ok(())
}
