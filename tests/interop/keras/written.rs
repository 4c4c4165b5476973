//! Files that this crate writes for Keras. `tests/fixtures/check_keras.py` loads them in Keras, and makes the fixture
//! `keras/written` of the files and the outputs of Keras.

use std::path::Path;

use ndarray::ArrayD;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{
    Cell, CoupledLstmCell, GruOptions, LayerNormLstmCell, Nonlinearity, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, Reset,
};
use recurrent::interop::keras::{KerasLayer, KerasModel, KerasWeights};
use recurrent::layer::{Embedding, Layer, LayerNorm, Linear};
use recurrent::model::{BuiltInCell, BuiltInOptions};
use recurrent::tensor::Init;
use recurrent::{Arrays, Error, Gru, Lstm, Recurrent, Result, Rnn, Sequences};
use safetensors::SafeTensors;

use super::{assert_near, assert_output, assert_steps, bits, entry, input, path};
use crate::common::fixture::Fixture;
use crate::common::temporary::{File, Folder};
use crate::round_trips;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns `arrays` with values in ±0.5, biases too.
fn random<A: Arrays<Elem = f32>>(mut arrays: A) -> A {
    let mut rng = rng();
    arrays.for_each_mut(&mut |_, mut array| array.mapv_inplace(|_| rng.random_range(-0.5..0.5)));
    arrays
}

/// Computes the output of layers.
type Forward = dyn Fn(&Sequences<f32>) -> Result<Sequences<f32>>;

/// Layers with their file for Keras, and the way to their output at each step.
struct Sample {
    name: &'static str,
    weights: KerasWeights,
    forward: Box<Forward>,
}

fn samples() -> Result<Vec<Sample>> {
    let rng = &mut rng();
    let weights = KerasWeights::default;

    let lstm = random(Lstm::builder(3, 4).num_layers(2).bidirectional(true).build(rng)?);
    let dense = random(Linear::new(8, 2, rng)?);
    let of_lstm = Sample {
        name: "lstm",
        weights: weights().recurrent("both", &lstm)?.dense("head", &dense)?,
        forward: Box::new(move |x| dense.forward(&lstm.forward(x, None)?.0)),
    };

    let gru = random(Gru::builder(3, 4).build(rng)?);
    let norm = random(LayerNorm::new(4)?.epsilon(1e-3)?);
    let of_gru = Sample {
        name: "gru",
        weights: weights().recurrent("gru", &gru)?.layer_norm("norm", &norm)?,
        forward: Box::new(move |x| norm.forward(&gru.forward(x, None)?.0)),
    };

    let before = GruOptions::new(Reset::Before);
    let gru = Gru::builder(3, 4).bidirectional(true).options(before).build(rng)?;
    let (gru, dense) = (random(gru), random(Linear::new(8, 2, rng)?));
    let of_before = Sample {
        name: "gru_before",
        weights: weights().recurrent("gru", &gru)?.time_distributed("head", &dense)?,
        forward: Box::new(move |x| dense.forward(&gru.forward(x, None)?.0)),
    };

    let rnn = Rnn::builder(3, 4).num_layers(3).options(Nonlinearity::Relu).bias(false);
    let rnn = random(rnn.build(rng)?);
    let dense = random(Linear::with_options(4, 2, false, Init::Constant(0.0), rng)?);
    let of_rnn = Sample {
        name: "rnn",
        weights: weights().recurrent("rnn", &rnn)?.dense("head", &dense)?,
        forward: Box::new(move |x| dense.forward(&rnn.forward(x, None)?.0)),
    };

    let embedding = random(Embedding::new(7, 5, rng)?);
    let cell = BuiltInOptions::Gru(GruOptions::default());
    let network = Recurrent::<BuiltInCell<f32>>::builder(5, 3).options(cell).build(rng)?;
    let network = random(network);
    let tokens = Sample {
        name: "words",
        weights: weights().embedding("words", &embedding)?.recurrent("gru", &network)?,
        forward: Box::new(move |x| Ok(network.forward(&embedding.forward(x)?, None)?.0)),
    };
    Ok(vec![of_lstm, of_gru, of_before, of_rnn, tokens])
}

/// The models of Keras that are written with other weights.
const MODELS: [&str; 13] = [
    "sequential",
    "functional",
    "tokens",
    "masked",
    "backwards",
    "reversed",
    "merged",
    "activated",
    "joined",
    "compiled",
    "branches",
    "ends",
    "uncentered",
];

/// Returns a model of Keras with other weights than in its file.
fn trained(name: &str) -> KerasModel {
    let mut model = KerasModel::open(path(&format!("{name}.keras"))).unwrap();
    let mut k = 0_u16;
    model.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|value| {
            k = (k + 5) % 13;
            // What is zero may have no place in the file.
            if value == 0.0 { value } else { value * 0.75 + f32::from(k) / 64.0 }
        });
    });
    model
}

