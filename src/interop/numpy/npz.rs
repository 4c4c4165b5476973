//! [`Npz`] and [`NpzWriter`]: several arrays in a zip file, each as `<name>.npy`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};

use ndarray::{Array, Array1, Array3, ArrayBase, ArrayD, Data, Dimension};

use super::{Element, npy};
use crate::arrays::{Arrays, Views, ViewsMut, check_all_finite, views, views_mut};
use crate::data::npy::read_array;
use crate::error::{Error, Result, check_shape, shaped};
use crate::float::{Float, per_float};
use crate::interop::archive::{Archive, read_regular, zipped};
use crate::io;
use crate::sequences::Sequences;

/// The format's name in errors.
const FORMAT: &str = "npz";

/// The end of the name of an entry.
const END: &str = ".npy";

/// The end of the name of the lengths of sequences.
const LENGTHS: &str = "_lengths";

/// The integers whose neighbours are also exact as `f64` are below this bound.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A writer of arrays, weights and sequences to an `.npz` file.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-npz-{}", std::process::id()));
/// use ndarray::{Array1, array};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::interop::numpy::{Npz, NpzWriter};
/// use recurrent::{Arrays, Gru, Sequences};
///
/// let gru = Gru::<f32>::builder(1, 4).build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// let x = Sequences::from_list(&[array![[0.5], [1.0]], array![[2.0]]])?;
/// let classes: Array1<i64> = array![1, 0];
/// let writer = NpzWriter::default().arrays("gru.", &gru).sequences("x", &x).array("classes", &classes);
/// writer.compressed(true).write(&path)?; // numpy.load(path)["gru.weight_ih_l0"]
///
/// let (file, mut again) = (Npz::open(&path)?, gru.zeros_like());
/// file.arrays("gru.", &mut again)?;
/// assert_eq!(file.sequences::<f32>("x")?.lengths(), [2, 1]);
/// assert_eq!(file.integers("classes")?, classes);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct NpzWriter {
    /// The `.npy` files, by the names of their arrays.
    files: BTreeMap<String, Vec<u8>>,
    compressed: bool,
    /// The first name that was given again.
    refused: Option<String>,
}

impl NpzWriter {
    /// Adds `array` under `name`.
    pub fn array<V: Element, S: Data<Elem = V>, D: Dimension>(
        mut self,
        name: &str,
        array: &ArrayBase<S, D>,
    ) -> Self {
        self.add(name.to_owned(), npy(array));
        self
    }

    /// Adds every array of `arrays`, under `prefix` and its name.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(mut self, prefix: &str, arrays: &A) -> Self {
        add_all(&mut self, prefix, views(arrays));
        self
    }

    /// Adds the values [time, batch, features] of `sequences` under `name`, and the length of each under
    /// `<name>_lengths`. Tokens are written as one-hot vectors.
    pub fn sequences<T: Float>(self, name: &str, sequences: &Sequences<T>) -> Self {
        let lengths = sequences.lengths().iter().map(|&length| length as i64);
        let lengths: Array1<i64> = lengths.collect();
        let mut writer = self.array(&format!("{name}{LENGTHS}"), &lengths);
        let values = sequences.values().view().into_dyn();
        add_all(&mut writer, "", vec![(name.to_owned(), values)]);
        writer
    }

    /// Sets whether the arrays are compressed, as by `numpy.savez_compressed`. Default: false.
    pub fn compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// Writes the file `path`. It is replaced as by [`io::save`].
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written, [`Error::Argument`] if two arrays have the same name.
    pub fn write(self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        if let Some(name) = &self.refused {
            let got = format!("{name:?} again");
            return Err(Error::argument("name", "a new name for each array", got));
        }
        let entries = self.files.iter().map(|(name, file)| (format!("{name}{END}"), file));
        io::write(path, &zipped(path, entries, self.compressed)?)
    }

    fn add(&mut self, name: String, file: Vec<u8>) {
        match self.files.entry(name) {
            Entry::Vacant(place) => {
                place.insert(file);
            }
            Entry::Occupied(place) => {
                self.refused.get_or_insert_with(|| place.key().clone());
            }
        }
    }
}

/// A reader of an `.npz` file, of `numpy.savez`, `numpy.savez_compressed` or [`NpzWriter`].
///
/// The file is in memory while the reader exists. An array may have at most 256 bytes, unpacked, for each byte
/// of the file; a larger one is refused before it is unpacked. Its elements are then converted, of which each
/// has at least one byte in the file.
#[derive(Debug)]
pub struct Npz {
    path: PathBuf,
    bytes: Vec<u8>,
    names: Vec<String>,
}

