//! Tests of backpropagation through time with checkpoints against that with a full tape, bit for bit.

use crate::common::run::{Problem, Results, difference, random};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, Nonlinearity,
    PeepholeLstmCell, ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::{Arrays, Lstm, Recompute, Recurrent, Result};

const TIME: usize = 13;
const CHECKPOINTS: [Recompute; 8] = [
    Recompute::Store,
    Recompute::Sqrt,
    Recompute::Every(1),
    Recompute::Every(3),
    Recompute::Every(5),
    Recompute::Every(TIME),
    Recompute::Every(TIME + 4),
    Recompute::Every(usize::MAX),
];

/// Returns a problem with two layers and dropout between them.
fn problem<C: Cell<Elem = f32>>(
    options: C::Options,
    bidirectional: bool,
    lengths: &[usize],
    learned: bool,
) -> Problem<C> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = Recurrent::<C>::builder(5, 6).num_layers(2).bidirectional(bidirectional);
    let builder = builder.dropout(0.3).learned_initial_state(learned).options(options);
    let net = random(builder.build(&mut rng).unwrap(), &mut rng);
    Problem::random(net, TIME, lengths.to_vec(), &mut rng)
}

/// Runs a problem with a checkpoint as [`Problem::run`] does, twice into the same gradient. Also returns
/// the gradients of the states of each layer at each step.
fn run<C: Cell<Elem = f32>>(
    problem: &Problem<C>,
    given: bool,
    checkpoint: Recompute,
) -> Result<(Results<C>, Vec<Vec<u32>>)> {
    let Problem { net, x, initial, d_output, d_final } = problem;
    let d_output = &x.with_values(d_output.clone())?;
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let initial = given.then_some(initial);
    let mut grad = net.zeros_like();
    let (_, _, tape) = net.forward_train_with(x, initial, &mut rng, checkpoint)?;
    net.backward(tape, d_output, Some(d_final), &mut grad)?;
    let (output, last, tape) = net.forward_train_with(x, initial, &mut rng, checkpoint)?;
    let (d_x, d_initial, steps) = net.backward_steps(tape, d_output, None, &mut grad)?;
    let mut bits = Vec::new();
    for layer in 0..2 {
        for reverse in [false, true].into_iter().take(1 + usize::from(net.bidirectional())) {
            for name in C::STATE {
                let gradients = steps.get(name, layer, reverse)?;
                bits.push(gradients.iter().map(|value| value.to_bits()).collect());
            }
        }
    }
    let (output, d_x) = (output.into_values(), d_x.into_values());
    Ok((Results { output, last, d_x, d_initial, grad }, bits))
}

/// A tape that does not fit in the caches is walked backward in parts.
#[test]
fn gradients_of_long_sequences_are_those_of_short_windows() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let builder = Lstm::<f32>::builder(3, 19).num_layers(2).bidirectional(true);
    let net = random(builder.build(&mut rng).unwrap(), &mut rng);
    let problem = Problem::random(net, 12_000, vec![12_000, 0, 7_000, 12_000, 9_001], &mut rng);
    let (expected, expected_steps) = run(&problem, true, Recompute::Every(70)).unwrap();
    let (got, steps) = run(&problem, true, Recompute::Store).unwrap();
    assert_eq!(difference(&got.all(), &expected.all()), None);
    assert!(steps == expected_steps);
}

fn check_cell<C: Cell<Elem = f32>>(options: C::Options) {
    for bidirectional in [false, true] {
        for lengths in [[TIME; 4].as_slice(), &[7, 0, TIME, 3, 12, 1], &[6], &[0, 0]] {
            for given in [false, true] {
                let problem = problem::<C>(options.clone(), bidirectional, lengths, !given);
                let (expected, expected_steps) = run(&problem, given, CHECKPOINTS[0]).unwrap();
                for checkpoint in CHECKPOINTS {
                    let (got, steps) = run(&problem, given, checkpoint).unwrap();
                    let difference = difference(&got.all(), &expected.all());
                    let at = format!("{checkpoint:?}, bidirectional {bidirectional}, {lengths:?}");
                    assert_eq!(difference, None, "{at}, given {given}");
                    assert!(steps == expected_steps, "{at}, given {given}");
                }
            }
        }
    }
}

