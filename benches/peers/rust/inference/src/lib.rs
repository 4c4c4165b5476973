//! The ONNX model of a case, the one that `workers/onnx_model.py` writes for full sequences in one
//! direction, and the work of an engine that runs it.

use peer_protocol::{Array, Case, Made, Result, Tensors, Work};
/// An engine with a loaded model. The inputs are `x`, and h and c of each layer; the outputs are the
/// sequence, and h and c of each layer.
pub trait Engine {
    type Value;
    fn value(array: &Array) -> Self::Value;
    fn array(value: &Self::Value) -> Result<Array>;
    fn run(&mut self, x: &Self::Value, states: &[Self::Value]) -> Result<Vec<Self::Value>>;
}

struct Loaded<E: Engine> {
    case: Case,
    engine: E,
    rows: Vec<E::Value>,
    start: Vec<E::Value>,
    carried: Vec<E::Value>,
    t: usize,
}

/// Returns the work of a case with the engine that `load` makes of the model.
pub fn work<E: Engine + 'static>(
    case: &Case,
    tensors: &Tensors,
    load: impl FnOnce(Vec<u8>) -> Result<E>,
) -> Result<Made> {
    if let Some(reason) = case.beyond_plain_stack() {
        return Ok(Made::Unsupported(reason));
    }
    if case.trains() {
        return Ok(Made::Unsupported("the crate runs inference only"));
    }
    if case.dtype != "f32" {
        return Ok(Made::Unsupported("this worker runs f32"));
    }
    let states = |kind: fn(&Array) -> E::Value| {
        let layers = 0..case.num_layers;
        let names = state_names(case);
        let part = |name, layer| kind(&tensors[&format!("{name}_0")].part(layer, case.num_layers));
        layers.flat_map(|layer| names.iter().map(move |name| part(name, layer))).collect()
    };
    let x = &tensors["x"];
    let rows = match case.mode.as_str() {
        "step" => (0..x.shape[0]).map(|t| E::value(&x.part(t, x.shape[0]))).collect(),
        _ => vec![E::value(x)],
    };
    Ok(Made::Work(Box::new(Loaded {
        case: case.clone(),
        engine: load(model(case, tensors))?,
        rows,
        start: states(E::value),
        carried: states(E::value),
        t: 0,
    })))
}

impl<E: Engine> Loaded<E> {
    /// Runs a step and returns its output.
    fn step(&mut self) -> Result<E::Value> {
        let x = &self.rows[self.t % self.rows.len()];
        let mut results = self.engine.run(x, &self.carried)?;
        self.carried = results.split_off(1);
        self.t += 1;
        results.pop().ok_or_else(|| "no output".into())
    }
}

impl<E: Engine> Work for Loaded<E> {
    fn run(&mut self) -> Result<()> {
        if self.case.mode == "step" {
            std::hint::black_box(self.step()?);
        } else {
            std::hint::black_box(self.engine.run(&self.rows[0], &self.start)?);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<Vec<(String, Array)>> {
        if self.case.mode == "step" {
            self.t = 0;
            for index in 0..self.start.len() {
                self.carried[index] = E::value(&E::array(&self.start[index])?);
            }
            let outputs = (0..10).map(|_| self.step()).collect::<Result<Vec<_>>>()?;
            let shape = [self.case.batch, self.case.hidden_size];
            return Ok(vec![("output".into(), Array::new(&shape, E::array(&outputs[9])?.values))]);
        }
        let results = self.engine.run(&self.rows[0], &self.start)?;
        let arrays = results.iter().map(E::array).collect::<Result<Vec<_>>>()?;
        let names = state_names(&self.case);
        let mut named = vec![("output".to_string(), arrays[0].clone())];
        for (index, name) in names.iter().enumerate() {
            let layers: Vec<_> = arrays[1..].iter().skip(index).step_by(names.len()).collect();
            named.push((
                format!("{name}_n"),
                Array::concat(&layers.into_iter().cloned().collect::<Vec<_>>()),
            ));
        }
        Ok(named)
    }
}

fn state_names(case: &Case) -> &'static [&'static str] {
    if case.cell == "lstm" { &["h", "c"] } else { &["h"] }
}

/// Returns a weight with ONNX's order of gates in PyTorch's: i,o,f,c of i,f,g,o and z,r,h of r,z,n.
fn reordered(case: &Case, weight: &Array) -> Array {
    let gates: &[usize] = match case.cell.as_str() {
        "lstm" => &[0, 3, 1, 2],
        "gru" => &[1, 0, 2],
        _ => &[0],
    };
    Array::concat(&gates.iter().map(|gate| weight.part(*gate, gates.len())).collect::<Vec<_>>())
}

/// A message of ONNX in the format of protobuf, whose fields are numbered.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 128 {
            self.0.push(value as u8 | 128);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: usize) -> Self {
        self.varint(field << 3);
        self.varint(value as u64);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: impl AsRef<str>) -> Self {
        self.bytes(field, text.as_ref().as_bytes())
    }

    fn message(self, field: u64, message: Message) -> Self {
        self.bytes(field, &message.0)
    }
}

