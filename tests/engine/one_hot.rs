//! Tests of one-hot input: tokens give the results of the dense array, bit for bit.

use crate::common::levels::levels;
use crate::common::run::{Problem, bits, difference, random};
use ndarray::{Array2, Array3, ArrayView2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::layer::{Layer, Linear};
use recurrent::sequences::Input;
use recurrent::tensor::{RowRefs, add_outer_products};
use recurrent::{Arrays, Lstm, Recompute, Recurrent, RecurrentBuilder, Result, Rnn, Sequences};

const TIME: usize = 7;
const CLASSES: usize = 17;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// Returns tokens [time, batch] with repetitions, and invalid values in the padding.
fn tokens(time: usize, lengths: &[usize]) -> Array2<usize> {
    let mut rng = rng();
    Array2::from_shape_fn((time, lengths.len()), |(t, b)| {
        if t < lengths[b] { rng.random_range(0..CLASSES) } else { usize::MAX - t }
    })
}

fn one_hot(time: usize, lengths: &[usize]) -> Sequences<f32> {
    Sequences::one_hot(tokens(time, lengths).view(), CLASSES, lengths.to_vec()).unwrap()
}

fn dense(x: &Sequences<f32>) -> Sequences<f32> {
    Sequences::new(x.values().clone(), x.lengths().to_vec()).unwrap()
}

/// Compares passes over one-hot input with passes over the same input as an array.
fn check_pass<C: Cell<Elem = f32>>(
    network: RecurrentBuilder<C>,
    lengths: &[usize],
    checkpoint: Recompute,
) {
    let mut rng = rng();
    let net = network.build(&mut rng).unwrap();
    let mut problem = Problem::random(net, TIME, lengths.to_vec(), &mut rng);
    problem.x = one_hot(TIME, lengths);
    let mut got = problem.run_with(checkpoint);
    assert!(got.d_x.iter().all(|&d| d == 0.0), "tokens have no gradient");

    problem.x = dense(&problem.x);
    let expected = problem.run_with(checkpoint);
    got.d_x = expected.d_x.clone();
    let case = format!("{lengths:?}, {checkpoint:?}, {} outputs", problem.net.output_size());
    assert_eq!(difference(&got.all(), &expected.all()), None, "{case}");
}

fn check_cell<C: Cell<Elem = f32>>(options: C::Options) {
    let ragged: Vec<usize> = (0..13).map(|b| b * 5 % (TIME + 1)).collect();
    for lengths in [&[7; 3][..], &[4, 7, 0], &[7; 13], &ragged, &[0, 0]] {
        for (bidirectional, bias) in [(false, true), (true, true), (true, false)] {
            let builder = || {
                let builder = Recurrent::<C>::builder(CLASSES, 9).options(options.clone());
                builder.bidirectional(bidirectional).bias(bias)
            };
            check_pass(builder(), lengths, Recompute::Store);
            for checkpoint in [Recompute::Store, Recompute::Every(3)] {
                let deep = builder().num_layers(2).dropout(0.25).learned_initial_state(true);
                check_pass(deep, lengths, checkpoint);
            }
        }
    }
}

#[test]
fn an_rnn_gives_the_bits_of_the_array() {
    check_cell::<RnnCell<f32>>(Default::default());
}

#[test]
fn an_lstm_gives_the_bits_of_the_array() {
    check_cell::<LstmCell<f32>>(Default::default());
}

#[test]
fn a_gru_gives_the_bits_of_the_array() {
    check_cell::<GruCell<f32>>(GruOptions::new(Reset::After));
    check_cell::<GruCell<f32>>(GruOptions::new(Reset::Before));
}

#[test]
fn the_variants_of_the_lstm_give_the_bits_of_the_array() {
    check_cell::<PeepholeLstmCell<f32>>(Default::default());
    check_cell::<CoupledLstmCell<f32>>(Default::default());
    check_cell::<ProjectedLstmCell<f32>>(ProjectedLstmOptions::new(5));
    check_cell::<LayerNormLstmCell<f32>>(Default::default());
}

#[test]
fn a_sum_of_outer_products_goes_on_in_order_on_every_instruction_set() {
    let mut rng = rng();
    for level in levels() {
        for (rows, m, n) in [(0, 3, 3), (1, 1, 1), (7, 17, 3), (100, 33, 17), (100, 7, 1)] {
            let a = random(Array2::zeros((rows, m)), &mut rng);
            let tokens: Vec<usize> = (0..rows).map(|_| rng.random_range(0..n)).collect();
            let b = Array2::from_shape_fn((rows, n), |(j, k)| f32::from(tokens[j] == k));
            let mut expected = random(Array2::zeros((m, n)), &mut rng);
            let mut got = expected.clone();
            let gather = |values: &Array2<f32>| -> Vec<f32> { values.iter().copied().collect() };
            let (a, b) = (gather(&a), gather(&b));
            let a = RowRefs::new(a.chunks_exact(m).collect(), m);
            let b = RowRefs::new(b.chunks_exact(n).collect(), n);
            add_outer_products(level, &a, &mut [(&b, expected.view_mut())]);
            let inputs: Input<RowRefs<'_, f32>, _> = Input::Tokens(tokens);
            inputs.add_outer_products(level, &a, got.view_mut());
            assert_eq!(bits(&got), bits(&expected), "{level:?}, {rows} of {m} × {n}");
        }
    }
}

#[test]
fn the_number_of_threads_never_matters() {
    let mut rng = rng();
    let lengths: Vec<usize> = (0..64).map(|b| 20 + b % 21).collect();
    let net = Lstm::<f32>::builder(CLASSES, 96).bidirectional(true).build(&mut rng).unwrap();
    let mut problem = Problem::random(net, 40, lengths.clone(), &mut rng);
    problem.x = one_hot(40, &lengths);
    let on_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| problem.run())
    };
    assert_eq!(difference(&on_threads(3).all(), &on_threads(1).all()), None);
}

