//! Files: writers and readers with names, paths and arrays that fit and that do not. What a file holds is the matter of
//! the other tests of this program.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ndarray::{Array2, Ix2};
use recurrent::cell::Nonlinearity;
use recurrent::interop::keras::{KerasModel, KerasWeights};
use recurrent::interop::numpy::{Element, Npz, NpzWriter, write_npy};
use recurrent::interop::onnx::{Export, Graph, Value, Weights};
use recurrent::interop::pytorch::StateDict;
use recurrent::io::{Reader, Writer, load, save, save_with};
use recurrent::layer::{AttentionScore, Embedding, LayerNorm, Linear};
use recurrent::loss::Mse;
use recurrent::model::{
    Composed, Forecaster, Seq2Seq, SequenceClassifier, SequenceGenerator, SequenceRegressor,
    SequenceTagger, SequenceTranscriber,
};
use recurrent::{Gru, GruCell, Lstm, Result, Sequences};

use super::calls;
use super::given::{Given, precision, unchanged};
use crate::common::temporary::Folder;

const WIDTH: usize = 3;

type Cell = GruCell<f32>;

/// A folder with a path that can be written, or with one that cannot.
fn place(given: &mut Given, name: &'static str) -> (Folder, PathBuf) {
    let folder = Folder::new("calls-files");
    let name = given.text(name).replace('\0', "");
    let path = folder.path(name);
    (folder, path)
}

fn linear(given: &mut Given) -> Linear<f32> {
    Linear::new(given.length(WIDTH).max(1), 2, given.rng()).unwrap()
}

fn stored(given: &mut Given) -> Result<(Folder, PathBuf)> {
    let (folder, path) = place(given, "a.safetensors");
    let linear = linear(given);
    Writer::default().arrays(given.text("a"), &linear).about(given.text("{}")).write(&path)?;
    Ok((folder, path))
}

fn loaded(given: &mut Given, prefix: &str) -> Result<()> {
    let (_folder, path) = stored(given)?;
    let reader = Reader::open(&path)?.ensure_all_finite(given.flag());
    let mut to = linear(given);
    unchanged(&mut to, |to| reader.arrays(prefix, to))
}

fn npz(given: &mut Given) -> Result<(Folder, Npz)> {
    let (folder, path) = place(given, "a.npz");
    let x = given.sequences_of(2, 2, WIDTH);
    let writer = NpzWriter::default().compressed(given.flag());
    let writer =
        writer.array(given.text("a"), &given.array2(2, 3)).array("n", &ndarray::arr1(&[1_i64]));
    let writer = writer.sequences(given.text("x"), &x).arrays(given.text("l"), &linear(given));
    writer.write(&path)?;
    Npz::open(&path).map(|npz| (folder, npz))
}

fn dict(given: &mut Given) -> Result<(Folder, StateDict)> {
    let (folder, path) = place(given, "a.safetensors");
    Writer::default().arrays("a.", &linear(given)).write(&path)?;
    let prefix = given.text("a.");
    StateDict::open(&path).map(|dict| (folder, dict.prefix(prefix)))
}

fn keras(given: &mut Given) -> Result<(Folder, PathBuf)> {
    let (folder, path) = place(given, "a.weights.h5");
    let lstm = Lstm::<f32>::builder(WIDTH, 2).bidirectional(given.flag()).build(given.rng())?;
    let weights = KerasWeights::default().recurrent(given.text("lstm"), &lstm)?;
    weights.dense(given.text("dense"), &Linear::new(2, 2, given.rng())?)?.write(&path)?;
    Ok((folder, path))
}

const CONFIG: &str = r#"{"class_name": "Sequential", "config": {"name": "s", "layers": [
    {"class_name": "InputLayer", "config": {"batch_shape": [null, null, 3], "name": "i"}},
    {"class_name": "LSTM", "config": {"name": "lstm", "units": 2, "activation": "tanh",
        "recurrent_activation": "sigmoid", "use_bias": true, "return_sequences": true}}]}}"#;

