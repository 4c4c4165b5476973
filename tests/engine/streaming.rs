//! Tests of streams: single steps, snapshots, forks and continued sequences.

use ndarray::{Array2, Array3, Axis, Slice};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, LstmCell, RnnCell};
use recurrent::{Arrays, Lstm, Recurrent, Rnn, Sequences};

const INPUT: usize = 5;

/// Runs a check for each cell, one in each line.
macro_rules! every_cell {
    ($check:ident) => {
        $check::<RnnCell<f32>>();
        $check::<LstmCell<f32>>();
    };
}

fn network<C: Cell<Elem = f32>>() -> Recurrent<C> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = Recurrent::builder(INPUT, 19).num_layers(2).learned_initial_state(true);
    let mut net: Recurrent<C> = builder.build(&mut rng).unwrap();
    net.for_each_mut(&mut |_, mut a| a.mapv_inplace(|_| rng.random_range(-0.5..0.5)));
    net
}

fn inputs(time: usize, batch: usize) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    Array3::from_shape_simple_fn((time, batch, INPUT), || rng.random_range(-1.0..1.0))
}

fn steps(values: &Array3<f32>, steps: std::ops::Range<usize>) -> Array3<f32> {
    values.slice_axis(Axis(0), Slice::from(steps)).to_owned()
}

fn check_batches<C: Cell<Elem = f32>>() {
    let net = network::<C>();
    for batch in [1, 2, 7, 16] {
        let x = inputs(6, batch);
        let (output, last) = net.forward(&Sequences::full(x.clone()).unwrap(), None).unwrap();
        let mut stream = net.stream(batch).unwrap();
        for (x_t, expected) in x.outer_iter().zip(output.values().outer_iter()) {
            assert_eq!(stream.step(x_t).unwrap(), expected, "batch {batch}");
            assert_eq!(stream.output(), expected, "batch {batch}");
        }
        assert_eq!(stream.snapshot(), last, "batch {batch}");
    }
}

#[test]
fn a_stream_begins_with_the_learned_state_and_equals_the_sequence_for_any_batch() {
    every_cell!(check_batches);
}

fn check_continuing<C: Cell<Elem = f32>>() {
    let (net, x) = (network::<C>(), inputs(9, 3));
    let whole = Sequences::full(x.clone()).unwrap();
    let (expected, expected_last) = net.forward(&whole, None).unwrap();
    for cut in [1, 4, 8] {
        let first = Sequences::full(steps(&x, 0..cut)).unwrap();
        let second = Sequences::full(steps(&x, cut..9)).unwrap();
        let (head, middle) = net.forward(&first, None).unwrap();
        let (tail, last) = net.forward(&second, Some(&middle)).unwrap();
        assert_eq!(head.values(), &steps(expected.values(), 0..cut));
        assert_eq!(tail.values(), &steps(expected.values(), cut..9));
        assert_eq!(last, expected_last);

        let mut stream = net.stream(3).unwrap();
        stream.restore(&middle).unwrap();
        for (x_t, h_t) in second.values().outer_iter().zip(tail.values().outer_iter()) {
            assert_eq!(stream.step(x_t).unwrap(), h_t);
        }
    }
}

#[test]
fn continuing_from_a_final_state_equals_the_whole_sequence() {
    every_cell!(check_continuing);
}

/// Each sequence of a ragged batch continues from its own final state.
#[test]
fn the_final_state_of_ragged_sequences_continues_each_of_them() {
    let (net, x) = (network::<LstmCell<f32>>(), inputs(8, 3));
    let lengths = [3, 5, 0];
    let ragged = Sequences::new(steps(&x, 0..5), lengths.to_vec()).unwrap();
    let (_, middle) = net.forward(&ragged, None).unwrap();
    let mut rest = Array3::zeros((3, 3, INPUT));
    for (b, length) in lengths.into_iter().enumerate() {
        for t in 0..3 {
            let from = x.index_axis(Axis(0), length + t);
            rest.index_axis_mut(Axis(0), t).row_mut(b).assign(&from.row(b));
        }
    }
    let (_, last) = net.forward(&Sequences::full(rest).unwrap(), Some(&middle)).unwrap();
    let whole = Sequences::new(x, lengths.map(|length| length + 3).to_vec()).unwrap();
    assert_eq!(last, net.forward(&whole, None).unwrap().1);
}

fn check_snapshots<C: Cell<Elem = f32>>() {
    let (net, x) = (network::<C>(), inputs(6, 2));
    let step = |stream: &mut recurrent::Stream<'_, f32>, t: usize| -> Array2<f32> {
        stream.step(x.index_axis(Axis(0), t)).unwrap().to_owned()
    };
    let mut stream = net.stream(2).unwrap();
    step(&mut stream, 0);
    step(&mut stream, 1);
    let snapshot = stream.snapshot();
    let expected: Vec<_> = (2..6).map(|t| step(&mut stream, t)).collect();
    stream.restore(&snapshot).unwrap();
    assert_eq!(stream.snapshot(), snapshot);
    let again: Vec<_> = (2..6).map(|t| step(&mut stream, t)).collect();
    assert_eq!(again, expected);

    stream.restore(&snapshot).unwrap();
    let mut fork = stream.fork();
    step(&mut fork, 5);
    step(&mut fork, 0);
    assert_ne!(fork.snapshot(), stream.snapshot(), "a fork goes on by itself");
    let undisturbed: Vec<_> = (2..6).map(|t| step(&mut stream, t)).collect();
    assert_eq!(undisturbed, expected);
    fork.restore(&snapshot).unwrap();
    let forked: Vec<_> = (2..6).map(|t| step(&mut fork, t)).collect();
    assert_eq!(forked, expected);
}