#[test]
fn a_weight_that_is_not_finite_is_its_own_token_s_alone() {
    let mut net = Rnn::<f32>::builder(CLASSES, 3).build(&mut rng()).unwrap();
    net.for_each_mut(&mut |name, mut array| {
        if name == "weight_ih_l0" {
            array.index_axis_mut(Axis(1), 4).fill(f32::NAN);
        }
    });
    let tokens = ndarray::array![[3, 4], [5, 3]];
    let x = Sequences::one_hot(tokens.view(), CLASSES, vec![2, 2]).unwrap();
    let (output, _) = net.forward(&x, None).unwrap();
    let of = |b: usize| output.values().index_axis(Axis(1), b).to_owned();
    assert!(of(0).iter().all(|value| value.is_finite()));
    assert!(of(1).iter().all(|value| value.is_nan()));
}

#[test]
fn a_workspace_takes_both_kinds_in_turn() {
    for bidirectional in [false, true] {
        let builder = Lstm::<f32>::builder(CLASSES, 9).num_layers(2).bidirectional(bidirectional);
        let net = builder.build(&mut rng()).unwrap();
        for lengths in [[7; 3], [4, 7, 0]] {
            let tokens = one_hot(TIME, &lengths);
            let array = dense(&tokens);
            let expected = net.forward(&array, None).unwrap();
            let mut workspace = net.workspace();
            for x in [&tokens, &tokens, &array, &tokens, &array] {
                let (output, last) = workspace.forward(x, None).unwrap();
                assert_eq!(bits(output), bits(&expected.0));
                assert_eq!(bits(last), bits(&expected.1));
            }
        }
    }
}

#[test]
fn truncated_windows_give_the_bits_of_the_array() {
    let lengths = [23, 0, 9, 16];
    let net = Lstm::<f32>::builder(CLASSES, 5).num_layers(2).build(&mut rng()).unwrap();
    let tokens = one_hot(23, &lengths);
    let windows = |x: &Sequences<f32>, k1: usize, k2: usize| {
        let (mut rng, mut walk) = (rng(), net.truncated(x, None, k1, k2).unwrap());
        let (mut outputs, mut grad) = (Vec::new(), net.zeros_like());
        while let Some(window) = walk.next(&net, &mut rng).unwrap() {
            outputs.push(bits(window.output()));
            let d_output = window.output().clone();
            window.backward(&net, &d_output, &mut grad).unwrap();
        }
        (outputs, bits(&grad))
    };
    for (k1, k2) in [(1, 1), (4, 11), (23, 23)] {
        assert_eq!(windows(&tokens, k1, k2), windows(&dense(&tokens), k1, k2));
    }
}

