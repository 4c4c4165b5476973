//! Tests of the guarantees for every cell: padding, batching, the order of lengths and streaming do not
//! change a bit of any result.

use crate::common::run::{Problem, Results, difference};
use ndarray::{Array3, ArrayViewD, ArrayViewMutD, Axis, Slice};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, Nonlinearity,
    PeepholeLstmCell, Reset, RnnCell,
};
use recurrent::{Arrays, Recurrent, Sequences, State};

/// Calls a check for each cell with its options, one in each line.
macro_rules! every_cell {
    ($check:ident($($argument:expr),*)) => {
        $check::<RnnCell<f32>>(Nonlinearity::Tanh, $($argument),*);
        $check::<RnnCell<f32>>(Nonlinearity::Relu, $($argument),*);
        $check::<LstmCell<f32>>(Default::default(), $($argument),*);
        $check::<GruCell<f32>>(GruOptions::new(Reset::After), $($argument),*);
        $check::<GruCell<f32>>(GruOptions::new(Reset::Before), $($argument),*);
        $check::<PeepholeLstmCell<f32>>(Default::default(), $($argument),*);
        $check::<CoupledLstmCell<f32>>(Default::default(), $($argument),*);
        $check::<LayerNormLstmCell<f32>>(Default::default(), $($argument),*);
    };
}

/// The sizes of a network and of its batch.
#[derive(Clone, Debug)]
struct Sizes {
    input: usize,
    hidden: usize,
    layers: usize,
    bidirectional: bool,
    lengths: Vec<usize>,
    time: usize,
    seed: u64,
}

fn sizes() -> impl Strategy<Value = Sizes> {
    let lengths = prop::collection::vec(0_usize..7, 1..14);
    let network = (1_usize..10, 1_usize..20, 1_usize..4, any::<bool>());
    (network, lengths, 0_usize..3, any::<u64>()).prop_map(|(network, lengths, more, seed)| {
        let (input, hidden, layers, bidirectional) = network;
        let time = (lengths.iter().max().copied().unwrap_or(0) + more).max(1);
        Sizes { input, hidden, layers, bidirectional, lengths, time, seed }
    })
}

impl Sizes {
    fn problem<C: Cell<Elem = f32>>(&self, options: C::Options) -> Problem<C> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let net = Recurrent::<C>::builder(self.input, self.hidden)
            .num_layers(self.layers)
            .bidirectional(self.bidirectional)
            .options(options)
            .build(&mut rng)
            .unwrap();
        Problem::random(net, self.time, self.lengths.clone(), &mut rng)
    }
}

/// Writes values of `filler` to the padding.
fn fill_padding(values: &mut Array3<f32>, lengths: &[usize], mut filler: impl FnMut() -> f32) {
    for (mut sequence, &length) in values.axis_iter_mut(Axis(1)).zip(lengths) {
        sequence.slice_axis_mut(Axis(0), Slice::from(length..)).mapv_inplace(|_| filler());
    }
}

fn padding_is_zero(values: &Array3<f32>, lengths: &[usize]) -> bool {
    let mut all = values.axis_iter(Axis(1)).zip(lengths);
    all.all(|(values, &length)| {
        values.slice_axis(Axis(0), Slice::from(length..)).iter().all(|&value| value == 0.0)
    })
}

