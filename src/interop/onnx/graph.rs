//! [`Graph`]: a file that was read, and the nodes in the order of the file.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use prost::Message;

use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::operator::{Inputs, Kernel, Matrix, kernel};
use crate::interop::onnx::proto::{GraphMessage, Model, NodeMessage, TensorType, ValueInfo};
use crate::interop::onnx::recurrent::{Memory, Node as RecurrentNode};
use crate::interop::onnx::stream::Stream;
use crate::interop::onnx::value::{Value, check_declared, check_type};

/// The versions of the operators that are read.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The default of [`Graph::memory_limit`].
const MEMORY_LIMIT: usize = 1 << 32;

/// The operators that are computed when a file is read if their inputs are constants. Their outputs have
/// no more elements than their inputs.
const FOLDED: [&str; 7] =
    ["Transpose", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Slice", "Split"];

/// The number of bytes that all such constants and the weights of recurrent nodes may have, for each byte of the
/// file.
const FOLDED_BYTES: usize = 4;

/// The greatest number of elements of a list of integers, such as axes, that is read with the file.
const LIST: usize = 8;

/// The number of inputs that most nodes do not exceed.
const FEW: usize = 8;

/// A network from an ONNX file.
///
/// [`load`](Graph::load) checks the whole file: each operator, each attribute and the type of each constant
/// is one that [`run`](Graph::run) computes, or the error names it and its node. The recurrent operators
/// run on this crate's engine; see the [module](super) for the operators.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("recurrent-doc-graph-{}.onnx", std::process::id()));
/// use ndarray::Array3;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::interop::onnx::{Export, Graph};
/// use recurrent::{LstmCell, Sequences, model::SequenceTagger};
///
/// let builder = SequenceTagger::<LstmCell<f32>>::builder(3, 2).hidden_size(8);
/// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// model.to_onnx(&path)?;
///
/// let graph = Graph::load(&path)?;
/// let x = Array3::ones((5, 1, 3)); // [time, batch, features]
/// let lengths = ndarray::array![5_i32];
/// let outputs = graph.run(&[("x", x.clone().into()), ("lengths", lengths.into())])?;
/// let expected = model.probabilities(&Sequences::full(x)?)?;
/// for (got, expected) in outputs["probabilities"].array::<f32>()?.iter().zip(expected.values()) {
///     assert!((got - expected).abs() < 1e-6);
/// }
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Debug)]
pub struct Graph {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    constants: Vec<Option<Value>>,
    nodes: Vec<Node>,
    memory_limit: usize,
}

/// An input or output of a graph.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// The index of its value.
    value: usize,
    /// Whether no later port has this value.
    is_last: bool,
    declared: Option<TensorType>,
}

/// A node of a graph. Its values are indices.
#[derive(Debug)]
struct Node {
    /// The name and the operator, for messages.
    place: String,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    /// The values that no later node reads.
    last: Vec<usize>,
    work: Work,
}

#[derive(Debug)]
enum Work {
    Plain(Kernel),
    /// A product by a constant matrix.
    Product(Arc<Matrix>),
    Recurrent(Box<RecurrentNode>),
}

