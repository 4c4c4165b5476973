//! The readers against each other: the same weights through each kind of file are the same bits, and compute the same.

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{Cell, GruCell, GruOptions, LstmCell, Nonlinearity, Reset, RnnCell};
use recurrent::interop::keras::{KerasModel, KerasOutput, KerasWeights};
use recurrent::interop::numpy::{Npz, NpzWriter};
use recurrent::interop::onnx::{Export, Graph, Weights};
use recurrent::interop::pytorch::StateDict;
use recurrent::model::{ModelBuilder, SequenceTagger};
use recurrent::{Arrays, Sequences, io};
use serde_json::{Value, json};

use crate::common::temporary::File;
use crate::keras::bits;

const CLASSES: usize = 2;

/// The sizes of a network, and the seed of its values.
#[derive(Clone, Debug)]
struct Case {
    input: usize,
    hidden: usize,
    layers: usize,
    both: bool,
    bias: bool,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..4, 1_usize..6, 1_usize..4);
    let case = |((input, hidden, layers), both, bias, seed)| Case {
        input,
        hidden,
        layers,
        both,
        bias,
        seed,
    };
    (sizes, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(case)
}

/// A cell of PyTorch's, ONNX's and Keras' kind.
trait Kind: Cell<Elem = f32, Options: serde::Serialize> + 'static {
    /// Whether Keras has a bias each for the input and the state.
    fn two_biases(options: &Self::Options) -> bool;

    /// Returns the class of the layer of Keras, and its options.
    fn keras(options: &Self::Options) -> (&'static str, Value);
}

impl Kind for RnnCell<f32> {
    fn two_biases(_: &Nonlinearity) -> bool {
        false
    }

    fn keras(options: &Nonlinearity) -> (&'static str, Value) {
        let relu = *options == Nonlinearity::Relu;
        ("SimpleRNN", json!({"activation": if relu { "relu" } else { "tanh" }}))
    }
}

impl Kind for LstmCell<f32> {
    fn two_biases(_: &Self::Options) -> bool {
        false
    }

    fn keras(_: &Self::Options) -> (&'static str, Value) {
        ("LSTM", json!({}))
    }
}

impl Kind for GruCell<f32> {
    fn two_biases(options: &GruOptions) -> bool {
        options.reset == Reset::After
    }

    fn keras(options: &GruOptions) -> (&'static str, Value) {
        ("GRU", json!({"reset_after": options.reset == Reset::After}))
    }
}

/// Returns the configuration of the Keras model of a case.
fn config<C: Kind>(case: &Case, options: &C::Options) -> String {
    let (class, of_cell) = C::keras(options);
    let layer = |name: String, backwards: bool| {
        let mut config = json!({
            "name": name, "units": case.hidden, "use_bias": case.bias, "return_sequences": true,
            "go_backwards": backwards,
        });
        config.as_object_mut().unwrap().extend(of_cell.as_object().unwrap().clone());
        json!({"class_name": class, "config": config})
    };
    let mut layers: Vec<Value> = (0..case.layers)
        .map(|l| match case.both {
            false => layer(format!("layer_{l}"), false),
            true => json!({"class_name": "Bidirectional", "config": {
                "name": format!("layer_{l}"), "merge_mode": "concat",
                "layer": layer("forward".to_owned(), false),
                "backward_layer": layer("backward".to_owned(), true),
            }}),
        })
        .collect();
    layers.push(json!({"class_name": "Dense", "config": {"name": "head", "units": CLASSES}}));
    json!({"class_name": "Sequential", "config": {"layers": layers}}).to_string()
}

/// Sets all values: numbers in ±1, zeros of both signs and numbers near zero.
fn fill<A: Arrays<Elem = f32>>(arrays: &mut A, rng: &mut ChaCha8Rng) {
    arrays.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|_| match rng.random_range(0..16) {
            0 => 0.0,
            1 => -0.0,
            2 => f32::MIN_POSITIVE,
            3 => -1e-40,
            _ => rng.random_range(-1.0..1.0),
        });
    });
}

