//! Tests of invalid arguments: each gets a typed error that names it, and changes nothing.

use ndarray::{Array2, Array3};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{CellConfig, LstmOptions};
use recurrent::error::{check_shape, check_size};
use recurrent::tensor::Init;
use recurrent::{Arrays, Error, Lstm, Result, Rnn, Sequences, Tape};

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns a bidirectional network of two layers with 3 inputs and 2 · 4 outputs.
fn network() -> Lstm<f32> {
    Lstm::builder(3, 4).num_layers(2).bidirectional(true).build(&mut rng()).unwrap()
}

fn x() -> Sequences<f32> {
    Sequences::new(Array3::from_elem((5, 2, 3), 0.5), vec![5, 2]).unwrap()
}

fn tape(net: &Lstm<f32>) -> Tape<f32> {
    net.forward_train(&x(), None, &mut rng()).unwrap().2
}

/// Returns the message of an error, which must be an [`Error::Argument`].
fn argument<R>(result: Result<R>) -> String {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Argument { .. }), "{error:?}");
    error.to_string()
}

/// Returns the message of an error, which must be an [`Error::Shape`].
fn shape<R>(result: Result<R>) -> String {
    let error = result.err().expect("an error");
    assert!(matches!(error, Error::Shape { .. }), "{error:?}");
    error.to_string()
}

const AT_LEAST_1: &str = "expected sizes of at least 1, got";
const ADDRESSABLE: &str = "expected sizes whose product can be addressed, got";
const MAX: usize = usize::MAX;

#[test]
fn sizes_of_a_network_that_are_zero_are_refused() {
    let build = |input, hidden| Lstm::<f32>::builder(input, hidden);
    let message = argument(build(0, 4).build(&mut rng()));
    assert_eq!(message, "input_size: expected at least 1, got 0");
    let message = argument(build(3, 0).build(&mut rng()));
    assert_eq!(message, "hidden_size: expected at least 1, got 0");
    let message = argument(build(3, 4).num_layers(0).build(&mut rng()));
    assert_eq!(message, "num_layers: expected at least 1, got 0");
    let message = argument(build(3, 4).hidden_sizes(&[]).build(&mut rng()));
    assert_eq!(message, "num_layers: expected at least 1, got 0");
    let message = argument(build(3, 4).hidden_sizes(&[]).num_layers(2).build(&mut rng()));
    assert_eq!(message, "hidden_sizes: expected at least 1, got 0");
    let message = argument(build(3, 4).hidden_sizes(&[4, 0]).build(&mut rng()));
    assert_eq!(message, "hidden_size: expected at least 1, got 0");
}

#[test]
fn sizes_of_a_network_that_cannot_be_addressed_are_refused() {
    let build = |input, hidden| Lstm::<f64>::builder(input, hidden);
    let message = argument(build(MAX, 4).build(&mut rng()));
    assert_eq!(message, format!("input_size: {ADDRESSABLE} [{MAX}]"));
    let message = argument(build(3, MAX).build(&mut rng()));
    assert_eq!(message, format!("hidden_size: {ADDRESSABLE} [{MAX}]"));
    let message = argument(build(3, 4).num_layers(MAX).build(&mut rng()));
    assert_eq!(message, format!("num_layers: {ADDRESSABLE} [{MAX}]"));
    for (input, hidden) in [(1 << 59, 8), (1 << 40, 1 << 40), (1, 1 << 59)] {
        let message = argument(build(input, hidden).build(&mut rng()));
        let sizes = format!("[4, {hidden}, {input}]");
        assert_eq!(message, format!("hidden_size × input_size: {ADDRESSABLE} {sizes}"));
    }
}

fn forget_bias(value: f64) -> LstmOptions {
    LstmOptions { forget_bias: Some(value) }
}

