//! Tests of streams and workspaces whose weights have 16 or 8 bits.

use ndarray::{Array2, Array3, Axis, Slice};
use proptest::collection::vec;
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::tensor::Precision;
use recurrent::{Arrays, Lstm, Recurrent, RecurrentBuilder, Sequences};

/// The matrices that are packed, by the beginnings of their names.
const PACKED: [&str; 3] = ["weight_ih", "weight_hh", "weight_hr"];

/// Returns the network with each row of its matrices replaced by `round`.
fn rounded<C: Cell<Elem = f32>>(net: &Recurrent<C>, round: fn(&mut [f32])) -> Recurrent<C> {
    let mut net = net.clone();
    net.for_each_mut(&mut |name, mut array| {
        if PACKED.iter().any(|packed| name.starts_with(packed)) {
            for mut row in array.rows_mut() {
                round(row.as_slice_mut().unwrap());
            }
        }
    });
    net
}

fn to_halves(row: &mut [f32]) {
    for w in row {
        // The nearest of both neighbours with 16 zero bits; of two equally near, the one whose last bit is 0.
        let below = f32::from_bits(w.to_bits() & 0xffff_0000);
        let above = f32::from_bits((w.to_bits() & 0xffff_0000) + 0x1_0000);
        let (down, up) = ((*w - below).abs(), (above - *w).abs());
        let even = below.to_bits() & 0x1_0000 == 0;
        *w = if down < up || (down == up && even) { below } else { above };
    }
}

fn to_bytes(row: &mut [f32]) {
    let largest = row.iter().fold(0.0f32, |most, w| most.max(w.abs()));
    // The nearest f32, and of these the nearest with 16 significant bits, or of a subnormal one the nearest whose
    // last 8 bits are zero.
    let step = f64::from((f64::from(largest) / 127.0) as f32);
    let last = 2f64.powi((step.max(1e-300).log2().floor() as i32 - 15).max(-141));
    let step = (step / last).round_ties_even() * last;
    for w in row.iter_mut().filter(|_| step > 0.0) {
        *w = ((f64::from(*w) / step).round_ties_even() * step) as f32;
    }
}

fn inputs(time: usize, batch: usize, width: usize) -> Array3<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    Array3::from_shape_simple_fn((time, batch, width), || rng.random_range(-1.0..1.0))
}

fn streamed<C: Cell<Elem = f32>>(
    net: &Recurrent<C>,
    x: &Array3<f32>,
    precision: Precision,
) -> Vec<Array2<f32>> {
    let mut stream = net.stream_with(x.len_of(Axis(1)), precision).unwrap();
    x.outer_iter().map(|x_t| stream.step(x_t).unwrap().to_owned()).collect()
}

fn check<C: Cell<Elem = f32>>(set: impl Fn(RecurrentBuilder<C>) -> RecurrentBuilder<C>) {
    for (input, hidden) in [(1, 3), (7, 17), (16, 64), (33, 31)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let net = set(Recurrent::<C>::builder(input, hidden).num_layers(2)).build(rng).unwrap();
        let x = inputs(9, 7, input);
        let halves = streamed(&net, &x, Precision::Bf16);
        assert_eq!(halves, streamed(&rounded(&net, to_halves), &x, Precision::Full), "{}", C::NAME);
        let bytes = streamed(&net, &x, Precision::Int8);
        let expected = streamed(&rounded(&net, to_bytes), &x, Precision::Full);
        for (bytes, expected) in bytes.iter().zip(&expected) {
            approx::assert_abs_diff_eq!(bytes, expected, epsilon = 1e-4);
        }
        for (precision, expected) in [(Precision::Bf16, halves), (Precision::Int8, bytes)] {
            check_batches(&net, &x, precision, &expected);
            let mut rounded = net.clone();
            precision.round(&mut rounded).unwrap();
            assert_eq!(streamed(&rounded, &x, precision), expected, "{precision:?} {}", C::NAME);
        }
    }
}

/// Checks that each sequence alone, and all in a workspace, have the bits of the stream of all.
fn check_batches<C: Cell<Elem = f32>>(
    net: &Recurrent<C>,
    x: &Array3<f32>,
    precision: Precision,
    expected: &[Array2<f32>],
) {
    for b in 0..x.len_of(Axis(1)) {
        let one = |of: &Array2<f32>| of.slice_axis(Axis(0), Slice::from(b..b + 1)).to_owned();
        let alone = x.slice_axis(Axis(1), Slice::from(b..b + 1)).to_owned();
        let expected: Vec<_> = expected.iter().map(one).collect();
        assert_eq!(streamed(net, &alone, precision), expected, "{precision:?}");
    }
    let mut workspace = net.workspace_with(precision).unwrap();
    let x = Sequences::full(x.clone()).unwrap();
    let (output, _) = workspace.forward(&x, None).unwrap();
    for (output, expected) in output.values().outer_iter().zip(expected) {
        assert_eq!(output, expected, "{precision:?}");
    }
}

#[test]
fn weights_of_fewer_bits_compute_what_rounded_weights_compute_in_every_cell() {
    check::<RnnCell<f32>>(|net| net);
    check::<LstmCell<f32>>(|net| net.bias(false));
    check::<GruCell<f32>>(|net| net);
    check::<GruCell<f32>>(|net| net.options(GruOptions::new(Reset::Before)));
    check::<PeepholeLstmCell<f32>>(|net| net.zoneout(&[0.1, 0.2]));
    check::<CoupledLstmCell<f32>>(|net| net);
    check::<ProjectedLstmCell<f32>>(|net| net.options(ProjectedLstmOptions::new(2)));
    check::<LayerNormLstmCell<f32>>(|net| net);
}

