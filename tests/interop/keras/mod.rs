//! Tests of models that Keras has saved, and of files for Keras.

mod stream;
mod written;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{Array2, Array3, Axis};
use recurrent::interop::keras::{KerasLayer, KerasModel, KerasOutput};
use recurrent::{Arrays, Error, Sequences};

use crate::common::fixture::Fixture;
use crate::common::temporary::File;
use crate::memory::factor;

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras").join(name)
}

fn fixture() -> Fixture {
    Fixture::open("keras/outputs")
}

/// Returns the input `name` of a fixture, whose sequences all have the length of the array.
pub(crate) fn input(fixture: &Fixture, name: &str) -> Sequences<f32> {
    if ["tokens", "words", "generator"].iter().any(|tokens| name.starts_with(tokens)) {
        let x: Array2<f64> = fixture.get(&format!("{name}.x"));
        let tokens: Vec<Vec<usize>> =
            x.outer_iter().map(|row| row.iter().map(|&token| token as usize).collect()).collect();
        return Sequences::one_hot_from_list(&tokens, 7).unwrap();
    }
    let x: Array3<f64> = fixture.get(&format!("{name}.x"));
    let lengths = vec![x.dim().1; x.dim().0];
    Sequences::from_batch_first(x.mapv(|x| x as f32).view(), lengths).unwrap()
}

/// Compares the output of a model with the output `name` of a fixture.
pub(crate) fn assert_output(y: &KerasOutput, fixture: &Fixture, name: &str) {
    match y {
        KerasOutput::Rows(y) => {
            let expected: Array2<f64> = fixture.get(&format!("{name}.y"));
            assert_eq!(y.shape(), expected.shape(), "{name}");
            assert_near(y, &expected);
        }
        KerasOutput::Steps(y) => assert_steps(y, &fixture.get(&format!("{name}.y"))),
    }
}

/// Compares the steps of each sequence with the outputs of Keras [batch, time, features].
fn assert_steps(y: &Sequences<f32>, expected: &Array3<f64>) {
    for (b, &length) in y.lengths().iter().enumerate() {
        for t in 0..length {
            let (got, expected) =
                (y.values().index_axis(Axis(0), t), expected.index_axis(Axis(0), b));
            assert_near(got.row(b), expected.row(t));
        }
    }
}

/// Returns the bits of all values, by name.
pub(crate) fn bits<A: Arrays<Elem = f32>>(arrays: &A) -> Vec<(String, Vec<u32>)> {
    let mut bits = Vec::new();
    arrays.for_each(&mut |name, array| {
        bits.push((name.to_owned(), array.iter().map(|value| value.to_bits()).collect()));
    });
    bits
}

/// Returns an entry of a zip file.
pub(crate) fn entry(path: &Path, name: &str) -> Vec<u8> {
    let mut zip = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let mut bytes = Vec::new();
    std::io::copy(&mut zip.by_name(name).unwrap(), &mut bytes).unwrap();
    bytes
}

fn assert_near<'a>(
    got: impl IntoIterator<Item = &'a f32>,
    expected: impl IntoIterator<Item = &'a f64>,
) {
    let (mut count, mut worst) = (0, 0.0_f64);
    for (&got, &expected) in got.into_iter().zip(expected) {
        let difference = (f64::from(got) - expected).abs();
        assert!(difference < 1e-6, "{got}, expected {expected}");
        worst = worst.max(difference);
        count += 1;
    }
    println!("{worst:.1e}");
    assert!(count > 0);
}

#[test]
fn models_predict_what_keras_predicts() {
    for name in [
        "sequential",
        "functional",
        "masked",
        "backwards",
        "reversed",
        "activated",
        "joined",
        "compiled",
        "ends",
        "uncentered",
    ] {
        let model = KerasModel::open(path(&format!("{name}.keras"))).unwrap();
        let KerasOutput::Rows(y) = model.predict(&input(&fixture(), name)).unwrap() else {
            panic!("{name}: expected a row for each sequence");
        };
        assert_output(&KerasOutput::Rows(y), &fixture(), name);
    }
}

#[test]
fn models_predict_each_step_as_keras_does() {
    for (name, lengths) in [("merged", [6, 6, 6]), ("tokens", [6, 2, 4]), ("branches", [6, 6, 6])] {
        let model = KerasModel::open(path(&format!("{name}.keras"))).unwrap();
        let KerasOutput::Steps(y) = model.predict(&input(&fixture(), name)).unwrap() else {
            panic!("{name}: expected a row for each step");
        };
        assert_eq!(y.lengths(), lengths, "{name}");
        assert_steps(&y, &fixture().get(&format!("{name}.y")));
    }
}