#[test]
fn options_outside_their_range_are_refused() {
    let build = || Lstm::<f32>::builder(3, 4).num_layers(2);
    for (p, shown) in [(1.0, "1"), (-0.1, "-0.1"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        let message = argument(build().dropout(p).build(&mut rng()));
        assert_eq!(message, format!("dropout: expected 0 ≤ p < 1, got {shown}"));
    }
    let message = argument(build().num_layers(1).dropout(0.5).build(&mut rng()));
    assert_eq!(message, "dropout: expected 0 with one layer: it acts between layers, got 0.5");
    for (value, shown) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf")] {
        let options = forget_bias(value);
        let message = argument(build().options(options).build(&mut rng()));
        let expected = "forget_bias: expected a finite value, in a cell with bias, got";
        assert_eq!(message, format!("{expected} {shown}"));
    }
    let options = forget_bias(1.0);
    let message = argument(build().bias(false).options(options).build(&mut rng()));
    assert_eq!(message, "forget_bias: expected a finite value, in a cell with bias, got 1");
}

#[test]
fn initialisers_that_make_no_distribution_are_refused_by_name() {
    let build = || Rnn::<f32>::builder(3, 4);
    let at_least_0 = "expected a finite value of at least 0, got";
    let message = argument(build().weight_ih(Init::Uniform(-1.0)).build(&mut rng()));
    assert_eq!(message, format!("weight_ih: {at_least_0} -1"));
    let message = argument(build().weight_hh(Init::Normal(f64::NAN)).build(&mut rng()));
    assert_eq!(message, format!("weight_hh: {at_least_0} NaN"));
    let message = argument(build().bias_init(Init::Constant(f64::INFINITY)).build(&mut rng()));
    assert_eq!(message, "bias_init: expected a finite value, got inf");
    let config = CellConfig::new(3, 4);
    let message = argument(config.weight::<f32>(Init::Uniform(-1.0), 1, (4, 3), &mut rng()));
    assert_eq!(message, format!("init: {at_least_0} -1"));
    let message = argument(config.weight::<f32>(Init::Orthogonal, 0, (4, 3), &mut rng()));
    assert_eq!(message, format!("hidden_size × input_size: {AT_LEAST_1} [0, 4, 3]"));
}

#[test]
fn sequences_need_sizes_and_a_length_for_each() {
    let new =
        |shape, lengths: &[usize]| Sequences::<f32>::new(Array3::zeros(shape), lengths.to_vec());
    for dim in [(0, 2, 3), (5, 0, 3), (5, 2, 0)] {
        let message = argument(new(dim, &vec![0; dim.1]));
        let (t, b, f) = dim;
        let expected = format!("values [time, batch, features]: {AT_LEAST_1} [{t}, {b}, {f}]");
        assert_eq!(message, expected);
        assert_eq!(argument(Sequences::full(Array3::<f32>::zeros(dim))), expected);
        let batch_first = Array3::<f32>::zeros((b, t, f));
        let message = argument(Sequences::from_batch_first(batch_first.view(), vec![0; b]));
        assert_eq!(message, expected);
    }
    assert_eq!(shape(new((5, 2, 3), &[5])), "lengths: expected [2] (batch), got [1]");
    assert_eq!(shape(new((5, 2, 3), &[5, 5, 5])), "lengths: expected [2] (batch), got [3]");
    assert_eq!(argument(new((5, 2, 3), &[5, 6])), "lengths[1]: expected at most 5 (time), got 6");
    let message = argument(new((5, 2, 3), &[MAX, 5]));
    assert_eq!(message, format!("lengths[0]: expected at most 5 (time), got {MAX}"));
    assert!(new((5, 2, 3), &[0, 0]).is_ok(), "empty sequences are sequences");
}

#[test]
fn sequences_from_a_list_need_one_width() {
    let list = |shapes: &[(usize, usize)]| {
        let arrays: Vec<_> = shapes.iter().map(|&shape| Array2::<f32>::zeros(shape)).collect();
        Sequences::from_list(&arrays)
    };
    let empty = format!("sequences [time, batch, features]: {AT_LEAST_1}");
    assert_eq!(argument(list(&[])), format!("{empty} [0, 0, 0]"));
    assert_eq!(argument(list(&[(0, 3), (0, 3)])), format!("{empty} [0, 2, 3]"));
    assert_eq!(argument(list(&[(4, 0)])), format!("{empty} [4, 1, 0]"));
    let message = shape(list(&[(4, 3), (2, 4)]));
    assert_eq!(message, "sequences[1]: expected [2, 3] (time, features), got [2, 4]");
    assert_eq!(list(&[(4, 3), (0, 3)]).unwrap().lengths(), [4, 0]);
}

