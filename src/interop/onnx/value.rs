//! [`Value`]: an array of one of the element types of a graph.

use ndarray::{Array, ArrayD, Dimension};

use crate::error::{Error, Result};
use crate::interop::onnx::proto::{Tensor, TensorType};

/// An array that a graph reads, computes or returns.
///
/// ```
/// use ndarray::array;
/// use recurrent::interop::onnx::Value;
///
/// let value = Value::from(array![[1.0_f32, 2.0]]);
/// assert_eq!((value.kind(), value.shape()), ("f32", &[1, 2][..]));
/// assert_eq!(value.array::<f32>()?.sum(), 3.0);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Single precision.
    F32(ArrayD<f32>),
    /// Double precision.
    F64(ArrayD<f64>),
    /// Integers of 32 bits, such as `sequence_lens`.
    I32(ArrayD<i32>),
    /// Integers of 64 bits, such as tokens and shapes.
    I64(ArrayD<i64>),
    /// Truth values.
    Bool(ArrayD<bool>),
}

/// Evaluates an expression for the array of any type of element.
macro_rules! each {
    ($value:expr, $array:ident => $result:expr) => {
        match $value {
            $crate::interop::onnx::Value::F32($array) => $result,
            $crate::interop::onnx::Value::F64($array) => $result,
            $crate::interop::onnx::Value::I32($array) => $result,
            $crate::interop::onnx::Value::I64($array) => $result,
            $crate::interop::onnx::Value::Bool($array) => $result,
        }
    };
}
pub(super) use each;

/// An element of a [`Value`]: `f32`, `f64`, `i32`, `i64` or `bool`. Sealed.
pub trait Element: sealed::Sealed + Copy + Default + PartialEq + std::fmt::Debug {
    /// The name of the type in messages.
    const NAME: &'static str;
}

mod sealed {
    use ndarray::ArrayD;

    use super::Value;

    pub trait Sealed: Sized {
        /// The number of the type in a file.
        const NUMBER: i32;

        /// Returns the array if its elements have this type.
        fn of(value: &Value) -> Option<&ArrayD<Self>>;

        /// Returns `array` as a value.
        fn value(array: ArrayD<Self>) -> Value;

        /// Returns the number of little-endian bytes of an element, and the element of that many bytes.
        fn from_bytes(bytes: &[u8]) -> Self;

        /// Appends the little-endian bytes.
        fn append(self, bytes: &mut Vec<u8>);
    }
}
pub(super) use sealed::Sealed;

macro_rules! element {
    ($($type:ident $variant:ident $number:literal, |$bytes:ident| $from:expr, |$it:ident| $to:expr;)+) => {$(
        impl Element for $type {
            const NAME: &'static str = stringify!($type);
        }
        impl Sealed for $type {
            const NUMBER: i32 = $number;

            fn of(value: &Value) -> Option<&ArrayD<Self>> {
                if let Value::$variant(array) = value { Some(array) } else { None }
            }

            fn value(array: ArrayD<Self>) -> Value {
                Value::$variant(array)
            }

            fn from_bytes($bytes: &[u8]) -> Self {
                $from
            }

            fn append(self, to: &mut Vec<u8>) {
                let $it = self;
                to.extend_from_slice(&$to);
            }
        }
        impl<D: Dimension> From<Array<$type, D>> for Value {
            fn from(array: Array<$type, D>) -> Self {
                Self::$variant(array.into_dyn())
            }
        }
    )+};
}

element! {
    f32 F32 1, |bytes| bytes.try_into().map_or(0.0, f32::from_le_bytes), |it| it.to_le_bytes();
    i32 I32 6, |bytes| bytes.try_into().map_or(0, i32::from_le_bytes), |it| it.to_le_bytes();
    i64 I64 7, |bytes| bytes.try_into().map_or(0, i64::from_le_bytes), |it| it.to_le_bytes();
    bool Bool 9, |bytes| bytes != [0], |it| [u8::from(it)];
    f64 F64 11, |bytes| bytes.try_into().map_or(0.0, f64::from_le_bytes), |it| it.to_le_bytes();
}

/// The names of the element types of ONNX, by their numbers from 0.
const TYPES: [&str; 17] = [
    "undefined",
    "float",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "int32",
    "int64",
    "string",
    "bool",
    "float16",
    "double",
    "uint32",
    "uint64",
    "complex64",
    "complex128",
    "bfloat16",
];

/// Returns the name of the element type with a number of ONNX.
pub(super) fn type_name(number: i32) -> String {
    let name = usize::try_from(number).ok().and_then(|number| TYPES.get(number));
    name.map_or_else(|| format!("type {number}"), |&name| name.to_owned())
}

/// Fails unless `number` is an element type of a [`Value`].
pub(super) fn check_type(number: i32) -> Result<()> {
    match number {
        f32::NUMBER | i32::NUMBER | i64::NUMBER | bool::NUMBER | f64::NUMBER => Ok(()),
        _ => {
            let expected = "float, double, int32, int64 or bool";
            Err(Error::argument("element type", expected, type_name(number)))
        }
    }
}

impl Value {
    /// Returns the array.
    ///
    /// # Errors
    /// If its elements have another type than `T`.
    pub fn array<T: Element>(&self) -> Result<&ArrayD<T>> {
        T::of(self).ok_or_else(|| Error::argument("element type", T::NAME, self.kind()))
    }