impl Graph {
    /// Reads a file.
    ///
    /// Reading takes at most 500 bytes of memory for each byte of the file.
    ///
    /// # Errors
    /// If the file cannot be read or is not ONNX, its version of the operators is not in 7 to 28, or it
    /// holds anything that is not supported: an operator or an attribute that is not in the list of the
    /// [module](super), another element type than `float`, `double`, `int32`, `int64` and `bool`,
    /// subgraphs, functions, sparse tensors, or data in other files. The error names the node.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let read = std::fs::read(path);
        let bytes = read.map_err(|source| Error::Io { path: path.to_owned(), source })?;
        Self::decode(&bytes).map_err(|problem| Error::Format {
            path: path.to_owned(),
            format: "ONNX",
            problem: problem.to_string(),
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        let model = Model::decode(bytes);
        let model = model.map_err(|error| Error::argument("bytes", "a ModelProto", error))?;
        let own = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let opset = model.opset_import.iter().find(|opset| own(&opset.domain));
        let opset = opset.map_or(1, |opset| opset.version);
        if !OPSETS.contains(&opset) {
            let expected = format!("{} to {}", OPSETS.start(), OPSETS.end());
            return Err(Error::argument("opset_import, version", expected, opset));
        }
        refuse("functions", model.functions.len())?;
        let Some(graph) = model.graph else {
            return Err(Error::argument("graph", "a graph", "none"));
        };
        refuse("sparse_initializer", graph.sparse_initializers.len())?;
        refuse("quantization_annotation", graph.quantization.len())?;
        Reader::new(opset, bytes.len().saturating_mul(FOLDED_BYTES)).read(graph)
    }

    /// Sets the number of bytes that the values of a [`run`](Graph::run) may have at a time: 4 GiB by
    /// default. A file can ask for far more memory than its own size, by `Expand` for example.
    pub fn memory_limit(self, bytes: usize) -> Self {
        Self { memory_limit: bytes, ..self }
    }

    /// Returns the names of the inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|port| &port.name[..])
    }

