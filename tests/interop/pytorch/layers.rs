//! Each layer: found from names and shapes, equal to PyTorch's in its outputs, and the same file again.

use recurrent::cell::Nonlinearity;
use recurrent::interop::pytorch::StateDict;
use recurrent::io::Writer;
use recurrent::layer::{Layer, Padding};
use recurrent::{Float, Gru, Lstm, ProjectedLstm, Rnn};

use super::{compare, fixture, input};
use crate::common::temporary::File;

fn each_layer<T: Float>(name: &str) {
    let file = fixture(name);
    let (model, outputs) = (file.prefix("model."), file.prefix("outputs."));
    let x = input::<T>(&file, "x", 0).unwrap();
    let tokens = input::<T>(&file, "tokens", 7).unwrap();

    let lstm: Lstm<T> = model.prefix("encoder.").prefix("lstm.").lstm().unwrap();
    assert_eq!((lstm.input_size(), lstm.num_layers(), lstm.bidirectional()), (3, 2, true));
    let tanh: Rnn<T> = model.prefix("tanh.").rnn(Nonlinearity::Tanh).unwrap();
    let relu: Rnn<T> = model.prefix("relu.").rnn(Nonlinearity::Relu).unwrap();
    let gru: Gru<T> = model.prefix("gru.").gru().unwrap();
    let projected: ProjectedLstm<T> = model.prefix("projected.").projected_lstm().unwrap();
    let linear = model.prefix("linear.").linear::<T>().unwrap();
    let plain = model.prefix("plain.").linear::<T>().unwrap();
    assert!(plain.bias().is_none());
    let embedding = model.prefix("embedding.").embedding::<T>().unwrap();
    let norm = model.prefix("norm.").layer_norm::<T>().unwrap();
    let conv = model.prefix("conv.").conv1d::<T>().unwrap();
    let bare = model.prefix("bare.").conv1d::<T>().unwrap().padding(Padding::Causal);

    let computed = [
        ("lstm", lstm.forward(&x, None).unwrap().0),
        ("tanh", tanh.forward(&x, None).unwrap().0),
        ("relu", relu.forward(&x, None).unwrap().0),
        ("gru", gru.forward(&x, None).unwrap().0),
        ("projected", projected.forward(&x, None).unwrap().0),
        ("linear", linear.forward(&x).unwrap()),
        ("plain", plain.forward(&x).unwrap()),
        ("embedding", embedding.forward(&tokens).unwrap()),
        ("norm", norm.forward(&x).unwrap()),
        ("conv", conv.forward(&x).unwrap()),
        ("bare", bare.forward(&x).unwrap()),
    ];
    assert_eq!(outputs.names().len(), computed.len());
    for (name, y) in computed {
        compare(name, y.values(), &outputs.array(name).unwrap());
    }

    let again = File::new("layers.safetensors");
    Writer::default()
        .arrays("encoder.lstm.", &lstm)
        .arrays("tanh.", &tanh)
        .arrays("relu.", &relu)
        .arrays("gru.", &gru)
        .arrays("projected.", &projected)
        .arrays("linear.", &linear)
        .arrays("plain.", &plain)
        .arrays("embedding.", &embedding)
        .arrays("norm.", &norm)
        .arrays("conv.", &conv)
        .arrays("bare.", &bare)
        .write(&again.0)
        .unwrap();
    same::<T>(&StateDict::open(&again.0).unwrap(), &model);
}

/// Checks that both have the same names, element types, shapes and bits. A file with those of a `state_dict`
/// is one for `load_state_dict(strict=True)`.
pub(crate) fn same<T: Float>(a: &StateDict, b: &StateDict) {
    assert_eq!(a.names(), b.names());
    for name in b.names() {
        assert_eq!(a.dtype(name), b.dtype(name), "{name}");
        let values = [a, b].map(|file| file.array::<T, ndarray::IxDyn>(name).unwrap());
        assert_eq!(values[0].shape(), values[1].shape(), "{name}");
        let bits = values.map(|values| values.mapv(|value| value.as_f64().to_bits()));
        assert_eq!(bits[0], bits[1], "{name}");
    }
}

#[test]
fn layers_of_f32_are_those_of_pytorch() {
    each_layer::<f32>("layers_f32.pt");
}

#[test]
fn layers_of_f64_are_those_of_pytorch() {
    each_layer::<f64>("layers_f64.pt");
}

#[test]
fn single_precision_is_exact_in_double_precision_but_not_the_reverse() {
    let wide: Lstm<f64> = fixture("layers_f32.pt").prefix("model.encoder.lstm.").lstm().unwrap();
    assert_eq!(wide.output_size(), 10);
    let narrow = fixture("layers_f64.pt").prefix("model.encoder.lstm.").lstm::<f32>();
    let error = narrow.unwrap_err().to_string();
    assert!(
        error.ends_with("tensor model.encoder.lstm.weight_ih_l0: expected dtype f32, got f64"),
        "{error}"
    );
}