impl Npz {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not an `.npz` file, [`Error::Io`] if it cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_path(path.as_ref().to_owned())
    }

    fn open_path(path: PathBuf) -> Result<Self> {
        let bytes = read_regular(&path, FORMAT)?;
        let archive = Archive::open(&path, FORMAT, &bytes)?;
        let mut names = Vec::new();
        for entry in archive.names()? {
            let name = entry.strip_suffix(END);
            let name = name.ok_or_else(|| archive.refuse(format!("the entry {entry} is no {END}")));
            names.push(name?.to_owned());
        }
        names.sort();
        Ok(Self { path, bytes, names })
    }

    /// Returns the names of the arrays, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Reads the array `name` and converts its elements to `T`, as [`read_npy`](super::read_npy) does.
    ///
    /// # Errors
    /// [`Error::Names`] if there is no such array; otherwise as [`read_npy`](super::read_npy).
    pub fn array<T: Float, D: Dimension>(&self, name: &str) -> Result<Array<T, D>> {
        let (array, _) = self.read::<T>(&mut self.archive()?, name, D::NDIM)?;
        shaped(name.to_owned(), array.into_dimensionality())
    }

    /// Reads the array `name` of whole numbers.
    ///
    /// # Errors
    /// As [`array`](Self::array); [`Error::Argument`] if a value is not whole, or not below 2⁵³ in magnitude.
    pub fn integers<D: Dimension>(&self, name: &str) -> Result<Array<i64, D>> {
        let values = self.array::<f64, D>(name)?;
        let whole = |value: &f64| value.fract() == 0.0 && value.abs() < MAX_EXACT;
        if let Some(value) = values.iter().find(|value| !whole(value)) {
            let argument = format!("{}: array {name}", self.path.display());
            return Err(Error::argument(argument, "whole numbers below 2⁵³", value));
        }
        Ok(values.mapv(|value| value as i64))
    }

    /// Reads the sequences `name`: values [time, batch, features], and the length of each under
    /// `<name>_lengths`.
    ///
    /// # Errors
    /// As [`array`](Self::array) and [`Sequences::new`].
    pub fn sequences<T: Float>(&self, name: &str) -> Result<Sequences<T>> {
        let values: Array3<T> = self.array(name)?;
        let name = format!("{name}{LENGTHS}");
        let lengths: Array1<i64> = self.integers(&name)?;
        let length = |&length: &i64| {
            let argument = || format!("{}: array {name}", self.path.display());
            usize::try_from(length).map_err(|_| Error::argument(argument(), "lengths", length))
        };
        Sequences::new(values, lengths.iter().map(length).collect::<Result<_>>()?)
    }

    /// Reads every array of `arrays`. The file must have no other arrays under `prefix`. Their values must be
    /// exact in the element type of `arrays`, and finite.
    ///
    /// # Errors
    /// [`Error::Names`], [`Error::Shape`], [`Error::Dtype`], [`Error::NonFinite`] or [`Error::Format`], as
    /// [`io::load`]. `arrays` is then unchanged.
    pub fn arrays<T: Float, A: Arrays<Elem = T>>(
        &self,
        prefix: &str,
        arrays: &mut A,
    ) -> Result<()> {
        read_all(self, prefix, views_mut(arrays))
    }

    fn archive(&self) -> Result<Archive<'_>> {
        Archive::open(&self.path, FORMAT, &self.bytes)
    }

    /// Reads the array `name`, of the given number of axes if there is one, with its element type in the file.
    fn read<T: Float>(
        &self,
        archive: &mut Archive<'_>,
        name: &str,
        axes: Option<usize>,
    ) -> Result<(ArrayD<T>, String)> {
        self.check_names(&[name.to_owned()], None)?;
        let entry = format!("{name}{END}");
        read_array(&self.path.join(&entry), &mut &archive.read(&entry)?[..], axes)
    }

    /// Fails unless all `names` are those of arrays and all arrays under `prefix`, if there is one,
    /// are named.
    fn check_names(&self, names: &[String], prefix: Option<&str>) -> Result<()> {
        let missing = names.iter().filter(|name| self.names.binary_search(name).is_err());
        let missing: Vec<String> = missing.cloned().collect();
        let here = self.names.iter().filter(|name| prefix.is_some_and(|p| name.starts_with(p)));
        let unused: Vec<String> = here.filter(|name| !names.contains(name)).cloned().collect();
        if missing.is_empty() && unused.is_empty() {
            return Ok(());
        }
        Err(Error::Names { path: self.path.clone(), missing, unused })
    }
}

per_float! {
    fn add_all<'a, T>(writer: &mut NpzWriter, prefix: &str, arrays: Views<'a, T>) = add_each;
    fn read_all<'a, T>(file: &Npz, prefix: &str, arrays: ViewsMut<'a, T>) -> Result<()> = read_each;
}

fn add_each<T: Float>(writer: &mut NpzWriter, prefix: &str, arrays: Views<'_, T>) {
    for (name, array) in arrays {
        writer.add(format!("{prefix}{name}"), npy(&array));
    }
}

fn read_each<T: Float>(file: &Npz, prefix: &str, arrays: ViewsMut<'_, T>) -> Result<()> {
    let names: Vec<String> = arrays.iter().map(|(name, _)| format!("{prefix}{name}")).collect();
    file.check_names(&names, Some(prefix))?;
    let mut archive = file.archive()?;
    // All arrays are read and checked before the first one is changed.
    let mut read = Vec::new();
    for (name, (_, array)) in names.iter().zip(&arrays) {
        let (values, descr) = file.read::<T>(&mut archive, name, None)?;
        let argument = format!("{}: array {name}", file.path.display());
        if !["<f2", "<f4", T::DESCR].contains(&descr.as_str()) {
            let (path, name, expected) = (file.path.clone(), name.clone(), T::NAME);
            return Err(Error::Dtype { path, name, expected, got: descr });
        }
        check_shape(argument.clone(), "as in the model", array.shape(), values.shape())?;
        check_all_finite(&[(argument, values.view())])?;
        read.push(values);
    }
    for ((_, mut array), values) in arrays.into_iter().zip(read) {
        array.assign(&values);
    }
    Ok(())
}
