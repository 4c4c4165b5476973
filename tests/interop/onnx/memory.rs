//! The memory that opening a file takes.

use recurrent::interop::onnx::{Graph, Weights};

use crate::common::temporary::File;
use crate::memory::factor;

/// Appends a number in groups of 7 bits.
fn varint(bytes: &mut Vec<u8>, mut number: usize) {
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Returns a field of the given number that holds `bytes`.
fn field(number: usize, bytes: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    varint(&mut field, number << 3 | 2);
    varint(&mut field, bytes.len());
    field.extend_from_slice(bytes);
    field
}

/// Returns a number as a field.
fn number(field: usize, value: usize) -> Vec<u8> {
    let mut bytes = vec![(field << 3) as u8];
    varint(&mut bytes, value);
    bytes
}

/// Returns a file with `count` nodes that read the same weights.
fn shared(op: &str, count: usize) -> Vec<u8> {
    let weight = |name: &str, sizes: &[usize]| {
        let dims = sizes.iter().flat_map(|&size| number(1, size));
        let float = number(2, 1);
        let raw = field(9, &vec![0; 4 * sizes.iter().product::<usize>()]);
        field(5, &[dims.collect(), float, field(8, name.as_bytes()), raw].concat())
    };
    let (weights, names) = match op {
        "LSTM" => ([weight("w", &[1, 256, 64]), weight("r", &[1, 256, 64])].concat(), "xwr"),
        _ => (weight("w", &[64, 1]), "xw"),
    };
    let node = |k: usize| {
        let inputs = names.bytes().flat_map(|name| field(1, &[name]));
        let output = field(2, format!("y{k}").as_bytes());
        field(1, &[inputs.collect(), output, field(4, op.as_bytes())].concat())
    };
    let nodes = (0..count).flat_map(node).collect();
    let graph = [weights, nodes, field(11, &field(1, b"x"))].concat();
    [field(7, &graph), field(8, &number(2, 17))].concat()
}

/// Messages without any field take two bytes in the file, and all of their fields in memory.
#[test]
fn opening_takes_at_most_500_times_the_size_of_the_file() {
    const COUNT: usize = 200_000;
    let empty = |number| field(number, &[]).repeat(COUNT);
    let (graph, node, tensor, attribute) = (7, 1, 5, 5);
    let of_node = |bytes: Vec<u8>| field(node, &bytes);
    for (what, body) in [
        ("nodes", empty(node)),
        ("tensors", empty(tensor)),
        ("inputs", empty(11)),
        ("outputs", empty(12)),
        ("sparse tensors", empty(15)),
        ("inputs of a node", of_node(empty(1))),
        ("attributes", of_node(empty(attribute))),
        ("texts of an attribute", of_node(field(attribute, &empty(9)))),
        ("sizes", field(tensor, &field(1, &[0; COUNT]))),
        ("numbers", field(tensor, &field(5, &[0; COUNT]))),
        ("external data", field(tensor, &empty(13))),
    ] {
        let file = File::with("memory.onnx", field(graph, &body));
        let used = factor(what, &file.0, |file| Graph::load(file));
        assert!(used <= 500.0, "{what}: {used}");
        let used = factor(what, &file.0, |file| Weights::load(file));
        assert!(used <= 1000.0, "weights, {what}: {used}");
    }
    for op in ["LSTM", "MatMul"] {
        let file = File::with("memory.onnx", shared(op, 2000));
        let used = factor(op, &file.0, |file| Graph::load(file).unwrap());
        assert!(used <= 500.0, "{op}: {used}");
    }
    for (what, number) in [("operator sets", 8), ("functions", 25)] {
        let used =
            factor(what, &File::with("memory.onnx", empty(number)).0, |file| Graph::load(file));
        assert!(used <= 500.0, "{what}: {used}");
    }
}