fn check_stream<C: Cell<Elem = f32>>(options: C::Options) {
    let builder = Recurrent::<C>::builder(CLASSES, 9).num_layers(2).options(options);
    let net = builder.build(&mut rng()).unwrap();
    for batch in [1, 3] {
        let lengths = vec![TIME; batch];
        let (x, tokens) = (one_hot(TIME, &lengths), tokens(TIME, &lengths));
        let (output, last) = net.forward(&x, None).unwrap();
        let (mut stream, mut mixed) = (net.stream(batch).unwrap(), net.stream(batch).unwrap());
        for (t, of_step) in tokens.outer_iter().enumerate() {
            let expected = output.values().index_axis(Axis(0), t);
            let of_step = of_step.to_vec();
            assert_eq!(stream.step_tokens(&of_step).unwrap(), expected);
            let got = match t % 2 {
                0 => mixed.step(x.values().index_axis(Axis(0), t)),
                _ => mixed.step_tokens(&of_step),
            };
            assert_eq!(got.unwrap(), expected);
        }
        assert_eq!(bits(&stream.snapshot()), bits(&last));
    }
}

#[test]
fn a_stream_of_tokens_equals_the_sequence() {
    check_stream::<RnnCell<f32>>(Default::default());
    check_stream::<LstmCell<f32>>(Default::default());
    check_stream::<GruCell<f32>>(Default::default());
    check_stream::<ProjectedLstmCell<f32>>(ProjectedLstmOptions::new(5));
    check_stream::<LayerNormLstmCell<f32>>(Default::default());
}

/// As an array, the input would take 13 GB.
#[test]
fn a_training_step_over_a_million_classes_never_makes_the_array() {
    let (time, batch, classes) = (50, 64, 1 << 20);
    let mut rng = rng();
    let net = Lstm::<f32>::builder(classes, 1).bidirectional(true).build(&mut rng).unwrap();
    let tokens = Array2::from_shape_simple_fn((time, batch), || rng.random_range(0..classes));
    let x = Sequences::one_hot(tokens.view(), classes, vec![time; batch]).unwrap();
    let (output, _, tape) = net.forward_train(&x, None, &mut rng).unwrap();
    assert!(tape.bytes() < 1 << 20, "{} bytes", tape.bytes());
    let mut grad = net.zeros_like();
    let (d_x, _) = net.backward(tape, &output, None, &mut grad).unwrap();
    assert!(d_x == x.zeros_like());
    let mut seen = vec![false; classes];
    tokens.iter().for_each(|&token| seen[token] = true);
    grad.for_each(&mut |name, array| {
        if name.starts_with("weight_ih") {
            let columns = array.lanes(Axis(0)).into_iter().zip(&seen);
            assert!(columns.into_iter().all(|(d, &seen)| seen == d.iter().any(|&d| d != 0.0)));
        }
    });
}

#[test]
fn it_is_the_batch_of_its_vectors_in_every_other_way() {
    let lengths = [2, 1];
    let tokens = ndarray::array![[2, 0], [1, 9], [7, 7]];
    let of = |tokens: &Array2<usize>, classes: usize, lengths: &[usize]| {
        Sequences::<f32>::one_hot(tokens.view(), classes, lengths.to_vec()).unwrap()
    };
    let x = of(&tokens, 3, &lengths);
    assert_eq!((x.time(), x.batch(), x.features(), x.steps()), (3, 2, 3, 3));
    let mut values = Array3::zeros((3, 2, 3));
    [[0, 0, 2], [1, 0, 1], [0, 1, 0]].into_iter().for_each(|place| values[place] = 1.0);
    let array = Sequences::new(values.clone(), lengths.to_vec()).unwrap();

    assert_eq!(x, of(&ndarray::array![[2, 0], [1, 1], [1, 0]], 3, &lengths), "padding is not read");
    assert_ne!(x, of(&ndarray::array![[2, 0], [0, 9], [7, 7]], 3, &lengths));
    assert_ne!(x, of(&tokens, 4, &lengths));
    assert_ne!(x, of(&tokens, 3, &[2, 0]));
    assert_eq!(x, array);
    assert_eq!(array, x.clone());

    assert_eq!(x.values(), values);
    assert_eq!(x.clone().into_values(), values);
    assert_eq!(bits(&x), bits(&array));
    let wide = Array3::<f32>::ones((3, 2, 5));
    assert_eq!(x.with_values(wide.clone()).unwrap(), array.with_values(wide).unwrap());
    let head = Linear::<f32>::new(3, 2, &mut rng()).unwrap();
    assert_eq!(head.forward(&x).unwrap(), head.forward(&array).unwrap());

    for mut changed in [x.clone(), of(&tokens, 3, &lengths)] {
        changed.for_each_mut(&mut |_, mut array| array += 0.5);
        assert_eq!(changed.values(), &values + 0.5);
        let net = Rnn::<f32>::builder(3, 2).build(&mut rng()).unwrap();
        let expected = array.with_values(&values + 0.5).unwrap();
        assert_eq!(net.forward(&changed, None).unwrap(), net.forward(&expected, None).unwrap());
        assert_eq!(changed.into_values(), &values + 0.5);
    }
}

