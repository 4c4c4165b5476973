//! Weights that leave a program, pass through this crate and through ONNX, and come back to it with their bits.

use std::collections::BTreeMap;

use ndarray::{Array, Array1, ArrayD, Dimension, Ix2};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::data::Windows;
use recurrent::interop::keras::{KerasLayer, KerasModel, KerasWeights};
use recurrent::interop::onnx::{Element, Export, Graph, Value, Weights};
use recurrent::interop::pytorch::StateDict;
use recurrent::layer::{Embedding, Linear, Pooling};
use recurrent::model::{
    Forecaster, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use recurrent::{Arrays, Float, Recurrent, Sequences, io};

use crate::common::fixture::Fixture;
use crate::common::temporary::File;
use crate::keras;
use crate::pytorch::{fixture, lengths, same, tolerance};

/// Returns `model` from its ONNX file, and the graph of the file.
fn through_onnx<M: Export + Arrays>(model: &M) -> (M, Graph) {
    let file = File::new("model.onnx");
    model.to_onnx(&file.0).unwrap();
    let graph = Graph::load(&file.0).unwrap();
    let mut again = model.zeros_like();
    Weights::load(&file.0).unwrap().arrays("", &mut again).unwrap();
    (again, graph)
}

/// Runs a graph, and compares an output with that of another program at every step of each sequence.
fn compare<T: Float + Element>(
    (name, output): (&str, &str),
    graph: &Graph,
    inputs: Vec<(&str, Value)>,
    (expected, lengths): (&ArrayD<T>, &[usize]),
    tolerance: f64,
) {
    let counts: Array1<i32> = lengths.iter().map(|&length| length as i32).collect();
    let inputs: Vec<_> = inputs.into_iter().chain([("lengths", counts.into())]).collect();
    let outputs = graph.run(&inputs).unwrap();
    let y = outputs[output].array::<T>().unwrap();
    assert_eq!(y.shape(), expected.shape(), "{name}");
    let mut worst = 0.0_f64;
    for (place, &y) in y.indexed_iter() {
        // An output of each step is [time, batch, outputs].
        if y.is_nan() || place.ndim() == 2 || place[0] < lengths[place[1]] {
            worst = worst.max((y.as_f64() - expected[&place].as_f64()).abs());
            assert!(!y.is_nan(), "{name}");
        }
    }
    println!("{name}: {worst:.1e}");
    assert!(worst <= tolerance, "{name}: {worst:.1e}");
}

/// Takes the weights of PyTorch's `of` in `model` through ONNX, compares the outputs of the graph with those of PyTorch
/// and the weights with those of its file.
fn pytorch<T: Float + Element, M: Export + Arrays<Elem = T>>(
    (name, output): (&str, &str),
    of: &StateDict,
    model: &M,
) where
    Value: From<Array<T, ndarray::IxDyn>>,
{
    let (again, graph) = through_onnx(model);
    let mut inputs = vec![match of.integers::<Ix2>("x") {
        Ok(tokens) => ("tokens", tokens.into()),
        Err(_) => ("x", of.array::<T, ndarray::IxDyn>("x").unwrap().into()),
    }];
    if let Ok(condition) = of.array::<T, ndarray::IxDyn>("condition") {
        inputs.push(("condition", condition.into()));
    }
    let expected = of.array("y").unwrap();
    compare::<T>((name, output), &graph, inputs, (&expected, &lengths(of)), tolerance::<T>());
    let file = File::new("again.safetensors");
    io::save(&file.0, &again).unwrap();
    same::<T>(&StateDict::open(&file.0).unwrap(), &of.prefix("model."));
}

fn each_model_of_pytorch<T: Float + Element>(file: &str)
where
    Value: From<Array<T, ndarray::IxDyn>>,
{
    let file = fixture(file);
    let of = |name: &str| (file.prefix(name), file.prefix(name).prefix("model."));

    let (all, model) = of("classifier.");
    let builder = SequenceClassifier::<LstmCell<T>>::builder(4, 3);
    pytorch(("classifier", "logits"), &all, &model.model(builder).unwrap());
    let (all, model) = of("words.");
    let builder = SequenceClassifier::<GruCell<T>>::builder(6, 3).pooling(Pooling::Mean);
    pytorch(("words", "logits"), &all, &model.model(builder).unwrap());
    let (all, model) = of("tagger.");
    let builder = SequenceTagger::<LstmCell<T>>::builder(6, 4);
    pytorch(("tagger", "logits"), &all, &model.model(builder).unwrap());
    // ONNX has no projected cell, so the regressor is the other pooled module; its outputs are numbers then.
    let (all, model) = of("attention.");
    let builder = SequenceRegressor::<RnnCell<T>>::builder(4, 3).pooling(Pooling::Attention);
    pytorch(("regressor", "outputs"), &all, &model.model(builder).unwrap());
    let (all, model) = of("forecaster.");
    let windows = Windows::new(5, 3).unwrap().targets(&[0, 1]);
    let builder = Forecaster::<GruCell<T>>::builder(4, &windows);
    pytorch(("forecaster", "outputs"), &all, &model.model(builder).unwrap());
    let (all, model) = of("generator.");
    let builder = SequenceGenerator::<LstmCell<T>>::builder(6).condition_size(2);
    pytorch(("generator", "logits"), &all, &model.model(builder).unwrap());
    let (all, model) = of("language.");
    let builder = SequenceGenerator::<GruCell<T>>::builder(6);
    pytorch(("language", "logits"), &all, &model.model(builder).unwrap());
}

#[test]
fn single_precision_of_pytorch_comes_back_through_onnx() {
    each_model_of_pytorch::<f32>("models_f32.pt");
}

#[test]
fn double_precision_of_pytorch_comes_back_through_onnx() {
    each_model_of_pytorch::<f64>("models_f64.pt");
}

/// Copies the weights of a chain of Keras, an embedding if there is one, recurrent layers and a dense layer, to a model.
fn copy<M: Arrays<Elem = f32>>(keras: &KerasModel, model: &mut M) {
    let mut arrays: BTreeMap<String, ArrayD<f32>> = BTreeMap::new();
    let mut layers = 0;
    for name in keras.names() {
        let layer = keras.layer(name).unwrap();
        let prefix = match layer {
            KerasLayer::Embedding { .. } => "embedding.",
            KerasLayer::Dense(..) => "head.",
            _ => "recurrent.",
        };
        let number = format!("_l{layers}");
        layer.for_each(&mut |name, array| {
            arrays.insert(format!("{prefix}{}", name.replace("_l0", &number)), array.to_owned());
        });
        layers += usize::from(prefix == "recurrent." && !layer.names().is_empty());
    }
    for (name, array) in &arrays {
        model.set(name, array.view()).unwrap();
    }
    assert_eq!(model.names().len(), arrays.len());
}

/// The layers of a model.
type Parts<'m, C> = (Option<&'m Embedding<f32>>, &'m Recurrent<C>, &'m Linear<f32>);

