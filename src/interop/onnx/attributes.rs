//! [`Attributes`]: the attributes of a node, each of which must be read.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::interop::onnx::proto::{Attribute, Tensor, attribute};

/// The attributes of a node that have not been read yet.
pub(super) struct Attributes {
    /// The version of the operators.
    pub(super) opset: i64,
    /// The number of inputs of the node.
    pub(super) inputs: usize,
    /// The number of outputs of the node.
    pub(super) outputs: usize,
    /// The inputs that are constant integers, by their indices.
    pub(super) integers: HashMap<usize, Vec<i64>>,
    named: HashMap<String, Attribute>,
}

impl Attributes {
    /// Collects the attributes of a node. Fails if two have the same name, or one refers to a function.
    pub(super) fn new(
        list: Vec<Attribute>,
        opset: i64,
        (inputs, outputs): (usize, usize),
    ) -> Result<Self> {
        let mut named = HashMap::new();
        for attribute in list {
            if !attribute.ref_attr_name.is_empty() {
                return Err(Error::argument(
                    attribute.name,
                    "a value",
                    "a reference to a function",
                ));
            }
            let name = attribute.name.clone();
            if named.insert(name.clone(), attribute).is_some() {
                return Err(Error::argument(name, "one attribute of this name", "two"));
            }
        }
        Ok(Self { opset, inputs, outputs, integers: HashMap::new(), named })
    }

    /// Removes the attribute `name`, if there is one, and fails unless it has the type `kind`.
    fn take(&mut self, name: &str, kind: i32) -> Result<Option<Attribute>> {
        let Some(attribute) = self.named.remove(name) else { return Ok(None) };
        // Files of before version 3 of the format have no types.
        if attribute.kind != kind && attribute.kind != 0 {
            let expected = format!("an attribute of type {kind}");
            return Err(Error::argument(name.to_owned(), expected, attribute.kind));
        }
        Ok(Some(attribute))
    }

    pub(super) fn int(&mut self, name: &str) -> Result<Option<i64>> {
        Ok(self.take(name, attribute::INT)?.map(|attribute| attribute.i.unwrap_or(0)))
    }

    /// Returns whether the attribute is there and not zero.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool> {
        match self.int(name)?.unwrap_or(0) {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Error::argument(name.to_owned(), "0 or 1", other)),
        }
    }

    pub(super) fn float(&mut self, name: &str) -> Result<Option<f64>> {
        let attribute = self.take(name, attribute::FLOAT)?;
        Ok(attribute.map(|attribute| f64::from(attribute.f.unwrap_or(0.0))))
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>> {
        let attribute = self.take(name, attribute::STRING)?;
        attribute.map(|attribute| text(name, &attribute.s.unwrap_or_default())).transpose()
    }

    pub(super) fn tensor(&mut self, name: &str) -> Result<Option<Tensor>> {
        let attribute = self.take(name, attribute::TENSOR)?;
        Ok(attribute.and_then(|attribute| attribute.t).map(|tensor| *tensor))
    }

    pub(super) fn ints(&mut self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.take(name, attribute::INTS)?.map(|attribute| attribute.ints))
    }

    pub(super) fn floats(&mut self, name: &str) -> Result<Option<Vec<f32>>> {
        Ok(self.take(name, attribute::FLOATS)?.map(|attribute| attribute.floats))
    }

    pub(super) fn strings(&mut self, name: &str) -> Result<Option<Vec<String>>> {
        let attribute = self.take(name, attribute::STRINGS)?;
        let texts = |attribute: Attribute| {
            attribute.strings.iter().map(|bytes| text(name, bytes)).collect()
        };
        attribute.map(texts).transpose()
    }

    /// Fails unless every attribute has been read, and the node has a number of inputs in `inputs` and at
    /// most `outputs` outputs.
    pub(super) fn finish(
        self,
        inputs: std::ops::RangeInclusive<usize>,
        outputs: usize,
    ) -> Result<()> {
        if let Some(name) = self.named.into_keys().min() {
            let expected = format!("an attribute of the operator in version {}", self.opset);
            return Err(Error::argument("attribute", expected, name));
        }
        if !inputs.contains(&self.inputs) {
            let expected = format!("{} to {}", inputs.start(), inputs.end());
            return Err(Error::argument("inputs", expected, self.inputs));
        }
        if self.outputs > outputs {
            return Err(Error::argument("outputs", format!("at most {outputs}"), self.outputs));
        }
        Ok(())
    }
}

fn text(name: &str, bytes: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|_| Error::argument(name.to_owned(), "UTF-8", "other bytes"))
}