fn check_padding<C: Cell<Elem = f32>>(options: C::Options, sizes: &Sizes) {
    let problem = sizes.problem::<C>(options);
    let expected = problem.run();
    let lengths = &sizes.lengths;
    assert!(padding_is_zero(&expected.output, lengths), "output in the padding of {sizes:?}");
    assert!(padding_is_zero(&expected.d_x, lengths), "d_x in the padding of {sizes:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let fillers: [&mut dyn FnMut() -> f32; 3] =
        [&mut || f32::NAN, &mut || f32::INFINITY, &mut || rng.random_range(-9.0..9.0)];
    for filler in fillers {
        let mut padded = problem.clone();
        let mut x = padded.x.values().clone();
        fill_padding(&mut x, lengths, &mut *filler);
        padded.x = padded.x.with_values(x).unwrap();
        fill_padding(&mut padded.d_output, lengths, &mut *filler);
        assert_eq!(difference(&padded.run().all(), &expected.all()), None, "{sizes:?}");
    }
    let cut = |values: &Array3<f32>| {
        let longest = lengths.iter().max().copied().unwrap_or(0).max(1);
        values.slice_axis(Axis(0), Slice::from(..longest)).to_owned()
    };
    let mut shorter = problem.clone();
    shorter.x = Sequences::new(cut(problem.x.values()), lengths.clone()).unwrap();
    shorter.d_output = cut(&problem.d_output);
    let (output, d_x) = (cut(&expected.output), cut(&expected.d_x));
    let expected = Results { output, d_x, ..expected };
    assert_eq!(difference(&shorter.run().all(), &expected.all()), None, "{sizes:?}");
}

/// Returns the states of some sequences of a batch.
fn states_of<C: Cell<Elem = f32>>(
    net: &Recurrent<C>,
    all: &State<f32>,
    members: &[usize],
) -> State<f32> {
    let mut some = net.zero_state(members.len()).unwrap();
    for name in all.state_names() {
        some.set(name, all.get(name).unwrap().select(Axis(1), members)).unwrap();
    }
    some
}

fn problem_of<C: Cell<Elem = f32>>(all: &Problem<C>, members: &[usize]) -> Problem<C> {
    let lengths = members.iter().map(|&b| all.x.lengths()[b]).collect();
    Problem {
        net: all.net.clone(),
        x: Sequences::new(all.x.values().select(Axis(1), members), lengths).unwrap(),
        initial: states_of(&all.net, &all.initial, members),
        d_output: all.d_output.select(Axis(1), members),
        d_final: states_of(&all.net, &all.d_final, members),
    }
}

fn results_of<C: Cell<Elem = f32>>(all: &Results<C>, members: &[usize]) -> Results<C> {
    Results {
        output: all.output.select(Axis(1), members),
        last: states_of(&all.grad, &all.last, members),
        d_x: all.d_x.select(Axis(1), members),
        d_initial: states_of(&all.grad, &all.d_initial, members),
        grad: all.grad.clone(),
    }
}

fn check_batching<C: Cell<Elem = f32>>(options: C::Options, sizes: &Sizes) {
    let problem = sizes.problem::<C>(options);
    let together = problem.run();
    let batch = sizes.lengths.len();
    let halves = [(0..batch / 2).collect(), (batch / 2..batch).collect()];
    for members in (0..batch).map(|b| vec![b]).chain(halves).filter(|m: &Vec<_>| !m.is_empty()) {
        let part = problem_of(&problem, &members).run();
        let expected = results_of(&together, &members);
        let difference = difference(&part.of_sequences(), &expected.of_sequences());
        assert_eq!(difference, None, "{members:?} of {sizes:?}");
    }
}

fn check_order<C: Cell<Elem = f32>>(options: C::Options, sizes: &Sizes, order: &[usize]) {
    let problem = sizes.problem::<C>(options);
    let (first, second) = (problem.run(), problem_of(&problem, order).run());
    let expected = results_of(&first, order);
    assert_eq!(difference(&second.of_sequences(), &expected.of_sequences()), None, "{sizes:?}");
    // The gradients of parameters are sums over sequences, whose rounding depends on the order.
    let mut largest = 1.0_f32;
    first.grad.for_each(&mut |_, array| {
        largest = array.iter().fold(largest, |largest, value| largest.max(value.abs()));
    });
    let mut close = |name: &str, mut a: ArrayViewMutD<'_, f32>, b: ArrayViewD<'_, f32>| {
        a -= &b;
        let worst = a.iter().fold(0.0_f32, |worst, d| worst.max(d.abs()));
        assert!(worst <= 1e-5 * largest, "{name} by {worst}, of up to {largest}, {sizes:?}");
    };
    second.grad.clone().zip_mut("grad", &first.grad, &mut close).unwrap();
}

fn check_streaming<C: Cell<Elem = f32>>(options: C::Options, sizes: &Sizes) {
    let problem = sizes.problem::<C>(options);
    let x = Sequences::full(problem.x.values().clone()).unwrap();
    let (output, last) = problem.net.forward(&x, Some(&problem.initial)).unwrap();
    let mut stream = problem.net.stream(x.batch()).unwrap();
    stream.restore(&problem.initial).unwrap();
    for (t, (x_t, expected)) in
        x.values().outer_iter().zip(output.values().outer_iter()).enumerate()
    {
        let got = stream.step(x_t).unwrap();
        assert!(
            got.iter().map(|v| v.to_bits()).eq(expected.iter().map(|v| v.to_bits())),
            "step {t}"
        );
    }
    assert_eq!(difference(&stream.snapshot(), &last), None, "final state, {sizes:?}");
}

/// Copies the parameters and states of the reverse direction to those of the forward direction.
fn take_reverse<A: Arrays<Elem = f32>>(from: &A, to: &mut A) {
    let mut values = std::collections::BTreeMap::new();
    from.for_each(&mut |name, array| {
        values.insert(name.to_owned(), array.to_owned());
    });
    to.for_each_mut(&mut |name, mut array| array.assign(&values[&format!("{name}_reverse")]));
}

/// Returns the steps of each sequence in reverse, within its own length.
fn reversed(values: &Array3<f32>, lengths: &[usize]) -> Array3<f32> {
    let mut reversed = Array3::zeros(values.dim());
    for (b, &length) in lengths.iter().enumerate() {
        for t in 0..length {
            let row = values.index_axis(Axis(0), t);
            let mut to = reversed.index_axis_mut(Axis(0), length - 1 - t);
            to.index_axis_mut(Axis(0), b).assign(&row.index_axis(Axis(0), b));
        }
    }
    reversed
}

fn check_reverse<C: Cell<Elem = f32>>(options: C::Options, sizes: &Sizes) {
    let sizes = Sizes { layers: 1, bidirectional: true, ..sizes.clone() };
    let mut both = sizes.problem::<C>(options.clone());
    let lengths = &sizes.lengths;
    // Only the reverse half contributes to the loss, so d_x is its gradient.
    let half = both.net.output_size() / 2;
    both.d_output.slice_axis_mut(Axis(2), Slice::from(..half)).fill(0.0);
    both.d_final.for_each_mut(&mut |name, mut array| {
        if !name.ends_with("_reverse") {
            array.fill(0.0);
        }
    });
    let expected = both.run();

    let mut mirrored = Sizes { bidirectional: false, ..sizes.clone() }.problem::<C>(options);
    take_reverse(&both.net, &mut mirrored.net);
    take_reverse(&both.initial, &mut mirrored.initial);
    take_reverse(&both.d_final, &mut mirrored.d_final);
    let x = reversed(both.x.values(), lengths);
    mirrored.x = Sequences::new(x, lengths.clone()).unwrap();
    let d_reverse = both.d_output.slice_axis(Axis(2), Slice::from(half..)).to_owned();
    mirrored.d_output = reversed(&d_reverse, lengths);
    let mut got = mirrored.run();
    got.output = reversed(&got.output, lengths);

    let output = expected.output.slice_axis(Axis(2), Slice::from(half..)).to_owned();
    assert_eq!(difference(&got.output, &output), None, "{sizes:?}");
    let (mut last, mut d_initial) = (got.last.clone(), got.d_initial.clone());
    take_reverse(&expected.last, &mut last);
    take_reverse(&expected.d_initial, &mut d_initial);
    assert_eq!(difference(&got.last, &last), None, "{sizes:?}");
    assert_eq!(difference(&got.d_initial, &d_initial), None, "{sizes:?}");
    // Compared by value, because the forward half adds zeros, which turn −0 into +0.
    assert_eq!(reversed(&got.d_x, lengths), expected.d_x, "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_stands_in_the_padding_never_matters(sizes in sizes()) {
        every_cell!(check_padding(&sizes));
    }

    #[test]
    fn how_sequences_are_grouped_into_batches_never_matters(sizes in sizes()) {
        every_cell!(check_batching(&sizes));
    }

    #[test]
    fn the_order_of_lengths_never_matters(
        (sizes, order) in sizes().prop_flat_map(|sizes| {
            let order: Vec<usize> = (0..sizes.lengths.len()).collect();
            (Just(sizes), Just(order).prop_shuffle())
        }),
    ) {
        every_cell!(check_order(&sizes, &order));
    }

    #[test]
    fn a_stream_equals_the_sequence(sizes in sizes()) {
        let sizes = Sizes { bidirectional: false, ..sizes };
        every_cell!(check_streaming(&sizes));
    }

    #[test]
    fn the_reverse_direction_is_the_forward_one_on_reversed_sequences(sizes in sizes()) {
        every_cell!(check_reverse(&sizes));
    }
}
