//! [`Builder`]: the nodes and constants of a graph that is written.

use crate::interop::onnx::proto::{
    Attribute, Dimension, GraphMessage, NodeMessage, Shape, TensorType, Type, ValueInfo, attribute,
};
use crate::interop::onnx::value::Value;

/// A size of an input or output.
#[derive(Clone, Copy)]
pub(super) enum Size {
    Free(&'static str),
    Fixed(usize),
}

/// A graph that is built node by node.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) graph: GraphMessage,
}

impl Builder {
    /// Adds a constant, and returns its name.
    pub(super) fn constant(&mut self, name: &str, value: impl Into<Value>) -> String {
        let name = self.unused(name);
        self.graph.initializers.push(value.into().tensor(&name));
        name
    }

    /// Adds a constant list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        self.constant("sizes", ndarray::Array1::from(values.to_vec()))
    }

    #[expect(clippy::expect_used, reason = "the numbers have no end")]
    fn unused(&self, name: &str) -> String {
        let taken = |name: &str| self.graph.initializers.iter().any(|tensor| tensor.name == name);
        let numbered = (1..).map(|k| format!("{name}_{k}"));
        std::iter::once(name.to_owned())
            .chain(numbered)
            .find(|name| !taken(name))
            .expect("the numbers do not end")
    }

    /// Adds a node with one output, and returns the name of the output.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> String {
        let output = format!("{}_{}", op.to_lowercase(), self.graph.nodes.len());
        self.nodes(op, inputs, std::slice::from_ref(&output), attributes);
        output
    }

    /// Adds a node with the given outputs.
    pub(super) fn nodes(
        &mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[String],
        attributes: Vec<Attribute>,
    ) {
        self.graph.nodes.push(NodeMessage {
            inputs: inputs.iter().map(|&name| name.to_owned()).collect(),
            outputs: outputs.to_vec(),
            name: format!("{}_{}", op.to_lowercase(), self.graph.nodes.len()),
            op_type: op.to_owned(),
            attributes,
            domain: String::new(),
        });
    }

    /// Adds an input of the graph.
    pub(super) fn input(&mut self, name: &str, elem_type: i32, sizes: &[Size]) {
        self.graph.inputs.push(port(name, elem_type, sizes));
    }

    /// Makes `value` the output `name` of the graph.
    pub(super) fn output(&mut self, value: &str, name: &str, elem_type: i32, sizes: &[Size]) {
        self.nodes("Identity", &[value], &[name.to_owned()], Vec::new());
        self.graph.outputs.push(port(name, elem_type, sizes));
    }
}

fn port(name: &str, elem_type: i32, sizes: &[Size]) -> ValueInfo {
    let dimension = |&size: &Size| match size {
        Size::Free(name) => Dimension { value: None, name: Some(name.to_owned()) },
        Size::Fixed(size) => Dimension { value: Some(size as i64), name: None },
    };
    let shape = Shape { dims: sizes.iter().map(dimension).collect() };
    let tensor = TensorType { elem_type, shape: Some(shape) };
    ValueInfo { name: name.to_owned(), kind: Some(Type { tensor: Some(tensor) }) }
}

pub(super) fn int(name: &str, value: i64) -> Attribute {
    let name = name.to_owned();
    Attribute { name, kind: attribute::INT, i: Some(value), ..Attribute::default() }
}

pub(super) fn ints(name: &str, values: &[i64]) -> Attribute {
    let name = name.to_owned();
    Attribute { name, kind: attribute::INTS, ints: values.to_vec(), ..Attribute::default() }
}

pub(super) fn text(name: &str, value: &str) -> Attribute {
    let (name, s) = (name.to_owned(), Some(value.as_bytes().to_vec()));
    Attribute { name, kind: attribute::STRING, s, ..Attribute::default() }
}

pub(super) fn texts(name: &str, values: &[&str]) -> Attribute {
    let strings = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    Attribute { name: name.to_owned(), kind: attribute::STRINGS, strings, ..Attribute::default() }
}
