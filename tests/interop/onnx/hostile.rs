//! Files that are not what they seem, and inputs that do not fit.

use ndarray::{Array1, Array2, Array3, array};
use prost::Message;
use recurrent::interop::onnx::{Graph, Value};

use super::fixtures::{cases, load, run};

/// The messages that the tests need, with the field numbers of ONNX.
#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Body>,
    #[prost(message, repeated, tag = "8")]
    opset: Vec<Opset>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Opset>,
}

#[derive(Clone, PartialEq, Message)]
struct Opset {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    constants: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<Port>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<Port>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    inputs: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    outputs: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op: String,
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(float, optional, tag = "2")]
    f: Option<f32>,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    strings: Vec<Vec<u8>>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    kind: i32,
    #[prost(int64, repeated, tag = "7")]
    integers: Vec<i64>,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw: Vec<u8>,
    #[prost(message, repeated, tag = "13")]
    external: Vec<Opset>,
    #[prost(int32, tag = "14")]
    location: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Port {
    #[prost(string, tag = "1")]
    name: String,
}

fn node(op: &str, inputs: &[&str], attributes: Vec<Attribute>) -> Node {
    let inputs = inputs.iter().map(|&name| name.to_owned()).collect();
    let (outputs, name) = (vec!["y".to_owned()], "node".to_owned());
    Node { inputs, outputs, name, op: op.to_owned(), attributes, domain: String::new() }
}

fn port(name: &str) -> Port {
    Port { name: name.to_owned() }
}

/// Returns a file with the input x, the output y and one node.
fn model(node: Node, constants: Vec<Tensor>) -> Model {
    let (inputs, outputs) = (vec![port("x")], vec![port("y")]);
    let graph = Some(Body { nodes: vec![node], constants, inputs, outputs });
    Model { graph, opset: vec![Opset { domain: String::new(), version: 17 }], functions: vec![] }
}

fn integers(name: &str, values: &[i64]) -> Tensor {
    let dims = vec![values.len() as i64];
    Tensor { dims, kind: 7, integers: values.to_vec(), name: name.to_owned(), ..Tensor::default() }
}

fn int(name: &str, value: i64) -> Attribute {
    Attribute { name: name.to_owned(), i: Some(value), kind: 2, ..Attribute::default() }
}

fn text(name: &str, value: &str) -> Attribute {
    let s = Some(value.as_bytes().to_vec());
    Attribute { name: name.to_owned(), s, kind: 3, ..Attribute::default() }
}

/// Returns the message of the error with which a file is refused.
fn refused(model: &Model) -> String {
    let error = load(&model.encode_to_vec()).unwrap_err();
    assert!(matches!(error, recurrent::Error::Format { format: "ONNX", .. }), "{error}");
    error.to_string()
}

