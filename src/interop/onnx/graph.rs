//! [`Graph`]: a file that was read, and the nodes in the order of the file.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost::Message;

use crate::error::{Error, Result};
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::operator::{Inputs, Kernel, kernel};
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
const FOLDED: [&str; 8] =
    ["Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Concat", "Slice", "Split"];

/// The number of bytes that all such constants may have, for each byte of the file.
const FOLDED_BYTES: usize = 4;

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
    pub(super) nodes: Vec<Node>,
    memory_limit: usize,
}

/// An input or output of a graph.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// The index of its value.
    value: usize,
    declared: Option<TensorType>,
}

/// A node of a graph. Its values are indices.
#[derive(Debug)]
pub(super) struct Node {
    /// The name and the operator, for messages.
    pub(super) place: String,
    inputs: Vec<Option<usize>>,
    outputs: Vec<Option<usize>>,
    /// The values that no later node reads.
    last: Vec<usize>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    Plain(Kernel),
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

    pub(super) fn decode(bytes: &[u8]) -> Result<Self> {
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
    /// # Errors
    /// If an input is missing, unknown, or of another type or shape than the graph declares, if a node
    /// cannot compute its outputs from its inputs, or if the values exceed the
    /// [`memory_limit`](Self::memory_limit). The error names the input or the node.
    pub fn run(&self, inputs: &[(&str, Value)]) -> Result<BTreeMap<String, Value>> {
        let inputs = inputs.iter().map(|(name, value)| (*name, value));
        self.run_with(&mut { inputs }, &mut Memory::default())
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

    /// Computes the outputs. `memory` belongs to this graph.
    pub(super) fn run_with<'g, 'v>(
        &'g self,
        inputs: &mut dyn Iterator<Item = (&'v str, &'v Value)>,
        memory: &mut Memory<'g>,
    ) -> Result<BTreeMap<String, Value>> {
        let mut values: Vec<Option<Cow<'_, Value>>> =
            self.constants.iter().map(|value| value.as_ref().map(Cow::Borrowed)).collect();
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
        let mut bytes = 0;
        for (index, node) in self.nodes.iter().enumerate() {
            let of = |&value: &Option<usize>| value.and_then(|value| values[value].as_deref());
            let given: Vec<Option<&Value>> = node.inputs.iter().map(of).collect();
            let inputs = Inputs { values: &given, limit: self.memory_limit.saturating_sub(bytes) };
            let results = match &node.work {
                Work::Plain(kernel) => (kernel.function)(&inputs),
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
        let result = |port: &Port| {
            let value = values[port.value].clone();
            value.map(|value| (port.name.clone(), value.into_owned()))
        };
        Ok(self.outputs.iter().filter_map(result).collect())
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
    nodes: Vec<Node>,
}

impl Reader {
    fn new(opset: i64, budget: usize) -> Self {
        Self { opset, budget, names: HashMap::new(), constants: Vec::new(), nodes: Vec::new() }
    }

    /// Adds a value, which is known if it is a constant.
    fn add(&mut self, name: String, constant: Option<Value>) -> Result<usize> {
        let index = self.constants.len();
        if let Some(first) = self.names.insert(name.clone(), index) {
            self.names.insert(name.clone(), first);
            return Err(Error::argument("name", "one value of each name", format!("two {name:?}")));
        }
        self.constants.push(constant);
        Ok(index)
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
        let mut attributes = Attributes::new(node.attributes, self.opset, counts)?;
        let constants: Vec<Option<&Value>> =
            inputs.iter().map(|input| input.and_then(|v| self.constants[v].as_ref())).collect();
        let recurrent = RecurrentNode::new(&node.op_type, &mut attributes)?;
        let (work, results) = match recurrent {
            Some(mut recurrent) => {
                attributes.finish(recurrent.input_counts(), recurrent.output_count())?;
                let given: Vec<bool> = inputs.iter().map(Option::is_some).collect();
                if recurrent.build(&constants, &given)? {
                    inputs.iter_mut().enumerate().for_each(|(index, input)| {
                        *input = input.filter(|_| !recurrent.is_weight(index));
                    });
                }
                (Work::Recurrent(Box::new(recurrent)), None)
            }
            None => {
                let kernel = kernel(&node.op_type, &mut attributes)?;
                attributes.finish(kernel.inputs.clone(), kernel.outputs)?;
                let budget = &mut self.budget;
                let results = folded(&node.op_type, &kernel, &inputs, &constants, budget);
                (Work::Plain(kernel), results)
            }
        };
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
        Ok(Self { name: info.name, value, declared })
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