fn keras_model(given: &mut Given) -> Result<(Folder, KerasModel)> {
    let folder = Folder::new("calls-keras");
    let path = folder.path("a.weights.h5");
    let lstm = Lstm::<f32>::builder(WIDTH, 2).build(given.rng())?;
    KerasWeights::default().recurrent("lstm", &lstm)?.write(&path)?;
    KerasModel::from_json(CONFIG, &path).map(|model| (folder, model))
}

fn classifier(given: &mut Given) -> SequenceClassifier<Cell> {
    SequenceClassifier::builder(WIDTH, 2).hidden_size(2).build(given.rng()).unwrap()
}

fn graph(given: &mut Given, stream: bool) -> Result<(Folder, Graph)> {
    let (folder, path) = place(given, "a.onnx");
    let model = classifier(given);
    if stream {
        model.to_onnx_stream(&path)?
    } else {
        model.to_onnx(&path)?
    }
    let limit = given.like(1 << 20);
    Graph::load(&path).map(|graph| (folder, graph.memory_limit(limit)))
}

fn inputs(given: &mut Given, graph: &Graph) -> Vec<(String, Value)> {
    let mut inputs = Vec::new();
    for name in graph.inputs() {
        let value = match name {
            "lengths" => Value::from(ndarray::Array1::from_elem(given.length(2), 3_i32)),
            "x" => given.array3([3, 2, WIDTH]).into(),
            _ => given.array2(2, 2).into(),
        };
        inputs.push((name.to_owned(), value));
    }
    let count = given.length(inputs.len()).min(inputs.len());
    inputs.truncate(count);
    inputs
}

fn named(inputs: &[(String, Value)]) -> Vec<(&str, Value)> {
    inputs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()
}

fn run(given: &mut Given) -> Result<()> {
    let (_folder, graph) = graph(given, false)?;
    let inputs = inputs(given, &graph);
    graph.run(&named(&inputs))?;
    Ok(())
}

fn streamed(given: &mut Given, restore: bool) -> Result<()> {
    let (_folder, graph) = graph(given, true)?;
    let first = Array2::<f32>::zeros((given.length(2), 2));
    let states = [(given.text("h_l0"), given.text("next_h_l0"))];
    let mut stream = graph.stream(&states, &[("h_l0", first.into())])?;
    let before = format!("{:?}", stream.snapshot());
    let result = if restore {
        let state = BTreeMap::from([(given.text("h_l0").to_owned(), given.array2(2, 2).into())]);
        stream.restore(&state)
    } else {
        let inputs = inputs(given, &graph);
        let inputs: Vec<_> =
            named(&inputs).into_iter().filter(|(name, _)| *name != "h_l0").collect();
        stream.step(&inputs).map(|_| ())
    };
    if result.is_err() {
        assert_eq!(before, format!("{:?}", stream.snapshot()));
    }
    result
}

fn seq2seq(given: &mut Given) -> Result<Seq2Seq<Cell>> {
    let builder = Seq2Seq::builder(WIDTH, 4, 0, 1).embedding_dim(2).hidden_size(2);
    builder.attention(AttentionScore::Dot).build(given.rng())
}

fn composed(given: &mut Given) -> Composed<Sequences<f32>, Linear<f32>, Mse> {
    Composed::new(linear(given), Mse)
}

/// Saves a model, and reads it again.
macro_rules! saved {
    ($given:ident, $model:expr, $kind:ty) => {{
        let (_folder, path) = place($given, "a.model");
        $model.save(&path)?;
        <$kind>::load(&path)?
    }};
    ($given:ident, $model:expr, $kind:ty, $precision:expr) => {{
        let (_folder, path) = place($given, "a.model");
        $model.save_with(&path, $precision)?;
        <$kind>::load(&path)?
    }};
}