/// Returns the files that this crate writes, by their names.
fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for sample in samples().unwrap() {
        let file = File::new(&format!("{}.weights.h5", sample.name));
        sample.weights.write(&file.0).unwrap();
        files.push((format!("{}.weights.h5", sample.name), std::fs::read(&file.0).unwrap()));
    }
    for name in MODELS {
        let file = File::new(&format!("{name}.keras"));
        trained(name).save(&file.0).unwrap();
        files.push((format!("{name}.keras"), std::fs::read(&file.0).unwrap()));
    }
    files.extend(round_trips::files());
    files
}

/// The fixture has the files that this crate writes today.
#[test]
fn keras_loads_the_files_and_computes_the_same_outputs() {
    let bytes = std::fs::read(path("written.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    for (name, file) in files() {
        let stored = stored.tensor(&format!("{name}.file")).unwrap();
        assert!(stored.data() == file, "{name}: run tests/fixtures/check_keras.py");
    }
    let fixture = Fixture::open("keras/written");
    for sample in samples().unwrap() {
        let name = format!("{}.weights.h5", sample.name);
        let y = (sample.forward)(&input(&fixture, &name)).unwrap();
        assert_steps(&y, &fixture.get(&format!("{name}.y")));
    }
    for name in MODELS {
        let model = trained(name);
        let name = format!("{name}.keras");
        let y = model.predict(&input(&fixture, &name)).unwrap();
        assert_output(&y, &fixture, &name);
    }
    // Weights that came back are those that Keras had, so its outputs are too.
    for (name, _) in round_trips::files() {
        let before = name.trim_end_matches(".weights.h5");
        let before: ArrayD<f64> = Fixture::open("keras/outputs").get(&format!("{before}.y"));
        let after: ArrayD<f64> = fixture.get(&format!("{name}.y"));
        assert_near(&after.mapv(|y| y as f32), &before);
    }
}

/// Writes the files for tests/fixtures/check_keras.py, which sets the folder.
#[test]
fn files_are_written_for_the_check_in_keras() {
    let Some(folder) = std::env::var_os("RECURRENT_KERAS_FILES") else { return };
    for (name, file) in files() {
        std::fs::write(Path::new(&folder).join(name), file).unwrap();
    }
}

#[test]
fn a_model_that_is_written_is_read_with_its_bits() {
    for name in MODELS {
        let model = KerasModel::open(path(&format!("{name}.keras"))).unwrap();
        let (whole, weights) = (File::new("again.keras"), File::new("again.weights.h5"));
        model.save(&whole.0).unwrap();
        model.save_weights(&weights.0).unwrap();
        let again = KerasModel::open(&whole.0).unwrap();
        assert_eq!(again.names(), model.names());
        assert_eq!(bits(&again), bits(&model), "{name}");
        let config = entry(&whole.0, "config.json");
        assert_eq!(config, entry(&path(&format!("{name}.keras")), "config.json"), "{name}");
        let config = String::from_utf8(config).unwrap();
        let again = KerasModel::from_json(&config, &weights.0).unwrap();
        assert_eq!(bits(&again), bits(&model), "{name}");
        // Both ways lead to the same bytes again.
        let second = File::new("second.keras");
        KerasModel::open(&whole.0).unwrap().save(&second.0).unwrap();
        assert_eq!(std::fs::read(&second.0).unwrap(), std::fs::read(&whole.0).unwrap(), "{name}");
    }
}

#[test]
fn two_biases_become_their_sum_where_keras_has_one() {
    let mut model = KerasModel::open(path("sequential.keras")).unwrap();
    let names: Vec<String> = model.names().iter().map(|&name| name.to_owned()).collect();
    let [lstm, gru] = [1, 2].map(|i| names[i].clone());
    let before = model.clone();
    model.for_each_mut(&mut |name, mut array| {
        if name.contains("bias_hh") {
            array.fill(0.25);
        }
    });
    let file = File::new("biases.keras");
    model.save(&file.0).unwrap();
    let again = KerasModel::open(&file.0).unwrap();
    let Some(KerasLayer::Gru(layer)) = again.layer(&gru) else { panic!("no GRU {gru}") };
    layer.network.for_each(&mut |name, array| {
        assert!(name != "bias_hh_l0" || array.iter().all(|&bias| bias == 0.25), "{name}");
    });
    let biases = |model: &KerasModel, of: &str| {
        let Some(KerasLayer::Lstm(layer)) = model.layer(&lstm) else { panic!("no LSTM {lstm}") };
        let mut biases = Vec::new();
        layer.network.for_each(&mut |name, array| {
            if name == of {
                biases = array.iter().copied().collect();
            }
        });
        biases
    };
    let sums: Vec<f32> = biases(&before, "bias_ih_l0").iter().map(|bias| bias + 0.25).collect();
    assert_eq!(biases(&again, "bias_ih_l0"), sums);
    assert!(biases(&again, "bias_hh_l0").iter().all(|&bias| bias == 0.0));
}

#[test]
fn a_trained_layer_replaces_that_of_the_model() {
    let mut model = KerasModel::open(path("reversed.keras")).unwrap();
    let gru = (*model.names().last().unwrap()).to_owned();
    let Some(KerasLayer::Gru(layer)) = model.layer(&gru) else { panic!("expected a GRU") };
    let trained = random(layer.network.clone());
    model.set_layer(&gru, &trained).unwrap();
    let file = File::new("trained.keras");
    model.save(&file.0).unwrap();
    let again = KerasModel::open(&file.0).unwrap();
    let Some(KerasLayer::Gru(layer)) = again.layer(&gru) else { panic!("expected a GRU") };
    assert_eq!(bits(&layer.network), bits(&trained));

    let before = bits(&model);
    assert!(matches!(model.set_layer("none", &trained), Err(Error::Argument { .. })));
    let wide = Gru::<f32>::builder(4, 2).build(&mut rng()).unwrap();
    assert!(matches!(model.set_layer(&gru, &wide), Err(Error::Structure { .. })));
    let mut nan = trained.clone();
    nan.fill(f32::NAN);
    assert!(matches!(model.set_layer(&gru, &nan), Err(Error::NonFinite { .. })));
    assert_eq!(bits(&model), before);
}

/// Returns the paths in an HDF5 file: of a group with its name, of an array with its type, shape and bytes.
fn structure(bytes: &[u8]) -> Vec<String> {
    fn walk(group: &hdf5_reader::group::Group, path: &str, found: &mut Vec<String>) {
        let attributes = group.attributes().unwrap();
        let attributes: Vec<String> = attributes
            .iter()
            .map(|attribute| format!("{}={}", attribute.name, attribute.read_string().unwrap()))
            .collect();
        found.push(format!("{path} {attributes:?}"));
        let (groups, datasets) = group.members().unwrap();
        for array in datasets {
            let bytes = array.read_raw_bytes().unwrap();
            let (dtype, shape) = (array.dtype(), array.shape());
            found.push(format!("{path}/{} {dtype:?} {shape:?} {bytes:?}", array.name()));
            assert!(array.attributes().is_empty());
        }
        for group in groups {
            walk(&group, &format!("{path}/{}", group.name()), found);
        }
    }
    let file = hdf5_reader::Hdf5File::from_bytes(bytes).unwrap();
    let mut found = Vec::new();
    walk(&file.root_group().unwrap(), "", &mut found);
    found.sort();
    found
}

#[test]
fn groups_and_arrays_are_those_of_keras() {
    for name in MODELS {
        let original = path(&format!("{name}.keras"));
        let file = File::new("again.keras");
        KerasModel::open(&original).unwrap().save(&file.0).unwrap();
        let [mut expected, got] =
            [&original, &file.0].map(|path| structure(&entry(path, "model.weights.h5")));
        expected.retain(|path| !path.starts_with("/optimizer"));
        assert_eq!(got, expected, "{name}");
        assert!(expected.len() > 5, "{name}");
    }
}

#[test]
fn states_of_random_generators_are_kept() {
    let config = std::fs::read_to_string(path("sequential.json")).unwrap();
    let model = KerasModel::from_json(&config, path("noise.weights.h5")).unwrap();
    let file = File::new("noise.weights.h5");
    model.save_weights(&file.0).unwrap();
    let [expected, got] = [path("noise.weights.h5"), file.0.clone()]
        .map(|path| structure(&std::fs::read(path).unwrap()));
    assert_eq!(got, expected);
    assert!(expected.iter().any(|path| path.contains("seed_generator/vars/0")));
}

#[test]
fn groups_and_arrays_of_single_layers_are_those_of_keras() {
    let model = KerasModel::open(path("sequential.keras")).unwrap();
    let names = model.names();
    let mut weights = KerasWeights::default();
    for name in &names {
        weights = match model.layer(name).unwrap() {
            KerasLayer::Lstm(lstm) => weights.recurrent(name, &lstm.network).unwrap(),
            KerasLayer::Gru(gru) => weights.recurrent(name, &gru.network).unwrap(),
            KerasLayer::Dense(dense, _) => weights.dense(name, dense).unwrap(),
            _ => weights,
        };
    }
    let file = File::new("layers.weights.h5");
    weights.write(&file.0).unwrap();
    let expected = structure(&std::fs::read(path("sequential.weights.h5")).unwrap());
    assert_eq!(structure(&std::fs::read(&file.0).unwrap()), expected);
    assert_eq!(expected.len(), 30);
}

#[test]
fn what_keras_does_not_have_is_refused_by_name() {
    fn says<C: Cell<Elem = f32> + 'static>(network: Result<Recurrent<C>>) -> String {
        KerasWeights::default().recurrent("layer", &network.unwrap()).unwrap_err().to_string()
    }
    let expected = "layer: cell: expected a cell that Keras has: rnn, lstm or gru, got ";
    let peephole = Recurrent::<PeepholeLstmCell<f32>>::builder(3, 4).build(&mut rng());
    assert_eq!(says(peephole), format!("{expected}peephole_lstm"));
    let coupled = Recurrent::<CoupledLstmCell<f32>>::builder(3, 4).build(&mut rng());
    assert_eq!(says(coupled), format!("{expected}coupled_lstm"));
    let projected = Recurrent::<ProjectedLstmCell<f32>>::builder(3, 4)
        .options(ProjectedLstmOptions::new(2))
        .build(&mut rng());
    assert_eq!(says(projected), format!("{expected}projected_lstm"));
    let normalised = Recurrent::<LayerNormLstmCell<f32>>::builder(3, 4).build(&mut rng());
    assert_eq!(says(normalised), format!("{expected}layer_norm_lstm"));
    let built_in = Recurrent::<BuiltInCell<f32>>::builder(3, 4);
    let built_in = built_in.options(BuiltInOptions::PeepholeLstm(Default::default()));
    assert_eq!(says(built_in.build(&mut rng())), format!("{expected}peephole_lstm"));

    let builder = || Lstm::<f32>::builder(4, 4).num_layers(2);
    let refused =
        |what: &str| format!("layer: {what}: expected none: Keras has no such layer, got some");
    assert_eq!(says(builder().residual(true).build(&mut rng())), refused("residual connections"));
    let zoneout = builder().zoneout(&[0.1, 0.1]).build(&mut rng());
    assert_eq!(says(zoneout), refused("zoneout"));
    let learned = builder().learned_initial_state(true).build(&mut rng());
    assert_eq!(says(learned), refused("learned initial state"));
}

