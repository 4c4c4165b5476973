//! Tests that training step by step gives the bits of training on whole sequences.

use std::fmt::Debug;

use crate::user_cell::MinimalGatedUnit;
use ndarray::{Array2, Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, Nonlinearity,
    PeepholeLstmCell, ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::{Arrays, Float, Gru, Lstm, Recurrent, RecurrentBuilder, Sequences, State};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(3)
}

fn random<T: Float, A: Arrays<Elem = T>>(mut arrays: A, rng: &mut ChaCha8Rng) -> A {
    arrays.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|_| T::from_f64(rng.random_range(-1.0..1.0)));
    });
    arrays
}

/// Returns the bits of all values as `f64`, which represents every `f32` exactly.
fn bits<A: Arrays>(arrays: &A) -> Vec<(String, Vec<u64>)> {
    let mut all = Vec::new();
    arrays.for_each(&mut |name, array| {
        let bits = array.iter().map(|value| value.as_f64().to_bits());
        all.push((name.to_owned(), bits.collect()));
    });
    all
}

/// A network and the inputs of a pass, apart from x.
struct Problem<C: Cell> {
    net: Recurrent<C>,
    initial: Option<State<C::Elem>>,
    d_output: Array3<C::Elem>,
    d_final: Option<State<C::Elem>>,
}

/// The results of a pass: output, final states, gradients of the inputs, initial states and parameters.
type Results<C> = (
    (Array3<<C as Arrays>::Elem>, State<<C as Arrays>::Elem>),
    ((Array3<<C as Arrays>::Elem>, State<<C as Arrays>::Elem>), Recurrent<C>),
);

impl<T: Float, C: Cell<Elem = T>> Problem<C> {
    fn new(builder: RecurrentBuilder<C>, time: usize, batch: usize, given: bool) -> Self {
        let mut rng = rng();
        let net = builder.build(&mut rng).unwrap();
        let net = random(net, &mut rng);
        let state = net.zero_state(batch).unwrap();
        Self {
            initial: given.then(|| random(state.clone(), &mut rng)),
            d_final: given.then(|| random(state, &mut rng)),
            d_output: random(Array3::zeros((time, batch, net.output_size())), &mut rng),
            net,
        }
    }

    fn whole(&self, x: &Sequences<T>) -> Results<C> {
        let (net, mut grad) = (&self.net, self.net.zeros_like());
        let (output, last, tape) = net.forward_train(x, self.initial.as_ref(), &mut rng()).unwrap();
        let d_output = x.with_values(self.d_output.clone()).unwrap();
        let (d_x, d_initial) =
            net.backward(tape, &d_output, self.d_final.as_ref(), &mut grad).unwrap();
        ((output.into_values(), last), ((d_x.into_values(), d_initial), grad))
    }

    fn stepwise(&self, x: &Sequences<T>) -> Results<C> {
        let (net, mut grad) = (&self.net, self.net.zeros_like());
        let mut stream = net.training_stream(x.batch(), self.initial.as_ref(), &mut rng()).unwrap();
        let mut output = Array3::zeros(self.d_output.dim());
        for t in 0..x.time() {
            let h = match x.tokens() {
                Some(tokens) => stream.step_tokens(&tokens.row(t).to_vec()).unwrap(),
                None => stream.step(x.values().index_axis(Axis(0), t)).unwrap(),
            };
            output.index_axis_mut(Axis(0), t).assign(&h);
        }
        assert_eq!(stream.steps(), x.time());
        let last = stream.state().clone();
        let mut backward = stream.backward(self.d_final.as_ref()).unwrap();
        let dense = x.tokens().is_none();
        let mut d_x = Array3::zeros(x.values().dim());
        for t in (0..x.time()).rev() {
            assert_eq!(backward.left(), t + 1);
            let d_x_t = backward.step(self.d_output.index_axis(Axis(0), t)).unwrap();
            assert_eq!(d_x_t.is_some(), dense);
            if let Some(d_x_t) = d_x_t {
                d_x.index_axis_mut(Axis(0), t).assign(&d_x_t);
            }
        }
        let d_initial = backward.finish(&mut grad).unwrap();
        ((output, last), ((d_x, d_initial), grad))
    }

    fn check(&self, x: &Sequences<T>, case: impl Debug) {
        let (got, expected) = (bits(&self.stepwise(x)), bits(&self.whole(x)));
        for (got, expected) in got.iter().zip(&expected) {
            assert!(got == expected, "{} differs: {case:?}", got.0);
        }
    }
}