#[test]
fn other_values_for_sequences_need_their_time_and_batch() {
    let message = shape(x().with_values(Array3::zeros((4, 2, 3))));
    assert_eq!(message, "values: expected [5, 2, 3] (time, batch, features), got [4, 2, 3]");
    let message = argument(x().with_values(Array3::zeros((5, 2, 0))));
    assert_eq!(message, format!("values [time, batch, features]: {AT_LEAST_1} [5, 2, 0]"));
    assert_eq!(x().with_values(Array3::zeros((5, 2, 7))).unwrap().lengths(), [5, 2]);
}

#[test]
fn an_input_of_another_width_is_refused() {
    let (net, x) = (network(), Sequences::full(Array3::zeros((5, 2, 4))).unwrap());
    let expected = "x: expected [5, 2, 3] (time, batch, input), got [5, 2, 4]";
    assert_eq!(shape(net.forward(&x, None)), expected);
    assert_eq!(shape(net.forward_train(&x, None, &mut rng())), expected);
}

const STATE_AXES: &str = "(layers·directions, batch, hidden)";

#[test]
fn a_state_of_another_network_or_batch_is_refused() {
    let net = network();
    let forward = |state| net.forward(&x(), Some(&state));
    let message = shape(forward(net.zero_state(3).unwrap()));
    assert_eq!(message, format!("initial h: expected [4, 2, 4] {STATE_AXES}, got [4, 3, 4]"));
    let builder = || Lstm::<f32>::builder(3, 4);
    let flat = builder().bidirectional(true).build(&mut rng()).unwrap();
    let message = shape(forward(flat.zero_state(2).unwrap()));
    assert_eq!(message, format!("initial h: expected [4, 2, 4] {STATE_AXES}, got [2, 2, 4]"));
    let deep = builder().num_layers(4).build(&mut rng()).unwrap();
    let message = argument(forward(deep.zero_state(2).unwrap()));
    let expected = "initial: expected states [\"h\", \"c\"] of 2 directions";
    assert_eq!(message, format!("{expected}, got [\"h\", \"c\"] of 1"));
    let rnn =
        Rnn::<f32>::builder(3, 4).num_layers(2).bidirectional(true).build(&mut rng()).unwrap();
    let message = argument(forward(rnn.zero_state(2).unwrap()));
    assert_eq!(message, format!("{expected}, got [\"h\"] of 2"));
    let lstm_state = net.zero_state(2).unwrap();
    let message = argument(rnn.forward(&x(), Some(&lstm_state)));
    let expected = "initial: expected states [\"h\"] of 2 directions, got [\"h\", \"c\"] of 2";
    assert_eq!(message, expected);
}

#[test]
fn a_batch_that_is_empty_or_cannot_be_addressed_is_refused() {
    let lstm = Lstm::<f64>::builder(3, 4).build(&mut rng()).unwrap();
    let both = |batch: usize| {
        let message = argument(lstm.zero_state(batch));
        assert_eq!(message, argument(lstm.stream(batch)));
        message
    };
    assert_eq!(both(0), "batch: expected at least 1, got 0");
    assert_eq!(both(MAX), format!("batch: {ADDRESSABLE} [{MAX}]"));
    let large = 1 << 58;
    assert_eq!(both(large), format!("step [batch, width]: {ADDRESSABLE} [{large}, 16]"));
}

