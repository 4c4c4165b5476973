//! Tests of weights that are given as arrays: by name, and for a linear layer.

use ndarray::{Array1, Array2, Array3, array};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::layer::{Embedding, Layer, Linear};
use recurrent::optim::Sgd;
use recurrent::{Arrays, Error, Lstm, Sequences};

use crate::common::bits::bits;

#[test]
fn the_weights_of_a_network_are_set_by_name() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let trained = Lstm::<f64>::builder(2, 3).num_layers(2).build(&mut rng).unwrap();
    let mut copy = Lstm::<f64>::builder(2, 3).num_layers(2).build(&mut rng).unwrap();
    assert_ne!(bits(&trained), bits(&copy));
    trained.for_each(&mut |name, values| copy.set(name, values).unwrap());
    assert_eq!(bits(&trained), bits(&copy));
    let x = Sequences::full(Array3::from_shape_fn((4, 2, 2), |(t, b, j)| {
        (t + 2 * b) as f64 - j as f64
    }));
    let x = x.unwrap();
    let output = |network: &Lstm<f64>| network.forward(&x, None).unwrap().0.values().to_owned();
    assert_eq!(output(&trained), output(&copy));

    // Values in another layout are set by their indices.
    let columns = Array2::from_shape_fn((2, 12), |(j, i)| (10 * i + j) as f64).reversed_axes();
    copy.set("weight_ih_l0", columns.view()).unwrap();
    copy.for_each(&mut |name, values| match name {
        "weight_ih_l0" => assert_eq!(values, columns.view().into_dyn()),
        _ => assert!(values.iter().all(|&value| value.abs() < 1.0)),
    });
}

#[test]
fn values_that_do_not_fit_a_weight_are_refused_and_change_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut lstm = Lstm::<f64>::builder(2, 3).bias(false).build(&mut rng).unwrap();
    let before = bits(&lstm);
    let says = |result: recurrent::Result<()>| result.unwrap_err().to_string();
    let names = r#"["weight_ih_l0", "weight_hh_l0"]"#;
    assert_eq!(
        says(lstm.set("bias_ih_l0", Array1::zeros(12))),
        format!("name: expected one of {names}, got bias_ih_l0")
    );
    assert!(says(lstm.set("", Array1::zeros(12))).starts_with("name: expected one of"));
    let expected = "weight_hh_l0: expected [12, 3] (as in the bundle), got";
    assert_eq!(
        says(lstm.set("weight_hh_l0", Array2::zeros((3, 12)))),
        format!("{expected} [3, 12]")
    );
    assert_eq!(says(lstm.set("weight_hh_l0", Array1::zeros(36))), format!("{expected} [36]"));
    assert_eq!(says(lstm.set("weight_hh_l0", Array2::zeros((0, 0)))), format!("{expected} [0, 0]"));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut values = Array2::zeros((12, 3));
        values[[11, 2]] = bad;
        let expected = format!("weight_hh_l0: expected finite values, got {bad} at flat index 35");
        assert_eq!(says(lstm.set("weight_hh_l0", values)), expected);
    }
    assert_eq!(bits(&lstm), before);
}

#[test]
fn a_linear_layer_has_the_given_weight_and_bias() {
    let weight = array![[1.0, 2.0, -1.0], [0.5, 0.0, 4.0]];
    let layer = Linear::from_weight(weight.clone(), Some(array![10.0, 20.0])).unwrap();
    assert_eq!((layer.input_size(), layer.output_size()), (3, 2));
    let x = array![[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]];
    assert_eq!(layer.forward(&x).unwrap(), array![[12.0, 32.5], [10.0, 20.0]]);
    let plain =
        Linear::from_weight(weight.t().as_standard_layout().reversed_axes().to_owned(), None);
    let plain = plain.unwrap();
    assert_eq!(plain.forward(&x).unwrap(), array![[2.0, 12.5], [0.0, 0.0]]);
    assert_eq!(plain.names(), ["weight"]);
    plain.for_each(&mut |_, values| assert!(values.is_standard_layout()));

    let refused = |weight, bias| Linear::<f64>::from_weight(weight, bias).map(|_| ()).unwrap_err();
    let says = |weight, bias| refused(weight, bias).to_string();
    let bias = says(weight.clone(), Some(array![1.0, 2.0, 3.0]));
    assert_eq!(bias, "bias: expected [2] (output), got [3]");
    assert!(says(Array2::zeros((0, 3)), None).starts_with("weight [output, input]: expected"));
    assert!(says(Array2::zeros((2, 0)), None).starts_with("weight [output, input]: expected"));
    let bad = refused(weight.clone(), Some(array![0.0, f64::NAN]));
    assert!(matches!(&bad, Error::NonFinite { name, index: 1, .. } if name == "bias"), "{bad}");
    let bad = refused(array![[0.0, f64::INFINITY]], None);
    assert!(matches!(&bad, Error::NonFinite { name, index: 1, .. } if name == "weight"), "{bad}");
}

#[test]
fn an_embedding_of_weights_in_another_layout_trains_as_any_other() {
    let columns = Array2::from_shape_fn((2, 5), |(j, i)| (10 * i + j) as f64).reversed_axes();
    let mut embedding = Embedding::from_weight(columns.clone()).unwrap();
    assert_eq!(embedding.weight(), columns.view());
    let mut same = Embedding::from_weight(columns.as_standard_layout().into_owned()).unwrap();
    for embedding in [&mut embedding, &mut same] {
        let mut grad = embedding.zeros_like();
        grad.fill(0.5);
        Sgd::new(1.0).unwrap().step(embedding, &grad).unwrap();
    }
    assert_eq!(bits(&embedding), bits(&same));
    assert_eq!(embedding.weight()[[3, 1]], 30.5);
}
