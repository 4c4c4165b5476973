//! Files of other programs: PyTorch, Keras and ONNX.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use ndarray::Array3;
use recurrent::cell::Nonlinearity;
use recurrent::interop::keras::{KerasModel, KerasOutput};
use recurrent::interop::onnx::{Graph, Value};
use recurrent::interop::pytorch::StateDict;
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;
use recurrent::{GruCell, LstmCell, Result, Sequences};
use safetensors::SafeTensors;

use super::{fixture, fixtures, used};
use crate::common::onnx_value::value;
use crate::common::temporary::File;
use crate::mutate;
use crate::run::{Format, OWN_MEMORY};

pub(crate) fn pytorch() -> Format {
    let names = [
        "small.pt",
        "checkpoint.pt",
        "views.pt",
        "views_protocol_4.pt",
        "layers_f32.pt",
        "models_f32.pt",
    ];
    let mut seeds =
        fixtures(&names.map(|name| format!("pytorch/{name}")).each_ref().map(|name| &name[..]));
    seeds.extend(fixtures(&["pytorch/views.safetensors"]));
    Format {
        file: "model.pt",
        seeds,
        mutate: mutate::pytorch,
        read: Box::new(|path, _| {
            let file = StateDict::open(path)?;
            used(move || {
                let mut prefixes = BTreeSet::from([""]);
                for name in file.names() {
                    file.array::<f64, ndarray::IxDyn>(name).ok();
                    file.integers::<ndarray::IxDyn>(name).ok();
                    prefixes.extend(name.rfind('.').map(|dot| &name[..=dot]));
                }
                prefixes.into_iter().for_each(|prefix| layers(&file.prefix(prefix)));
                let values = SequenceClassifier::<LstmCell<f32>>::builder(4, 3);
                file.prefix("classifier.model.").model(values).ok();
                let words = SequenceClassifier::<GruCell<f32>>::builder(6, 3);
                file.prefix("words.model.").model(words.pooling(Pooling::Mean)).ok();
                Ok(())
            })
        }),
        growth: 256,
        beside: OWN_MEMORY,
        cost: 4,
    }
}

fn layers(file: &StateDict) {
    file.lstm::<f32>().ok();
    file.gru::<f64>().ok();
    file.rnn::<f32>(Nonlinearity::Tanh).ok();
    file.projected_lstm::<f32>().ok();
    file.linear::<f32>().ok();
    file.embedding::<f32>().ok();
    file.layer_norm::<f32>().ok();
    file.conv1d::<f32>().ok();
}

/// The most memory of a node of groups in an HDF5 file, whatever the size of the file.
const NODE_MEMORY: usize = 1 << 24;

/// Predicts with a model; one that reads tokens refuses the values.
fn predict(model: &KerasModel) -> Result<()> {
    let tokens = Sequences::one_hot_from_list(&[vec![1, 2, 0], vec![3]], 7)?;
    let of_tokens = model.predict(&tokens);
    for width in 1..=4 {
        let x = Sequences::full(Array3::<f32>::ones((3, 1, width)))?;
        if let Ok(KerasOutput::Rows(y)) = model.predict(&x) {
            y.sum();
        }
    }
    drop(of_tokens);
    Ok(())
}

pub(crate) fn keras() -> Format {
    let names =
        ["sequential", "functional", "masked", "backwards", "activated", "merged", "tokens"];
    let names = names.map(|name| format!("keras/{name}.keras"));
    Format {
        file: "model.keras",
        seeds: fixtures(&names.each_ref().map(|name| &name[..])),
        mutate: mutate::keras,
        read: Box::new(|path, _| {
            let model = KerasModel::open(path)?;
            used(move || predict(&model))
        }),
        growth: 256,
        beside: NODE_MEMORY,
        cost: 4,
    }
}

pub(crate) fn keras_weights() -> Format {
    let json = fs::read_to_string(fixture("keras/sequential.json")).unwrap();
    Format {
        file: "model.weights.h5",
        seeds: fixtures(&["keras/sequential.weights.h5"]),
        mutate: mutate::hdf5,
        read: Box::new(move |path, _| {
            let model = KerasModel::from_json(&json, path)?;
            used(move || predict(&model))
        }),
        growth: 256,
        beside: NODE_MEMORY,
        cost: 4,
    }
}

/// The inputs of a graph, by their names.
type Inputs = BTreeMap<String, Value>;

pub(crate) fn onnx() -> Format {
    let (mut seeds, mut inputs) = (Vec::new(), Vec::new());
    for name in ["onnx_nodes", "onnx_exports", "onnx_keras", "onnx_models", "onnx_unaligned"] {
        for (model, of_model) in cases(name) {
            let limited = |graph: Graph| graph.memory_limit(1 << 24);
            let file = File::with("seed.onnx", &model);
            let graph = Graph::load(&file.0).map(limited);
            if graph.is_ok_and(|graph| run(&graph, &of_model).is_ok()) && model.len() < 1 << 14 {
                seeds.push(model);
                inputs.push(of_model);
            }
        }
    }
    assert!(seeds.len() > 50, "{}", seeds.len());
    Format {
        file: "model.onnx",
        seeds,
        mutate: mutate::protobuf,
        read: Box::new(move |path, seed| {
            let graph = Graph::load(path)?.memory_limit(1 << 24);
            let inputs = inputs[seed].clone();
            used(move || run(&graph, &inputs))
        }),
        growth: 500,
        beside: OWN_MEMORY,
        cost: 2,
    }
}

fn run(graph: &Graph, inputs: &Inputs) -> Result<()> {
    let given = inputs.iter().map(|(name, value)| (&name[..], value.clone()));
    let given: Vec<_> = given.collect();
    graph.run(&given)?;
    let mut stream = graph.stream(&[], &[])?;
    stream.step(&given)?;
    stream.step(&given).map(drop)
}

/// Returns the models of a fixture, each with its inputs.
fn cases(name: &str) -> Vec<(Vec<u8>, Inputs)> {
    let bytes = fs::read(fixture(&format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<&str> =
        tensors.names().into_iter().filter_map(|name| name.strip_suffix(".model")).collect();
    names.sort_unstable();
    let case = |name: &str| {
        let model = tensors.tensor(&format!("{name}.model")).unwrap().data().to_vec();
        let prefix = format!("{name}.in.");
        let mut inputs = Inputs::new();
        for full in tensors.names() {
            let Some(input) = full.strip_prefix(&prefix) else { continue };
            inputs.insert(input.to_owned(), value(&tensors.tensor(full).unwrap()));
        }
        (model, inputs)
    };
    names.into_iter().map(case).collect()
}
