//! Names: prefixes, checkpoints, reports, and what is missing, unused or wrongly shaped.

use ndarray::{Array1, Array2, array};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::cell::Nonlinearity;
use recurrent::error::WrongShape;
use recurrent::interop::pytorch::StateDict;
use recurrent::io::Writer;
use recurrent::{Arrays, Error, Gru, Lstm};

use super::fixture;
use super::views::{pt, view};
use crate::common::temporary::File;

#[test]
fn a_part_of_a_checkpoint_is_reached_by_its_prefix() {
    let file = fixture("checkpoint.pt");
    let gru: Gru<f32> = file.prefix("model.module.").gru().unwrap();
    assert_eq!((gru.input_size(), gru.output_size()), (2, 3));
    let moment = file.array::<f32, ndarray::Ix2>("optimizer.state.0.exp_avg").unwrap();
    assert_eq!(moment.dim(), (9, 2));
    for name in ["epoch", "history", "note", "optimizer.param_groups.0.lr"] {
        assert!(file.names().contains(&name), "{name} of {:?}", file.names());
        assert!(file.shape(name).is_none());
    }
    let epoch = file.array::<f32, ndarray::Ix0>("epoch").unwrap_err().to_string();
    assert!(epoch.ends_with("tensor epoch: expected dtype f32, got the int 3"), "{epoch}");
}

#[test]
fn unused_names_are_an_error_unless_they_are_allowed() {
    let file = fixture("layers_f32.pt").prefix("model.");
    let Err(Error::Tensors { report, .. }) = file.prefix("projected.").lstm::<f32>() else {
        panic!("a projected LSTM is no LSTM");
    };
    assert_eq!(report.unused.len(), 4, "{report}"); // weight_hr of each layer and direction
    assert_eq!(report.wrong_shapes.len(), 6, "{report}");

    let linear = file.prefix("linear.");
    let Err(Error::Tensors { report, .. }) = linear.embedding::<f32>() else {
        panic!("a linear layer is no embedding");
    };
    assert_eq!(report.unused, ["model.linear.bias"]);
    assert_eq!(report.used, ["model.linear.weight"]);
    assert_eq!(linear.allow_unused(true).embedding::<f32>().unwrap().num_embeddings(), 4);

    let mut unchanged = array![1.0_f32];
    let error = file.load(&mut unchanged).unwrap_err();
    assert!(matches!(error, Error::Tensors { .. }));
    assert_eq!(unchanged, array![1.0]);
}

#[test]
fn a_report_has_all_names() {
    let written = File::new("report.safetensors");
    let (a, b, c) = (array![1.0], array![2.0, 3.0], array![4.0]);
    Writer::default()
        .arrays("p.0.", &a)
        .arrays("p.1.", &b)
        .arrays("p.3.", &c)
        .write(&written.0)
        .unwrap();
    let file = StateDict::open(&written.0).unwrap().prefix("p.");
    let report = file.report(&(array![0.0], array![0.0], array![0.0]));
    assert_eq!(report.used, ["p.0.value"]);
    assert_eq!(report.missing, ["p.2.value"]);
    assert_eq!(report.unused, ["p.3.value"]);
    let wrong = WrongShape { name: "p.1.value".to_owned(), expected: vec![1], got: vec![2] };
    assert_eq!(report.wrong_shapes, [wrong]);
    let text = r#"1 tensors fit, missing ["p.2.value"], unused ["p.3.value"], p.1.value: expected [1], got [2]"#;
    assert_eq!(report.to_string(), text);
    assert!(!report.is_fit(true));
}

#[test]
fn widths_may_differ_from_layer_to_layer() {
    let written = File::new("widths.safetensors");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let lstm = Lstm::<f64>::builder(2, 1).hidden_sizes(&[5, 3, 4]).build(&mut rng).unwrap();
    Writer::default().arrays("", &lstm).write(&written.0).unwrap();
    let again: Lstm<f64> = StateDict::open(&written.0).unwrap().lstm().unwrap();
    assert_eq!((again.num_layers(), again.output_size()), (3, 4));
    let same = |name: &str| {
        let mut found = [Vec::new(), Vec::new()];
        for (found, network) in found.iter_mut().zip([&lstm, &again]) {
            network.for_each(&mut |n, values| {
                if n == name {
                    found.extend(values.iter().copied());
                }
            });
        }
        found[0] == found[1]
    };
    assert!(lstm.names().iter().all(|name| same(name)));
}

#[test]
fn what_is_no_such_layer_is_refused() {
    let file = fixture("layers_f32.pt").prefix("model.");
    let refusals = [
        file.prefix("gru.").lstm::<f32>().map(drop),
        file.prefix("encoder.lstm.").gru::<f32>().map(drop),
        file.prefix("encoder.lstm.").rnn::<f32>(Nonlinearity::Tanh).map(drop),
        file.prefix("encoder.lstm.").projected_lstm::<f32>().map(drop),
        file.prefix("encoder.").lstm::<f32>().map(drop),
        file.prefix("nothing.").gru::<f32>().map(drop),
        file.prefix("conv.").linear::<f32>().map(drop),
        file.prefix("norm.").linear::<f32>().map(drop),
        file.prefix("linear.").conv1d::<f32>().map(drop),
        file.prefix("linear.").layer_norm::<f32>().map(drop),
        file.prefix("gru.").embedding::<f32>().map(drop),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("layers_f32.pt: "), "{message}");
        assert!(matches!(error, Error::Tensors { .. } | Error::Argument { .. }), "{message}");
    }
}

#[test]
fn values_that_are_not_finite_and_sizes_of_zero_are_refused() {
    let written = File::new("values.safetensors");
    Writer::default()
        .arrays("nan.", &Weight { weight: array![[1.0, f64::NAN]] })
        .arrays("none.", &Weight { weight: Array2::zeros((0, 3)) })
        .write(&written.0)
        .unwrap();
    let file = StateDict::open(&written.0).unwrap();
    let nan = file.prefix("nan.").linear::<f64>().unwrap_err();
    assert!(matches!(nan, Error::NonFinite { .. }), "{nan}");
    assert!(file.prefix("nan.").array::<f64, ndarray::Ix2>("weight").unwrap()[[0, 1]].is_nan());
    let none = file.prefix("none.").linear::<f64>().unwrap_err();
    assert!(matches!(none, Error::Argument { .. }), "{none}");
    let missing = file.array::<f64, ndarray::Ix1>("weight").unwrap_err().to_string();
    assert!(missing.ends_with(r#"0 tensors fit, missing ["weight"]"#), "{missing}");
}

#[derive(Clone)]
struct Weight {
    weight: Array2<f64>,
}
recurrent::arrays!([] Weight: f64 { weight: array });

#[test]
fn a_tensor_that_is_saved_alone_is_an_array() {
    let mut w = Array1::<f64>::zeros(2);
    let file = File::with("alone.pt", pt(&view(3, 1, &[2], &[1]), &[1.0, 2.0, 3.0]));
    let file = StateDict::open(&file.0).unwrap();
    assert_eq!(file.names(), ["value"]);
    file.load(&mut w).unwrap();
    assert_eq!(w, array![2.0, 3.0]);
}