#[test]
fn weights_with_a_configuration_are_the_model() {
    let json = fs::read_to_string(path("sequential.json")).unwrap();
    let model = KerasModel::from_json(&json, path("sequential.weights.h5")).unwrap();
    let KerasOutput::Rows(y) = model.predict(&input(&fixture(), "sequential")).unwrap() else {
        panic!("expected a row for each sequence");
    };
    assert_near(&y, &fixture().get::<ndarray::Ix2>("sequential.y"));
}

#[test]
fn a_layer_of_a_model_streams() {
    let model = KerasModel::open(path("reversed.keras")).unwrap();
    let gru = *model.names().last().unwrap();
    let Some(KerasLayer::Gru(gru)) = model.layer(gru) else { panic!("expected a GRU") };
    let mut stream = gru.network.stream(1).unwrap();
    let step = ndarray::array![[0.5_f32, -1.0, 2.0]];
    let whole = Sequences::full(step.clone().insert_axis(Axis(0))).unwrap();
    let (y, _) = gru.network.forward(&whole, None).unwrap();
    assert_eq!(stream.step(step.view()).unwrap(), y.values().index_axis(Axis(0), 0));
    assert!(model.layer("none").is_none());
}

/// Returns the message of the error for the sequential model with another configuration.
fn refusal(from: &str, to: &str) -> String {
    let json = fs::read_to_string(path("sequential.json")).unwrap();
    let changed = json.replace(from, to);
    assert_ne!(json, changed, "{from} is not in the configuration");
    KerasModel::from_json(&changed, path("sequential.weights.h5")).unwrap_err().to_string()
}

