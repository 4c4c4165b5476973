//! The checks that every cell should pass, for a cell written against the public interface alone: the
//! minimal gated unit of the program in `tests/user_cell`.

#[path = "../user_cell/src/cell.rs"]
mod cell;

pub(crate) use cell::MinimalGatedUnit;
use ndarray::{Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::check::GradientCheck;
use recurrent::{Arrays, Float, Recompute, Recurrent, Result, Sequences, State};

type Network<T> = Recurrent<MinimalGatedUnit<T>>;

const TIME: usize = 5;
const LENGTHS: [usize; 4] = [2, 0, 5, 3];

fn random<T: Float, A: Arrays<Elem = T>>(mut arrays: A, rng: &mut ChaCha8Rng) -> A {
    arrays.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|_| T::from_f64(rng.random_range(-1.0..1.0)));
    });
    arrays
}

fn network<T: Float>(bidirectional: bool, rng: &mut ChaCha8Rng) -> Network<T> {
    let net = Network::builder(3, 7)
        .num_layers(2)
        .bidirectional(bidirectional)
        .learned_initial_state(true)
        .build(rng)
        .unwrap();
    random(net, rng)
}

fn ragged<T: Float>(rng: &mut ChaCha8Rng) -> Sequences<T> {
    Sequences::new(random(Array3::zeros((TIME, 4, 3)), rng), LENGTHS.to_vec()).unwrap()
}

/// Σ w ∘ values.
fn dot<A: Arrays<Elem = f64>>(w: &A, values: &A) -> Result<f64> {
    let (mut sum, mut w) = (0.0, w.clone());
    w.zip_mut("values", values, &mut |_, w, values| sum += (&w * &values).sum())?;
    Ok(sum)
}

/// Two layers, two directions, ragged, with a given initial state or the learned one.
fn check_gradients(initial: Option<State<f64>>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (net, x) = (network::<f64>(true, &mut rng), ragged(&mut rng));
    let d_output = x.with_values(Array3::zeros((TIME, 4, net.output_size()))).unwrap();
    let d_output = random(d_output, &mut rng);
    let d_final = random(net.zero_state(4).unwrap(), &mut rng);

    let (_, _, tape) = net.forward_train(&x, initial.as_ref(), &mut rng).unwrap();
    let mut grad = net.zeros_like();
    let (d_x, d_initial) = net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();

    let d_given = initial.is_some().then_some(d_initial);
    let gradient = ((grad, d_x), d_given);
    let report = GradientCheck::default()
        .run(&((net, x), initial), &gradient, |((net, x), initial)| {
            let (output, last) = net.forward(x, initial.as_ref())?;
            Ok(dot(&d_output, &output)? + dot(&d_final, &last)?)
        })
        .unwrap();
    assert!(report.relative_error < 1e-6, "{report}");
}

#[test]
fn gradients_match_finite_differences_from_a_given_initial_state() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let zeros = network::<f64>(true, &mut rng).zero_state(4).unwrap();
    check_gradients(Some(random(zeros, &mut rng)));
}

#[test]
fn gradients_match_finite_differences_from_the_learned_initial_state() {
    check_gradients(None);
}

#[test]
fn a_stream_equals_the_sequence_bit_for_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let net = network::<f32>(false, &mut rng);
    let x = Sequences::full(random(Array3::zeros((TIME, 4, 3)), &mut rng)).unwrap();
    let (output, last) = net.forward(&x, None).unwrap();
    let mut stream = net.stream(4).unwrap();
    for (x_t, h_t) in x.values().outer_iter().zip(output.values().outer_iter()) {
        assert_eq!(stream.step(x_t).unwrap(), h_t);
    }
    assert_eq!(stream.snapshot(), last);
}

#[test]
fn a_stream_goes_back_to_a_snapshot_and_a_fork_goes_on_by_itself() {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let net = network::<f32>(false, &mut rng);
    let x = random(Array3::zeros((3, 2, 3)), &mut rng);
    let x_t = |t: usize| x.index_axis(Axis(0), t);
    let mut stream = net.stream(2).unwrap();
    stream.step(x_t(0)).unwrap();
    let snapshot = stream.snapshot();
    let mut fork = stream.fork();
    let first = stream.step(x_t(1)).unwrap().to_owned();
    assert_ne!(fork.step(x_t(2)).unwrap(), first);
    assert_eq!(stream.output(), first, "the fork left the stream alone");
    stream.restore(&snapshot).unwrap();
    assert_eq!(stream.step(x_t(1)).unwrap(), first);
}

#[test]
fn what_stands_in_the_padding_changes_no_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let (net, x) = (network::<f32>(true, &mut rng), ragged::<f32>(&mut rng));
    let d_output = random(Array3::zeros((TIME, 4, net.output_size())), &mut rng);
    let run = |filler: Option<f32>| {
        let fill = |values: &Array3<f32>| {
            Array3::from_shape_fn(values.dim(), |(t, b, i)| {
                filler.filter(|_| t >= LENGTHS[b]).unwrap_or(values[[t, b, i]])
            })
        };
        let x = x.with_values(fill(x.values())).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let (output, last, tape) = net.forward_train(&x, None, &mut rng).unwrap();
        let mut grad = net.zeros_like();
        let d_output = x.with_values(fill(&d_output)).unwrap();
        let (d_x, d_initial) = net.backward(tape, &d_output, None, &mut grad).unwrap();
        let mut bits = Vec::new();
        ((output, last), ((d_x, d_initial), grad)).for_each(&mut |_, array| {
            bits.extend(array.iter().map(|value| value.to_bits()));
        });
        bits
    };
    let expected = run(None);
    assert_eq!(run(Some(0.0)), expected);
    assert_eq!(run(Some(f32::NAN)), expected);
}

#[test]
fn checkpoints_change_no_bit() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let (net, x) = (network::<f32>(true, &mut rng), ragged::<f32>(&mut rng));
    let d_output = x.with_values(Array3::zeros((TIME, 4, net.output_size()))).unwrap();
    let d_output = random(d_output, &mut rng);
    let mut run = |recompute| {
        let (output, last, tape) = net.forward_train_with(&x, None, &mut rng, recompute).unwrap();
        let mut grad = net.zeros_like();
        let (d_x, d_initial) = net.backward(tape, &d_output, None, &mut grad).unwrap();
        let mut bits = Vec::new();
        ((output, last), ((d_x, d_initial), grad)).for_each(&mut |_, array| {
            bits.extend(array.iter().map(|value| value.to_bits()));
        });
        bits
    };
    let expected = run(Recompute::Store);
    assert_eq!(run(Recompute::Every(2)), expected);
    assert_eq!(run(Recompute::Sqrt), expected);
}
