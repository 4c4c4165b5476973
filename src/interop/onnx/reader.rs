//! [`Reader`]: from the messages of a file to a [`Graph`].
#![expect(
    clippy::indexing_slicing,
    reason = "the numbers of values are given here, and inputs are counted before"
)]

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::graph::{Graph, MEMORY_LIMIT, Node, Port, Work};
use crate::interop::onnx::operator::{Computed, Inputs, Kernel, Matrix, kernel, reshaped};
use crate::interop::onnx::proto::{GraphMessage, NodeMessage, ValueInfo};
use crate::interop::onnx::recurrent::Node as RecurrentNode;
use crate::interop::onnx::value::{Value, check_type};

/// The operators that are computed when a file is read if their inputs are constants. Their outputs have
/// no more elements than their inputs.
const FOLDED: [&str; 7] =
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Slice", "Split"];

/// The number of bytes that all such constants may have, for each byte of the file. The weights that are copied for
/// recurrent nodes may have as many.
const FOLDED_BYTES: usize = 4;

/// The greatest number of elements of a list of integers, such as axes, that is read with the file.
const LIST: usize = 8;

/// The values of a graph while it is read.
pub(super) struct Reader {
    opset: i64,
    /// The number of bytes that constants may still have.
    budget: usize,
    /// The number of bytes that weights of recurrent nodes may still have.
    weights: usize,
    names: HashMap<String, usize>,
    constants: Vec<Option<Value>>,
    /// The constants that are packed, by their indices.
    matrices: HashMap<usize, Arc<Matrix>>,
    nodes: Vec<Node>,
}

impl Reader {
    /// Begins to read a file of `bytes` bytes.
    pub(super) fn new(opset: i64, bytes: usize) -> Self {
        Self {
            opset,
            budget: bytes.saturating_mul(FOLDED_BYTES),
            weights: bytes.saturating_mul(FOLDED_BYTES),
            names: HashMap::new(),
            constants: Vec::new(),
            matrices: HashMap::new(),
            nodes: Vec::new(),
        }
    }

    /// Adds a value, which is known if it is a constant.
    fn add(&mut self, name: String, constant: Option<Value>) -> Result<usize> {
        let index = self.constants.len();
        self.call(name, index)?;
        self.constants.push(constant);
        Ok(index)
    }

    /// Gives a value a name.
    fn call(&mut self, name: String, index: usize) -> Result<()> {
        match self.names.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(index);
                Ok(())
            }
            Entry::Occupied(entry) => {
                let got = format!("two {:?}", entry.key());
                Err(Error::argument("name", "one value of each name", got))
            }
        }
    }

    /// Reads a graph.
    pub(super) fn read(mut self, graph: GraphMessage) -> Result<Graph> {
        for tensor in graph.initializers {
            let name = tensor.name.clone();
            let place = format!("initializer {name:?}, ");
            let value = Value::read(tensor).map_err(|error| error.prefixed(&place))?;
            self.add(name, Some(value))?;
        }
        let mut inputs = Vec::new();
        for info in graph.inputs {
            // Old files list the constants among the inputs.
            if !self.names.contains_key(&info.name) {
                let value = self.add(info.name.clone(), None)?;
                inputs.push(Port::new(info, value, "input")?);
            }
        }
        for node in graph.nodes {
            let place = format!("node {:?} ({}), ", node.name, node.op_type);
            self.node(node, &place).map_err(|error| error.prefixed(&place))?;
        }
        let mut outputs = Vec::new();
        for info in graph.outputs {
            let Some(&value) = self.names.get(&info.name) else {
                return Err(Error::argument("outputs", "values of the graph", info.name));
            };
            outputs.push(Port::new(info, value, "output")?);
        }
        let mut seen = HashSet::new();
        outputs.iter_mut().rev().for_each(|port| port.is_last = seen.insert(port.value));
        let Self { mut constants, mut nodes, .. } = self;
        drop_unused(&outputs, &mut constants, &mut nodes);
        Ok(Graph { inputs, outputs, constants, nodes, memory_limit: MEMORY_LIMIT })
    }

    fn node(&mut self, node: NodeMessage, place: &str) -> Result<()> {
        if !node.domain.is_empty() && node.domain != "ai.onnx" {
            return Err(Error::argument("domain", "that of ONNX", node.domain));
        }
        let mut inputs = Vec::new();
        for name in &node.inputs {
            let known = self.names.get(name).copied();
            if known.is_none() && !name.is_empty() {
                let expected = "values of the graph or of earlier nodes";
                return Err(Error::argument("inputs", expected, format!("{name:?}")));
            }
            inputs.push(known.filter(|_| !name.is_empty()));
        }
        let counts = (inputs.len(), node.outputs.len());
        let attributes = Attributes::new(node.attributes, self.opset, counts)?;
        if node.op_type == "Identity" {
            attributes.finish(1..=1, 1)?;
            let Some(value) = inputs[0] else {
                return Err(Error::argument("inputs", "a value of input 0", "none"));
            };
            let mut names = node.outputs.into_iter().filter(|name| !name.is_empty());
            return names.try_for_each(|name| self.call(name, value));
        }
        let (work, results) = self.work(&node.op_type, attributes, &mut inputs)?;
        let folded = results.is_some();
        let mut results = results.into_iter().flatten();
        let mut outputs = Vec::new();
        for name in node.outputs {
            let value = results.next();
            outputs.push(match name.is_empty() {
                true => None,
                false => Some(self.add(name, value)?),
            });
        }
        if !folded {
            let place = place.to_owned();
            self.nodes.push(Node { place, inputs, outputs, last: Vec::new(), work });
        }
        Ok(())
    }

    /// Returns what a node computes, and its outputs if they are constants. Inputs that are read here are removed.
    fn work(
        &mut self,
        op: &str,
        mut attributes: Attributes,
        inputs: &mut [Option<usize>],
    ) -> Result<(Work, Option<Vec<Value>>)> {
        let constants: Vec<Option<&Value>> =
            inputs.iter().map(|input| input.and_then(|v| self.constants[v].as_ref())).collect();
        let lists = constants.iter().enumerate().filter_map(|(k, value)| Some((k, (*value)?)));
        let lists = lists.filter(|(_, value)| value.shape().iter().product::<usize>() <= LIST);
        let integers = lists.filter_map(|(k, value)| Some((k, value.integers().ok()?)));
        attributes.integers = integers.collect();
        if let Some(mut recurrent) = RecurrentNode::new(op, &mut attributes)? {
            attributes.finish(recurrent.input_counts(), recurrent.output_count())?;
            let given: Vec<bool> = inputs.iter().map(Option::is_some).collect();
            if recurrent.build(&constants, &given, &mut self.weights)? {
                inputs.iter_mut().enumerate().for_each(|(index, input)| {
                    *input = input.filter(|_| !recurrent.is_weight(index));
                });
            }
            return Ok((Work::Recurrent(Box::new(recurrent)), None));
        }
        let kernel = kernel(op, &mut attributes)?;
        attributes.finish(kernel.inputs.clone(), kernel.outputs)?;
        let results = folded(op, &kernel, inputs, &constants, &mut self.budget);
        if let ("MatMul", &mut [_, Some(index)], None) = (op, &mut *inputs, &results)
            && let Some(matrix) =
                constants[1].and_then(|value| packed(&mut self.matrices, index, value))
        {
            inputs[1] = None;
            return Ok((Work::Product(matrix), None));
        }
        Ok((Work::Plain(kernel), results))
    }
}

