//! The operators that are not recurrent.
//!
//! | file | operators |
//! |---|---|
//! | `elementwise` | arithmetic, activations, comparisons, casts |
//! | `shape` | operators that rearrange elements |
//! | `select` | operators that choose elements by indices |
//! | `reduce` | sums, means, maxima, softmax, normalisation |
//! | `product` | products of matrices |

mod elementwise;
mod product;
mod reduce;
mod select;
mod shape;

use std::fmt;
use std::ops::RangeInclusive;

use ndarray::{ArrayD, Zip};

use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::value::{Element, Value};

pub(super) use product::{Matrix, multiply};
pub(super) use shape::reshaped;

/// The values that a node reads.
pub(in crate::interop::onnx) struct Inputs<'a> {
    pub(in crate::interop::onnx) values: &'a [Option<&'a Value>],
    /// The number of bytes that a new value may have.
    pub(in crate::interop::onnx) limit: usize,
}

impl<'a> Inputs<'a> {
    /// Returns an input, if the node has it.
    pub(super) fn get(&self, index: usize) -> Option<&'a Value> {
        self.values.get(index).copied().flatten()
    }

    /// Returns an input, and fails if the node does not have it.
    pub(super) fn need(&self, index: usize) -> Result<&'a Value> {
        let missing = || Error::argument("inputs", format!("a value of input {index}"), "none");
        self.get(index).ok_or_else(missing)
    }

    /// Returns the number of elements of a new array. Fails if it would exceed the limit.
    pub(super) fn check(&self, shape: &[usize]) -> Result<usize> {
        let count = shape.iter().try_fold(1_usize, |count, &size| count.checked_mul(size));
        match count {
            // An element has at most eight bytes.
            Some(count) if count <= self.limit / 8 => Ok(count),
            _ => {
                let expected = format!("an array within the limit of {} bytes", self.limit);
                Err(Error::argument("shape", expected, format!("{shape:?}")))
            }
        }
    }
}

/// A function of the inputs of a node, with its attributes.
type Of<R> = Box<dyn Fn(&Inputs<'_>) -> Result<R> + Send + Sync>;

/// The computation of an operator.
enum Function {
    Values(Of<Vec<Value>>),
    /// The shape of the output, whose elements are those of the first input.
    Shape(Of<Vec<usize>>),
}

/// The result of a [`Kernel`].
pub(in crate::interop::onnx) enum Computed {
    Values(Vec<Value>),
    /// The first input in this shape.
    Reshaped(Vec<usize>),
}

/// An operator with its attributes.
pub(in crate::interop::onnx) struct Kernel {
    function: Function,
    /// The numbers of inputs that it takes.
    pub(in crate::interop::onnx) inputs: RangeInclusive<usize>,
    /// The largest number of outputs.
    pub(in crate::interop::onnx) outputs: usize,
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernel").field("inputs", &self.inputs).finish_non_exhaustive()
    }
}