    /// Returns the sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        each!(self, array => array.shape())
    }

    /// Returns the name of the type of the elements: `"f32"`, `"f64"`, `"i32"`, `"i64"` or `"bool"`.
    pub fn kind(&self) -> &'static str {
        fn name<T: Element>(_: &ArrayD<T>) -> &'static str {
            T::NAME
        }
        each!(self, array => name(array))
    }

    /// Returns the number of ONNX for the type of the elements.
    pub(super) fn number(&self) -> i32 {
        fn number<T: Element>(_: &ArrayD<T>) -> i32 {
            T::NUMBER
        }
        each!(self, array => number(array))
    }

    /// Returns the number of bytes of the elements.
    pub(super) fn bytes(&self) -> usize {
        each!(self, array => size_of_val(array.first().unwrap_or(&Default::default())) * array.len())
    }

    /// Returns the elements as integers, in row-major order. Fails unless they have a type of integers.
    pub(super) fn integers(&self) -> Result<Vec<i64>> {
        match self {
            Self::I64(array) => Ok(array.iter().copied().collect()),
            Self::I32(array) => Ok(array.iter().map(|&value| i64::from(value)).collect()),
            _ => Err(Error::argument("element type", "i64 or i32", self.kind())),
        }
    }

    /// Returns the value of a tensor of a file. Fails if it has another type or number of elements than it
    /// declares, or its elements are in another file.
    pub(super) fn read(tensor: Tensor) -> Result<Self> {
        if tensor.data_location != 0 || !tensor.external_data.is_empty() {
            return Err(Error::argument("data", "data in the file itself", "external data"));
        }
        if tensor.segment.is_some() {
            return Err(Error::argument("segment", "none", "a part of a tensor"));
        }
        check_type(tensor.data_type)?;
        match tensor.data_type {
            f32::NUMBER => elements(&tensor, &tensor.float_data, |value| value),
            f64::NUMBER => elements(&tensor, &tensor.double_data, |value| value),
            i64::NUMBER => elements(&tensor, &tensor.int64_data, |value| value),
            i32::NUMBER => elements(&tensor, &tensor.int32_data, |value| value),
            _ => elements(&tensor, &tensor.int32_data, |value: i32| value != 0),
        }
    }

    /// Returns the tensor of a file.
    pub(super) fn tensor(&self, name: &str) -> Tensor {
        let mut raw_data = Vec::new();
        each!(self, array => array.iter().for_each(|&value| value.append(&mut raw_data)));
        Tensor {
            dims: self.shape().iter().map(|&size| size as i64).collect(),
            data_type: self.number(),
            name: name.to_owned(),
            raw_data,
            ..Tensor::default()
        }
    }
}

/// Returns the elements of a tensor, which are in its raw data or in the list `data`.
fn elements<T: Element, D: Copy>(
    tensor: &Tensor,
    data: &[D],
    of_list: impl Fn(D) -> T,
) -> Result<Value> {
    let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
    let shape: Option<Vec<usize>> = sizes.collect();
    let count = |shape: &[usize]| shape.iter().try_fold(1_usize, |n, &size| n.checked_mul(size));
    let (raw, size) = (&tensor.raw_data, size_of::<T>());
    let given = if raw.is_empty() { data.len() } else { raw.len() / size };
    let whole = raw.is_empty() || (raw.len() % size == 0 && data.is_empty());
    match shape {
        Some(shape) if whole && count(&shape) == Some(given) => {
            let values: Vec<T> = match raw.is_empty() {
                true => data.iter().map(|&value| of_list(value)).collect(),
                false => raw.chunks_exact(size).map(T::from_bytes).collect(),
            };
            let array = ArrayD::from_shape_vec(shape, values);
            array.map(T::value).map_err(|error| Error::argument("dims", "a shape", error))
        }
        _ => {
            let expected = format!("{given} elements, as many as there are");
            Err(Error::argument("dims", expected, format!("{:?}", tensor.dims)))
        }
    }
}

/// Fails unless `value` has the type and the sizes that a graph declares for the input `name`.
pub(super) fn check_declared(name: &str, declared: &TensorType, value: &Value) -> Result<()> {
    if declared.elem_type != value.number() {
        let expected = type_name(declared.elem_type);
        return Err(Error::argument(name.to_owned(), expected, type_name(value.number())));
    }
    let Some(shape) = &declared.shape else { return Ok(()) };
    let fits = |(dim, &size): (&Option<i64>, &usize)| dim.is_none_or(|dim| dim == size as i64);
    let dims = || shape.dims.iter().map(|dim| &dim.value);
    if dims().len() == value.shape().len() && dims().zip(value.shape()).all(fits) {
        return Ok(());
    }
    let axis = |dim: &super::proto::Dimension| match (dim.value, &dim.name) {
        (Some(size), _) => size.to_string(),
        (None, name) => name.clone().unwrap_or_else(|| "any".to_owned()),
    };
    let expected: Vec<String> = shape.dims.iter().map(axis).collect();
    let got = format!("{:?}", value.shape());
    Err(Error::argument(name.to_owned(), format!("shape [{}]", expected.join(", ")), got))
}