calls! {
"data::", g:
    read_npy = { let (_folder, path) = place(g, "a.npy"); write_npy(&path, &g.array2(2, 3))?; recurrent::data::read_npy::<f32, Ix2>(&path)? };
    read_npy = { let (_folder, path) = place(g, "a.npy"); write_npy(&path, &g.array2(2, 3))?; recurrent::data::read_npy::<f32, ndarray::Ix3>(&path).map(|_| ()).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
"io::", g:
    load = { let (_folder, path) = place(g, "a"); save(&path, &linear(g))?; let mut to = linear(g); unchanged(&mut to, |to| load(&path, to))? };
    save = { let (_folder, path) = place(g, "a"); save(&path, &linear(g))? };
    save_with = { let (_folder, path) = place(g, "a"); save_with(&path, &linear(g), precision(g))?; load(&path, &mut linear(g))? };
"io::Reader::", g:
    open = { let (_folder, path) = stored(g)?; Reader::open(&path)? };
    arrays = { let prefix = g.text("a"); loaded(g, prefix)? };
    ensure_all_finite = loaded(g, "a")?;
    names = { let (_folder, path) = stored(g)?; Reader::open(&path)?.names(g.text("a")) };
    rename = { let (_folder, path) = stored(g)?; Reader::open(&path)?.rename(g.text("a"), g.text("b"))?.names("b") };
"io::Writer::", g:
    about = stored(g)?;
    arrays = { let (_folder, path) = place(g, "a"); Writer::default().arrays("a", &linear(g)).arrays(g.text("b"), &linear(g)).write(&path)? };
    arrays_with = { let (_folder, path) = place(g, "a"); let p = precision(g); Writer::default().arrays_with("a", &linear(g), p)?.arrays_with(g.text("b"), &linear(g), p)?.write(&path)? };
    write = stored(g)?;
"interop::numpy::", g:
    write_npy = { let (_folder, path) = place(g, "a.npy"); write_npy(&path, &g.array3([2, 3, 0]))? };
"interop::numpy::Element::", g:
    append = { let mut bytes = Vec::new(); (g.number(0.5) as f32).append(&mut bytes) };
"interop::numpy::Npz::", g:
    array = { let (_folder, npz) = npz(g)?; npz.array::<f32, Ix2>(g.text("a"))? };
    arrays = { let (_folder, npz) = npz(g)?; let mut to = linear(g); let prefix = g.text("l"); unchanged(&mut to, |to| npz.arrays(prefix, to))? };
    integers = { let (_folder, npz) = npz(g)?; npz.integers::<ndarray::Ix1>(g.one(&["n", "a", "b"]))? };
    open = npz(g)?;
    sequences = { let (_folder, npz) = npz(g)?; npz.sequences::<f32>(g.text("x"))? };
"interop::numpy::NpzWriter::", g:
    array = npz(g)?;
    arrays = npz(g)?;
    compressed = npz(g)?;
    sequences = npz(g)?;
    write = npz(g)?;
"interop::pytorch::StateDict::", g:
    allow_unused = { let (_folder, dict) = dict(g)?; let dict = dict.allow_unused(g.flag()); let mut to = linear(g); unchanged(&mut to, |to| dict.load(to))? };
    array = { let (_folder, dict) = dict(g)?; dict.array::<f32, Ix2>(g.one(&["weight", "bias", "x"]))? };
    dtype = { let (_folder, dict) = dict(g)?; dict.dtype(g.text("weight")) };
    integers = { let (_folder, dict) = dict(g)?; dict.integers::<Ix2>(g.text("weight")).map(|_| ()).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
    load = { let (_folder, dict) = dict(g)?; let mut to = linear(g); unchanged(&mut to, |to| dict.load(to))? };
    model = { let (_folder, dict) = dict(g)?; dict.model(SequenceClassifier::<Cell>::builder(WIDTH, 2)).map(|_| ()).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
    open = dict(g)?;
    prefix = { let (_folder, dict) = dict(g)?; dict.prefix(g.text("a.")).names().len() };
    report = { let (_folder, dict) = dict(g)?; dict.report(&linear(g)) };
    rnn = { let (_folder, dict) = dict(g)?; dict.rnn::<f32>(Nonlinearity::Tanh).map(|_| ()).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
    shape = { let (_folder, dict) = dict(g)?; dict.shape(g.text("weight")).map(<[usize]>::len) };
"interop::keras::KerasModel::", g:
    from_json = { let (folder, _) = keras_model(g)?; KerasModel::from_json(g.text(CONFIG), folder.path(g.one(&["a.weights.h5", "b"])))? };
    layer = { let (_folder, model) = keras_model(g)?; model.layer(g.text("lstm")).is_some() };
    open = { let (_folder, model) = keras_model(g)?; let (_other, path) = place(g, "a.keras"); model.save(&path)?; KerasModel::open(&path)? };
    predict = { let (_folder, model) = keras_model(g)?; model.predict(&g.sequences(WIDTH))? };
    save = { let (_folder, model) = keras_model(g)?; let (_other, path) = place(g, "a.keras"); model.save(&path)? };
    save_weights = { let (_folder, model) = keras_model(g)?; let (_other, path) = place(g, "a.weights.h5"); model.save_weights(&path)? };
    set_layer = { let (_folder, mut model) = keras_model(g)?; let lstm = Lstm::<f32>::builder(g.length(WIDTH).max(1), 2).build(g.rng())?; let before = format!("{:?}", model.layer("lstm")); let name = g.text("lstm"); let set = model.set_layer(name, &lstm); if set.is_err() { assert_eq!(before, format!("{:?}", model.layer("lstm"))); } set? };
    stream = { let (_folder, model) = keras_model(g)?; model.stream(g.size())?; };
"interop::keras::KerasStream::", g:
    step = { let (_folder, model) = keras_model(g)?; model.stream(2)?.step(g.array2(2, WIDTH).view())? };
    step_tokens = { let (_folder, model) = keras_model(g)?; model.stream(2)?.step_tokens(&g.some(2, WIDTH)).map(|_| ()).or_else(|error| if g.flag() { Ok(()) } else { Err(error) })? };
"interop::keras::KerasWeights::", g:
    dense = keras(g)?;
    embedding = { let (_folder, path) = place(g, "a.weights.h5"); let e = Embedding::new(4, 2, g.rng())?; KerasWeights::default().embedding(g.text("e"), &e)?.embedding(g.text("f"), &e)?.write(&path)? };
    layer_norm = { let (_folder, path) = place(g, "a.weights.h5"); KerasWeights::default().layer_norm(g.text("n"), &LayerNorm::new(2)?)?.write(&path)? };
    recurrent = { let (_folder, path) = place(g, "a.weights.h5"); let gru = Gru::<f32>::builder(2, 2).num_layers(g.length(1).max(1)).build(g.rng())?; KerasWeights::default().recurrent(g.text("gru"), &gru)?.write(&path)? };
    time_distributed = { let (_folder, path) = place(g, "a.weights.h5"); KerasWeights::default().time_distributed(g.text("t"), &linear(g))?.write(&path)? };
    write = keras(g)?;
"interop::onnx::Export::", g:
    to_onnx = run(g)?;
    to_onnx_stream = graph(g, true)?;
"interop::onnx::Graph::", g:
    load = graph(g, false)?;
    memory_limit = run(g)?;
    run = run(g)?;
    stream = streamed(g, false)?;
"interop::onnx::Stream::", g:
    restore = streamed(g, true)?;
    step = streamed(g, false)?;
"interop::onnx::Weights::", g:
    arrays = { let (_folder, path) = place(g, "a.onnx"); let model = classifier(g); model.to_onnx(&path)?; let mut to = model.clone(); let prefix = g.text(""); unchanged(&mut to, |to| Weights::load(&path)?.arrays(prefix, to))? };
    constant = { let (_folder, path) = place(g, "a.onnx"); classifier(g).to_onnx(&path)?; Weights::load(&path)?.constant::<f32, Ix2>(g.text("head.weight"))? };
    load = { let (_folder, path) = place(g, "a.onnx"); classifier(g).to_onnx(&path)?; Weights::load(&path)?.constants().count() };
"model::Composed::", g:
    load = { let (_folder, path) = place(g, "a.model"); composed(g).save(&1_u32, &path)?; let other = composed(g); Composed::load(&path, |_: &u32| Ok(other.clone()))? };
    save = { let (_folder, path) = place(g, "a.model"); composed(g).save(&g.size(), &path)? };
    save_with = { let (_folder, path) = place(g, "a.model"); composed(g).save_with(&g.size(), &path, precision(g))? };
"model::Forecaster::", g:
    load = { let m: Forecaster<Cell> = Forecaster::builder(WIDTH, &recurrent::data::Windows::new(3, 1)?).hidden_size(2).build(g.rng())?; saved!(g, m, Forecaster<Cell>) };
    save = { let m: Forecaster<Cell> = Forecaster::builder(WIDTH, &recurrent::data::Windows::new(3, 1)?).hidden_size(2).build(g.rng())?; saved!(g, m, Forecaster<Cell>) };
    save_with = { let m: Forecaster<Cell> = Forecaster::builder(WIDTH, &recurrent::data::Windows::new(3, 1)?).hidden_size(2).build(g.rng())?; saved!(g, m, Forecaster<Cell>, precision(g)) };
"model::SequenceClassifier::", g:
    load = saved!(g, classifier(g), SequenceClassifier<Cell>);
    save = saved!(g, classifier(g), SequenceClassifier<Cell>);
    save_with = saved!(g, classifier(g), SequenceClassifier<Cell>, precision(g));
"model::SequenceRegressor::", g:
    load = { let m: SequenceRegressor<Cell> = SequenceRegressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceRegressor<Cell>) };
    save = { let m: SequenceRegressor<Cell> = SequenceRegressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceRegressor<Cell>) };
    save_with = { let m: SequenceRegressor<Cell> = SequenceRegressor::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceRegressor<Cell>, precision(g)) };
"model::SequenceTagger::", g:
    load = { let m: SequenceTagger<Cell> = SequenceTagger::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTagger<Cell>) };
    save = { let m: SequenceTagger<Cell> = SequenceTagger::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTagger<Cell>) };
    save_with = { let m: SequenceTagger<Cell> = SequenceTagger::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTagger<Cell>, precision(g)) };