#[test]
fn setting_a_state_of_another_shape_or_name_changes_nothing() {
    let mut state = network().zero_state(2).unwrap();
    let before = state.clone();
    for dim in [(2, 2, 4), (4, 3, 4), (4, 2, 5), (0, 0, 0)] {
        let (k, b, w) = dim;
        let message = shape(state.set("c", Array3::ones(dim)));
        let expected = format!("c: expected [4, 2, 4] {STATE_AXES}, got [{k}, {b}, {w}]");
        assert_eq!(message, expected);
    }
    let message = argument(state.set("z", Array3::ones((4, 2, 4))));
    assert_eq!(message, "name: expected one of [\"h\", \"c\"], got z");
    assert_eq!(state, before);
    let mut stepped = Rnn::<f32>::builder(3, 4).hidden_sizes(&[4, 5]).build(&mut rng()).unwrap();
    stepped.fill(0.5);
    let mut state = stepped.zero_state(2).unwrap();
    let before = state.clone();
    let widths = "layers: expected layers of equal width, got widths [4, 5]";
    assert_eq!(argument(state.set("h", Array3::ones((2, 2, 4)))), widths);
    assert_eq!(state, before);
    assert_eq!(argument(state.get("h")), widths);
}

#[test]
fn asking_for_a_layer_direction_or_name_that_is_not_there_is_an_error() {
    let net = network();
    let state = net.zero_state(2).unwrap();
    let name = |name: &str| format!("name: expected one of [\"h\", \"c\"], got {name}");
    assert_eq!(argument(state.get("y")), name("y"));
    assert_eq!(argument(state.part("", 0, false)), name(""));
    let layers = "layer: expected one of 4 layers × directions, got layer";
    for layer in [2, MAX / 2, MAX] {
        let message = argument(state.part("h", layer, true));
        assert_eq!(message, format!("{layers} {layer}, reverse true"));
    }
    let tape = tape(&net);
    let message = argument(tape.gate("r", 0, false));
    assert_eq!(message, "name: expected one of [\"i\", \"f\", \"g\", \"o\"], got r");
    assert_eq!(argument(tape.state("r", 0, false)), name("r"));
    for layer in [2, MAX] {
        let expected = format!("layer: expected less than 2, got {layer}");
        assert_eq!(argument(tape.gate("i", layer, true)), expected);
        assert_eq!(argument(tape.state("c", layer, false)), expected);
        assert_eq!(argument(tape.input(layer)), expected);
    }
    let (d_output, mut grad) = (gradient((5, 2, 8)), net.zeros_like());
    let (_, _, steps) = net.backward_steps(tape, &d_output, None, &mut grad).unwrap();
    assert_eq!(argument(steps.get("r", 0, false)), name("r"));
    for layer in [2, MAX / 2, MAX] {
        let message = argument(steps.get("h", layer, true));
        assert_eq!(message, format!("{layers} {layer}, reverse true"));
    }
}

#[test]
fn one_direction_has_no_reverse() {
    let lstm = Lstm::<f32>::builder(3, 4).num_layers(2).build(&mut rng()).unwrap();
    let message = argument(lstm.zero_state(1).unwrap().part("h", 0, true));
    let layers = "layer: expected one of 2 layers × directions, got layer 0, reverse true";
    assert_eq!(message, layers);
    let tape = tape(&lstm);
    let message = argument(tape.state("h", 1, true));
    assert_eq!(message, "reverse: expected false: the layer has one direction, got true");
    let (d_output, mut grad) = (gradient((5, 2, 4)), lstm.zeros_like());
    let (_, _, steps) = lstm.backward_steps(tape, &d_output, None, &mut grad).unwrap();
    assert_eq!(argument(steps.get("h", 0, true)), layers);
}

#[test]
fn gradients_of_another_shape_are_refused_and_leave_grad_as_it_was() {
    let net = network();
    let mut grad = net.zeros_like();
    grad.fill(0.25);
    let right = gradient((5, 2, 8));
    for dim in [(4, 2, 8), (5, 3, 8), (5, 2, 4)] {
        let (t, b, w) = dim;
        let message = shape(net.backward(tape(&net), &gradient(dim), None, &mut grad));
        let expected = "d_output: expected [5, 2, 8] (time, batch, output)";
        assert_eq!(message, format!("{expected}, got [{t}, {b}, {w}]"));
    }
    let d_final = net.zero_state(1).unwrap();
    let message = shape(net.backward(tape(&net), &right, Some(&d_final), &mut grad));
    assert_eq!(message, format!("d_final h: expected [4, 2, 4] {STATE_AXES}, got [4, 1, 4]"));
    let shorter = Sequences::new(Array3::ones((5, 2, 8)), vec![5, 1]).unwrap();
    let message = argument(net.backward(tape(&net), &shorter, None, &mut grad));
    assert_eq!(message, "d_output: expected the lengths [5, 2] of x, got [5, 1]");
    assert!(unchanged(&grad));
}

