//! The tensors of a file, by name.
//!
//! A file of `torch.save` is a zip file with the entries `<name>/data.pkl`, `<name>/data/<key>` for each
//! storage, and since PyTorch 2.1 `<name>/byteorder`. Source: `torch/serialization.py`.
#![expect(
    clippy::indexing_slicing,
    reason = "an archive gives ranges within its bytes, and a pickle numbers of its own tensors"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::Dtype as StoredDtype;

use super::pickle::{Object, Pickle, Storage, Value};
use super::tensor::{Dtype, Tensor};
use crate::error::{Error, Result};
use crate::interop::archive::{Archive, read_regular};
use crate::io::read_file;

/// The format's name in errors.
const FORMAT: &str = "PyTorch";

/// The first bytes of a zip file: those of its first entry, or of the end of one without entries.
const STARTS: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];

/// The end of the name of the entry with the values.
const PICKLE: &str = "/data.pkl";

/// The start of a file of PyTorch before 1.6: protocol 2 and the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// The largest number of values of all tensors together, relative to the bytes of the file. Tensors may share
/// storages, and repeat their values.
const MAX_VALUES: usize = 4;

/// The largest length of all names together, relative to the bytes of the pickle. Dictionaries may be shared.
const MAX_NAMES: usize = 16;

/// The largest depth of dictionaries within each other.
const MAX_DEPTH: usize = 64;

/// A value of a file.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Tensor(Box<Tensor>),
    /// Another value, by its kind.
    Other(String),
}

/// The content of a file.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Content {
    /// Reads the file `path`, whose format is known by its first bytes.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let io_error = |source| Error::Io { path: path.to_owned(), source };
        let mut start = Vec::new();
        let file = File::open(path).map_err(io_error)?;
        file.take(LEGACY.len() as u64).read_to_end(&mut start).map_err(io_error)?;
        if STARTS.iter().any(|first| start.starts_with(first)) {
            let bytes = read_regular(path, FORMAT)?;
            let entries = of_archive(Archive::open(path, FORMAT, &bytes)?, &bytes)?;
            return Ok(Self { bytes, entries });
        }
        if start == LEGACY {
            return Err(refuse(
                path,
                "the stream format of PyTorch before 1.6, which is refused; convert it by \
                 torch.save(torch.load(path, weights_only=True), new_path)",
            ));
        }
        let bytes = read_file(path).map_err(io_error)?;
        let entries = of_safetensors(path, &bytes)?;
        Ok(Self { bytes, entries })
    }
}

fn refuse(path: &Path, problem: impl Into<String>) -> Error {
    Error::Format { path: path.to_owned(), format: FORMAT, problem: problem.into() }
}

fn of_safetensors(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let format_error = |error: safetensors::SafeTensorError| {
        let problem = error.to_string();
        Error::Format { path: path.to_owned(), format: "safetensors", problem }
    };
    SafeTensors::deserialize(bytes).map_err(format_error)?;
    let (length, header) = SafeTensors::read_metadata(bytes).map_err(format_error)?;
    let data = length + size_of::<u64>();
    let entry = |(name, about): (String, &safetensors::tensor::TensorInfo)| {
        let dtype = match about.dtype {
            StoredDtype::F64 => Dtype::F64,
            StoredDtype::F32 => Dtype::F32,
            StoredDtype::F16 => Dtype::F16,
            StoredDtype::BF16 => Dtype::Bf16,
            StoredDtype::I64 => Dtype::I64,
            StoredDtype::I32 => Dtype::I32,
            StoredDtype::I16 => Dtype::I16,
            StoredDtype::I8 => Dtype::I8,
            StoredDtype::U8 => Dtype::U8,
            StoredDtype::BOOL => Dtype::Bool,
            other => {
                let kind = format!("a tensor of {}", format!("{other:?}").to_lowercase());
                return Ok((name, Entry::Other(kind)));
            }
        };
        let (start, end) = about.data_offsets;
        let tensor = Tensor::contiguous(dtype, data + start..data + end, &about.shape);
        tensor.check().map_err(|problem| refuse(path, format!("tensor {name}: {problem}")))?;
        Ok((name, Entry::Tensor(Box::new(tensor))))
    };
    header.tensors().into_iter().map(entry).collect()
}

/// Returns the entries of a file of `torch.save`.
fn of_archive(mut archive: Archive<'_>, bytes: &[u8]) -> Result<BTreeMap<String, Entry>> {
    let names = archive.names()?;
    let pickles: Vec<&String> = names.iter().filter(|name| name.ends_with(PICKLE)).collect();
    let [pickle] = &pickles[..] else {
        let problem = format!("{} entries end with {PICKLE}, expected one", pickles.len());
        return Err(archive.refuse(problem));
    };
    let root = pickle.trim_end_matches(PICKLE);
    if names.iter().any(|name| name.strip_prefix(root) == Some("/constants.pkl")) {
        return Err(archive.refuse(
            "a TorchScript program, which is refused; save its state_dict() by torch.save",
        ));
    }
    if let Some(order) = archive.place(&format!("{root}/byteorder"))? {
        let order = String::from_utf8_lossy(&bytes[order]);
        if order != "little" {
            return Err(archive.refuse(format!("its byte order is {order:?}, expected \"little\"")));
        }
    }
    let place = archive.place(pickle)?.unwrap_or_default();
    let pickle = Pickle::read(&bytes[place.clone()]);
    let pickle = pickle.map_err(|problem| archive.refuse(format!("{PICKLE}: {problem}")))?;
    let places = storages(&mut archive, root, &pickle.storages)?;
    let mut walk = Walk {
        pickle: &pickle,
        places,
        path: Vec::new(),
        names: place.len().saturating_mul(MAX_NAMES),
        values: bytes.len().saturating_mul(MAX_VALUES),
        entries: BTreeMap::new(),
    };
    walk.value("", pickle.root).map_err(|problem| archive.refuse(problem))?;
    Ok(walk.entries)
}