/// Fails unless the error of a file names `parts`.
fn check(model: &Model, parts: &[&str]) {
    let error = refused(model);
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

fn matrix() -> Value {
    array![[1.0_f32, 2.0, 3.0], [4.0, 5.0, 6.0]].into()
}

/// Returns the output of a file for the input x.
fn computed(model: &Model, x: Value) -> recurrent::Result<Value> {
    let graph = load(&model.encode_to_vec())?.memory_limit(1 << 20);
    Ok(graph.run(&[("x", x)])?.remove("y").unwrap())
}

#[test]
fn a_truncated_or_changed_file_is_refused_or_runs() {
    let cases = cases("onnx_nodes");
    let case = &cases["set_lstm_peepholes"];
    for end in (0..case.model.len()).step_by(7) {
        if let Ok(graph) = load(&case.model[..end]) {
            run(&graph, &case.inputs).err();
        }
    }
    // Many changed bytes are in the weights: these files run.
    for place in (0..case.model.len()).step_by(5) {
        for change in [1, 0x7f, 0xff] {
            let mut bytes = case.model.clone();
            bytes[place] ^= change;
            if let Ok(graph) = load(&bytes) {
                run(&graph.memory_limit(1 << 22), &case.inputs).err();
            }
        }
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let identity = || node("Identity", &["x"], vec![]);
    let mut other = model(identity(), vec![]);
    other.opset[0].version = 6;
    check(&other, &["opset_import, version", "7 to 28", "got 6"]);
    other.opset[0].version = 99;
    check(&other, &["opset_import, version", "got 99"]);
    other.opset.clear();
    check(&other, &["opset_import, version"]);
    let mut other = model(identity(), vec![]);
    other.functions.push(Opset::default());
    check(&other, &["functions"]);

    let unknown = model(node("Conv", &["x"], vec![]), vec![]);
    check(&unknown, &["node \"node\" (Conv), operator", "got Conv"]);
    let domain = Node { domain: "com.microsoft".to_owned(), ..identity() };
    check(&model(domain, vec![]), &["node \"node\" (Identity), domain", "com.microsoft"]);
    let attribute = node("Identity", &["x"], vec![int("axis", 1)]);
    check(&model(attribute, vec![]), &["node \"node\" (Identity), attribute", "got axis"]);
    let twice = node("Concat", &["x"], vec![int("axis", 1), int("axis", 0)]);
    check(&model(twice, vec![]), &["axis", "two"]);
    let kind = node("Concat", &["x"], vec![text("axis", "1")]);
    check(&model(kind, vec![]), &["axis", "type 2"]);
    let few = node("Add", &["x"], vec![]);
    check(&model(few, vec![]), &["(Add), inputs", "2 to 2", "got 1"]);
    let float16 = Tensor { kind: 10, ..integers("w", &[]) };
    check(&model(identity(), vec![float16]), &["initializer \"w\"", "float16"]);
}

#[test]
fn wrong_constants_are_refused() {
    let with = |tensor: Tensor| model(node("Identity", &["x"], vec![]), vec![tensor]);
    let external = Tensor { location: 1, ..integers("w", &[1]) };
    check(&with(external), &["initializer \"w\", data", "external data"]);
    let external = Tensor { external: vec![Opset::default()], ..integers("w", &[1]) };
    check(&with(external), &["external data"]);
    let huge = Tensor { dims: vec![1 << 40, 1 << 40], ..integers("w", &[1]) };
    check(&with(huge), &["initializer \"w\", dims"]);
    let negative = Tensor { dims: vec![-1], ..integers("w", &[1]) };
    check(&with(negative), &["initializer \"w\", dims"]);
    let short = Tensor { kind: 1, dims: vec![2], raw: vec![0; 7], ..integers("w", &[]) };
    check(&with(short), &["initializer \"w\", dims"]);
    let mut two = with(integers("w", &[1]));
    two.graph.as_mut().unwrap().constants.push(integers("w", &[1]));
    check(&two, &["one value of each name"]);
}

#[test]
fn a_cycle_or_an_unknown_value_is_refused() {
    let cycle = model(node("Add", &["x", "y"], vec![]), vec![]);
    check(&cycle, &["node \"node\" (Add), inputs", "earlier nodes", "\"y\""]);
    let mut missing = model(node("Identity", &["x"], vec![]), vec![]);
    missing.graph.as_mut().unwrap().outputs.push(port("z"));
    check(&missing, &["outputs", "got z"]);
    let mut again = model(node("Identity", &["x"], vec![]), vec![]);
    again.graph.as_mut().unwrap().nodes[0].outputs = vec!["x".to_owned()];
    check(&again, &["one value of each name"]);
    let empty = Model { graph: None, ..again };
    check(&empty, &["graph"]);
}

#[test]
fn a_graph_cannot_ask_for_more_memory_than_its_limit() {
    let shape = || integers("s", &[1 << 31, 1 << 31]);
    let fill = model(node("ConstantOfShape", &["s"], vec![]), vec![shape()]);
    let error = computed(&fill, matrix()).unwrap_err().to_string();
    assert!(error.contains("node \"node\" (ConstantOfShape), shape"), "{error}");
    let repeat = model(node("Expand", &["x", "s"], vec![]), vec![integers("s", &[1 << 40, 1, 1])]);
    assert!(computed(&repeat, matrix()).unwrap_err().to_string().contains("limit"));
    let scalar = |name: &str, value: i64| Tensor { dims: vec![], ..integers(name, &[value]) };
    let count = vec![scalar("a", 0), scalar("b", i64::MAX), scalar("c", 1)];
    let range = model(node("Range", &["a", "b", "c"], vec![]), count);
    assert!(computed(&range, matrix()).unwrap_err().to_string().contains("limit"));

    // Thirty doublings of constants, and of values.
    for first in ["s", "x"] {
        let mut doubled =
            model(node("Identity", &[first], vec![]), vec![integers("s", &[1; 1000])]);
        let graph = doubled.graph.as_mut().unwrap();
        graph.nodes[0].outputs = vec!["0".to_owned()];
        for k in 0..30 {
            let (from, to) = (k.to_string(), (k + 1).to_string());
            let concat = node("Concat", &[&from, &from], vec![int("axis", 0)]);
            graph.nodes.push(Node { outputs: vec![to], ..concat });
        }
        graph.outputs = vec![port("30")];
        let graph = load(&doubled.encode_to_vec()).unwrap().memory_limit(1 << 20);
        let x: Value = Array1::<f32>::zeros(1000).into();
        assert!(graph.run(&[("x", x)]).unwrap_err().to_string().contains("limit"));
    }
}

#[test]
fn inputs_that_do_not_fit_are_errors() {
    let plain = model(node("Identity", &["x"], vec![]), vec![]);
    let graph = load(&plain.encode_to_vec()).unwrap();
    assert_eq!(graph.run(&[("x", matrix())]).unwrap()["y"], matrix());
    let says = |inputs: &[(&str, Value)]| graph.run(inputs).unwrap_err().to_string();
    assert!(says(&[]).contains("a value of \"x\""));
    assert!(says(&[("z", matrix())]).contains("got z"));

    let cases = cases("onnx_nodes");
    let case = &cases["set_lstm_all"];
    let graph = load(&case.model).unwrap();
    let with = |name: &str, value: Value| {
        let mut inputs = case.inputs.clone();
        inputs.insert(name.to_owned(), value);
        run(&graph, &inputs).unwrap_err().to_string()
    };
    assert!(with("X", Array2::<f32>::zeros((5, 4)).into()).starts_with("X: expected shape"));
    assert!(with("X", Array3::<f64>::zeros((5, 3, 4)).into()).starts_with("X: expected float"));
    let error = with("sequence_lens", array![6, 1, 1].into());
    assert!(error.starts_with("node \"node\" (LSTM), sequence_lens: expected 0 to 5"), "{error}");
    assert!(with("sequence_lens", array![-1, 1, 1].into()).contains("sequence_lens"));
}

#[test]
fn recurrent_nodes_with_wrong_settings_are_refused() {
    let weight = |name: &str, dims: &[i64]| {
        let count: i64 = dims.iter().product();
        let raw = vec![0; 4 * count as usize];
        Tensor { kind: 1, dims: dims.to_vec(), raw, ..integers(name, &[]) }
    };
    let with = |attributes: Vec<Attribute>, r: &[i64]| {
        let node = node("GRU", &["x", "w", "r"], attributes);
        model(node, vec![weight("w", &[1, 6, 3]), weight("r", r)])
    };
    let right = [1, 6, 2];
    assert!(load(&with(vec![], &right).encode_to_vec()).is_ok());
    check(&with(vec![], &[1, 6, 3]), &["node \"node\" (GRU), R", "[1, 9, 3]"]);
    check(&with(vec![], &[6, 2]), &["(GRU), R"]);
    check(&with(vec![int("hidden_size", 5)], &right), &["hidden_size", "got 5"]);
    check(&with(vec![text("direction", "up")], &right), &["direction", "got up"]);
    check(&with(vec![int("layout", 2)], &right), &["layout", "0 or 1"]);
    check(&with(vec![int("input_forget", 1)], &right), &["attribute", "input_forget"]);
    let activations = |names: &[&str]| {
        let strings = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = "activations".to_owned();
        vec![Attribute { name, strings, kind: 8, ..Attribute::default() }]
    };
    check(&with(activations(&["Sigmoid"]), &right), &["activations", "got 1"]);
    check(&with(activations(&["Sigmoid", "Sine"]), &right), &["activations", "got Sine"]);
    let clip =
        Attribute { name: "clip".to_owned(), f: Some(-1.0), kind: 1, ..Attribute::default() };
    check(&with(vec![clip], &right), &["clip", "got -1"]);
}

#[test]
fn an_input_of_another_width_than_the_weights_is_refused() {
    let weight = |name: &str, dims: &[i64]| {
        let raw = vec![0; 4 * dims.iter().product::<i64>() as usize];
        Tensor { kind: 1, dims: dims.to_vec(), raw, ..integers(name, &[]) }
    };
    // The first runs on the engine, the second step by step.
    for attributes in [vec![], vec![int("input_forget", 1)]] {
        let node = node("LSTM", &["x", "w", "r"], attributes);
        let weights = vec![weight("w", &[1, 8, 3]), weight("r", &[1, 8, 2])];
        let model = model(node, weights);
        let result = |width| computed(&model, Array3::<f32>::zeros((4, 1, width)).into());
        assert!(result(3).is_ok());
        let error = result(5).unwrap_err().to_string();
        assert!(error.contains("(LSTM), X") && error.contains("[4, 1, 5]"), "{error}");
    }
}

#[test]
fn arrays_of_other_numbers_of_axes_are_not_joined() {
    let node = node("Concat", &["x", "k"], vec![int("axis", 0)]);
    let scalar = Tensor { dims: vec![], ..integers("k", &[7]) };
    let error = computed(&model(node, vec![scalar]), array![1_i64].into()).unwrap_err();
    assert!(error.to_string().contains("(Concat), inputs: expected arrays of 1 axes"), "{error}");
}

#[test]
fn a_power_of_integers_is_that_of_numbers_rounded_towards_zero() {
    let exponents = [3, 0, -1, -2, -1, -3, -1, i64::MAX, i64::MIN];
    let power = node("Pow", &["x", "k"], vec![]);
    let of = |bases: Value| computed(&model(power.clone(), vec![integers("k", &exponents)]), bases);
    let bases = array![-2_i64, 0, 2, -3, -1, -1, 0, -1, 1];
    let expected = array![-8_i64, 1, 0, 0, -1, -1, 0, -1, 1];
    assert_eq!(of(bases.into()).unwrap(), expected.into());
}

#[test]
fn operators_refuse_what_they_cannot_compute() {
    let wrong: [(&str, Vec<Attribute>, Vec<i64>); 10] = [
        ("Reshape", vec![], vec![4, 4]),
        ("Reshape", vec![], vec![i64::MAX, i64::MAX]),
        ("Reshape", vec![], vec![-2]),
        ("Expand", vec![], vec![5]),
        ("Squeeze", vec![], vec![0]),
        ("Squeeze", vec![], vec![7]),
        ("Unsqueeze", vec![], vec![0, 0]),
        ("Gather", vec![], vec![2]),
        ("Gather", vec![int("axis", 9)], vec![0]),
        ("Split", vec![], vec![1, 1]),
    ];
    for (op, attributes, list) in wrong {
        let file = model(node(op, &["x", "s"], attributes), vec![integers("s", &list)]);
        let error = computed(&file, matrix()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("node \"node\" ({op}), ")), "{error}");
    }
    let slice = |values: [&[i64]; 4]| {
        let names = ["starts", "ends", "axes", "steps"];
        let constants = names.iter().zip(values).map(|(name, list)| integers(name, list)).collect();
        let inputs = ["x", "starts", "ends", "axes", "steps"];
        computed(&model(node("Slice", &inputs, vec![]), constants), matrix())
    };
    let row: Value = array![[6.0_f32, 5.0]].into();
    assert_eq!(slice([&[1, -1], &[i64::MAX, 0], &[0, 1], &[1, -1]]).unwrap(), row);
    let reversed: Value = array![[3.0_f32, 2.0, 1.0], [6.0, 5.0, 4.0]].into();
    assert_eq!(slice([&[i64::MAX], &[i64::MIN], &[1], &[-1]]).unwrap(), reversed);
    assert_eq!(slice([&[9], &[i64::MIN], &[1], &[i64::MIN]]).unwrap().shape(), [2, 1]);
    assert!(slice([&[0], &[1], &[1], &[0]]).is_err());
    assert!(slice([&[0], &[1], &[5], &[1]]).is_err());
    assert!(slice([&[0, 0], &[1, 1], &[1, 1], &[1, 1]]).is_err());
    assert!(Graph::load("no file").is_err());
}