#[test]
fn rounding_gives_the_nearest_numbers_of_each_row_and_leaves_vectors_alone() {
    for (input, hidden) in [(1, 1), (3, 7), (17, 33)] {
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        let net = Lstm::<f32>::builder(input, hidden).build(rng).unwrap();
        for (precision, round) in [
            (Precision::Full, (|_| ()) as fn(&mut [f32])),
            (Precision::Bf16, to_halves),
            (Precision::Int8, to_bytes),
        ] {
            let mut rounded_net = net.clone();
            precision.round(&mut rounded_net).unwrap();
            let expected = rounded(&net, round);
            rounded_net
                .zip_mut("expected", &expected, &mut |name, got, expected| {
                    assert_eq!(got, expected, "{precision:?} {name}");
                })
                .unwrap();
        }
    }
}

proptest! {
    #[test]
    fn rounding_is_within_half_a_step_and_changes_nothing_the_second_time(
        exponent in -60i32..60,
        row in vec(-1.0f32..1.0, 1..20),
    ) {
        let row: Vec<f32> = row.iter().map(|w| w * 2f32.powi(exponent)).collect();
        let exact = Array2::from_shape_vec((1, row.len()), row).unwrap();
        let largest = exact.iter().fold(0.0f32, |most, w| most.max(w.abs()));
        for (precision, step) in [(Precision::Bf16, largest / 128.0), (Precision::Int8, largest / 126.9)] {
            let mut once = exact.clone();
            precision.round(&mut once).unwrap();
            prop_assert!(once.iter().zip(&exact).all(|(a, b)| (a - b).abs() <= step / 2.0));
            let mut twice = once.clone();
            precision.round(&mut twice).unwrap();
            prop_assert_eq!(twice, once);
        }
    }
}

#[test]
fn tokens_read_the_weights_of_the_precision() {
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    for (input, hidden) in [(1, 1), (5, 3), (33, 31), (40, 64)] {
        let net = Lstm::<f32>::builder(input, hidden).num_layers(2).build(rng).unwrap();
        for precision in [Precision::Full, Precision::Bf16, Precision::Int8] {
            let mut of_tokens = net.stream_with(3, precision).unwrap();
            let mut of_rows = net.stream_with(3, precision).unwrap();
            for t in 0..4 {
                let tokens = [t % input, (7 * t + 2) % input, input - 1];
                let mut rows = Array2::zeros((3, input));
                tokens.iter().enumerate().for_each(|(b, &token)| rows[[b, token]] = 1.0);
                let expected = of_rows.step(rows.view()).unwrap();
                assert_eq!(of_tokens.step_tokens(&tokens).unwrap(), expected, "{precision:?}");
            }
        }
    }
}

#[test]
fn rows_of_zeros_and_of_extreme_weights_leave_the_bytes_of_other_rows_alone() {
    let mut net = Lstm::<f32>::builder(3, 5).build(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    net.for_each_mut(&mut |name, mut array| {
        if name == "weight_ih_l0" {
            array.index_axis_mut(Axis(0), 1).fill(0.0);
            array.index_axis_mut(Axis(0), 2).fill(1e30);
            // The scale of the input gate of unit 3 is a subnormal number, rounded from 1.5 to 1 of its last
            // place, and the next byte is that of its forget gate.
            array.index_axis_mut(Axis(0), 3).fill(6.8e-41);
            array.index_axis_mut(Axis(0), 8).assign(&ndarray::arr1(&[1.0, 0.5, 0.25]));
        }
    });
    let x = inputs(2, 1, 3);
    let expected = streamed(&rounded(&net, to_bytes), &x, Precision::Full);
    for (bytes, expected) in streamed(&net, &x, Precision::Int8).iter().zip(&expected) {
        approx::assert_abs_diff_eq!(bytes, expected, epsilon = 1e-6);
    }
}

#[test]
fn weights_that_cannot_have_fewer_bits_are_refused() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let double = Lstm::<f64>::builder(3, 4).build(rng).unwrap();
    let message = double.stream_with(1, Precision::Int8).unwrap_err().to_string();
    assert_eq!(message, "precision: expected Full for weights of f64, got Int8");
    assert!(double.workspace_with(Precision::Full).is_ok());
    let mut broken = Lstm::<f32>::builder(3, 4).build(rng).unwrap();
    broken.for_each_mut(&mut |name, mut array| {
        if name == "weight_hh_l0" {
            array.fill(f32::NAN);
        }
    });
    let message = broken.workspace_with(Precision::Bf16).unwrap_err().to_string();
    assert!(message.contains("weight_hh_l0"), "{message}");
    let mut same = broken.clone();
    assert_eq!(Precision::Bf16.round(&mut same).unwrap_err().to_string(), message);
    let first = |net: &Lstm<f32>| {
        let mut first = None;
        net.for_each(&mut |_, array| _ = first.get_or_insert(array.to_owned()));
        first
    };
    assert_eq!(first(&same), first(&broken));
    let mut far = ndarray::array![[1.0, 1e300]];
    let message = Precision::Int8.round(&mut far).unwrap_err().to_string();
    assert_eq!(
        message,
        "precision: expected Full for weights beyond the range of f32, got Int8, and 1e300 in value"
    );
    let mut most = ndarray::array![[f32::MAX, -f32::MAX]];
    Precision::Bf16.round(&mut most).unwrap();
    assert_eq!(most, ndarray::array![[1.0, -1.0]] * f32::from_bits(0x7f7f_0000));
}
