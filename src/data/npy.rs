//! [`read_npy`]: an array of NumPy's `.npy` format. Needs the feature `npy`.

use std::fs;
use std::path::Path;

use ndarray::{Array, Dimension};
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement};

use crate::error::{Error, Result};
use crate::float::Float;

/// The array in the `.npy` file `path`, whatever its numbers are, as `T`.
///
/// Floating-point numbers of 32 and 64 bits and integers of 8 to 64 bits are read; those that `T`
/// cannot hold are rounded.
///
/// ```no_run
/// let images: ndarray::Array3<f32> = recurrent::data::read_npy("images.npy")?;
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] where the file cannot be read, [`Error::Format`] where it is not such an array or has
/// another number of axes.
pub fn read_npy<T: Float, D: Dimension>(path: impl AsRef<Path>) -> Result<Array<T, D>> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    // The header names one type of numbers; for any other the reader says so and nothing is lost.
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
    Ok(Array::<A, D>::read_npy(bytes)?.mapv(|value| T::of(value.to_f64())))
}

/// A number as the nearest of double precision.
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
