//! [`Graph`]: a file that was read, and the nodes in the order of the file.
#![expect(
    clippy::indexing_slicing,
    reason = "the numbers of values were given when the graph was read"
)]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use prost::Message;

use crate::error::{Error, Result};
use crate::interop::onnx::operator::{Computed, Inputs, Kernel, Matrix, reshaped};
use crate::interop::onnx::proto::{Model, TensorType};
use crate::interop::onnx::reader::Reader;
use crate::interop::onnx::recurrent::{Memory, Node as RecurrentNode};
use crate::interop::onnx::stream::Stream;
use crate::interop::onnx::value::{Value, check_declared};

/// The versions of the operators that are read.
pub(super) const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// The default of [`Graph::memory_limit`].
pub(super) const MEMORY_LIMIT: usize = 1 << 32;

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
    pub(super) constants: Vec<Option<Value>>,
    pub(super) nodes: Vec<Node>,
    pub(super) memory_limit: usize,
}

/// An input or output of a graph.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    /// The index of its value.
    pub(super) value: usize,
    /// Whether no later port has this value.
    pub(super) is_last: bool,
    pub(super) declared: Option<TensorType>,
}

/// A node of a graph. Its values are indices.
#[derive(Debug)]
pub(super) struct Node {
    /// The name and the operator, for messages.
    pub(super) place: String,
    pub(super) inputs: Vec<Option<usize>>,
    pub(super) outputs: Vec<Option<usize>>,
    /// The values that no later node reads.
    pub(super) last: Vec<usize>,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    Plain(Kernel),
    /// A product by a constant matrix.
    Product(Arc<Matrix>),
    Recurrent(Box<RecurrentNode>),
}

/// Reads a file, and passes its message and its number of bytes to `f`.
pub(super) fn read_file<R>(path: &Path, f: impl FnOnce(Model, usize) -> Result<R>) -> Result<R> {
    let read = std::fs::read(path);
    let bytes = read.map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let model = Model::decode(&bytes[..]);
    let model = model.map_err(|error| Error::argument("bytes", "a ModelProto", error));
    model.and_then(|model| f(model, bytes.len())).map_err(|problem| Error::Format {
        path: path.to_owned(),
        format: "ONNX",
        problem: problem.to_string(),
    })
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
        read_file(path.as_ref(), Self::new)
    }

    /// Returns the graph of a file of `bytes` bytes.
    pub(super) fn new(model: Model, bytes: usize) -> Result<Self> {
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
        Reader::new(opset, bytes).read(graph)
    }

    /// Sets the number of bytes that the values of a [`run`](Graph::run) may have at a time: 4 GiB by
    /// default. A file can ask for far more memory than its own size, by `Expand` for example.
    pub fn memory_limit(self, bytes: usize) -> Self {
        Self { memory_limit: bytes, ..self }
    }

    /// Returns the names of the inputs.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().map(|port| port.name.as_str())
    }

    /// Returns the names of the outputs.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|port| port.name.as_str())
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
            let limit = self.memory_limit.saturating_sub(bytes);
            let computed = self.compute((index, node), &values, limit, memory);
            let results = computed.and_then(|computed| match computed {
                Computed::Values(values) => Ok(values),
                Computed::Reshaped(shape) => {
                    let value = self.first_input(node, &mut values, &mut bytes)?;
                    Ok(vec![reshaped(value, &shape)?])
                }
            });
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

    /// Computes a node from the values so far.
    fn compute<'g>(
        &'g self,
        (index, node): (usize, &'g Node),
        values: &[Option<Cow<'_, Value>>],
        limit: usize,
        memory: &mut Memory<'g>,
    ) -> Result<Computed> {
        let (mut few, mut many) = ([None; FEW], Vec::new());
        let given = match few.get_mut(..node.inputs.len()) {
            Some(few) => few,
            None => {
                many.resize(node.inputs.len(), None);
                &mut many[..]
            }
        };
        for (given, input) in given.iter_mut().zip(&node.inputs) {
            *given = input.and_then(|input| self.known(values, input));
        }
        let inputs = Inputs { values: given, limit };
        match &node.work {
            Work::Plain(kernel) => kernel.compute(&inputs),
            Work::Product(matrix) => matrix.multiply(&inputs).map(Computed::Values),
            Work::Recurrent(node) => node.run(&inputs, memory, index).map(Computed::Values),
        }
    }

    /// Returns the first input of a node. It is moved out of `values` if nothing reads it later.
    fn first_input(
        &self,
        node: &Node,
        values: &mut [Option<Cow<'_, Value>>],
        bytes: &mut usize,
    ) -> Result<Value> {
        let missing = || Error::argument("inputs", "a value of input 0", "none");
        let input = node.inputs.first().copied().flatten().ok_or_else(missing)?;
        if node.last.contains(&input)
            && let Some(Cow::Owned(value)) =
                values[input].take_if(|value| matches!(value, Cow::Owned(_)))
        {
            *bytes -= value.bytes();
            return Ok(value);
        }
        self.known(values, input).cloned().ok_or_else(missing)
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
