//! [`Error`]: an error that names the argument, the expected and the given value.

use std::borrow::Cow;
use std::fmt;
use std::hint::black_box;
use std::path::PathBuf;

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error in a user's input. A call that returns an error leaves its arguments unchanged.
///
/// `Debug` writes the same message as `Display`, because a `main` that returns an error prints the former.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An array has another shape than the call needs.
    #[error("{argument}: expected {expected:?} ({axes}), got {got:?}")]
    Shape {
        /// The argument or tensor by name.
        argument: Cow<'static, str>,
        /// The shape that the call needs.
        expected: Vec<usize>,
        /// The meaning of the axes, in order.
        axes: &'static str,
        /// The shape that was given.
        got: Vec<usize>,
    },

    /// A value, a size, a length or a hyper-parameter is not allowed.
    #[error("{argument}: expected {expected}, got {got}")]
    Argument {
        /// The argument by name.
        argument: Cow<'static, str>,
        /// The allowed values, in words.
        expected: String,
        /// The given value.
        got: String,
    },

    /// A loss, a gradient or a parameter holds NaN or an infinity.
    #[error("{name}: expected finite values, got {value} at flat index {index}")]
    NonFinite {
        /// The parameter or quantity by name.
        name: String,
        /// The index of the first such value, in row-major order.
        index: usize,
        /// The value.
        value: f64,
    },

    /// Two bundles of arrays differ in names or shapes.
    #[error("{argument}: expected an array `{expected}`, got `{got}`")]
    Structure {
        /// The argument by name.
        argument: &'static str,
        /// The name and shape of the expected array.
        expected: String,
        /// The name and shape of the given array, or `nothing`.
        got: String,
    },

    /// A file lacks tensors of the model, or holds tensors that the model does not have.
    #[error("{}: missing tensors {missing:?}, unused tensors {unused:?}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Tensors of the model that are not in the file.
        missing: Vec<String>,
        /// Tensors of the file that are not in the model.
        unused: Vec<String>,
    },

    /// The tensors of a file of another program do not fit a layer or model in names or shapes.
    #[error("{}: {report}", path.display())]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The names that fit and those that do not.
        report: Box<TensorReport>,
    },

    /// A tensor in a file has another element type than the model.
    #[error("{}: tensor {name}: expected dtype {expected}, got {got}", path.display())]
    Dtype {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The model's element type.
        expected: &'static str,
        /// The file's element type.
        got: String,
    },

    /// A file violates its format.
    #[error("{}: not a {format} file: {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format's name.
        format: &'static str,
        /// The problem, in words.
        problem: String,
    },

    /// An entry of a table cannot be parsed.
    #[error("{}: line {line}{}: expected {expected}, got {got:?}", path.display(), of_column(column))]
    Parse {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column's name, or `None` if the error is about the whole line.
        column: Option<String>,
        /// The expected content, in words.
        expected: String,
        /// The given content.
        got: String,
    },

    /// The operating system could not read or write a file.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },

    /// The ranks of a distributed training could not exchange values.
    #[error("communication between ranks: {source}")]
    Communication {
        /// The error of the [communicator](crate::train::Communicator).
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// Another rank of a distributed training failed.
    #[error("rank {rank}: {problem}")]
    Rank {
        /// The number of the rank.
        rank: usize,
        /// The message of its error.
        problem: String,
    },

    /// A training step failed. The model is as it was before that step.
    #[error("epoch {epoch}, step {step}: {source}")]
    Training {
        /// The epoch, from 0.
        epoch: usize,
        /// The number of optimiser steps before the failed one.
        step: usize,
        /// The error of the step.
        source: Box<Error>,
    },
}

/// The names of the tensors of a file, by how they fit a layer or model. Names are those in the file.
///
/// ```
/// use recurrent::error::TensorReport;
///
/// let mut report = TensorReport::default();
/// report.missing.push("head.bias".to_owned());
/// assert!(!report.is_fit(true));
/// assert_eq!(report.to_string(), r#"0 tensors fit, missing ["head.bias"]"#);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TensorReport {
    /// Tensors that fit.
    pub used: Vec<String>,
    /// Tensors of the layer or model that are not in the file.
    pub missing: Vec<String>,
    /// Tensors and other values of the file that the layer or model does not have.
    pub unused: Vec<String>,
    /// Tensors that have another shape in the file.
    pub wrong_shapes: Vec<WrongShape>,
}

/// A tensor whose shape in a file is another than in the layer or model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongShape {
    /// The tensor.
    pub name: String,
    /// The shape in the layer or model.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub got: Vec<usize>,
}

impl TensorReport {
    /// Returns whether no tensor is missing or has a wrong shape, and none is unused, unless this is allowed.
    pub fn is_fit(&self, allow_unused: bool) -> bool {
        self.missing.is_empty()
            && self.wrong_shapes.is_empty()
            && (allow_unused || self.unused.is_empty())
    }
}

