//! [`Tensor`]: an array within the bytes of a file, with any strides.
#![expect(
    clippy::indexing_slicing,
    reason = "a view within its storage was checked when the tensor was read"
)]

use std::fmt;
use std::ops::Range;

use ndarray::{ArrayD, IxDyn};

use crate::float::{Float, bf16_to_f64, f16_to_f64, per_float};

/// The element type of a tensor in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dtype {
    /// Double precision.
    F64,
    /// Single precision.
    F32,
    /// Half precision, IEEE 754 binary16.
    F16,
    /// The upper half of single precision.
    Bf16,
    /// A signed integer of 64 bits.
    I64,
    /// A signed integer of 32 bits.
    I32,
    /// A signed integer of 16 bits.
    I16,
    /// A signed integer of 8 bits.
    I8,
    /// An unsigned integer of 8 bits.
    U8,
    /// False and true, as 0 and 1.
    Bool,
}

impl Dtype {
    /// Returns the number of bytes of an element.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Returns whether every element is a value of `T`.
    pub(super) fn is_exact<T: Float>(self) -> bool {
        match self {
            Self::F64 => size_of::<T>() == 8,
            Self::F32 | Self::F16 | Self::Bf16 => true,
            _ => false,
        }
    }

    /// Returns the conversion of the bytes of an element that is a float.
    fn float<T: Float>(self) -> fn(&[u8]) -> T {
        match self {
            Self::F64 => |bytes| T::from_f64(f64::read_le(bytes)),
            Self::F32 => |bytes| T::from_f64(f64::from(f32::read_le(bytes))),
            Self::F16 => |bytes| T::from_f64(f16_to_f64(bits(bytes))),
            Self::Bf16 => |bytes| T::from_f64(bf16_to_f64(bits(bytes))),
            _ => |_| T::nan(),
        }
    }

    /// Returns the conversion of the bytes of an element that is an integer or a truth value, or `None` for
    /// floats.
    pub(super) fn integer(self) -> Option<fn(&[u8]) -> i64> {
        macro_rules! integer {
            ($type:ty) => {
                |bytes| {
                    let bytes = bytes.first_chunk().copied();
                    bytes.map_or(0, |bytes| i64::from(<$type>::from_le_bytes(bytes)))
                }
            };
        }
        match self {
            Self::I64 => Some(integer!(i64)),
            Self::I32 => Some(integer!(i32)),
            Self::I16 => Some(integer!(i16)),
            Self::I8 => Some(integer!(i8)),
            Self::U8 | Self::Bool => Some(integer!(u8)),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

fn bits(bytes: &[u8]) -> u16 {
    bytes.first_chunk().map_or(0, |&bytes| u16::from_le_bytes(bytes))
}

/// An array within a file.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) dtype: Dtype,
    /// The bytes of its storage.
    pub(super) place: Range<usize>,
    /// The index of the first element in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

impl Tensor {
    /// Returns a tensor whose elements, in row-major order, are the bytes `place` of the file.
    pub(super) fn contiguous(dtype: Dtype, place: Range<usize>, shape: &[usize]) -> Self {
        let mut strides = vec![1_usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            // The strides of an array without elements may be beyond any address; none is read.
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        Self { dtype, place, offset: 0, shape: shape.to_vec(), strides }
    }

    /// Returns the number of elements. Fails with the problem, in words, if the shape cannot be addressed, or
    /// an element lies outside the storage.
    pub(super) fn check(&self) -> Result<usize, String> {
        let (shape, strides) = (&self.shape, &self.strides);
        if shape.len() != strides.len() {
            return Err(format!("the shape {shape:?} with the strides {strides:?}"));
        }
        // An axis of length zero does not make the others addressable.
        let axes = shape.iter().filter(|&&length| length > 0);
        let bytes = axes.copied().try_fold(8, usize::checked_mul);
        if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(format!("the shape {shape:?} cannot be addressed"));
        }
        if shape.contains(&0) {
            return Ok(0);
        }
        let reach = shape.iter().zip(strides).try_fold(self.offset, |reach, (&length, &stride)| {
            reach.checked_add((length - 1).checked_mul(stride)?)
        });
        let held = self.place.len() / self.dtype.size();
        if reach.is_none_or(|reach| reach >= held) {
            return Err(format!(
                "the shape {shape:?} with the strides {strides:?} from element {} reaches beyond its storage of {held} elements",
                self.offset
            ));
        }
        Ok(shape.iter().product())
    }

    /// Returns the elements of a tensor of floats within the bytes of its `file`.
    pub(super) fn floats<T: Float>(&self, file: &[u8]) -> ArrayD<T> {
        elements_as_float(self, file)
    }

    /// Returns the elements, each converted by `convert`, in row-major order.
    #[expect(clippy::expect_used, reason = "the loop pushes each index of the shape once")]
    pub(super) fn elements<V>(&self, file: &[u8], convert: fn(&[u8]) -> V) -> ArrayD<V> {
        let (size, storage) = (self.dtype.size(), &file[self.place.clone()]);
        let count = self.shape.iter().product();
        let mut values = Vec::with_capacity(count);
        let mut index = vec![0; self.shape.len()];
        let mut place = self.offset;
        while values.len() < count {
            values.push(convert(&storage[place * size..][..size]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                place += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                place -= self.strides[axis] * index[axis];
                index[axis] = 0;
            }
        }
        ArrayD::from_shape_vec(IxDyn(&self.shape), values)
            .expect("as many elements as the shape has")
    }
}

per_float! {
    fn elements_as_float<'a, T>(tensor: &Tensor, file: &'a [u8]) -> ArrayD<T> = floats;
}

fn floats<T: Float>(tensor: &Tensor, file: &[u8]) -> ArrayD<T> {
    tensor.elements(file, tensor.dtype.float())
}