/// Returns the constant `index` packed for products, once for all nodes that read it, if it is a matrix.
fn packed(
    matrices: &mut HashMap<usize, Arc<Matrix>>,
    index: usize,
    value: &Value,
) -> Option<Arc<Matrix>> {
    if let Some(matrix) = matrices.get(&index) {
        return Some(matrix.clone());
    }
    let matrix = Arc::new(Matrix::new(value)?);
    matrices.insert(index, matrix.clone());
    Some(matrix)
}

/// Returns the outputs of a node if all its inputs are constants and so are its outputs. `budget` is the number
/// of bytes that constants may still have.
fn folded(
    op: &str,
    kernel: &Kernel,
    inputs: &[Option<usize>],
    constants: &[Option<&Value>],
    budget: &mut usize,
) -> Option<Vec<Value>> {
    let bytes: usize = constants.iter().flatten().map(|value| value.bytes()).sum();
    let mut pairs = inputs.iter().zip(constants);
    let known = pairs.all(|(input, value)| input.is_none() || value.is_some());
    if op != "Constant" && !(FOLDED.contains(&op) && known && bytes <= *budget) {
        return None;
    }
    let computed = kernel.compute(&Inputs { values: constants, limit: usize::MAX }).ok()?;
    let results = match computed {
        Computed::Values(values) => values,
        Computed::Reshaped(shape) => {
            let value = constants.first().copied().flatten()?;
            vec![reshaped(value.clone(), &shape).ok()?]
        }
    };
    *budget = budget.saturating_sub(bytes);
    Some(results)
}

impl Port {
    fn new(info: ValueInfo, value: usize, role: &str) -> Result<Self> {
        let declared = info.kind.and_then(|kind| kind.tensor);
        if let Some(declared) = &declared {
            let place = format!("{role} {:?}, ", info.name);
            check_type(declared.elem_type).map_err(|error| error.prefixed(&place))?;
        }
        Ok(Self { name: info.name, value, is_last: true, declared })
    }
}

/// Finds the last node that reads each value, and removes the constants that none reads.
fn drop_unused(outputs: &[Port], constants: &mut [Option<Value>], nodes: &mut [Node]) {
    let mut needed = vec![false; constants.len()];
    outputs.iter().for_each(|port| needed[port.value] = true);
    for node in nodes.iter_mut().rev() {
        for &value in node.outputs.iter().chain(&node.inputs).flatten() {
            if !std::mem::replace(&mut needed[value], true) {
                node.last.push(value);
            }
        }
    }
    for (constant, needed) in constants.iter_mut().zip(needed) {
        if !needed {
            *constant = None;
        }
    }
}