/// Checks all sizes, depths and batches for one cell and element type.
fn check_sizes<T: Float, C: Cell<Elem = T>>(options: &C::Options) {
    for hidden in [1, 3, 7, 17] {
        for (layers, batch) in [(1, 1), (1, 5), (2, 5), (3, 1)] {
            let builder = Recurrent::<C>::builder(3, hidden).num_layers(layers);
            let builder = builder.options(options.clone()).bias(layers != 2);
            check_dense(builder.learned_initial_state(layers == 1), 3, batch, layers > 1);
        }
    }
}

fn check_dense<T: Float, C: Cell<Elem = T>>(
    builder: RecurrentBuilder<C>,
    input: usize,
    batch: usize,
    given: bool,
) {
    let problem = Problem::new(builder, 6, batch, given);
    let x = random(Array3::zeros((6, batch, input)), &mut rng());
    let case = (C::NAME, problem.net.output_size(), problem.net.num_layers(), batch);
    problem.check(&Sequences::full(x).unwrap(), case);
}

#[test]
fn an_rnn_gives_the_bits_of_the_sequence() {
    check_sizes::<f32, RnnCell<f32>>(&Nonlinearity::Tanh);
    check_sizes::<f64, RnnCell<f64>>(&Nonlinearity::Relu);
}

#[test]
fn an_lstm_gives_the_bits_of_the_sequence() {
    check_sizes::<f32, LstmCell<f32>>(&Default::default());
    check_sizes::<f64, LstmCell<f64>>(&Default::default());
}

#[test]
fn a_gru_gives_the_bits_of_the_sequence() {
    for reset in [Reset::After, Reset::Before] {
        check_sizes::<f32, GruCell<f32>>(&GruOptions::new(reset));
        check_sizes::<f64, GruCell<f64>>(&GruOptions::new(reset));
    }
}

#[test]
fn an_lstm_with_peepholes_or_coupled_gates_gives_the_bits_of_the_sequence() {
    check_sizes::<f32, PeepholeLstmCell<f32>>(&Default::default());
    check_sizes::<f64, PeepholeLstmCell<f64>>(&Default::default());
    check_sizes::<f32, CoupledLstmCell<f32>>(&Default::default());
}

#[test]
fn a_projected_lstm_gives_the_bits_of_the_sequence() {
    for (hidden, proj) in [(3, 1), (7, 3), (17, 7)] {
        for (layers, batch) in [(1, 5), (2, 1), (3, 5)] {
            let options = ProjectedLstmOptions::new(proj);
            let builder = Recurrent::<ProjectedLstmCell<f32>>::builder(3, hidden);
            let builder = builder.options(options.clone()).num_layers(layers);
            check_dense(builder, 3, batch, true);
            let builder = Recurrent::<ProjectedLstmCell<f64>>::builder(3, hidden);
            check_dense(builder.options(options).num_layers(layers), 3, batch, false);
        }
    }
}

#[test]
fn a_layer_normalised_lstm_gives_the_bits_of_the_sequence() {
    check_sizes::<f32, LayerNormLstmCell<f32>>(&Default::default());
    check_sizes::<f64, LayerNormLstmCell<f64>>(&Default::default());
}

#[test]
fn a_cell_of_a_user_gives_the_bits_of_the_sequence() {
    check_sizes::<f32, MinimalGatedUnit<f32>>(&());
    check_sizes::<f64, MinimalGatedUnit<f64>>(&());
}

/// All kinds of noise at once, in a network with two dropout masks between layers.
#[test]
fn noise_is_the_same_as_in_a_whole_sequence() {
    let builder = || Lstm::<f32>::builder(3, 7).num_layers(3).zoneout(&[0.3, 0.5]);
    for (dropout, recurrent) in [(0.0, 0.0), (0.4, 0.0), (0.0, 0.4), (0.4, 0.4)] {
        let builder = builder().dropout(dropout).recurrent_dropout(recurrent);
        check_dense(builder.clone(), 3, 5, true);
        check_dense(builder.residual(true).learned_initial_state(true), 3, 5, false);
    }
    check_dense(Gru::<f64>::builder(3, 5).num_layers(4).dropout(0.4), 3, 2, true);
}

/// With 16 sequences, a call over whole sequences sums W_ih x and W_hh h' in one product.
#[test]
fn large_batches_and_residual_sums_are_the_same_as_in_a_whole_sequence() {
    check_dense(Lstm::<f32>::builder(9, 19).num_layers(3).residual(true), 9, 16, true);
    check_dense(Gru::<f32>::builder(9, 19).num_layers(2).residual(true), 9, 40, true);
}

