//! The cases of a fixture: a file with inputs and outputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use recurrent::Result;
use recurrent::interop::onnx::{Graph, Value};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};

use crate::common::onnx_value::value;

/// A file with inputs and outputs.
pub(crate) struct Case {
    pub(crate) model: Vec<u8>,
    pub(crate) inputs: BTreeMap<String, Value>,
    pub(crate) outputs: BTreeMap<String, Value>,
}

/// Returns the cases of a fixture by their names.
pub(crate) fn cases(fixture: &str) -> BTreeMap<String, Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let bytes = std::fs::read(folder.join(format!("{fixture}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let names = tensors.names().into_iter().filter_map(|name| name.strip_suffix(".model"));
    let case = |name: &str| {
        let of = |role: &str| {
            let prefix = format!("{name}.{role}.");
            let names = tensors.names().into_iter().filter_map(|name| name.strip_prefix(&prefix));
            let value = |name: &str| {
                (name.to_owned(), value(&tensors.tensor(&format!("{prefix}{name}")).unwrap()))
            };
            names.map(value).collect()
        };
        let model = tensors.tensor(&format!("{name}.model")).unwrap().data().to_vec();
        Case { model, inputs: of("in"), outputs: of("out") }
    };
    names.map(|name| (name.to_owned(), case(name))).collect()
}

/// Writes named inputs for the generator of a fixture to a file of safetensors.
pub(crate) fn write_inputs(path: &Path, inputs: &BTreeMap<String, Value>) {
    let bytes = |value: &Value| -> (Dtype, Vec<u8>) {
        match value {
            Value::F32(array) => {
                (Dtype::F32, array.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            Value::I32(array) => {
                (Dtype::I32, array.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            Value::I64(array) => {
                (Dtype::I64, array.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            value => panic!("{}", value.kind()),
        }
    };
    let data: Vec<_> = inputs.values().map(bytes).collect();
    let views = inputs.iter().zip(&data).map(|((name, value), (dtype, data))| {
        (name.clone(), TensorView::new(*dtype, value.shape().to_vec(), data).unwrap())
    });
    let file = serialize(views.collect::<Vec<_>>(), None).unwrap();
    std::fs::write(path.with_extension("safetensors"), file).unwrap();
}

/// Returns the path of a new file in the folder for temporary files.
pub(crate) fn temporary() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("recurrent-onnx-{}-{count}.onnx", std::process::id()))
}

/// Returns the bytes of the file that `write` writes for the sample `name`.
pub(crate) fn written(name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Vec<u8> {
    let path = temporary();
    write(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    bytes
}

/// Loads the bytes of a file.
pub(crate) fn load(bytes: &[u8]) -> Result<Graph> {
    let path = temporary();
    std::fs::write(&path, bytes).unwrap();
    let graph = Graph::load(&path);
    std::fs::remove_file(&path).unwrap();
    graph
}

/// Runs a graph on named inputs.
pub(crate) fn run(
    graph: &Graph,
    inputs: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>> {
    let inputs: Vec<(&str, Value)> =
        inputs.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    graph.run(&inputs)
}

/// Returns the largest difference between two values, relative to 1 or the second value.
pub(crate) fn difference(got: &Value, expected: &Value) -> f64 {
    assert_eq!(got.shape(), expected.shape());
    let numbers = |value: &Value| -> Vec<f64> {
        match value {
            Value::F32(array) => array.iter().map(|&value| f64::from(value)).collect(),
            Value::F64(array) => array.iter().copied().collect(),
            Value::I64(array) => array.iter().map(|&value| value as f64).collect(),
            value => panic!("{}", value.kind()),
        }
    };
    assert_eq!(got.kind(), expected.kind());
    let pairs = numbers(got).into_iter().zip(numbers(expected));
    let differences = pairs.map(|(got, expected)| match got == expected {
        true => 0.0, // −∞ too
        false => (got - expected).abs() / expected.abs().max(1.0),
    });
    differences.fold(0.0, |most, next| if next > most || next.is_nan() { next } else { most })
}

/// Runs a case, and returns the largest difference of an output.
pub(crate) fn check(case: &Case) -> Result<f64> {
    let outputs = run(&load(&case.model)?, &case.inputs)?;
    assert!(!case.outputs.is_empty());
    let differences = case.outputs.iter().map(|(name, value)| difference(&outputs[name], value));
    Ok(differences.fold(0.0, f64::max))
}
