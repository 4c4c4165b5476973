//! Files of NumPy: [`write_npy`] and [`read_npy`] for an array, `Npz` for several (feature `npz`).
//!
//! ```
//! # let path = std::env::temp_dir().join(format!("recurrent-doc-npy-{}", std::process::id()));
//! use ndarray::{Array2, array};
//! use recurrent::interop::numpy::{read_npy, write_npy};
//!
//! let x = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
//! write_npy(&path, &x)?; // numpy.load(path)
//! assert_eq!(read_npy::<f64, _>(&path)?, x);
//! # std::fs::remove_file(&path).ok();
//! # Ok::<(), recurrent::Error>(())
//! ```

#[cfg(feature = "npz")]
mod npz;

use std::path::Path;

use ndarray::{ArrayBase, Data, Dimension};

use crate::error::Result;
use crate::float::Float;
use crate::io;

pub use crate::data::read_npy;
#[cfg(feature = "npz")]
pub use npz::{Npz, NpzWriter};

mod sealed {
    pub trait Sealed {}
    impl<T: crate::Float> Sealed for T {}
    impl Sealed for i64 {}
}

/// An element of an array in a file of NumPy: `f32`, `f64` or `i64`. Sealed: no other type implements it.
pub trait Element: Copy + sealed::Sealed {
    /// The name of the type in files.
    const DESCR: &'static str;

    /// Appends the bytes of the value, little-endian.
    fn append(self, bytes: &mut Vec<u8>);
}

impl<T: Float> Element for T {
    const DESCR: &'static str = if size_of::<T>() == 4 { "<f4" } else { "<f8" };

    fn append(self, bytes: &mut Vec<u8>) {
        self.write_le(bytes);
    }
}

impl Element for i64 {
    const DESCR: &'static str = "<i8";

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

/// Writes `array` to the `.npy` file `path`, in row-major order, whatever its layout. The file is replaced as by
/// [`io::save`].
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the file cannot be written.
pub fn write_npy<V: Element, S: Data<Elem = V>, D: Dimension>(
    path: impl AsRef<Path>,
    array: &ArrayBase<S, D>,
) -> Result<()> {
    io::write(path.as_ref(), &npy(array))
}

/// The alignment of the elements in a file.
const ALIGNMENT: usize = 64;

/// Returns the `.npy` file of `array`. Its format: [`data::npy`](crate::data::npy).
fn npy<V: Element, S: Data<Elem = V>, D: Dimension>(array: &ArrayBase<S, D>) -> Vec<u8> {
    let sizes: String = array.shape().iter().map(|size| format!("{size}, ")).collect();
    // A tuple of one size ends with a comma.
    let sizes = if array.ndim() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let descr = V::DESCR;
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let start = bytes.len() + size_of::<u16>();
    let length = (start + header.len() + 1).next_multiple_of(ALIGNMENT) - start;
    bytes.extend_from_slice(&(length as u16).to_le_bytes());
    bytes.extend_from_slice(format!("{header:<0$}\n", length - 1).as_bytes());
    bytes.reserve_exact(array.len() * size_of::<V>());
    array.iter().for_each(|&value| value.append(&mut bytes));
    bytes
}