const FLOAT: usize = 1;
const INT64: usize = 7;

/// Returns an initializer.
fn constant(name: &str, dims: &[usize], kind: usize, data: Vec<u8>) -> Message {
    let message = dims.iter().fold(Message::default(), |message, dim| message.number(1, *dim));
    message.number(2, kind).text(8, name).bytes(9, &data)
}

/// Returns an input or output.
fn value(name: &str, dims: &[usize]) -> Message {
    let shape = dims.iter().fold(Message::default(), |shape, dim| {
        shape.message(1, Message::default().number(1, *dim))
    });
    let tensor = Message::default().number(1, FLOAT).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

fn node(op: &str, inputs: &[String], outputs: &[String], attributes: &[(&str, usize)]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    let node = outputs.iter().fold(node, |node, output| node.text(2, output));
    let node = node.text(3, format!("of_{}", outputs[0])).text(4, op);
    attributes.iter().fold(node, |node, (name, value)| {
        let integer = 2;
        node.message(5, Message::default().text(1, name).number(3, *value).number(20, integer))
    })
}

/// Returns the model: a node for each layer, and one that takes the axis of directions out of its output.
fn model(case: &Case, tensors: &Tensors) -> Vec<u8> {
    let (batch, hidden) = (case.batch, case.hidden_size);
    let time = if case.mode == "step" { 1 } else { case.time };
    let (op, attributes): (_, &[_]) = match case.cell.as_str() {
        "lstm" => ("LSTM", &[("hidden_size", hidden)]),
        "gru" => ("GRU", &[("hidden_size", hidden), ("linear_before_reset", 1)]),
        _ => ("RNN", &[("hidden_size", hidden)]),
    };
    let plain = [time, batch, hidden];
    let plain_bytes = plain.iter().flat_map(|dim| (*dim as i64).to_le_bytes()).collect();
    let mut graph = Message::default()
        .text(2, &case.name)
        .message(5, constant("plain", &[3], INT64, plain_bytes))
        .message(11, value("x", &[time, batch, case.input_size]))
        .message(12, value("output", &plain));
    let mut x = "x".to_string();
    for layer in 0..case.num_layers {
        let weight = |kind: &str| reordered(case, &tensors[&format!("{kind}_l{layer}")]);
        let bias = Array::concat(&[weight("bias_ih"), weight("bias_hh")]);
        let mut inputs = vec![x];
        for (name, weight) in [("W", weight("weight_ih")), ("R", weight("weight_hh")), ("B", bias)]
        {
            let name = format!("{name}{layer}");
            let dims = [vec![1], weight.shape].concat(); // of one direction
            let data = weight.values.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect();
            graph = graph.message(5, constant(&name, &dims, FLOAT, data));
            inputs.push(name);
        }
        inputs.push(String::new()); // no lengths
        let mut outputs = vec![format!("Y{layer}")];
        for state in state_names(case) {
            let (before, after) = (format!("{state}_0_{layer}"), format!("{state}_n_{layer}"));
            graph = graph.message(11, value(&before, &[1, batch, hidden]));
            graph = graph.message(12, value(&after, &[1, batch, hidden]));
            inputs.push(before);
            outputs.push(after);
        }
        graph = graph.message(1, node(op, &inputs, &outputs, attributes));
        let last = layer + 1 == case.num_layers;
        x = if last { "output".into() } else { format!("x{}", layer + 1) };
        let reshaped = [format!("Y{layer}"), "plain".into()];
        graph = graph.message(1, node("Reshape", &reshaped, std::slice::from_ref(&x), &[]));
    }
    let opset = Message::default().text(1, "").number(2, 17);
    Message::default().number(1, 9).message(7, graph).message(8, opset).0
}
