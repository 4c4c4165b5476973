//! Weights that are taken out of a file.

use ndarray::{Array1, Array2, Array3, ArrayD, Axis};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{Cell, CoupledLstmCell, Nonlinearity, PeepholeLstmCell};
use recurrent::interop::onnx::{Export, Value, Weights};
use recurrent::layer::Pooling;
use recurrent::model::{SequenceClassifier, SequenceGenerator, SequenceTagger};
use recurrent::{Arrays, GruCell, Lstm, LstmCell, Recurrent, Result, RnnCell, Sequences};

use super::fixtures::{cases, difference};
use crate::common::temporary::File;
use crate::keras::bits;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns the weights in the file of a model.
fn weights<M: Export>(model: &M) -> Weights {
    let file = File::new("model.onnx");
    model.to_onnx(&file.0).unwrap();
    Weights::load(&file.0).unwrap()
}

/// Returns the weights in a file.
fn load(bytes: &[u8]) -> Weights {
    Weights::load(&File::with("case.onnx", bytes).0).unwrap()
}

/// Checks that a model comes back from its file with its bits.
fn returns<M: Export + Arrays<Elem = f32>>(model: Result<M>) {
    let mut model = model.unwrap();
    let mut k = 0.0;
    model.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|_| {
            k += 1.0;
            k
        });
    });
    let mut again = model.zeros_like();
    weights(&model).arrays("", &mut again).unwrap();
    assert_eq!(bits(&again), bits(&model));
}

#[test]
fn models_come_back_from_their_files_with_their_bits() {
    let peephole = SequenceClassifier::<PeepholeLstmCell<f32>>::builder(4, 3);
    returns(peephole.hidden_size(5).pooling(Pooling::Attention).build(&mut rng()));
    let learned = SequenceClassifier::<GruCell<f32>>::builder(4, 3).hidden_size(5);
    let learned = learned
        .bidirectional(true)
        .recurrent(|layers| layers.num_layers(2).residual(true).learned_initial_state(true));
    returns(learned.build(&mut rng()));
    let relu = SequenceTagger::<RnnCell<f32>>::builder(4, 3).hidden_size(5);
    let relu = relu.cell_options(Nonlinearity::Relu).recurrent(|layers| layers.bias(false));
    returns(relu.build(&mut rng()));
    let conditioned = SequenceGenerator::<LstmCell<f32>>::builder(7).condition_size(2);
    returns(conditioned.hidden_size(5).embedding_dim(3).build(&mut rng()));
}

#[test]
fn a_stream_has_the_weights_too() {
    let builder = SequenceClassifier::<LstmCell<f32>>::builder(4, 3).hidden_size(5);
    let model = builder.pooling(Pooling::Attention).build(&mut rng()).unwrap();
    let file = File::new("stream.onnx");
    model.to_onnx_stream(&file.0).unwrap();
    let mut again = model.zeros_like();
    Weights::load(&file.0).unwrap().arrays("", &mut again).unwrap();
    assert_eq!(bits(&again), bits(&model));
}

/// Returns the network of a file of PyTorch.
fn network<C: Cell<Elem = f32>>(
    name: &str,
    input: usize,
    layers: usize,
    both: bool,
) -> Recurrent<C> {
    let file = load(&cases("onnx_exports")[name].model);
    let builder = Recurrent::<C>::builder(input, 4).num_layers(layers).bidirectional(both);
    let mut network = builder.build(&mut rng()).unwrap();
    file.arrays("recurrent.", &mut network).unwrap_or_else(|error| panic!("{name}: {error}"));
    network
}

#[test]
fn networks_come_out_of_the_files_of_both_exporters_of_pytorch() {
    fn same<C: Cell<Elem = f32>>(kind: &str) {
        for (number, both) in [("one", false), ("both", true)] {
            let [script, dynamo] = ["script", "dynamo"]
                .map(|exporter| network::<C>(&format!("{kind}_{number}_{exporter}"), 5, 2, both));
            assert_eq!(bits(&script), bits(&dynamo), "{kind}_{number}");
        }
    }
    same::<LstmCell<f32>>("lstm");
    same::<GruCell<f32>>("gru");
    // The newer exporter unrolls an RNN.
    network::<RnnCell<f32>>("rnn_both_script", 5, 2, true);
}

#[test]
fn a_network_out_of_a_file_of_pytorch_computes_its_states() {
    for exporter in ["script", "dynamo"] {
        let name = format!("states_{exporter}");
        let case = &cases("onnx_exports")[&name];
        let lstm = network::<LstmCell<f32>>(&name, 5, 1, false);
        let array = |value: &Value| -> Array3<f32> {
            value.array().unwrap().clone().into_dimensionality().unwrap()
        };
        let x = array(&case.inputs["x"]); // [batch, time, features]
        let x = Sequences::from_batch_first(x.view(), vec![x.dim().1; x.dim().0]).unwrap();
        let mut state = lstm.zero_state(x.batch()).unwrap();
        for name in ["h", "c"] {
            let values = array(&case.inputs[name]);
            state.set_part(name, 0, false, values.index_axis(Axis(0), 0)).unwrap();
        }
        let (_, last) = lstm.forward(&x, Some(&state)).unwrap();
        for name in ["h", "c"] {
            let got = last.get(name).unwrap().to_owned().into_dyn().into();
            let worst = difference(&got, &case.outputs[&format!("{name}_n")]);
            assert!(worst < 1e-6, "{name} of {exporter}: {worst}");
        }
    }
}

