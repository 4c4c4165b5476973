//! [`read_npy`]: reads an array in NumPy's `.npy` format.
//!
//! A file is a magic string, a version, the length of the header, the header and the elements. The header is
//! the text of a Python dictionary with the keys `descr`, `fortran_order` and `shape`. Source: the
//! documentation of `numpy.lib.format`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ndarray::{Array, ArrayD, Dimension, IxDyn, ShapeBuilder};

use crate::error::{Error, Result, shaped};
use crate::float::{Float, f16_to_f64, per_float};

/// The start of every file.
const MAGIC: &[u8] = b"\x93NUMPY";

/// The largest header. Those of arrays of plain numbers have at most a few hundred bytes.
const MAX_HEADER: u64 = 1 << 16;

/// Reads the array in the `.npy` file `path` and converts its elements to `T`.
///
/// The file may hold little-endian floats of 16, 32 or 64 bits or integers of 8 to 64 bits. A value
/// between two of `T` is rounded to the nearest. NaN and infinities stay what they are. An array in
/// Fortran's order has the same elements in ndarray's standard layout.
///
/// ```no_run
/// let images: ndarray::Array3<f32> = recurrent::data::read_npy("images.npy")?;
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read; [`Error::Format`] if it is not such an array, does not hold
/// the elements of its shape, or has another number of axes than `D`; [`Error::Argument`] if a number is
/// out of the range of `T`.
pub fn read_npy<T: Float, D: Dimension>(path: impl AsRef<Path>) -> Result<Array<T, D>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source });
    let (array, _) = read_array::<T>(path, &mut file?, D::NDIM)?;
    shaped(path.display().to_string(), array.into_dimensionality())
}

per_float! {
    /// Reads an array from `reader`, of the given number of axes if there is one. Returns it with its element
    /// type in the file. Errors name `path`.
    pub(crate) fn read_array<'a, T>(
        path: &'a Path,
        reader: &mut dyn Read,
        axes: Option<usize>,
    ) -> Result<(ArrayD<T>, String)> = read_any;
}

fn read_any<T: Float>(
    path: &Path,
    reader: &mut dyn Read,
    axes: Option<usize>,
) -> Result<(ArrayD<T>, String)> {
    let mut source = Source { path, reader };
    let header = source.header()?;
    let Header { descr, fortran_order, shape } = &header;
    if let Some(axes) = axes.filter(|&axes| axes != shape.len()) {
        return Err(source.refuse(format!("expected {axes} axes, got the shape {shape:?}")));
    }
    let Some((size, number)) = element(descr) else {
        let order = if descr.starts_with('>') { "big-endian " } else { "" };
        return Err(source.refuse(format!("{order}elements of type {descr}")));
    };
    // An axis of length zero does not make the others addressable.
    let axes = shape.iter().filter(|&&length| length > 0);
    let bytes = axes.copied().try_fold(size.max(size_of::<T>()), usize::checked_mul);
    if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
        return Err(source.refuse(format!("the shape {shape:?} cannot be addressed")));
    }
    let expected = shape.iter().product::<usize>() * size;
    let data = source.read(expected as u64 + 1)?;
    if data.len() != expected {
        let got = if data.len() > expected { "more".to_owned() } else { data.len().to_string() };
        let problem = format!("{expected} bytes of elements for the shape {shape:?}, got {got}");
        return Err(source.refuse(format!("expected {problem}")));
    }
    let mut values = Vec::with_capacity(expected / size);
    for (i, wide) in data.chunks_exact(size).map(number).enumerate() {
        let value = T::from_f64(wide);
        if wide.is_finite() && !value.is_finite() {
            let argument = format!("{}: element {i}", path.display());
            let expected = format!("a number in the range of {}", T::NAME);
            return Err(Error::argument(argument, expected, format!("{wide:e}")));
        }
        values.push(value);
    }
    let array = ArrayD::from_shape_vec(IxDyn(shape).set_f(*fortran_order), values);
    let array = array.map_err(|error| source.refuse(error.to_string()))?;
    let standard = array.is_standard_layout();
    let array = if standard { array } else { array.as_standard_layout().into_owned() };
    Ok((array, header.descr))
}

/// A conversion of the bytes of an element.
type Number = fn(&[u8]) -> f64;

/// Returns the size and the conversion of the elements of type `descr`, or `None` for any other type.
fn element(descr: &str) -> Option<(usize, Number)> {
    macro_rules! number {
        ($type:ty, $to_f64:expr) => {
            (size_of::<$type>(), |bytes| {
                let bytes = bytes.first_chunk().copied();
                bytes.map_or(0.0, |bytes| $to_f64(<$type>::from_le_bytes(bytes)))
            })
        };
        ($type:ty) => {
            number!($type, |number| number as f64)
        };
    }
    let (order, kind) = descr.split_at_checked(1)?;
    let (size, number): (usize, Number) = match kind {
        "f2" => number!(u16, f16_to_f64),
        "f4" => number!(f32),
        "f8" => number!(f64),
        "i1" => number!(i8),
        "i2" => number!(i16),
        "i4" => number!(i32),
        "i8" => number!(i64),
        "u1" => number!(u8),
        "u2" => number!(u16),
        "u4" => number!(u32),
        "u8" => number!(u64),
        _ => return None,
    };
    (order == "<" || (order == "|" && size == 1)).then_some((size, number))
}