#[test]
fn snapshots_bring_a_stream_back_and_forks_go_on_by_themselves() {
    every_cell!(check_snapshots);
}

#[test]
fn a_step_reads_inputs_of_any_memory_layout() {
    let (net, x) = (network::<LstmCell<f32>>(), inputs(1, 4));
    let x_t = x.index_axis(Axis(0), 0);
    let transposed = x_t.t().as_standard_layout().into_owned();
    let (mut first, mut second) = (net.stream(4).unwrap(), net.stream(4).unwrap());
    assert_eq!(first.step(x_t).unwrap(), second.step(transposed.t()).unwrap());
}

#[test]
fn before_the_first_step_the_output_is_the_initial_state() {
    let net = network::<RnnCell<f32>>();
    let stream = net.stream(2).unwrap();
    assert_eq!(stream.output(), stream.snapshot().part("h", 1, false).unwrap());
    assert!(stream.output().iter().all(|&value| value != 0.0));
}

#[test]
fn a_stream_of_a_bidirectional_network_or_of_no_sequences_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let both = Lstm::<f32>::builder(2, 3).bidirectional(true).build(&mut rng).unwrap();
    let message = both.stream(1).unwrap_err().to_string();
    let expected = "bidirectional: expected a network of one direction: backward in time needs \
                    the whole sequence, got true";
    assert_eq!(message, expected);
    let message = network::<RnnCell<f32>>().stream(0).unwrap_err().to_string();
    assert_eq!(message, "batch: expected at least 1, got 0");
}

#[test]
fn a_wrong_input_or_state_is_refused_and_changes_nothing() {
    let net = network::<LstmCell<f32>>();
    let mut stream = net.stream(2).unwrap();
    stream.step(inputs(1, 2).index_axis(Axis(0), 0)).unwrap();
    let before = stream.snapshot();
    for (shape, shown) in [((2, 4), "[2, 4]"), ((3, 5), "[3, 5]"), ((0, 5), "[0, 5]")] {
        let message = stream.step(Array2::zeros(shape).view()).unwrap_err().to_string();
        assert_eq!(message, format!("x_t: expected [2, 5] (batch, input), got {shown}"));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let narrow = Lstm::<f32>::builder(INPUT, 8).num_layers(2).build(&mut rng).unwrap();
    let rnn = Rnn::<f32>::builder(INPUT, 19).num_layers(2).build(&mut rng).unwrap();
    let both = Lstm::<f32>::builder(INPUT, 19).bidirectional(true).build(&mut rng).unwrap();
    let deep = Lstm::<f32>::builder(INPUT, 19).num_layers(3).build(&mut rng).unwrap();
    let of_shape = |shape: &str| {
        format!("state h: expected [2, 2, 19] (layers·directions, batch, hidden), got {shape}")
    };
    let of_states = |states: &str| {
        format!("state: expected states [\"h\", \"c\"] of 1 direction, got {states}")
    };
    let wrong = [
        (net.zero_state(3), of_shape("[2, 3, 19]")),
        (narrow.zero_state(2), of_shape("[2, 2, 8]")),
        (deep.zero_state(2), of_shape("[3, 2, 19]")),
        (rnn.zero_state(2), of_states("[\"h\"] of 1")),
        (both.zero_state(2), of_states("[\"h\", \"c\"] of 2")),
    ];
    for (state, expected) in wrong {
        assert_eq!(stream.restore(&state.unwrap()).unwrap_err().to_string(), expected);
        assert_eq!(stream.snapshot(), before);
    }
}

#[test]
fn a_stream_goes_on_with_the_sequences_that_are_selected() {
    let (x, rows) = (inputs(6, 3), [2, 0, 0, 2, 1]);
    for (residual, rows) in [(false, &rows[..]), (true, &rows), (true, &[1]), (false, &[1, 2, 0])] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let builder = Lstm::<f32>::builder(INPUT, 19).num_layers(2).residual(residual);
        let net = builder.build(&mut rng).unwrap();
        let select = |t: usize| x.index_axis(Axis(0), t).select(Axis(0), rows);
        let (mut stream, mut expected) = (net.stream(3).unwrap(), net.stream(rows.len()).unwrap());
        for t in 0..3 {
            stream.step(x.index_axis(Axis(0), t)).unwrap();
            expected.step(select(t).view()).unwrap();
        }
        let before = stream.snapshot();
        stream.select(rows).unwrap();
        assert_eq!(before.select(rows).unwrap(), stream.snapshot());
        assert_eq!(stream.output(), expected.output());
        for t in 3..6 {
            // In column-major order, so that the stream copies it.
            let x_t = select(t).t().as_standard_layout().into_owned();
            assert_eq!(stream.step(x_t.t()).unwrap(), expected.step(select(t).view()).unwrap());
        }
        assert_eq!(stream.snapshot(), expected.snapshot());
    }
}

#[test]
fn rows_that_are_not_there_are_refused_and_change_nothing() {
    let net = network::<LstmCell<f32>>();
    let mut stream = net.stream(2).unwrap();
    stream.step(inputs(1, 2).index_axis(Axis(0), 0)).unwrap();
    let before = stream.snapshot();
    for (rows, expected) in [
        (&[0, 1, 2][..], "rows[2]: expected less than 2 (batch), got 2"),
        (&[], "rows: expected at least 1, got 0"),
    ] {
        assert_eq!(before.select(rows).unwrap_err().to_string(), expected);
        assert_eq!(stream.select(rows).unwrap_err().to_string(), expected);
        assert_eq!(stream.snapshot(), before);
    }
}