/// Ones, with the lengths of [`x`] where the shape allows.
fn gradient(dim: (usize, usize, usize)) -> Sequences<f32> {
    let lengths = (0..dim.1).map(|b| if b == 1 { 2 } else { dim.0 }).collect();
    Sequences::new(Array3::ones(dim), lengths).unwrap()
}

fn unchanged(grad: &Lstm<f32>) -> bool {
    let mut same = true;
    grad.for_each(&mut |_, array| same &= array.iter().all(|&value| value == 0.25));
    same
}

#[test]
fn a_tape_of_another_network_is_refused() {
    let net = network();
    let mut grad = net.zeros_like();
    grad.fill(0.25);
    let builder = || Lstm::<f32>::builder(3, 4).num_layers(2).bidirectional(true);
    let others = [
        builder().num_layers(1).build(&mut rng()),
        builder().num_layers(4).bidirectional(false).build(&mut rng()),
        builder().num_layers(2).bidirectional(false).build(&mut rng()),
        builder().hidden_sizes(&[4, 5]).build(&mut rng()),
        builder().hidden_sizes(&[5, 4]).build(&mut rng()),
    ];
    let expected =
        "tape: expected a tape of this network's own forward pass, got one of other sizes";
    for other in others {
        let tape = tape(&other.unwrap());
        let message = argument(net.backward(tape, &gradient((5, 2, 8)), None, &mut grad));
        assert_eq!(message, expected);
    }
    // Four times as wide, so that one gate has the width of four.
    let rnn =
        Rnn::<f32>::builder(3, 16).num_layers(2).bidirectional(true).build(&mut rng()).unwrap();
    let (_, _, tape) = rnn.forward_train(&x(), None, &mut rng()).unwrap();
    let message = argument(net.backward(tape, &gradient((5, 2, 8)), None, &mut grad));
    assert_eq!(message, expected);
    assert!(unchanged(&grad));
}

#[test]
fn a_gradient_of_another_network_is_refused() {
    let net = network();
    let builder = || Lstm::<f32>::builder(3, 4).num_layers(2).bidirectional(true);
    let cases = [
        (builder().bias(false), "bias_ih_l0 [16]", "weight_ih_l0_reverse [16, 3]"),
        (builder().num_layers(1), "weight_ih_l1 [16, 8]", "nothing"),
        (builder().learned_initial_state(true), "nothing", "initial.h_l0 [1, 4]"),
        (builder().hidden_sizes(&[5, 4]), "weight_ih_l0 [16, 3]", "weight_ih_l0 [20, 3]"),
    ];
    for (builder, expected, got) in cases {
        let mut grad = builder.build(&mut rng()).unwrap();
        grad.fill(0.25);
        let error = net.backward(tape(&net), &gradient((5, 2, 8)), None, &mut grad).unwrap_err();
        assert!(matches!(error, Error::Structure { .. }), "{error:?}");
        let message = format!("grad: expected an array `{expected}`, got `{got}`");
        assert_eq!(error.to_string(), message);
        assert!(unchanged(&grad));
    }
}