/// Takes the weights of the model `name` of Keras through `model` and ONNX. Compares the outputs of the graph and of the
/// file for Keras with those of Keras. Returns the file.
fn keras<M: Export + Arrays<Elem = f32>, C: Cell<Elem = f32> + 'static>(
    (name, output): (&str, &str),
    mut model: M,
    parts: impl Fn(&M) -> Parts<'_, C>,
) -> (String, Vec<u8>) {
    let original = keras::path(&format!("{name}.keras"));
    let first = KerasModel::open(&original).unwrap();
    copy(&first, &mut model);
    let (again, graph) = through_onnx(&model);

    let fixture = Fixture::open("keras/outputs");
    let x: Sequences<f32> = keras::input(&fixture, name);
    let y: ArrayD<f64> = fixture.get::<ndarray::IxDyn>(&format!("{name}.y"));
    let mut y = y.mapv(|y| y as f32);
    if y.ndim() == 3 {
        y.swap_axes(0, 1); // [time, batch, outputs]
    }
    let values = match x.tokens() {
        Some(tokens) => ("tokens", tokens.mapv(|token| token as i64).into()),
        None => ("x", x.values().clone().into()),
    };
    let lengths = match name {
        "tokens" => vec![6, 2, 4],
        _ => x.lengths().to_vec(),
    };
    compare((name, output), &graph, vec![values], (&y, &lengths), 1e-6);

    let (embedding, network, head) = parts(&again);
    let mut weights = KerasWeights::default();
    if let Some(embedding) = embedding {
        weights = weights.embedding("words", embedding).unwrap();
    }
    let weights = weights.recurrent("layer", network).unwrap().dense("head", head).unwrap();
    let file = File::new("again.weights.h5");
    weights.write(&file.0).unwrap();
    let config = String::from_utf8(keras::entry(&original, "config.json")).unwrap();
    let last = KerasModel::from_json(&config, &file.0).unwrap();
    assert_eq!(keras::bits(&last), keras::bits(&first), "{name}");
    keras::assert_output(&last.predict(&x).unwrap(), &fixture, name);
    (format!("{name}.weights.h5"), std::fs::read(&file.0).unwrap())
}

/// Returns the files of weights that come back from ONNX for the models of Keras.
pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let builder = SequenceClassifier::<LstmCell<f32>>::builder(3, 3).hidden_size(4);
    let classifier = builder.recurrent(|layers| layers.num_layers(2).bidirectional(true));
    let tagger = SequenceTagger::<LstmCell<f32>>::builder(7, 2).embedding_dim(4).hidden_size(3);
    let regressor = SequenceRegressor::<RnnCell<f32>>::builder(3, 2).hidden_size(4);
    let windows = Windows::new(6, 3).unwrap().targets(&[0, 1]);
    let forecaster = Forecaster::<GruCell<f32>>::builder(3, &windows).hidden_size(4).num_layers(2);
    let generator = SequenceGenerator::<LstmCell<f32>>::builder(7).embedding_dim(4).hidden_size(3);
    vec![
        keras(("classifier", "probabilities"), classifier.build(rng).unwrap(), |model| {
            (model.embedding(), model.recurrent(), model.head())
        }),
        keras(("tokens", "probabilities"), tagger.build(rng).unwrap(), |model| {
            (model.embedding(), model.recurrent(), model.head())
        }),
        keras(("regressor", "outputs"), regressor.build(rng).unwrap(), |model| {
            (model.embedding(), model.recurrent(), model.head())
        }),
        keras(("forecaster", "outputs"), forecaster.build(rng).unwrap(), |model| {
            (model.embedding(), model.recurrent(), model.head())
        }),
        keras(("generator", "probabilities"), generator.build(rng).unwrap(), |model| {
            (model.embedding(), model.recurrent(), model.head())
        }),
    ]
}

#[test]
fn models_of_keras_come_back_through_onnx() {
    assert_eq!(files().len(), 5);
}