#[test]
fn layers_and_options_that_are_not_read_are_refused_by_name() {
    for (from, to, named) in [
        (
            r#""recurrent_activation": "sigmoid""#,
            r#""recurrent_activation": "hard_sigmoid""#,
            "hard_sigmoid",
        ),
        (r#""activation": "tanh""#, r#""activation": "elu""#, "elu"),
        (r#""activation": "softmax""#, r#""activation": "gelu""#, "gelu"),
        (r#""merge_mode": "concat""#, r#""merge_mode": "max""#, "merge_mode"),
        (r#""class_name": "Dense""#, r#""class_name": "Conv1D""#, "Conv1D"),
        (r#""stateful": false"#, r#""stateful": true"#, "stateful"),
        (r#""return_state": false"#, r#""return_state": true"#, "return_state"),
        (r#""name": "float32""#, r#""name": "mixed_float16""#, "mixed_float16"),
        (r#""class_name": "Sequential""#, r#""class_name": "MyModel""#, "MyModel"),
        (r#""units": 4"#, r#""units": 0"#, "units"),
        (r#""units": 4"#, r#""units": 5"#, "[any, 20]"),
        (r#""units": 2"#, r#""units": 9223372036854775807"#, "shape"),
        (r#""units": 4"#, r#""units": 9223372036854775807"#, "units"),
        (r#""use_bias": true"#, r#""use_bias": false"#, "no layer reads"),
    ] {
        let message = refusal(from, to);
        assert!(message.contains(named), "{to}: {message}");
    }
}

#[test]
fn a_mask_before_the_last_step_is_an_error_that_names_the_layer() {
    let model = KerasModel::open(path("tokens.keras")).unwrap();
    let x = Sequences::<f32>::one_hot_from_list(&[vec![1, 0, 2]], 7).unwrap();
    let message = model.predict(&x).unwrap_err().to_string();
    assert!(message.contains("embedding") && message.contains("step 1"), "{message}");
}

#[test]
fn unread_layers_several_outputs_and_initial_states_are_refused() {
    let json = fs::read_to_string(path("functional.json")).unwrap();
    let history = |name: &str| format!(r#""keras_history": ["{name}"#);
    for (from, to) in [
        (history("dropout"), history("lstm")),
        (r#""output_layers": ["#.to_owned(), r#""output_layers": [["lstm", 0, 0], "#.to_owned()),
        (r#""mask": null"#.to_owned(), r#""initial_state": {}"#.to_owned()),
    ] {
        let changed = json.replace(&from, &to);
        assert_ne!(json, changed, "{from} is not in the configuration");
        let made = KerasModel::from_json(&changed, path("sequential.weights.h5"));
        let message = made.unwrap_err().to_string();
        assert!(message.contains("expected") || message.contains("initial state"), "{message}");
    }
}

/// Returns the model of branches with another configuration.
fn branches(from: &str, to: &str) -> recurrent::Result<KerasModel> {
    let json = fs::read_to_string(path("branches.json")).unwrap();
    let changed = json.replacen(from, to, 1);
    assert_ne!(json, changed, "{from} is not in the configuration");
    let file = File::new("branches.weights.h5");
    KerasModel::open(path("branches.keras")).unwrap().save_weights(&file.0).unwrap();
    KerasModel::from_json(&changed, &file.0)
}

#[test]
fn branches_that_are_not_read_are_refused_by_name() {
    for (from, to, named) in [
        (r#""class_name": "Add""#, r#""class_name": "Subtract""#, "Subtract add: "),
        (r#""class_name": "Add""#, r#""class_name": "Dense""#, "expected one input, got 2"),
        (r#""axis": -1"#, r#""axis": 1"#, "expected the last axis"),
        (r#""keras_history": ["lstm"#, r#""keras_history": ["none"#, "expected an input before it"),
        (r#""inbound_nodes": [{"#, r#""inbound_nodes": [{}, {"#, "expected one call of the layer"),
    ] {
        let message = branches(from, to).unwrap_err().to_string();
        assert!(message.contains(named), "{to}: {message}");
    }
}

#[test]
fn branches_of_other_shapes_are_an_error_that_names_the_layer() {
    let history = |name: &str| format!(r#""keras_history": ["{name}""#);
    let whole = KerasModel::open(path("branches.keras")).unwrap();
    let x = input(&fixture(), "branches");
    for (from, to, named) in [
        // Three features and four.
        (history("add"), history(whole.names()[0]), "average: inputs: expected [6, 3, 3]"),
        // A row for each sequence and one for each step.
        (
            r#""return_sequences": true"#.to_owned(),
            r#""return_sequences": false"#.to_owned(),
            "add: inputs: expected sequences, or a row for each sequence, got both",
        ),
    ] {
        let message = branches(&from, &to).unwrap().predict(&x).unwrap_err().to_string();
        assert!(message.starts_with(named), "{message}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let bytes = fs::read(path("sequential.weights.h5")).unwrap();
    let json = fs::read_to_string(path("sequential.json")).unwrap();
    for length in (0..bytes.len()).step_by(97) {
        let file = File::with("cut.weights.h5", &bytes[..length]);
        assert!(KerasModel::from_json(&json, &file.0).is_err(), "{length} bytes");
    }
    // A changed byte is an error, or another weight: never a panic.
    for place in (0..bytes.len()).step_by(13) {
        let mut changed = bytes.clone();
        changed[place] ^= 0xff;
        let file = File::with("changed.weights.h5", &changed);
        let _ = KerasModel::from_json(&json, &file.0);
    }
    for text in ["", "{}", "[]", r#"{"class_name": "Sequential"}"#, "null"] {
        let made = KerasModel::from_json(text, path("sequential.weights.h5"));
        assert!(matches!(made, Err(Error::Format { .. })), "{text}");
    }
    let mut zip = fs::read(path("sequential.keras")).unwrap();
    for length in (0..zip.len()).step_by(997) {
        let file = File::with("cut.keras", &zip[..length]);
        assert!(KerasModel::open(&file.0).is_err(), "{length} bytes");
    }
    let half = zip.len() / 2;
    zip[half] ^= 1; // the checksum is then wrong
    let file = File::with("changed.keras", &zip);
    assert!(matches!(KerasModel::open(&file.0), Err(Error::Format { .. })));
}

#[test]
fn hostile_weights_are_errors() {
    let json = fs::read_to_string(path("sequential.json")).unwrap();
    for (name, named) in [
        ("external", "external"),
        ("cycle", "deeper"),
        ("huge", "vars/0"),
        ("nan", "finite"),
        ("many", "more groups than the file has"),
    ] {
        let made = KerasModel::from_json(&json, path(&format!("{name}.weights.h5")));
        let message = made.unwrap_err().to_string();
        assert!(message.contains(named), "{name}: {message}");
    }
}

#[test]
fn opening_takes_at_most_256_times_the_size_of_the_file() {
    let json = fs::read_to_string(path("sequential.json")).unwrap();
    for name in ["functional.keras", "merged.keras"] {
        let used = factor(name, &path(name), |path| KerasModel::open(path).unwrap());
        assert!(used <= 256.0, "{name}: {used}");
    }
    for name in ["sequential", "external", "cycle", "huge", "nan", "many", "noise"] {
        let file = path(&format!("{name}.weights.h5"));
        let used = factor(name, &file, |path| KerasModel::from_json(&json, path));
        assert!(used <= 256.0, "{name}: {used}");
    }
}