    /// Returns the names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|port| &port.name[..])
    }

    /// Computes the outputs, by their names.
    ///
    /// Each call packs the weights of the recurrent operators. A [`stream`](Self::stream), with states or without,
    /// packs them once.
    ///
    /// # Errors
    /// If an input is missing, unknown, or of another type or shape than the graph declares, if a node
    /// cannot compute its outputs from its inputs, or if the values exceed the
    /// [`memory_limit`](Self::memory_limit). The error names the input or the node.
    pub fn run(&self, inputs: &[(&str, Value)]) -> Result<BTreeMap<String, Value>> {
        let inputs = inputs.iter().map(|(name, value)| (*name, value));
        let values = self.run_with(&mut { inputs }, &mut Memory::default())?;
        let named = self.outputs.iter().zip(values);
        Ok(named.filter_map(|(port, value)| Some((port.name.clone(), value?))).collect())
    }

    /// Creates a stream, which hands outputs of a step to inputs of the next.
    ///
    /// `states` are pairs of an input and an output, such as `("h_0", "h_n")`. `initial` are the values of
    /// these inputs at the first step.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-steps-{}.onnx", std::process::id()));
    /// use ndarray::{Array2, Array3};
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::onnx::{Export, Graph};
    /// use recurrent::{LstmCell, model::SequenceTagger};
    ///
    /// let builder = SequenceTagger::<LstmCell<f32>>::builder(3, 2).hidden_size(8);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// model.to_onnx_stream(&path)?;
    ///
    /// let graph = Graph::load(&path)?;
    /// let zeros = || Array2::<f32>::zeros((1, 8)).into(); // [batch, hidden]
    /// let states = [("h_l0", "next_h_l0"), ("c_l0", "next_c_l0")];
    /// let mut stream = graph.stream(&states, &[("h_l0", zeros()), ("c_l0", zeros())])?;
    /// let mut own = model.stream(1)?;
    /// for _ in 0..3 {
    ///     let outputs = stream.step(&[("x", Array3::<f32>::ones((1, 1, 3)).into())])?;
    ///     let expected = own.step(Array2::ones((1, 3)).view())?;
    ///     let got = outputs["probabilities"].array::<f32>()?;
    ///     assert!((got[[0, 0, 0]] - expected[[0, 0]]).abs() < 1e-6);
    /// }
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the graph has no such input or output, or `initial` is not a value for each state.
    pub fn stream(&self, states: &[(&str, &str)], initial: &[(&str, Value)]) -> Result<Stream<'_>> {
        Stream::new(self, states, initial)
    }

    /// Computes the values of the outputs, in their order. `memory` belongs to this graph.
    pub(super) fn run_with<'g, 'v>(
        &'g self,
        inputs: &mut dyn Iterator<Item = (&'v str, &'v Value)>,
        memory: &mut Memory<'g>,
    ) -> Result<Vec<Option<Value>>> {
        let mut values = self.values(inputs)?;
        let mut bytes = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let of = |&value: &Option<usize>| value.and_then(|value| self.known(&values, value));
            let (mut few, mut many) = ([None; FEW], Vec::new());
            let given = match few.get_mut(..node.inputs.len()) {
                Some(few) => few,
                None => {
                    many.resize(node.inputs.len(), None);
                    &mut many[..]
                }
            };
            given.iter_mut().zip(&node.inputs).for_each(|(given, input)| *given = of(input));
            let inputs = Inputs { values: given, limit: self.memory_limit.saturating_sub(bytes) };
            let results = match &node.work {
                Work::Plain(kernel) => (kernel.function)(&inputs),
                Work::Product(matrix) => matrix.multiply(&inputs),
                Work::Recurrent(recurrent) => recurrent.run(&inputs, memory, index),
            };
            let results = results.map_err(|error| error.prefixed(&node.place))?;
            for (output, value) in node.outputs.iter().zip(results) {
                let Some(output) = *output else { continue };
                bytes += value.bytes();
                values[output] = Some(Cow::Owned(value));
            }
            for &value in &node.last {
                if let Some(Cow::Owned(value)) = values[value].take() {
                    bytes -= value.bytes();
                }
            }
        }
        let result = |port: &Port| match values[port.value].take() {
            Some(value) if port.is_last => Some(value.into_owned()),
            Some(value) => {
                let copy = value.clone().into_owned();
                values[port.value] = Some(value);
                Some(copy)
            }
            None => self.constants[port.value].clone(),
        };
        Ok(self.outputs.iter().map(result).collect())
    }

    /// Returns the values of the inputs at their indices.
    fn values<'v>(
        &self,
        inputs: &mut dyn Iterator<Item = (&'v str, &'v Value)>,
    ) -> Result<Vec<Option<Cow<'v, Value>>>> {
        let mut values: Vec<Option<Cow<'v, Value>>> = Vec::new();
        values.resize_with(self.constants.len(), || None);
        for (name, value) in inputs {
            let Some(port) = self.inputs.iter().find(|port| port.name == name) else {
                let expected = format!("one of {:?}", self.inputs().collect::<Vec<_>>());
                return Err(Error::argument("inputs", expected, name));
            };
            if let Some(declared) = &port.declared {
                check_declared(name, declared, value)?;
            }
            values[port.value] = Some(Cow::Borrowed(value));
        }
        if let Some(port) = self.inputs.iter().find(|port| values[port.value].is_none()) {
            return Err(Error::argument("inputs", format!("a value of {:?}", port.name), "none"));
        }
        Ok(values)
    }

    /// Returns a value that is computed or constant.
    fn known<'a>(
        &'a self,
        values: &'a [Option<Cow<'_, Value>>],
        index: usize,
    ) -> Option<&'a Value> {
        values[index].as_deref().or(self.constants[index].as_ref())
    }
}

fn refuse(what: &'static str, count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    Err(Error::argument(what, "none: they are not supported", count))
}

/// The values of a graph while it is read.
struct Reader {
    opset: i64,
    /// The number of bytes that constants may still have.
    budget: usize,
    names: HashMap<String, usize>,
    constants: Vec<Option<Value>>,
    /// The constants that are packed, by their indices.
    matrices: HashMap<usize, Arc<Matrix>>,
    nodes: Vec<Node>,
}

impl Reader {
    fn new(opset: i64, budget: usize) -> Self {
        Self {
            opset,
            budget,
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

    fn read(mut self, graph: GraphMessage) -> Result<Graph> {
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
            if recurrent.build(&constants, &given, &mut self.budget)? {
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
    let results = (kernel.function)(&Inputs { values: constants, limit: usize::MAX }).ok()?;
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