/// Returns the bytes of each storage.
fn storages(
    archive: &mut Archive<'_>,
    root: &str,
    storages: &[Storage<'_>],
) -> Result<Vec<(Dtype, Range<usize>)>> {
    // Tensors that share a storage describe it again.
    let mut known: BTreeMap<&str, Range<usize>> = BTreeMap::new();
    let mut places = Vec::with_capacity(storages.len());
    for &Storage { dtype, key, count } in storages {
        let place = match known.get(key) {
            Some(place) => place.clone(),
            None => {
                let name = format!("{root}/data/{key}");
                let place = archive.place(&name)?;
                place.ok_or_else(|| archive.refuse(format!("the entry {name} is missing")))?
            }
        };
        if count.checked_mul(dtype.size()) != Some(place.len()) {
            let held = place.len();
            let problem = format!("the entry {root}/data/{key}: {count} elements of {dtype}");
            return Err(archive.refuse(format!("{problem}, got {held} bytes")));
        }
        known.insert(key, place.clone());
        places.push((dtype, place));
    }
    Ok(places)
}

/// A walk over the values of a pickle, which gives each a name: `model.lstm.weight_ih_l0`.
struct Walk<'p> {
    pickle: &'p Pickle<'p>,
    places: Vec<(Dtype, Range<usize>)>,
    /// The objects that contain the value at hand.
    path: Vec<usize>,
    /// The number of bytes that further names may have.
    names: usize,
    /// The number of values that further tensors may have.
    values: usize,
    entries: BTreeMap<String, Entry>,
}

impl Walk<'_> {
    fn value(&mut self, name: &str, value: Value<'_>) -> Result<(), String> {
        let left = self.names.checked_sub(name.len() + 1);
        self.names = left.ok_or("its dictionaries share each other too often")?;
        match value {
            Value::Tensor(tensor) => {
                let view = &self.pickle.tensors[tensor];
                let (dtype, place) = self.places[view.storage].clone();
                let (shape, strides) = (view.shape.clone(), view.strides.clone());
                let tensor = Tensor { dtype, place, offset: view.offset, shape, strides };
                let count =
                    tensor.check().map_err(|problem| format!("tensor {name}: {problem}"))?;
                let left = self.values.checked_sub(count);
                self.values = left.ok_or_else(|| {
                    format!(
                        "tensor {name}: the shape {:?} repeats too many values: all tensors may have at \
                         most {MAX_VALUES} for each byte of the file",
                        tensor.shape
                    )
                })?;
                self.insert(name, Entry::Tensor(Box::new(tensor)))
            }
            Value::Object(object) => self.object(name, object),
            Value::None => self.insert(name, Entry::Other("None".to_owned())),
            Value::Bool => self.insert(name, Entry::Other("a bool".to_owned())),
            Value::Int(number) => self.insert(name, Entry::Other(format!("the int {number}"))),
            Value::Float => self.insert(name, Entry::Other("a float".to_owned())),
            Value::Text(_) => self.insert(name, Entry::Other("a text".to_owned())),
            Value::Function(_) | Value::Storage(_) => {
                self.insert(name, Entry::Other("a function or storage".to_owned()))
            }
        }
    }

    fn object(&mut self, name: &str, object: usize) -> Result<(), String> {
        if self.path.contains(&object) {
            return Err(format!("the value {name:?} contains itself"));
        }
        if self.path.len() == MAX_DEPTH {
            return Err(format!("the value {name:?} is nested more than {MAX_DEPTH} deep"));
        }
        self.path.push(object);
        match &self.pickle.objects[object] {
            Object::Dict(pairs) => {
                for &(key, value) in pairs {
                    match key {
                        Value::Text(key) => self.value(&joined(name, key), value)?,
                        Value::Int(key) => self.value(&joined(name, &key.to_string()), value)?,
                        _ => return Err(format!("a key of {name:?} is neither text nor integer")),
                    }
                }
            }
            // The numbers of a list have no names of their own.
            Object::List(values)
                if !values.iter().any(|v| matches!(v, Value::Tensor(_) | Value::Object(_))) =>
            {
                self.insert(name, Entry::Other(format!("a list of {}", values.len())))?;
            }
            Object::List(values) => {
                for (i, &value) in values.iter().enumerate() {
                    self.value(&joined(name, &i.to_string()), value)?;
                }
            }
        }
        self.path.pop();
        Ok(())
    }

    fn insert(&mut self, name: &str, entry: Entry) -> Result<(), String> {
        // A tensor that is saved alone is named as the array of a bundle of one array is.
        let name = if name.is_empty() { "value" } else { name };
        match self.entries.insert(name.to_owned(), entry) {
            None => Ok(()),
            Some(_) => Err(format!("two values are named {name:?}")),
        }
    }
}

/// Returns the name of the value `key` within the value `name`.
fn joined(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}