impl Kernel {
    /// Creates an operator with one output.
    fn new(
        inputs: RangeInclusive<usize>,
        function: impl Fn(&Inputs<'_>) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        let function = Function::Values(Box::new(move |inputs| Ok(vec![function(inputs)?])));
        Self { function, inputs, outputs: 1 }
    }

    /// Creates an operator that returns its first input in another shape.
    fn reshaping(
        inputs: RangeInclusive<usize>,
        shape: impl Fn(&Inputs<'_>) -> Result<Vec<usize>> + Send + Sync + 'static,
    ) -> Self {
        Self { function: Function::Shape(Box::new(shape)), inputs, outputs: 1 }
    }

    /// Computes the outputs, or the shape of an output that is the first input.
    pub(in crate::interop::onnx) fn compute(&self, inputs: &Inputs<'_>) -> Result<Computed> {
        match &self.function {
            Function::Values(function) => function(inputs).map(Computed::Values),
            Function::Shape(shape) => shape(inputs).map(Computed::Reshaped),
        }
    }
}

/// Returns the operator of a node. Fails if there is none of this name, or an attribute is not in its range.
pub(in crate::interop::onnx) fn kernel(op: &str, attributes: &mut Attributes) -> Result<Kernel> {
    for family in
        [elementwise::kernel, shape::kernel, select::kernel, reduce::kernel, product::kernel]
    {
        if let Some(kernel) = family(op, attributes)? {
            return Ok(kernel);
        }
    }
    Err(Error::argument("operator", "one that is supported", op))
}

/// A list of integers that is an attribute in old versions of an operator, and an input in new ones.
struct List {
    fixed: Option<Vec<i64>>,
    input: Option<usize>,
}

impl List {
    /// Reads the attribute `name`, which became the input `input` in version `since`.
    fn new(attributes: &mut Attributes, name: &str, since: i64, input: usize) -> Result<Self> {
        if attributes.opset < since {
            return Ok(Self { fixed: attributes.ints(name)?, input: None });
        }
        match attributes.integers.remove(&input) {
            Some(constant) => Ok(Self { fixed: Some(constant), input: None }),
            None => Ok(Self { fixed: None, input: Some(input) }),
        }
    }

    /// Returns the list, if there is one.
    fn get(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<i64>>> {
        match self.input.and_then(|input| inputs.get(input)) {
            Some(value) => value.integers().map(Some),
            None => Ok(self.fixed.clone()),
        }
    }

    /// Returns the list, and fails if there is none.
    fn need(&self, inputs: &Inputs<'_>, name: &'static str) -> Result<Vec<i64>> {
        self.get(inputs)?.ok_or_else(|| Error::argument(name, "a list of integers", "none"))
    }
}

/// Returns the index of an axis, which counts from the end if it is negative.
fn axis_of(axis: i64, rank: usize) -> Result<usize> {
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(from_start) {
        Ok(index) if index < rank => Ok(index),
        _ => Err(Error::argument("axis", format!("an axis of {rank}"), axis)),
    }
}

/// Returns the indices of axes, which must differ.
#[expect(clippy::indexing_slicing, reason = "an index is below the rank that was checked")]
fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>> {
    let mut indices = axes.iter().map(|&axis| axis_of(axis, rank)).collect::<Result<Vec<_>>>()?;
    indices.sort_unstable();
    match indices.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(Error::argument("axes", "different axes", format!("{axes:?}"))),
        false => Ok(indices),
    }
}

/// Returns `size` as a size of an axis.
fn size_of_axis(size: i64) -> Result<usize> {
    usize::try_from(size).map_err(|_| Error::argument("shape", "sizes of at least 0", size))
}

/// Returns the shape of the result of an operator that repeats its arguments along axes of size 1.
#[expect(clippy::indexing_slicing, reason = "an index is below the rank that was checked")]
fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size = |shape: &[usize], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    let common = |axis| match (size(a, axis), size(b, axis)) {
        (1, size) | (size, 1) => Ok(size),
        (a, b) if a == b => Ok(a),
        _ => Err(Error::argument("shape", format!("one that fits {a:?}"), format!("{b:?}"))),
    };
    (0..rank).map(common).collect()
}

/// Returns `array` repeated to `shape`.
fn broadcast_view<'a, T: Element>(
    array: &'a ArrayD<T>,
    shape: &[usize],
) -> Result<ndarray::ArrayViewD<'a, T>> {
    let refuse = || Error::argument("shape", format!("{shape:?}"), format!("{:?}", array.shape()));
    array.broadcast(shape).ok_or_else(refuse)
}

/// Applies `f` to each pair of elements.
fn zip<A: Element, B: Element>(
    inputs: &Inputs<'_>,
    a: &ArrayD<A>,
    b: &ArrayD<A>,
    f: impl Fn(A, A) -> B,
) -> Result<ArrayD<B>> {
    let shape = broadcast(a.shape(), b.shape())?;
    inputs.check(&shape)?;
    if let (Some(a), Some(b), true) = (a.as_slice(), b.as_slice(), a.shape().ends_with(b.shape())) {
        let mut values = Vec::with_capacity(a.len());
        for row in a.chunks_exact(b.len().max(1)) {
            values.extend(row.iter().zip(b).map(|(&a, &b)| f(a, b)));
        }
        let array = ArrayD::from_shape_vec(shape, values);
        return array.map_err(|error| Error::argument("shape", "that of the elements", error));
    }
    let (a, b) = (broadcast_view(a, &shape)?, broadcast_view(b, &shape)?);
    Ok(Zip::from(a).and(b).map_collect(|&a, &b| f(a, b)))
}

/// Returns the error of two values of different types.
fn mismatch(a: &Value, b: &Value) -> Error {
    Error::argument("element type", a.kind(), b.kind())
}
