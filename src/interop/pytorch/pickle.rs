//! [`Pickle`]: the values of a pickle that consists of plain values and tensors.
//!
//! A pickle is a program for a machine with a stack. This machine has only the instructions that build plain
//! values, and it knows the names of the functions that `torch.save` writes for tensors. It calls none:
//! each has a meaning here. Any other function is refused by name.
//!
//! Source: `pickletools` of Python 3 (protocols 2 to 5), `torch/serialization.py`.
#![expect(
    clippy::indexing_slicing,
    reason = "objects are never removed, and `take` returns as many bytes as asked"
)]

use std::collections::HashMap;

use super::tensor::Dtype;

/// A value on the stack. Lists and dictionaries are places in [`Pickle::objects`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'p> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'p str),
    Object(usize),
    Function(Function),
    Storage(usize),
    Tensor(usize),
}

/// The meaning of a name of Python.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

/// The functions and classes that a pickle may name.
const FUNCTIONS: [(&str, &str, Function); 13] = [
    ("collections", "OrderedDict", Function::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Function::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Function::RebuildParameter),
    ("torch", "DoubleStorage", Function::Storage(Dtype::F64)),
    ("torch", "FloatStorage", Function::Storage(Dtype::F32)),
    ("torch", "HalfStorage", Function::Storage(Dtype::F16)),
    ("torch", "BFloat16Storage", Function::Storage(Dtype::Bf16)),
    ("torch", "LongStorage", Function::Storage(Dtype::I64)),
    ("torch", "IntStorage", Function::Storage(Dtype::I32)),
    ("torch", "ShortStorage", Function::Storage(Dtype::I16)),
    ("torch", "CharStorage", Function::Storage(Dtype::I8)),
    ("torch", "ByteStorage", Function::Storage(Dtype::U8)),
    ("torch", "BoolStorage", Function::Storage(Dtype::Bool)),
];

/// The largest number of axes of a tensor. The sizes of many tensors may be one list of the pickle.
const MAX_AXES: usize = 16;

/// A list, a tuple or a dictionary.
#[derive(Debug)]
pub(super) enum Object<'p> {
    List(Vec<Value<'p>>),
    Dict(Vec<(Value<'p>, Value<'p>)>),
}

/// An array of elements in an entry of the archive.
#[derive(Debug)]
pub(super) struct Storage<'p> {
    pub(super) dtype: Dtype,
    pub(super) key: &'p str,
    pub(super) count: usize,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) storage: usize,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The values of a pickle.
#[derive(Debug)]
pub(super) struct Pickle<'p> {
    pub(super) root: Value<'p>,
    pub(super) objects: Vec<Object<'p>>,
    pub(super) storages: Vec<Storage<'p>>,
    pub(super) tensors: Vec<View>,
}

impl<'p> Pickle<'p> {
    /// Reads the pickle `bytes`. Fails with the problem, in words.
    pub(super) fn read(bytes: &'p [u8]) -> Result<Self, String> {
        let mut machine = Machine::new(bytes);
        while machine.step()? {}
        let root = machine.pop()?;
        if !machine.stack.is_empty() || machine.at < bytes.len() {
            return Err("values after the end of the pickle".to_owned());
        }
        let Machine { objects, storages, tensors, .. } = machine;
        Ok(Self { root, objects, storages, tensors })
    }
}

struct Machine<'p> {
    bytes: &'p [u8],
    at: usize,
    stack: Vec<Value<'p>>,
    /// The heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Value<'p>>,
    objects: Vec<Object<'p>>,
    storages: Vec<Storage<'p>>,
    tensors: Vec<View>,
}

impl<'p> Machine<'p> {
    fn new(bytes: &'p [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            objects: Vec::new(),
            storages: Vec::new(),
            tensors: Vec::new(),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'p [u8], String> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(count);
        taken.ok_or_else(|| "the pickle is cut off".to_owned())
    }

    /// Reads an unsigned number of `width` bytes, little-endian.
    fn number(&mut self, width: usize) -> Result<usize, String> {
        let bytes = self.take(width)?;
        let number = bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        usize::try_from(number).map_err(|_| format!("the number {number}"))
    }

    /// Reads a signed number of `width` bytes, little-endian.
    fn signed(&mut self, width: usize) -> Result<i64, String> {
        let bytes = self.take(width)?;
        if width > 8 {
            return Err(format!("an integer of {width} bytes"));
        }
        let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
        let start = if negative { -1 } else { 0 };
        Ok(bytes.iter().rev().fold(start, |number, &byte| number << 8 | i64::from(byte)))
    }

