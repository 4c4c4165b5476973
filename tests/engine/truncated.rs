//! Truncated backpropagation through time against whole-sequence backpropagation.

use ndarray::{Array3, Axis, Slice};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::{Arrays, Lstm, Sequences, State};

const TIME: usize = 23;
const LENGTHS: [usize; 4] = [23, 0, 9, 16];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(11)
}

fn random(shape: (usize, usize, usize)) -> Array3<f64> {
    let mut rng = rng();
    Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
}

fn setting() -> (Lstm<f64>, Sequences<f64>, State<f64>, Sequences<f64>) {
    let lstm = Lstm::builder(3, 5).num_layers(2).build(&mut rng()).unwrap();
    let x = Sequences::new(random((TIME, 4, 3)), LENGTHS.to_vec()).unwrap();
    let mut initial = lstm.zero_state(4).unwrap();
    initial.for_each_mut(&mut |_, mut array| array.fill(0.3));
    let d_output = x.with_values(random((TIME, 4, 5))).unwrap();
    (lstm, x, initial, d_output)
}

fn steps(values: &Array3<f64>, steps: std::ops::Range<usize>) -> Array3<f64> {
    values.slice_axis(Axis(0), Slice::from(steps)).to_owned()
}

fn values(arrays: &impl Arrays<Elem = f64>) -> Vec<f64> {
    let mut values = Vec::new();
    arrays.for_each(&mut |_, array| values.extend(array.iter()));
    values
}

#[test]
fn windows_give_the_output_of_the_whole_sequence_bit_for_bit() {
    let (lstm, x, initial, _) = setting();
    let (output, _) = lstm.forward(&x, Some(&initial)).unwrap();
    for (k1, k2) in [(1, 1), (4, 4), (4, 11), (5, 6), (23, 23), (40, 50)] {
        let mut walk = lstm.truncated(&x, Some(&initial), k1, k2).unwrap();
        let mut seen = 0;
        while let Some(window) = walk.next(&lstm, &mut rng()).unwrap() {
            assert_eq!(window.steps().start, seen);
            seen = window.steps().end;
            assert_eq!(window.output().values(), steps(output.values(), window.steps()));
        }
        assert_eq!(seen, TIME);
    }
}

#[test]
fn one_window_over_everything_is_backpropagation_through_time() {
    let (lstm, x, initial, d_output) = setting();
    let (_, _, tape) = lstm.forward_train(&x, Some(&initial), &mut rng()).unwrap();
    let mut whole = lstm.zeros_like();
    lstm.backward(tape, &d_output, None, &mut whole).unwrap();

    let mut walk = lstm.truncated(&x, Some(&initial), TIME, TIME).unwrap();
    let window = walk.next(&lstm, &mut rng()).unwrap().unwrap();
    let mut grad = lstm.zeros_like();
    window.backward(&lstm, &d_output, &mut grad).unwrap();
    assert_eq!(values(&whole), values(&grad));
}

/// Follows the definition: carry the state to the beginning of the window, then backpropagate the loss of
/// the window's own steps through the window alone.
#[test]
fn each_window_goes_back_k2_steps_and_no_further() {
    let (lstm, x, initial, d_output) = setting();
    for (k1, k2) in [(4, 4), (4, 11), (5, 6), (1, 3)] {
        let mut walk = lstm.truncated(&x, Some(&initial), k1, k2).unwrap();
        while let Some(window) = walk.next(&lstm, &mut rng()).unwrap() {
            let own = window.steps();
            let start = own.end.saturating_sub(k2).min(own.start);
            let cut = |from: usize, to: usize| {
                let lengths = LENGTHS.map(|length| length.clamp(from, to) - from);
                Sequences::new(steps(x.values(), from..to), lengths.to_vec()).unwrap()
            };
            let state = match start {
                0 => initial.clone(),
                _ => lstm.forward(&cut(0, start), Some(&initial)).unwrap().1,
            };
            let (_, _, tape) =
                lstm.forward_train(&cut(start, own.end), Some(&state), &mut rng()).unwrap();
            let mut d_window = steps(d_output.values(), start..own.end);
            d_window.slice_axis_mut(Axis(0), Slice::from(..own.start - start)).fill(0.0);
            let mut expected = lstm.zeros_like();
            let d_window = cut(start, own.end).with_values(d_window).unwrap();
            lstm.backward(tape, &d_window, None, &mut expected).unwrap();

            let mut grad = lstm.zeros_like();
            let d_own = window.output().with_values(steps(d_output.values(), own)).unwrap();
            window.backward(&lstm, &d_own, &mut grad).unwrap();
            assert_eq!(values(&expected), values(&grad));
        }
    }
}

#[test]
fn impossible_windows_are_refused_by_name() {
    let (lstm, x, _, _) = setting();
    let message = |k1, k2| lstm.truncated(&x, None, k1, k2).unwrap_err().to_string();
    assert_eq!(message(0, 3), "k1: expected at least 1, got 0");
    assert_eq!(message(4, 3), "k2: expected at least 4 (k1), got 3");
    let both = Lstm::<f64>::builder(3, 5).bidirectional(true).build(&mut rng()).unwrap();
    let error = both.truncated(&x, None, 2, 2).unwrap_err().to_string();
    assert!(error.starts_with("bidirectional: expected a network of one direction"), "{error}");
}
