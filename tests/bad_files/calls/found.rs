//! Faults that the calls have found, each mended with its kind.

use ndarray::{Array2, Array3};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use recurrent::cell::{CellConfig, GateWeights, GruCell, LstmOptions};
use recurrent::data::Windows;
use recurrent::layer::{Branches, Embedding, Heads, Layer, LayerNorm, Linear};
use recurrent::loss::{Batch, CrossEntropy, Loss};
use recurrent::model::Forecaster;
use recurrent::{Arrays, Lstm, Result, Sequences};

use super::given::bits;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn linear() -> Linear<f32> {
    Linear::new(3, 2, &mut rng()).unwrap()
}

/// Asserts that a backward pass fails and leaves the gradient as it was.
fn assert_refused<X, L: Layer<X, Elem = f32>>(layer: &L, x: &X, d_y: &L::Output, mut grad: L) {
    let (_, tape) = layer.forward_train(x, &mut rng()).unwrap();
    let before = bits(&grad);
    assert!(layer.backward(tape, d_y, &mut grad).is_err());
    assert_eq!(before, bits(&grad));
}

#[test]
fn heads_and_branches_change_no_gradient_if_that_of_the_second_does_not_fit() {
    let (x, d_y) = (Array2::ones((4, 3)), (Array2::ones((4, 2)), Array2::ones((4, 2))));
    let wide = || Linear::new(4, 2, &mut rng()).unwrap();
    let heads = Heads::new(linear(), linear());
    assert_refused(&heads, &x, &d_y, Heads::new(linear(), wide()));
    let branches = Branches::new(linear(), linear());
    assert_refused(&branches, &(x.clone(), x), &d_y, Branches::new(linear(), wide()));
}

#[test]
fn a_chain_changes_no_gradient_if_that_of_an_earlier_layer_does_not_fit() {
    let chain = (linear(), Linear::new(2, 2, &mut rng()).unwrap());
    let other = (Linear::new(4, 2, &mut rng()).unwrap(), chain.1.zeros_like());
    assert_refused(&chain, &Array2::ones((4, 3)), &Array2::ones((4, 2)), other);
}

#[test]
fn a_sequence_that_a_batch_does_not_have_has_no_step() {
    let x = Sequences::<f32>::full(Array3::zeros((3, 2, 1))).unwrap();
    assert!(x.has_step(2, 1) && !x.has_step(3, 1) && !x.has_step(0, 2));
}

#[test]
fn logits_of_no_class_have_no_loss() {
    let (logits, loss) = (Array2::<f32>::zeros((2, 0)), CrossEntropy::default());
    assert!(loss.loss(&logits, &vec![0, 0]).is_err());
    let ignored = loss.ignore_index(0).loss(&logits, &vec![0, 0]).unwrap();
    assert_eq!((ignored.0, ignored.1.dim()), (0.0, (2, 0)));
}

#[test]
fn the_forget_bias_of_a_gate_that_does_not_exist_is_refused() {
    let lstm = LstmOptions { forget_bias: Some(1.0) };
    let config = CellConfig::new(2, 3);
    let mut weights = GateWeights::<f32>::new(&config, 4, 3, &mut rng()).unwrap();
    for (gates, gate, got) in [(4, 4, 4), (0, 0, 0), (5, 1, 1), (usize::MAX, 2, 2)] {
        let before = bits(&weights);
        let error = weights.set_forget_bias(&lstm, gates, gate).unwrap_err().to_string();
        let expected =
            format!("gate: expected a gate of {gates} in 12 rows of each bias, got {got}");
        assert_eq!((error, before), (expected, bits(&weights)));
    }
    weights.set_forget_bias(&lstm, 4, 1).unwrap();
    assert_eq!(weights.bias_ih.unwrap().as_slice().unwrap()[3..6], [1.0; 3]);
}

/// An allocation that fails ends the program. The allocator of these tests refuses 4 GiB.
#[test]
fn sizes_for_which_there_is_no_memory_are_refused() {
    let refused = |result: Result<()>| {
        let error = result.unwrap_err().to_string();
        assert!(error.contains("fits into memory, got"), "{error}");
    };
    let rng = &mut rng();
    refused(Linear::<f32>::new(1 << 20, 1 << 20, rng).map(|_| ()));
    refused(Embedding::<f32>::new(1 << 40, 1, rng).map(|_| ()));
    refused(Lstm::<f32>::builder(1, 1 << 20).build(rng).map(|_| ()));
    refused(LayerNorm::<f32>::new(1 << 40).map(|_| ()));
    let lstm = Lstm::<f32>::builder(1, 1).build(rng).unwrap();
    refused(lstm.zero_state(1 << 40).map(|_| ()));
}

#[test]
fn a_forecaster_of_too_many_features_is_refused_when_it_is_built() {
    let windows = Windows::new(3, 2).unwrap();
    for features in [1 << 40, usize::MAX] {
        let builder = Forecaster::<GruCell<f32>>::builder(features, &windows);
        assert!(builder.build(&mut rng()).is_err());
    }
}
