//! Tests of residual connections between recurrent layers: gradients, equivalent sums, streams, errors.

use ndarray::{Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell, RnnCell};
use recurrent::check::GradientCheck;
use recurrent::{Arrays, Lstm, Recompute, Recurrent, Sequences, Stream};

use crate::common::bits::bits;
use crate::common::random::random;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(5)
}

fn sequences(features: usize, seed: u64) -> Sequences<f64> {
    Sequences::new(random((6, 4, features), seed), vec![2, 6, 0, 5]).unwrap()
}

fn network<C: Cell<Elem = f64>>(input: usize, hidden: usize, bidirectional: bool) -> Recurrent<C> {
    let builder = Recurrent::builder(input, hidden).num_layers(3).residual(true);
    builder.bidirectional(bidirectional).dropout(0.25).build(&mut rng()).unwrap()
}

fn gradients<C: Cell<Elem = f64>>() {
    for (hidden, bidirectional) in [(1, false), (3, true), (7, false)] {
        let network = network::<C>(3, hidden, bidirectional);
        let (x, w) = (sequences(3, 1), random((6, 4, network.output_size()), 2));
        let run = |network: &Recurrent<C>, x: &Sequences<f64>, keep| {
            let (output, _, tape) = network.forward_train_with(x, None, &mut rng(), keep).unwrap();
            let mut grad = network.zeros_like();
            // The padding is not read.
            let mut w = w.clone();
            w.slice_mut(s![2.., 0, ..]).fill(f64::NAN);
            let d_output = output.with_values(w).unwrap();
            let (d_x, _) = network.backward(tape, &d_output, None, &mut grad).unwrap();
            (output, d_x, grad)
        };
        let (_, d_x, grad) = run(&network, &x, Recompute::Store);
        let loss = |(network, x): &(Recurrent<C>, Sequences<f64>)| {
            let (output, _, _) = network.forward_train(x, None, &mut rng())?;
            Ok((output.values() * &w).sum())
        };
        let gradient = (grad.clone(), d_x.clone());
        let report =
            GradientCheck::default().run(&(network.clone(), x.clone()), &gradient, loss).unwrap();
        assert!(report.relative_error <= 1e-6, "{report}");
        let (_, d_again, again) = run(&network, &x, Recompute::Every(2));
        assert_eq!((bits(&grad), d_x), (bits(&again), d_again));
    }
}

#[test]
fn gradients_match_finite_differences_with_dropout_and_checkpoints() {
    gradients::<LstmCell<f64>>();
    gradients::<GruCell<f64>>();
    gradients::<RnnCell<f64>>();
}

#[test]
fn each_layer_after_the_first_adds_its_input() {
    let stack = network::<LstmCell<f64>>(3, 5, true);
    let layer = |k: usize| {
        let input = if k == 0 { 3 } else { 10 };
        let mut one = Lstm::<f64>::builder(input, 5).bidirectional(true).build(&mut rng()).unwrap();
        let mut from = Vec::new();
        stack.for_each(&mut |name, array| {
            if name.contains(&format!("_l{k}")) {
                from.push(array);
            }
        });
        let mut from = from.into_iter();
        one.for_each_mut(&mut |_, mut array| array.assign(&from.next().unwrap()));
        one
    };
    let x = sequences(3, 1);
    let (mut expected, _) = layer(0).forward(&x, None).unwrap();
    for k in 1..3 {
        let (h, _) = layer(k).forward(&expected, None).unwrap();
        expected = x.with_values(h.values() + expected.values()).unwrap();
    }
    let mut workspace = stack.workspace();
    for _ in 0..2 {
        assert_eq!(workspace.forward(&x, None).unwrap().0, &expected);
    }
}

#[test]
fn a_stream_says_what_the_whole_sequence_does() {
    let network = network::<GruCell<f64>>(3, 5, false);
    let x = Sequences::full(random((6, 2, 3), 1)).unwrap();
    let (whole, last) = network.forward(&x, None).unwrap();
    let mut stream = network.stream(2).unwrap();
    let step = |stream: &mut Stream<'_, f64>, t: usize| {
        stream.step(x.values().index_axis(Axis(0), t)).unwrap().to_owned()
    };
    for t in 0..6 {
        let forked = step(&mut stream.fork(), t);
        assert_eq!(step(&mut stream, t), whole.values().index_axis(Axis(0), t));
        assert_eq!((forked, stream.output()), (stream.output().to_owned(), stream.output()));
    }
    assert_eq!(stream.snapshot(), last);
}

#[test]
fn layers_of_other_widths_are_refused() {
    let builder = Lstm::<f64>::builder(3, 4).hidden_sizes(&[4, 4, 5]).residual(true);
    assert_eq!(
        builder.build(&mut rng()).unwrap_err().to_string(),
        "residual: expected layers of equal width, 4 after the first, got 5"
    );
    assert_eq!(
        Lstm::<f64>::builder(3, 4).residual(true).build(&mut rng()).unwrap_err().to_string(),
        "residual: expected false with one layer: it acts after the first, got true"
    );
}