#[test]
fn tokens_give_the_bits_of_the_sequence_and_have_no_gradient() {
    for layers in [1, 2] {
        let builder = Lstm::<f32>::builder(17, 7).num_layers(layers).residual(layers > 1);
        let problem = Problem::new(builder, 6, 5, true);
        let tokens = Array2::from_shape_fn((6, 5), |(t, b)| (3 * t + 7 * b) % 17);
        let x = Sequences::one_hot(tokens.view(), 17, vec![6; 5]).unwrap();
        problem.check(&x, ("tokens", layers));
    }
}

#[test]
fn an_input_may_be_of_any_memory_layout() {
    let net = Lstm::<f32>::builder(3, 4).build(&mut rng()).unwrap();
    let x_t = random(Array2::zeros((5, 3)), &mut rng());
    let mut first = net.training_stream(5, None, &mut rng()).unwrap();
    let mut second = net.training_stream(5, None, &mut rng()).unwrap();
    let transposed = x_t.t().as_standard_layout().into_owned();
    assert_eq!(first.step(x_t.view()).unwrap(), second.step(transposed.t()).unwrap());
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let both = Lstm::<f32>::builder(2, 3).bidirectional(true).build(&mut rng()).unwrap();
    let message = both.training_stream(1, None, &mut rng()).unwrap_err().to_string();
    let expected = "bidirectional: expected a network of one direction: backward in time needs \
                    the whole sequence, got true";
    assert_eq!(message, expected);

    let net = Lstm::<f32>::builder(2, 3).learned_initial_state(true).build(&mut rng()).unwrap();
    let start = |batch| net.training_stream(batch, None, &mut rng());
    assert_eq!(start(0).unwrap_err().to_string(), "batch: expected at least 1, got 0");
    let wrong = net.zero_state(3).unwrap();
    let message = net.training_stream(2, Some(&wrong), &mut rng()).unwrap_err().to_string();
    assert!(message.starts_with("initial h: expected [1, 2, 3]"), "{message}");

    let x_t = Array2::ones((2, 2));
    let mut stream = start(2).unwrap();
    let message = stream.step(Array2::ones((2, 3)).view()).unwrap_err().to_string();
    assert_eq!(message, "x_t: expected [2, 2] (batch, input), got [2, 3]");
    let message = stream.step_tokens(&[0, 2]).unwrap_err().to_string();
    assert_eq!(message, "tokens[1]: expected less than 2 (input), got 2");
    stream.step(x_t.view()).unwrap();
    let message = stream.step_tokens(&[0, 1]).unwrap_err().to_string();
    assert_eq!(message, "x_t: expected rows or tokens at all steps, got both");
    assert_eq!(stream.steps(), 1);
    assert!(stream.backward(Some(&wrong)).is_err());

    let step = || {
        let mut stream = start(2).unwrap();
        stream.step(x_t.view()).unwrap();
        stream.backward(None).unwrap()
    };
    let mut grad = net.zeros_like();
    let message = step().finish(&mut grad).unwrap_err().to_string();
    assert_eq!(message, "steps: expected a walk back through every step, got 1 left");
    let mut backward = step();
    let message = backward.step(Array2::ones((2, 2)).view()).unwrap_err().to_string();
    assert_eq!(message, "d_output: expected [2, 3] (batch, output), got [2, 2]");
    backward.step(Array2::ones((2, 3)).view()).unwrap();
    let message = backward.step(Array2::ones((2, 3)).view()).unwrap_err().to_string();
    assert_eq!(message, "step: expected one that is left to walk back through, got none");
    assert_eq!(bits(&grad), bits(&net.zeros_like()), "an error leaves the gradient alone");
    backward.finish(&mut grad).unwrap();
    assert_ne!(bits(&grad), bits(&net.zeros_like()));
}

/// Without any step, the gradient of the final states is that of the initial states.
#[test]
fn without_a_step_the_gradient_goes_straight_through() {
    let net = Lstm::<f32>::builder(2, 3).build(&mut rng()).unwrap();
    let d_final = random(net.zero_state(2).unwrap(), &mut rng());
    let stream = net.training_stream(2, None, &mut rng()).unwrap();
    let mut grad = net.zeros_like();
    let d_initial = stream.backward(Some(&d_final)).unwrap().finish(&mut grad).unwrap();
    assert_eq!(d_initial, d_final);
    assert_eq!(bits(&grad), bits(&net.zeros_like()));
}
