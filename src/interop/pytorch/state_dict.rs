//! [`StateDict`]: the names and tensors of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{Array, ArrayD, Dimension};

use super::file::{Content, Entry};
use super::tensor::{Dtype, Tensor};
use crate::arrays::{Arrays, ViewsMut, check_all_finite, views, views_mut};
use crate::error::{Error, Result, TensorReport, WrongShape};
use crate::float::{Float, per_float};

/// The `state_dict` of a PyTorch module, or the part of it under a [prefix](Self::prefix).
///
/// Its methods make [layers](Self::lstm) and [models](Self::model) of the tensors under the prefix. A name
/// under the prefix that they do not use is an error, unless [`allow_unused`](Self::allow_unused) is set.
/// Weights may have the layer's element type or one whose values are exact in it: `f16`, `bf16`, and `f32` for
/// a layer of `f64`. Copies of a `StateDict` share the bytes of the file.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-state-dict-{}", std::process::id()));
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::interop::pytorch::StateDict;
/// use recurrent::io::Writer;
/// use recurrent::layer::Linear;
/// use recurrent::{Arrays, Gru};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let gru = Gru::<f32>::builder(3, 8).num_layers(2).build(&mut rng)?;
/// let head = Linear::<f32>::new(8, 2, &mut rng)?;
/// Writer::default().arrays("encoder.gru.", &gru).arrays("head.", &head).write(&path)?;
///
/// let file = StateDict::open(&path)?;
/// assert_eq!(file.names()[0], "encoder.gru.bias_hh_l0");
/// let again = file.prefix("encoder.gru.").gru::<f32>()?;
/// assert_eq!((again.input_size(), again.num_layers()), (3, 2));
///
/// let error = file.prefix("encoder.gru.").lstm::<f32>().unwrap_err(); // three gates are no LSTM
/// assert!(error.to_string().contains("weight_hh_l0: expected [32, 8], got [24, 8]"));
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StateDict {
    path: Arc<PathBuf>,
    content: Arc<Content>,
    /// The start of the names in the file that belong to this part.
    prefix: String,
    allow_unused: bool,
}