/// Fails unless `got` is at most 1e-6 from `expected`.
fn near(got: &Sequences<f32>, expected: &Sequences<f32>) -> TestCaseResult {
    prop_assert_eq!(got.lengths(), expected.lengths());
    for (place, &got) in got.values().indexed_iter() {
        let expected = expected.values()[place];
        prop_assert!((got - expected).abs() < 1e-6, "{} instead of {}", got, expected);
    }
    Ok(())
}

fn check<C: Kind>(case: &Case, options: C::Options) -> TestCaseResult {
    let builder = || -> ModelBuilder<SequenceTagger<C>> {
        let builder = SequenceTagger::<C>::builder(case.input, CLASSES).hidden_size(case.hidden);
        let builder = builder.cell_options(options.clone()).num_layers(case.layers);
        let builder = builder.bidirectional(case.both);
        builder.recurrent(|layers| layers.bias(case.bias))
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(case.seed);
    let mut model = builder().build(rng).unwrap();
    fill(&mut model, rng);
    if !C::two_biases(&options) {
        // Keras reads the one bias as that of the input.
        model.for_each_mut(&mut |name, mut array| {
            if name.contains("bias_hh") {
                array.fill(0.0);
            }
        });
    }
    let mut x = ndarray::Array3::<f32>::zeros((4, 2, case.input));
    x.mapv_inplace(|_| rng.random_range(-1.0..1.0));
    let x = Sequences::new(x, vec![4, 3]).unwrap();
    let y = model.emissions(&x).unwrap();

    let file = File::new("model.safetensors");
    io::save(&file.0, &model).unwrap();
    let of_pytorch = StateDict::open(&file.0).unwrap().model(builder()).unwrap();
    prop_assert_eq!(bits(&of_pytorch), bits(&model));

    let file = File::new("model.npz");
    NpzWriter::default().arrays("", &model).write(&file.0).unwrap();
    let mut of_numpy = model.zeros_like();
    Npz::open(&file.0).unwrap().arrays("", &mut of_numpy).unwrap();
    prop_assert_eq!(bits(&of_numpy), bits(&model));

    let file = File::new("model.onnx");
    model.to_onnx(&file.0).unwrap();
    let graph = Graph::load(&file.0).unwrap();
    let mut of_onnx = model.zeros_like();
    Weights::load(&file.0).unwrap().arrays("", &mut of_onnx).unwrap();
    prop_assert_eq!(bits(&of_onnx), bits(&model));
    let lengths = ndarray::array![4_i32, 3];
    let inputs = [("x", x.values().clone().into()), ("lengths", lengths.into())];
    let outputs = graph.run(&inputs).unwrap();
    let logits = outputs["logits"].array::<f32>().unwrap().clone();
    near(&y.with_values(logits.into_dimensionality().unwrap()).unwrap(), &y)?;

    let file = File::new("model.weights.h5");
    let weights = KerasWeights::default().recurrent("layer", model.recurrent()).unwrap();
    weights.dense("head", model.head()).unwrap().write(&file.0).unwrap();
    let keras = KerasModel::from_json(&config::<C>(case, &options), &file.0).unwrap();
    let values = |arrays: Vec<(String, Vec<u32>)>| -> Vec<Vec<u32>> {
        arrays.into_iter().map(|(_, bits)| bits).collect()
    };
    prop_assert_eq!(values(bits(&keras)), values(bits(&model)));
    let KerasOutput::Steps(of_keras) = keras.predict(&x).unwrap() else {
        panic!("expected an output for each step");
    };
    near(&of_keras, &y)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn an_lstm_is_the_same_from_every_file(case in cases()) {
        check::<LstmCell<f32>>(&case, Default::default())?;
    }

    #[test]
    fn a_gru_is_the_same_from_every_file(case in cases(), before in any::<bool>()) {
        let reset = if before { Reset::Before } else { Reset::After };
        check::<GruCell<f32>>(&case, GruOptions::new(reset))?;
    }

    #[test]
    fn a_vanilla_rnn_is_the_same_from_every_file(case in cases(), relu in any::<bool>()) {
        let nonlinearity = if relu { Nonlinearity::Relu } else { Nonlinearity::Tanh };
        check::<RnnCell<f32>>(&case, nonlinearity)?;
    }
}