#[test]
fn constants_have_the_names_of_the_file() {
    let builder = SequenceTagger::<GruCell<f32>>::builder(4, 3).hidden_size(5);
    let model = builder.build(&mut rng()).unwrap();
    let file = weights(&model);
    assert!(file.constants().any(|name| name == "head.weight"));
    let weight: Array2<f32> = file.constant("head.weight").unwrap();
    assert_eq!(weight, model.head().weight().t());
    let says = |error: recurrent::Error| error.to_string();
    assert!(says(file.constant::<f32, ndarray::Ix2>("none").unwrap_err()).starts_with("name: "));
    let error = says(file.constant::<f64, ndarray::Ix2>("head.weight").unwrap_err());
    assert_eq!(error, "head.weight, element type: expected f64, got f32");
    let error = says(file.constant::<f32, ndarray::Ix1>("head.weight").unwrap_err());
    assert_eq!(error, "head.weight: expected 1 axes, got shape [5, 3]");
}

#[test]
fn names_shapes_and_types_that_do_not_fit_are_refused() {
    let builder = || SequenceTagger::<GruCell<f32>>::builder(4, 3).hidden_size(5);
    let model = builder().build(&mut rng()).unwrap();
    let file = weights(&model);
    let mut wide = builder().hidden_size(6).build(&mut rng()).unwrap();
    let before = bits(&wide);
    let error = file.arrays("", &mut wide).unwrap_err().to_string();
    let expected = "recurrent.weight_ih_l0: expected [18, 4] (as in the bundle), got [15, 4]";
    assert_eq!(error, expected);
    assert_eq!(bits(&wide), before);

    let mut more = builder().num_layers(2).build(&mut rng()).unwrap();
    let error = file.arrays("", &mut more).unwrap_err().to_string();
    assert!(error.starts_with("recurrent.weight_ih_l1: expected a weight of the file"), "{error}");
    let mut head = model.head().zeros_like();
    let error = file.arrays("", &mut head).unwrap_err().to_string();
    assert!(error.starts_with("weight: expected a weight of the file"), "{error}");
    file.arrays("head.", &mut head).unwrap();
    assert_eq!(head.weight(), model.head().weight());
    let mut one: ArrayD<f32> = Array1::zeros(3).into_dyn();
    let error = file.arrays("head.bias", &mut one).unwrap_err().to_string();
    assert!(error.contains("head.biasvalue"), "{error}");
    let double = SequenceTagger::<GruCell<f64>>::builder(4, 3).hidden_size(5);
    let mut double = double.build(&mut rng()).unwrap();
    let error = file.arrays("", &mut double).unwrap_err().to_string();
    assert_eq!(error, "recurrent.weight_ih_l0, element type: expected f64, got f32");
}

#[test]
fn weights_that_no_array_takes_are_refused() {
    let builder = SequenceClassifier::<LstmCell<f32>>::builder(4, 3).hidden_size(5);
    let model = builder.bidirectional(true).build(&mut rng()).unwrap();
    let mut one = Lstm::<f32>::builder(4, 5).build(&mut rng()).unwrap();
    let error = weights(&model).arrays("recurrent.", &mut one).unwrap_err().to_string();
    let expected = "arrays: expected an array for each weight of the file, got none for ";
    assert!(error.starts_with(expected), "{error}");
    assert!(error.ends_with("_reverse"), "{error}");
}

#[test]
fn nodes_that_are_no_cell_of_this_crate_are_refused() {
    let builder = SequenceTagger::<CoupledLstmCell<f32>>::builder(4, 3).hidden_size(5);
    let model = builder.build(&mut rng()).unwrap();
    let error = weights(&model).arrays("", &mut model.clone()).unwrap_err().to_string();
    assert!(error.contains("(LSTM), settings: expected those of an RNN"), "{error}");

    let nodes = cases("onnx_nodes");
    let says = |name: &str| {
        let mut lstm = Lstm::<f32>::builder(3, 4).build(&mut rng()).unwrap();
        let file = load(&nodes[name].model);
        file.arrays("recurrent.", &mut lstm).unwrap_err().to_string()
    };
    let error = says("set_lstm_reverse");
    assert!(
        error.ends_with("direction: expected forward or bidirectional, got reverse"),
        "{error}"
    );
    let error = says("set_lstm_clip");
    assert!(error.contains("settings: expected those of an RNN"), "{error}");
    let official = nodes.keys().find(|name| name.starts_with("test_lstm")).unwrap();
    let error = says(official);
    assert!(error.contains("expected constants, got values of other nodes"), "{error}");
}
