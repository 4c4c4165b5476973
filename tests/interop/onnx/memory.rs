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
    for (what, number) in [("operator sets", 8), ("functions", 25)] {
        let used =
            factor(what, &File::with("memory.onnx", empty(number)).0, |file| Graph::load(file));
        assert!(used <= 500.0, "{what}: {used}");
    }
}