"model::SequenceTranscriber::", g:
    load = { let m: SequenceTranscriber<Cell> = SequenceTranscriber::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTranscriber<Cell>) };
    save = { let m: SequenceTranscriber<Cell> = SequenceTranscriber::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTranscriber<Cell>) };
    save_with = { let m: SequenceTranscriber<Cell> = SequenceTranscriber::builder(WIDTH, 2).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceTranscriber<Cell>, precision(g)) };
"model::SequenceGenerator::", g:
    load = { let m: SequenceGenerator<Cell> = SequenceGenerator::builder(4).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceGenerator<Cell>) };
    save = { let m: SequenceGenerator<Cell> = SequenceGenerator::builder(4).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceGenerator<Cell>) };
    save_with = { let m: SequenceGenerator<Cell> = SequenceGenerator::builder(4).hidden_size(2).build(g.rng())?; saved!(g, m, SequenceGenerator<Cell>, precision(g)) };
"model::Seq2Seq::", g:
    load = saved!(g, seq2seq(g)?, Seq2Seq<Cell>);
    save = saved!(g, seq2seq(g)?, Seq2Seq<Cell>);
    save_with = saved!(g, seq2seq(g)?, Seq2Seq<Cell>, precision(g));
    to_onnx_decoder = { let (_folder, path) = place(g, "a.onnx"); seq2seq(g)?.to_onnx_decoder(&path)?; fs::metadata(&path).unwrap().len() };
    to_onnx_encoder = { let (_folder, path) = place(g, "a.onnx"); seq2seq(g)?.to_onnx_encoder(&path)?; fs::metadata(&path).unwrap().len() };
}