    fn text(&mut self, length: usize) -> Result<&'p str, String> {
        std::str::from_utf8(self.take(length)?).map_err(|_| "a text that is not UTF-8".to_owned())
    }

    /// Reads a text that ends with a line.
    fn line(&mut self) -> Result<&'p str, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(|&byte| byte == b'\n');
        let line = self.text(length.ok_or("the pickle is cut off")?)?;
        self.at += 1;
        Ok(line)
    }

    fn pop(&mut self) -> Result<Value<'p>, String> {
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return Err("a value is taken from an empty stack".to_owned());
        }
        self.stack.pop().ok_or_else(|| "a value is taken from an empty stack".to_owned())
    }

    /// Removes the values above the last mark, and the mark.
    fn pop_mark(&mut self) -> Result<Vec<Value<'p>>, String> {
        let mark = self.marks.pop().ok_or("a mark is taken from a stack without marks")?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn push_object(&mut self, object: Object<'p>) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn push_tuple(&mut self, count: usize) -> Result<(), String> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.insert(0, self.pop()?);
        }
        self.push_object(Object::List(values));
        Ok(())
    }

    /// Keeps the last value as entry `place` of the memo.
    fn remember(&mut self, place: usize) -> Result<(), String> {
        let value = self.pop()?;
        self.stack.push(value);
        self.memo.insert(place, value);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), String> {
        let value = self.memo.get(&place).ok_or_else(|| format!("no entry {place} of the memo"))?;
        self.stack.push(*value);
        Ok(())
    }

    /// Performs an instruction. Returns whether another one follows.
    fn step(&mut self) -> Result<bool, String> {
        let code = self.take(1)?[0];
        match code {
            b'.' => return Ok(false),
            0x80 => self.protocol()?,
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'q' | b'r' => {
                let place = self.number(if code == b'q' { 1 } else { 4 })?;
                self.remember(place)?;
            }
            0x94 => self.remember(self.memo.len())?,
            b'h' | b'j' => {
                let place = self.number(if code == b'h' { 1 } else { 4 })?;
                self.recall(place)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.name(module, name)?;
            }
            0x93 => match (self.pop()?, self.pop()?) {
                (Value::Text(name), Value::Text(module)) => self.name(module, name)?,
                _ => return Err("a function whose name is no text".to_owned()),
            },
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'Q' => self.storage()?,
            _ => return self.plain(code).map(|()| true),
        }
        Ok(true)
    }

    fn protocol(&mut self) -> Result<(), String> {
        match self.number(1)? {
            2..=5 => Ok(()),
            version => Err(format!("protocol {version} of pickle, 2 to 5 are read")),
        }
    }

    /// Performs an instruction that builds plain values.
    fn plain(&mut self, code: u8) -> Result<(), String> {
        match code {
            b']' | b')' => self.push_object(Object::List(Vec::new())),
            b'}' => self.push_object(Object::Dict(Vec::new())),
            0x85..=0x87 => self.push_tuple(usize::from(code - 0x84))?,
            b't' => {
                let values = self.pop_mark()?;
                self.push_object(Object::List(values));
            }
            b'a' => {
                let value = self.pop()?;
                self.append(vec![value])?;
            }
            b'e' => {
                let values = self.pop_mark()?;
                self.append(values)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(&[key, value])?;
            }
            b'u' => {
                let pairs = self.pop_mark()?;
                self.set(&pairs)?;
            }
            b'i' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(refused(module, name));
            }
            _ => {
                let value = self.scalar(code)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    /// Returns the number, text or other plain value that an instruction pushes.
    fn scalar(&mut self, code: u8) -> Result<Value<'p>, String> {
        Ok(match code {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'J' => Value::Int(self.signed(4)?),
            b'K' | b'M' => Value::Int(self.number(if code == b'K' { 1 } else { 2 })? as i64),
            0x8a => {
                let width = self.number(1)?;
                Value::Int(self.signed(width)?)
            }
            b'G' => {
                self.take(8)?;
                Value::Float
            }
            b'X' | 0x8c | 0x8d => {
                let width = match code {
                    b'X' => 4,
                    0x8c => 1,
                    _ => 8,
                };
                let length = self.number(width)?;
                Value::Text(self.text(length)?)
            }
            code => return Err(unknown(code)),
        })
    }

    fn append(&mut self, values: Vec<Value<'p>>) -> Result<(), String> {
        match self.last_object()? {
            Object::List(list) => list.extend(values),
            Object::Dict(_) => return Err("an element is appended to a dictionary".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, pairs: &[Value<'p>]) -> Result<(), String> {
        let Object::Dict(dict) = self.last_object()? else {
            return Err("a key is set in a list".to_owned());
        };
        if pairs.len() % 2 == 1 {
            return Err("a key without a value".to_owned());
        }
        dict.extend(pairs.chunks_exact(2).map(|pair| (pair[0], pair[1])));
        Ok(())
    }

    /// Returns the list or dictionary at the end of the stack.
    fn last_object(&mut self) -> Result<&mut Object<'p>, String> {
        match self.stack.last() {
            Some(&Value::Object(place)) => Ok(&mut self.objects[place]),
            _ => Err("a list or dictionary is missing on the stack".to_owned()),
        }
    }

    fn name(&mut self, module: &str, name: &str) -> Result<(), String> {
        let known = FUNCTIONS.iter().find(|(m, n, _)| (*m, *n) == (module, name));
        let (_, _, function) = known.ok_or_else(|| refused(module, name))?;
        self.stack.push(Value::Function(*function));
        Ok(())
    }

    fn list(&self, value: Value<'p>) -> Result<&[Value<'p>], String> {
        match value {
            Value::Object(place) => match &self.objects[place] {
                Object::List(values) => Ok(values),
                Object::Dict(_) => Err("a dictionary in the place of a tuple".to_owned()),
            },
            _ => Err("another value in the place of a tuple".to_owned()),
        }
    }

    fn is_empty_dict(&self, value: Value<'p>) -> bool {
        let Value::Object(place) = value else { return false };
        matches!(&self.objects[place], Object::Dict(pairs) if pairs.is_empty())
    }

    /// Puts what a function makes of its arguments in their place.
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let arguments = self.list(arguments)?;
        match (function, arguments) {
            (Value::Function(Function::OrderedDict), []) => {
                self.push_object(Object::Dict(Vec::new()));
            }
            (
                Value::Function(Function::RebuildTensor),
                &[Value::Storage(storage), Value::Int(offset), shape, strides, Value::Bool, hooks],
            ) if self.is_empty_dict(hooks) => {
                let offset = size(Value::Int(offset))?;
                let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
                self.stack.push(Value::Tensor(self.tensors.len()));
                self.tensors.push(View { storage, offset, shape, strides });
            }
            (
                Value::Function(Function::RebuildParameter),
                &[tensor @ Value::Tensor(_), Value::Bool, hooks],
            ) if self.is_empty_dict(hooks) => self.stack.push(tensor),
            (Value::Function(function), arguments) => {
                return Err(format!("{function:?} with {} other arguments", arguments.len()));
            }
            _ => return Err("a call of what is no function".to_owned()),
        }
        Ok(())
    }

    fn sizes(&self, value: Value<'p>) -> Result<Vec<usize>, String> {
        let sizes = self.list(value)?;
        if sizes.len() > MAX_AXES {
            return Err(format!("{} axes, at most {MAX_AXES} are read", sizes.len()));
        }
        sizes.iter().copied().map(size).collect()
    }

    /// Drops the attributes that a `state_dict` has beside its tensors: the versions of its modules.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let Value::Object(place) = state else {
            return Err("attributes that are no dictionary".to_owned());
        };
        let metadata = |pairs: &[(Value<'p>, Value<'p>)]| {
            pairs.iter().all(|(key, _)| *key == Value::Text("_metadata"))
        };
        match (&self.objects[place], self.stack.last()) {
            (Object::Dict(pairs), Some(Value::Object(_))) if metadata(pairs) => Ok(()),
            _ => Err("attributes (BUILD) other than the _metadata of a state_dict".to_owned()),
        }
    }

    /// Puts a storage in the place of its description.
    fn storage(&mut self) -> Result<(), String> {
        let description = self.pop()?;
        let &[
            Value::Text("storage"),
            Value::Function(Function::Storage(dtype)),
            Value::Text(key),
            Value::Text(_),
            count,
        ] = self.list(description)?
        else {
            return Err("a persistent value that is no storage".to_owned());
        };
        let count = size(count)?;
        self.stack.push(Value::Storage(self.storages.len()));
        self.storages.push(Storage { dtype, key, count });
        Ok(())
    }
}

fn size(value: Value<'_>) -> Result<usize, String> {
    match value {
        Value::Int(size) => usize::try_from(size).map_err(|_| format!("the size {size}")),
        _ => Err("a size that is no integer".to_owned()),
    }
}

fn refused(module: &str, name: &str) -> String {
    format!(
        "it asks for `{module}.{name}`, which is refused, and nothing was executed: only plain values and \
         tensors are read, as in a file of torch.save(model.state_dict(), path)"
    )
}

fn unknown(code: u8) -> String {
    let name = match code {
        b'o' => " (OBJ)",
        0x81 => " (NEWOBJ)",
        0x92 => " (NEWOBJ_EX)",
        0x82..=0x84 => " (EXT)",
        b'B' | b'C' | 0x8e | 0x96 => " (bytes)",
        b'P' => " (PERSID)",
        b'I' | b'L' | b'F' | b'S' | b'V' | b'l' | b'd' | b'p' | b'g' => " of protocol 0",
        b'T' | b'U' => " (a text of Python 2)",
        0x8f..=0x91 => " (a set)",
        _ => "",
    };
    format!("the instruction 0x{code:02x}{name} of pickle, which is refused")
}