#[test]
fn windows_of_a_truncated_walk_that_make_no_sense_are_refused() {
    let lstm = Lstm::<f32>::builder(3, 4).build(&mut rng()).unwrap();
    let x = x();
    assert_eq!(argument(lstm.truncated(&x, None, 0, 2)), "k1: expected at least 1, got 0");
    assert_eq!(argument(lstm.truncated(&x, None, 3, 2)), "k2: expected at least 3 (k1), got 2");
    let message = argument(network().truncated(&x, None, 2, 2));
    let expected = "a network of one direction: backward in time needs the whole sequence";
    assert_eq!(message, format!("bidirectional: expected {expected}, got true"));
    let state = lstm.zero_state(3).unwrap();
    let message = shape(lstm.truncated(&x, Some(&state), 2, 2));
    assert_eq!(message, format!("initial h: expected [1, 2, 4] {STATE_AXES}, got [1, 3, 4]"));

    let mut walk = lstm.truncated(&x, None, MAX, MAX).unwrap();
    let narrow = Lstm::<f32>::builder(3, 2).build(&mut rng()).unwrap();
    let message = shape(walk.next(&narrow, &mut rng()));
    assert_eq!(message, format!("initial h: expected [1, 2, 2] {STATE_AXES}, got [1, 2, 4]"));
    let window = walk.next(&lstm, &mut rng()).unwrap().unwrap();
    assert_eq!(window.steps(), 0..5, "the refused call changed nothing");
    let mut grad = lstm.zeros_like();
    grad.fill(0.25);
    let message = shape(window.backward(&lstm, &gradient((5, 2, 5)), &mut grad));
    assert_eq!(message, "d_output: expected [5, 2, 4] (steps, batch, output), got [5, 2, 5]");
    assert!(unchanged(&grad));
    assert!(walk.next(&lstm, &mut rng()).unwrap().is_none());
}

#[test]
fn batches_of_empty_sequences_pass_through_unchanged() {
    let net = network();
    let x = Sequences::new(Array3::from_elem((3, 2, 3), f32::NAN), vec![0, 0]).unwrap();
    let mut initial = net.zero_state(2).unwrap();
    initial.fill(0.75);
    let (output, last, tape) = net.forward_train(&x, Some(&initial), &mut rng()).unwrap();
    assert!(output.values().iter().all(|&value| value == 0.0));
    assert_eq!(last, initial);
    assert_eq!(tape.gate("i", 0, true).unwrap().dim(), (3, 2, 4));
    assert_eq!(tape.state("c", 1, false).unwrap().dim(), (3, 2, 4));
    let mut grad = net.zeros_like();
    let d_output = x.with_values(Array3::from_elem((3, 2, 8), f32::NAN)).unwrap();
    let (d_x, d_initial) = net.backward(tape, &d_output, Some(&last), &mut grad).unwrap();
    assert!(d_x.values().iter().all(|&value| value == 0.0));
    assert_eq!(d_initial, last);
    grad.for_each(&mut |name, array| assert!(array.iter().all(|&value| value == 0.0), "{name}"));
}

#[test]
fn values_that_are_not_finite_are_found_by_name_and_place() {
    let mut net = network();
    assert!(net.check_finite().is_ok());
    net.for_each_mut(&mut |name, mut array| {
        if name == "weight_hh_l1" {
            array[[2, 3]] = f32::NEG_INFINITY;
        }
    });
    let error = net.check_finite().unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 11, .. }), "{error:?}");
    let expected = "weight_hh_l1: expected finite values, got -inf at flat index 11";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn the_checks_themselves_name_argument_expected_and_got() {
    assert_eq!(check_size("size", &[2, 3, 4]).unwrap(), 24);
    assert_eq!(check_size("size", &[]).unwrap(), 1);
    assert_eq!(argument(check_size("size", &[3, 0])), format!("size: {AT_LEAST_1} [3, 0]"));
    // Zero is reported before overflow, and 2⁶³ bytes of f64 are one too many.
    assert_eq!(
        argument(check_size("size", &[MAX, 2, 0])),
        format!("size: {AT_LEAST_1} [{MAX}, 2, 0]")
    );
    assert!(check_size("size", &[MAX, MAX]).is_err());
    assert!(check_size("size", &[isize::MAX as usize / 8]).is_ok());
    assert!(check_size("size", &[isize::MAX as usize / 8 + 1]).is_err());
    assert!(check_shape("shape", "rows, columns", &[2, 3], &[2, 3]).is_ok());
    let message = shape(check_shape("shape", "rows, columns", &[2, 3], &[3, 2]));
    assert_eq!(message, "shape: expected [2, 3] (rows, columns), got [3, 2]");
}
