//! [`read_npy`]: reads an array in NumPy's `.npy` format. Needs the feature `npy`.

use std::fs;
use std::path::Path;

use ndarray::{Array, Dimension};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};

use crate::error::{Error, Result};
use crate::float::Float;

/// Reads the array in the `.npy` file `path` and converts its elements to `T`.
///
/// The file may hold floats of 32 or 64 bits or integers of 8 to 64 bits. A value that `T` cannot
/// represent is rounded.
///
/// ```no_run
/// let images: ndarray::Array3<f32> = recurrent::data::read_npy("images.npy")?;
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is not such an array or has
/// another number of axes than `D`.
pub fn read_npy<T: Float, D: Dimension>(path: impl AsRef<Path>) -> Result<Array<T, D>> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    // The header names the element type: an attempt with another type fails before it reads data.
    let others = [
        try_as::<f64, T, D>,
        try_as::<u8, T, D>,
        try_as::<i8, T, D>,
        try_as::<i16, T, D>,
        try_as::<u16, T, D>,
        try_as::<i32, T, D>,
        try_as::<u32, T, D>,
        try_as::<i64, T, D>,
        try_as::<u64, T, D>,
    ];
    let read = others.iter().fold(try_as::<f32, T, D>(&bytes), |read, attempt| match read {
        Err(ReadNpyError::WrongDescriptor(_)) => attempt(&bytes),
        read => read,
    });
    read.map_err(|error| {
        let problem = match error {
            ReadNpyError::WrongDescriptor(descriptor) => format!("numbers of type {descriptor}"),
            error => error.to_string(),
        };
        Error::Format { path: path.to_owned(), format: "npy", problem }
    })
}

fn try_as<A: ReadableElement + ToF64, T: Float, D: Dimension>(
    bytes: &[u8],
) -> std::result::Result<Array<T, D>, ReadNpyError> {
    Ok(Array::<A, D>::read_npy(bytes)?.mapv(|value| T::from_f64(value.to_f64())))
}

/// A number that converts to the nearest `f64`.
trait ToF64: Copy {
    fn to_f64(self) -> f64;
}

macro_rules! to_f64 {
    ($($number:ty),+) => {
        $(impl ToF64 for $number {
            fn to_f64(self) -> f64 {
                self as f64
            }
        })+
    };
}
to_f64!(f32, f64, u8, i8, i16, u16, i32, u32, i64, u64);