#[test]
fn checkpoints_change_no_bit_of_an_rnn() {
    check_cell::<RnnCell<f32>>(Nonlinearity::Tanh);
}

#[test]
fn checkpoints_change_no_bit_of_an_lstm() {
    check_cell::<LstmCell<f32>>(Default::default());
}

#[test]
fn checkpoints_change_no_bit_of_a_gru() {
    check_cell::<GruCell<f32>>(GruOptions::new(Reset::After));
    check_cell::<GruCell<f32>>(GruOptions::new(Reset::Before));
}

#[test]
fn checkpoints_change_no_bit_of_an_lstm_with_peepholes() {
    check_cell::<PeepholeLstmCell<f32>>(Default::default());
}

#[test]
fn checkpoints_change_no_bit_of_an_lstm_with_coupled_gates() {
    check_cell::<CoupledLstmCell<f32>>(Default::default());
}

#[test]
fn checkpoints_change_no_bit_of_an_lstm_with_projection() {
    check_cell::<ProjectedLstmCell<f32>>(ProjectedLstmOptions::new(3));
}

#[test]
fn checkpoints_change_no_bit_of_an_lstm_with_layer_normalisation() {
    check_cell::<LayerNormLstmCell<f32>>(Default::default());
}

/// The sizes are so large that threads split the batch and the rows of the weights' gradients.
#[test]
fn checkpoints_change_no_bit_for_any_number_of_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let builder = Lstm::<f32>::builder(32, 64).num_layers(2).bidirectional(true).dropout(0.3);
    let net = builder.build(&mut rng).unwrap();
    let lengths = (0..96).map(|b| b * 17 % 41).collect();
    let problem = Problem::random(net, 40, lengths, &mut rng);
    let expected = problem.run();
    for threads in 1..=3 {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        for checkpoint in [Recompute::Sqrt, Recompute::Every(20)] {
            let got = pool.install(|| problem.run_with(checkpoint));
            let difference = difference(&got.all(), &expected.all());
            assert_eq!(difference, None, "{threads} threads, {checkpoint:?}");
        }
    }
}

/// One layer of an LSTM: per step of each sequence x, and h and c of each boundary with four gates,
/// or h and c once a window.
#[test]
fn a_tape_holds_what_the_documentation_says() {
    let (time, batch, input, hidden) = (100, 3, 5, 7);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let net = Lstm::<f32>::builder(input, hidden).build(&mut rng).unwrap();
    let problem = Problem::random(net, time, vec![time; batch], &mut rng);
    let mut values = |checkpoint| {
        let forward = problem.net.forward_train_with(&problem.x, None, &mut rng, checkpoint);
        forward.unwrap().2.bytes() / size_of::<f32>()
    };
    let (x, states) = (time * batch * input, batch * 2 * hidden);
    let stored = x + (time + 1) * states + time * batch * 4 * hidden;
    assert_eq!(values(Recompute::Store), stored);
    assert_eq!(values(Recompute::Every(1)), x + time * states);
    assert_eq!(values(Recompute::Every(7)), x + 15 * states);
    assert_eq!(values(Recompute::Sqrt), x + 10 * states);
    assert_eq!(values(Recompute::Every(time)), x + states);
}

#[test]
fn a_tape_with_checkpoints_has_no_gates_to_show() {
    let problem = problem::<LstmCell<f32>>(Default::default(), false, &[TIME, 4], false);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let forward = problem.net.forward_train_with(&problem.x, None, &mut rng, Recompute::Sqrt);
    let (_, _, tape) = forward.unwrap();
    let expected = "tape: expected a tape that stores every step, got one with checkpoints";
    assert_eq!(tape.gate("i", 0, false).unwrap_err().to_string(), expected);
    assert_eq!(tape.state("h", 1, false).unwrap_err().to_string(), expected);
    assert_eq!(tape.input(0).unwrap().dim(), problem.x.values().dim());
}

#[test]
fn a_checkpoint_before_every_zeroth_step_is_refused() {
    let problem = problem::<LstmCell<f32>>(Default::default(), false, &[TIME], false);
    let error = run(&problem, false, Recompute::Every(0)).unwrap_err();
    assert_eq!(error.to_string(), "recompute: expected at least every step, got 0");
}