/// An open file with its path for errors.
struct Source<'r> {
    path: &'r Path,
    reader: &'r mut dyn Read,
}

impl Source<'_> {
    fn refuse(&self, problem: impl Into<String>) -> Error {
        Error::Format { path: self.path.to_owned(), format: "npy", problem: problem.into() }
    }

    /// Reads up to `count` bytes. Memory is reserved for bytes that the file holds, not for `count`.
    fn read(&mut self, count: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.reader.take(count).read_to_end(&mut bytes);
        read.map_err(|source| Error::Io { path: self.path.to_owned(), source })?;
        Ok(bytes)
    }

    fn header(&mut self) -> Result<Header> {
        let start = self.read(MAGIC.len() as u64 + 2)?;
        let version =
            start.strip_prefix(MAGIC).ok_or_else(|| self.refuse("another magic string"))?;
        let width = match version {
            [1, 0] => 2,
            [2 | 3, 0] => 4,
            _ => return Err(self.refuse(format!("version {version:?}"))),
        };
        let bytes = self.read(width)?;
        let length = bytes.iter().rev().fold(0, |length, &byte| length << 8 | u64::from(byte));
        if length > MAX_HEADER {
            return Err(self.refuse(format!("a header of {length} bytes")));
        }
        let text = self.read(length)?;
        if bytes.len() as u64 != width || text.len() as u64 != length {
            return Err(self.refuse("the header is cut off"));
        }
        let text = String::from_utf8(text).map_err(|_| self.refuse("the header is not UTF-8"))?;
        Header::parse(&text).map_err(|problem| self.refuse(format!("{problem} in the header")))
    }
}

struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Returns the header in `text`, or the problem in words.
    fn parse(text: &str) -> Result<Self, String> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut text = Text(text);
        text.expect('{')?;
        while !text.eat('}') {
            let key = text.string()?;
            text.expect(':')?;
            let again = match key {
                "descr" => descr.replace(text.string()?).is_some(),
                "fortran_order" => fortran_order.replace(text.boolean()?).is_some(),
                "shape" => shape.replace(text.tuple()?).is_some(),
                _ => return Err(format!("the unknown key {key:?}")),
            };
            if again {
                return Err(format!("the key {key:?} twice"));
            }
            if !text.eat(',') {
                text.expect('}')?;
                break;
            }
        }
        match (descr, fortran_order, shape, text.0.trim()) {
            (Some(descr), Some(fortran_order), Some(shape), "") => {
                Ok(Self { descr: descr.to_owned(), fortran_order, shape })
            }
            (_, _, _, "") => Err("a key of descr, fortran_order and shape is missing".to_owned()),
            (_, _, _, rest) => Err(unexpected("nothing more", rest)),
        }
    }
}

/// The rest of the text of a Python literal.
struct Text<'t>(&'t str);

impl<'t> Text<'t> {
    /// Skips white space and `symbol`. Returns whether it was there.
    fn eat(&mut self, symbol: char) -> bool {
        self.0 = self.0.trim_start();
        let rest = self.0.strip_prefix(symbol);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, symbol: char) -> Result<(), String> {
        if self.eat(symbol) { Ok(()) } else { Err(unexpected(&format!("{symbol:?}"), self.0)) }
    }

    /// Skips and returns the characters at the start for which `is_part` holds.
    fn take(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|c| !is_part(c)).unwrap_or(self.0.len());
        let (part, rest) = self.0.split_at(end);
        self.0 = rest;
        part
    }

    fn string(&mut self) -> Result<&'t str, String> {
        let quote = ['\'', '"'].into_iter().find(|&quote| self.eat(quote));
        let quote = quote.ok_or_else(|| unexpected("a text in quotes", self.0))?;
        let text = self.take(|c| c != quote);
        self.expect(quote)?;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, String> {
        self.0 = self.0.trim_start();
        match self.take(char::is_alphabetic) {
            "True" => Ok(true),
            "False" => Ok(false),
            word => Err(unexpected("True or False", word)),
        }
    }

    /// Reads a tuple of sizes. That of one size ends with a comma.
    fn tuple(&mut self) -> Result<Vec<usize>, String> {
        self.expect('(')?;
        let mut sizes = Vec::new();
        while !self.eat(')') {
            let (start, digits) = (self.0, self.take(|c| c.is_ascii_digit()));
            sizes.push(digits.parse().map_err(|_| unexpected("a size", start))?);
            self.eat('L'); // a long of Python 2
            if !self.eat(',') {
                self.expect(')')?;
                if sizes.len() == 1 {
                    return Err(unexpected("a tuple", digits));
                }
                break;
            }
        }
        Ok(sizes)
    }
}

fn unexpected(expected: &str, got: &str) -> String {
    format!("expected {expected}, got {:?}", got.chars().take(20).collect::<String>())
}