#[test]
fn a_tape_gives_its_input_as_values() {
    let net = Lstm::<f32>::builder(CLASSES, 3).build(&mut rng()).unwrap();
    let x = one_hot(TIME, &[4, 7, 0]);
    let tape = |x| net.forward_train(x, None, &mut rng()).unwrap().2;
    assert_eq!(tape(&x).input(0).unwrap(), x.values());
    let saved = tape(&dense(&x)).bytes() - tape(&x).bytes();
    assert_eq!(saved, TIME * 3 * (CLASSES * size_of::<f32>() - size_of::<usize>()));
}

#[test]
fn wrong_tokens_are_refused_by_name() {
    let message = |result: Result<Sequences<f32>>| result.unwrap_err().to_string();
    let tokens = ndarray::array![[2, 0], [1, 3]];
    let new = |classes, lengths: &[usize]| {
        message(Sequences::one_hot(tokens.view(), classes, lengths.to_vec()))
    };
    assert_eq!(new(3, &[2, 2]), "tokens[1, 1]: expected less than 3 (vocabulary_size), got 3");
    assert_eq!(new(2, &[1, 1]), "tokens[0, 0]: expected less than 2 (vocabulary_size), got 2");
    assert_eq!(new(3, &[2]), "lengths: expected [2] (batch), got [1]");
    assert_eq!(new(3, &[3, 1]), "lengths[0]: expected at most 2 (time), got 3");
    assert_eq!(new(0, &[0, 0]), "vocabulary_size: expected at least 1, got 0");
    let most = usize::MAX;
    let expected = "expected sizes whose product can be addressed";
    assert_eq!(new(most, &[2, 2]), format!("vocabulary_size: {expected}, got [{most}]"));
    let none = message(Sequences::one_hot(Array2::zeros((0, 2)).view(), 3, vec![0, 0]));
    assert_eq!(none, "tokens [time, batch]: expected sizes of at least 1, got [0, 2]");

    let net = Rnn::<f32>::builder(4, 2).build(&mut rng()).unwrap();
    let x = Sequences::one_hot(tokens.view(), 5, vec![2, 2]).unwrap();
    let error = net.forward(&x, None).unwrap_err().to_string();
    assert_eq!(error, "x: expected [2, 2, 4] (time, batch, input), got [2, 2, 5]");
}

#[test]
fn a_stream_refuses_wrong_tokens_and_changes_nothing() {
    let net = Rnn::<f32>::builder(4, 2).build(&mut rng()).unwrap();
    let mut stream = net.stream(2).unwrap();
    stream.step_tokens(&[3, 1]).unwrap();
    let before = stream.snapshot();
    let mut message = |tokens: &[usize]| {
        let step: Result<ArrayView2<'_, f32>> = stream.step_tokens(tokens);
        step.unwrap_err().to_string()
    };
    assert_eq!(message(&[0]), "tokens: expected [2] (batch), got [1]");
    assert_eq!(message(&[3, 4]), "tokens[1]: expected less than 4 (input), got 4");
    assert_eq!(stream.snapshot(), before);
}