impl fmt::Display for TensorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors fit", self.used.len())?;
        for (kind, names) in [("missing", &self.missing), ("unused", &self.unused)] {
            if !names.is_empty() {
                write!(f, ", {kind} {names:?}")?;
            }
        }
        for WrongShape { name, expected, got } in &self.wrong_shapes {
            write!(f, ", {name}: expected {expected:?}, got {got:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn of_column(column: &Option<String>) -> String {
    column.as_ref().map_or_else(String::new, |column| format!(", column {column}"))
}

impl Error {
    /// Creates an [`Error::Argument`] from values that can be displayed.
    pub fn argument(
        argument: impl Into<Cow<'static, str>>,
        expected: impl ToString,
        got: impl ToString,
    ) -> Self {
        Self::Argument {
            argument: argument.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }
}

impl Error {
    /// Puts `place` before the name of the argument, array or quantity that the error is about.
    pub(crate) fn prefixed(mut self, place: &str) -> Self {
        match &mut self {
            Self::Shape { argument, .. } | Self::Argument { argument, .. } => {
                argument.to_mut().insert_str(0, place);
            }
            Self::NonFinite { name, .. } => name.insert_str(0, place),
            _ => {}
        }
        self
    }
}

/// Fails with [`Error::Shape`] unless `got` is `expected`; `axes` are the meanings of the axes.
pub fn check_shape(
    argument: impl Into<Cow<'static, str>>,
    axes: &'static str,
    expected: &[usize],
    got: &[usize],
) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape {
        argument: argument.into(),
        expected: expected.to_vec(),
        axes,
        got: got.to_vec(),
    })
}

/// Fails with [`Error::Argument`], naming `argument`, if `count` is zero. For numbers that are not sizes
/// of arrays, such as a number of epochs, which have no upper end.
pub fn check_count(argument: impl Into<Cow<'static, str>>, count: usize) -> Result<()> {
    if count > 0 {
        return Ok(());
    }
    Err(Error::argument(argument, "at least 1", count))
}

/// Returns the product of `sizes`, the shape of an array. Fails with [`Error::Argument`], naming
/// `argument`, if a size is zero, the array would have more than `isize::MAX` bytes as `f64`, or there are
/// several sizes and the system refuses the memory for an array of `f32`.
pub fn check_size(argument: impl Into<Cow<'static, str>>, sizes: &[usize]) -> Result<usize> {
    if sizes == [0] {
        return Err(Error::argument(argument, "at least 1", 0));
    }
    let refuse = |expected: &str| Error::argument(argument, expected, format!("{sizes:?}"));
    if sizes.contains(&0) {
        return Err(refuse("sizes of at least 1"));
    }
    let product = sizes.iter().try_fold(1_usize, |product, &size| product.checked_mul(size));
    match product {
        // One size alone may be that of no array.
        Some(product) if product <= isize::MAX as usize / 8 => {
            if sizes.len() < 2 || has_memory(product) {
                Ok(product)
            } else {
                Err(refuse("sizes whose product fits into memory"))
            }
        }
        _ => Err(refuse("sizes whose product can be addressed")),
    }
}

/// Fails as [`check_size`] of the size of an array of one axis, and if the system refuses the memory for it.
pub(crate) fn check_length(argument: &'static str, size: usize) -> Result<()> {
    check_size(argument, &[size])?;
    if has_memory(size) {
        return Ok(());
    }
    Err(Error::argument(argument, "a size that fits into memory", size))
}

/// Returns whether the system gives memory for `count` values. A failed allocation would end the program
/// later. The memory is not touched.
fn has_memory(count: usize) -> bool {
    /// Fewer values are not asked for.
    const MANY: usize = 1 << 24;
    count < MANY || black_box(Vec::<f32>::new()).try_reserve_exact(count).is_ok()
}

/// Returns an array that was made with the shape of `argument`, or ndarray's objection as [`Error::Argument`].
pub(crate) fn shaped<A>(
    argument: impl Into<Cow<'static, str>>,
    array: std::result::Result<A, ndarray::ShapeError>,
) -> Result<A> {
    array.map_err(|error| Error::argument(argument, "values that fill its shape", error))
}

/// Fails unless each of `indices` is less than `most`, which the error calls `name`.
pub(crate) fn check_indices(
    argument: &str,
    indices: &[usize],
    most: usize,
    name: &str,
) -> Result<()> {
    match indices.iter().position(|&index| index >= most) {
        None => Ok(()),
        Some(place) => {
            let expected = format!("less than {most} ({name})");
            Err(Error::argument(format!("{argument}[{place}]"), expected, indices[place]))
        }
    }
}