#[test]
fn names_and_values_that_do_not_fit_are_refused() {
    let lstm = Lstm::<f32>::builder(3, 4).num_layers(2).build(&mut rng()).unwrap();
    let weights = || KerasWeights::default().recurrent("a", &lstm).unwrap();
    let again = weights().recurrent("a_1", &lstm).unwrap_err().to_string();
    assert_eq!(again, r#"name: expected a new name for each layer, got "a_1" again"#);
    for name in ["", "a/b", "a\0"] {
        assert!(matches!(weights().recurrent(name, &lstm), Err(Error::Argument { .. })), "{name}");
    }
    let mut dense = Linear::<f32>::new(2, 1, &mut rng()).unwrap();
    dense.fill(f32::INFINITY);
    let error = weights().dense("head", &dense).unwrap_err().to_string();
    assert_eq!(error, "head: weight: expected finite values, got inf at flat index 0");
}

#[test]
fn an_offset_that_keras_does_not_have_is_refused() {
    let mut model = KerasModel::open(path("uncentered.keras")).unwrap();
    let file = File::new("centered.keras");
    model.for_each_mut(&mut |name, mut array| {
        if name.starts_with("layer_norm") {
            array.fill(0.5);
        }
    });
    let message = model.save(&file.0).unwrap_err().to_string();
    assert!(message.contains("vars/1: expected zeros"), "{message}");
    assert!(!file.0.exists());
}

#[test]
fn values_that_are_not_finite_are_not_written() {
    let file = File::new("nan.keras");
    let mut model = KerasModel::open(path("joined.keras")).unwrap();
    model.for_each_mut(&mut |name, mut array| {
        if name.contains("bias") {
            array.fill(f32::MAX); // the sum of two is infinite
        }
    });
    assert!(matches!(model.save(&file.0), Err(Error::NonFinite { .. })));
    model.fill(f32::NAN);
    assert!(matches!(model.save(&file.0), Err(Error::NonFinite { .. })));
    assert!(!file.0.exists());
}

#[test]
fn a_file_of_another_name_is_not_written() {
    let folder = Folder::new("names");
    let model = KerasModel::open(path("joined.keras")).unwrap();
    for name in ["model.h5", "model.weights", "model"] {
        assert!(matches!(model.save(folder.path(name)), Err(Error::Argument { .. })));
        assert!(matches!(model.save_weights(folder.path(name)), Err(Error::Argument { .. })));
        let written = KerasWeights::default().write(folder.path(name));
        assert!(matches!(written, Err(Error::Argument { .. })));
    }
    assert!(matches!(model.save(folder.path("none/model.keras")), Err(Error::Io { .. })));
    assert!(folder.names().is_empty());
    model.save(folder.path("model.keras")).unwrap();
    assert_eq!(folder.names(), ["model.keras"]);
}