impl StateDict {
    /// Opens the file `path`: one of `torch.save`, or a safetensors file. The format is known by the content.
    ///
    /// # Errors
    /// [`Error::Format`] if the file is of another kind, is damaged, or asks for a function or class that is
    /// refused; [`Error::Io`] if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_path(path.as_ref())
    }

    fn open_path(path: &Path) -> Result<Self> {
        let content = Arc::new(Content::read(path)?);
        let path = Arc::new(path.to_owned());
        Ok(Self { path, content, prefix: String::new(), allow_unused: false })
    }

    /// Returns the part whose names begin with `prefix`, which names leave out. A prefix of a part is added to
    /// that of the part.
    pub fn prefix(&self, prefix: &str) -> Self {
        Self { prefix: format!("{}{prefix}", self.prefix), ..self.clone() }
    }

    /// Sets whether names that a layer or model does not use are left alone. Default: false, they are an
    /// error. [`report`](Self::report) lists them.
    pub fn allow_unused(mut self, allow: bool) -> Self {
        self.allow_unused = allow;
        self
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names under the prefix, without it, sorted. Values that are no tensors have names too.
    pub fn names(&self) -> Vec<&str> {
        self.entries().filter_map(|(name, _)| name.strip_prefix(&self.prefix)).collect()
    }

    /// Returns the shape of the tensor `name`, or `None` if there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        match self.entry(name) {
            Some(Entry::Tensor(tensor)) => Some(&tensor.shape),
            _ => None,
        }
    }

    /// Returns the element type of the tensor `name` in the file, or `None` if there is no such tensor.
    pub fn dtype(&self, name: &str) -> Option<Dtype> {
        match self.entry(name) {
            Some(Entry::Tensor(tensor)) => Some(tensor.dtype),
            _ => None,
        }
    }

    /// Returns the tensor `name` of floats as an array with `D` axes. Its values may be NaN or infinite.
    ///
    /// # Errors
    /// [`Error::Tensors`] if there is no such tensor, [`Error::Dtype`] if its values are not exact in `T`,
    /// [`Error::Argument`] if it has another number of axes.
    pub fn array<T: Float, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        with_axes(self.floats(name)?, || self.place(name))
    }

    /// Returns the tensor `name` of integers or truth values as an array with `D` axes.
    ///
    /// # Errors
    /// As [`array`](Self::array); [`Error::Dtype`] if it has floats.
    pub fn integers<D: Dimension>(&self, name: &str) -> Result<Array<i64, D>> {
        let tensor = self.tensor(name, "i64")?;
        let convert = tensor.dtype.integer();
        let convert = convert.ok_or_else(|| self.other_dtype(name, "i64", tensor.dtype))?;
        with_axes(tensor.elements(&self.content.bytes, convert), || self.place(name))
    }

    /// Compares names and shapes under the prefix with those of `arrays`, such as a layer or a model.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-report-{}", std::process::id()));
    /// use ndarray::array;
    /// use recurrent::interop::pytorch::StateDict;
    /// use recurrent::io::Writer;
    ///
    /// Writer::default().arrays("a.", &array![1.0]).arrays("b.", &array![2.0]).write(&path)?;
    /// let file = StateDict::open(&path)?;
    /// let report = file.report(&(array![0.0], array![0.0, 0.0]));
    /// assert_eq!(report.missing, ["0.value", "1.value"]); // the names of a pair
    /// assert_eq!(report.unused, ["a.value", "b.value"]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn report<A: Arrays>(&self, arrays: &A) -> TensorReport {
        let expected =
            views(arrays).into_iter().map(|(name, array)| (name, array.shape().to_vec()));
        self.compare(&expected.collect::<Vec<_>>())
    }

    /// Sets `arrays`, such as a layer or a model, to the tensors of its names under the prefix. Returns the
    /// report of all names.
    ///
    /// # Errors
    /// [`Error::Tensors`] if a tensor is missing, unused or has another shape, [`Error::Dtype`] if its values
    /// are not exact, [`Error::NonFinite`] if one is NaN or infinite. `arrays` is then unchanged.
    pub fn load<T: Float, A: Arrays<Elem = T>>(&self, arrays: &mut A) -> Result<TensorReport> {
        load_all(self, views_mut(arrays))
    }

    /// Compares names and shapes under the prefix with the `expected` ones.
    pub(super) fn compare(&self, expected: &[(String, Vec<usize>)]) -> TensorReport {
        let mut report = TensorReport::default();
        for (name, expected) in expected {
            let full = format!("{}{name}", self.prefix);
            match self.shape(name) {
                None => report.missing.push(full),
                Some(shape) if shape == expected => report.used.push(full),
                Some(shape) => {
                    let (expected, got) = (expected.clone(), shape.to_vec());
                    report.wrong_shapes.push(WrongShape { name: full, expected, got });
                }
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        let unused = self.entries().map(|(name, _)| name);
        let unused = unused.filter(|name| {
            name.strip_prefix(&self.prefix).is_some_and(|name| !known.contains(name))
        });
        report.unused = unused.cloned().collect();
        report
    }

    /// Fails unless the names and shapes under the prefix are the `expected` ones.
    pub(super) fn check(&self, expected: &[(String, Vec<usize>)]) -> Result<TensorReport> {
        let report = self.compare(expected);
        if report.is_fit(self.allow_unused) { Ok(report) } else { Err(self.unfit(report)) }
    }

    /// Returns the error of a report.
    pub(super) fn unfit(&self, report: TensorReport) -> Error {
        Error::Tensors { path: self.path.to_path_buf(), report: Box::new(report) }
    }

    /// Returns the tensor `name` as an array of finite values.
    pub(super) fn finite<T: Float, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        let array = self.floats::<T>(name)?;
        check_all_finite(&[(self.place(name), array.view())])?;
        with_axes(array, || self.place(name))
    }

    /// Returns the name of the tensor `name` in errors.
    pub(super) fn place(&self, name: &str) -> String {
        format!("{}: tensor {}{name}", self.path.display(), self.prefix)
    }

    fn floats<T: Float>(&self, name: &str) -> Result<ArrayD<T>> {
        let tensor = self.tensor(name, T::NAME)?;
        if !tensor.dtype.is_exact::<T>() {
            return Err(self.other_dtype(name, T::NAME, tensor.dtype));
        }
        Ok(tensor.floats(&self.content.bytes))
    }

    fn tensor(&self, name: &str, expected: &'static str) -> Result<&Tensor> {
        match self.entry(name) {
            Some(Entry::Tensor(tensor)) => Ok(tensor),
            Some(Entry::Other(kind)) => Err(self.other_dtype(name, expected, kind)),
            None => {
                let missing = vec![format!("{}{name}", self.prefix)];
                Err(self.unfit(TensorReport { missing, ..TensorReport::default() }))
            }
        }
    }

    fn other_dtype(&self, name: &str, expected: &'static str, got: impl ToString) -> Error {
        let (path, name) = (self.path.to_path_buf(), format!("{}{name}", self.prefix));
        Error::Dtype { path, name, expected, got: got.to_string() }
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        self.content.entries.get(&format!("{}{name}", self.prefix))
    }

    fn entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        let entries: &BTreeMap<String, Entry> = &self.content.entries;
        let from = entries.range(self.prefix.clone()..);
        from.take_while(|(name, _)| name.starts_with(&self.prefix))
    }
}

/// Returns `array` with the number of axes of `D`. The error calls it by `name`.
fn with_axes<V, D: Dimension>(
    array: ArrayD<V>,
    name: impl FnOnce() -> String,
) -> Result<Array<V, D>> {
    let shape = array.shape().to_vec();
    array.into_dimensionality().map_err(|_| {
        let axes = D::NDIM.unwrap_or_default();
        Error::argument(name(), format!("{axes} axes"), format!("the shape {shape:?}"))
    })
}

per_float! {
    fn load_all<'a, T>(dict: &StateDict, arrays: ViewsMut<'a, T>) -> Result<TensorReport> = load_each;
}

fn load_each<T: Float>(dict: &StateDict, arrays: ViewsMut<'_, T>) -> Result<TensorReport> {
    let expected = arrays.iter().map(|(name, array)| (name.clone(), array.shape().to_vec()));
    let report = dict.check(&expected.collect::<Vec<_>>())?;
    // All tensors are read before the first array is changed.
    let tensors = arrays.iter().map(|(name, _)| dict.finite(name));
    let tensors: Vec<ArrayD<T>> = tensors.collect::<Result<_>>()?;
    for ((_, mut array), tensor) in arrays.into_iter().zip(tensors) {
        array.assign(&tensor);
    }
    Ok(report)
}
