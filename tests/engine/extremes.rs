//! Numbers at the ends of their range: results stay finite, and those of f32 stay near those of f64.

use ndarray::{Array2, Array3, Axis};
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use recurrent::cell::{Cell, ProjectedLstmOptions};
use recurrent::{
    Arrays, CoupledLstmCell, Float, GruCell, LayerNormLstmCell, Lstm, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, Recurrent, RnnCell, Sequences, State,
};

const INPUT: usize = 3;
const HIDDEN: usize = 4;

/// The greatest difference between an output or a state of f32 and of f64, relative to the greatest value of the
/// array if that is above 1.
const OUTPUTS: f64 = 5e-6;

/// The same of gradients.
const GRADIENTS: f64 = 5e-5;

/// The largest input.
const LARGE: f32 = 1e30;

/// A cell with the options of these tests.
trait Case: Cell {
    /// The bounds of outputs and of gradients.
    const BOUNDS: [f64; 2] = [OUTPUTS, GRADIENTS];
    /// Whether the state stays below 1, so that no finite weights make it infinite.
    const BOUNDED: bool = true;

    fn options() -> Self::Options {
        Self::Options::default()
    }
}

macro_rules! cases {
    ($($cell:ident)+) => {
        $(impl<T: Float> Case for $cell<T> {})+
    };
}

cases! { RnnCell LstmCell GruCell PeepholeLstmCell CoupledLstmCell }

/// The norm of a row that is nearly constant multiplies its rounding by up to 1 / √ε, here 316.
impl<T: Float> Case for LayerNormLstmCell<T> {
    const BOUNDS: [f64; 2] = [2e-2, 2e-2];
}

/// The projection is not bounded.
impl<T: Float> Case for ProjectedLstmCell<T> {
    const BOUNDED: bool = false;

    fn options() -> ProjectedLstmOptions {
        ProjectedLstmOptions::new(2)
    }
}

/// Returns the same network with elements of f64.
fn widened<C: Case<Elem = f32>, W: Case<Elem = f64>>(network: &Recurrent<C>) -> Recurrent<W> {
    let builder = Recurrent::<W>::builder(INPUT, HIDDEN).options(W::options());
    let builder = builder.bidirectional(network.bidirectional());
    let mut wide = builder.build(&mut ChaCha8Rng::seed_from_u64(0)).unwrap();
    let mut arrays = Vec::new();
    network.for_each(&mut |name, array| arrays.push((name.to_owned(), array.mapv(f64::from))));
    assert_eq!(network.names(), wide.names());
    arrays.into_iter().for_each(|(name, array)| wide.set(&name, array).unwrap());
    wide
}

/// Returns the greatest difference, relative to the greatest value above 1. Fails if a value is not finite.
fn distance<'a, A: Arrays<Elem = f32>, W: Arrays<Elem = f64>>(
    name: &str,
    narrow: &'a A,
    wide: &'a W,
) -> f64 {
    narrow.check_finite().unwrap_or_else(|error| panic!("{name}, f32: {error}"));
    wide.check_finite().unwrap_or_else(|error| panic!("{name}, f64: {error}"));
    let (mut a, mut b) = (Vec::new(), Vec::new());
    narrow.for_each(&mut |_, array| a.push(array));
    wide.for_each(&mut |_, array| b.push(array));
    assert_eq!(a.len(), b.len());
    let of_array = a.iter().zip(&b).map(|(a, b)| {
        let scale = b.iter().fold(1.0_f64, |most, x| most.max(x.abs()));
        let far = |(a, b): (&f32, &f64)| (f64::from(*a) - b).abs() / scale;
        a.iter().zip(b).map(far).fold(0.0, f64::max)
    });
    of_array.fold(0.0, f64::max)
}

fn wide_of(x: &Sequences<f32>) -> Sequences<f64> {
    Sequences::new(x.values().mapv(f64::from), x.lengths().to_vec()).unwrap()
}

/// The inputs [time, 2, input] of a name, each with the factor of the weights.
fn cases(time: usize) -> Vec<(&'static str, f32, Array3<f32>)> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let shape = (time, 2, INPUT);
    let random = Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0_f32));
    // One sequence of each sign, and the other of both.
    let signs = Array3::from_shape_fn(shape, |(t, b, _)| [1.0, 1.0 - 2.0 * (t % 2) as f32][b]);
    vec![
        ("ordinary", 1.0, random.clone()),
        ("inputs of 1e30", 1.0, &signs * LARGE),
        ("inputs of -1e30", 1.0, &signs * -LARGE),
        ("inputs of 1e-30", 1.0, &random * 1e-30),
        ("subnormal inputs", 1.0, &random * 1e-40),
        ("zero weights", 0.0, random.clone()),
        ("zero weights and inputs of 1e30", 0.0, &signs * LARGE),
        ("subnormal weights", 1e-40, random.clone()),
        ("saturated gates", 100.0, signs.clone()),
        ("gates of 1e30", 1e30, signs),
    ]
}

fn network<C: Case<Elem = f32>>(factor: f32, both: bool) -> Recurrent<C> {
    let builder = Recurrent::builder(INPUT, HIDDEN).bidirectional(both).options(C::options());
    let mut network = builder.build(&mut ChaCha8Rng::seed_from_u64(3)).unwrap();
    network.for_each_mut(&mut |_, mut array| array *= factor);
    network
}

/// Computes forward and backward of each case in f32 and in f64, and the stream in f32. Returns the greatest
/// distances of outputs and of gradients.
fn distances<C: Case<Elem = f32>, W: Case<Elem = f64>>() -> (f64, f64) {
    let (mut outputs, mut gradients) = (0.0_f64, 0.0_f64);
    for (name, factor, x) in cases(40) {
        if factor > 1e3 && !C::BOUNDED {
            continue;
        }
        let narrow = network::<C>(factor, true);
        let wide: Recurrent<W> = widened(&narrow);
        let x = Sequences::full(x).unwrap();
        let (y, h, d_x, grad) = trained(&narrow, &x);
        let (wide_y, wide_h, wide_d_x, wide_grad) = trained(&wide, &wide_of(&x));
        let of_outputs = distance(name, &y, &wide_y).max(distance(name, &h, &wide_h));
        let of_gradients = distance(name, &d_x, &wide_d_x).max(distance(name, &grad, &wide_grad));
        (outputs, gradients) = (outputs.max(of_outputs), gradients.max(of_gradients));
        assert_eq!(narrow.forward(&x, None).unwrap().0.values(), y.values(), "{name}");
        streamed::<C>(name, factor, &x);
    }
    (outputs, gradients)
}

/// Returns output, states, d_x and the gradient of the sum of the outputs.
fn trained<T: Float, C: Cell<Elem = T>>(
    network: &Recurrent<C>,
    x: &Sequences<T>,
) -> (Sequences<T>, State<T>, Sequences<T>, Recurrent<C>) {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let (y, h, tape) = network.forward_train(x, None, &mut rng).unwrap();
    let ones = y.with_values(Array3::ones(y.values().dim())).unwrap();
    let mut grad = network.zeros_like();
    let (d_x, _) = network.backward(tape, &ones, None, &mut grad).unwrap();
    (y, h, d_x, grad)
}

/// A stream gives the bits of the whole sequence.
fn streamed<C: Case<Elem = f32>>(name: &str, factor: f32, x: &Sequences<f32>) {
    let network = network::<C>(factor, false);
    let (y, _) = network.forward(x, None).unwrap();
    let mut stream = network.stream(2).unwrap();
    for (x_t, y_t) in x.values().outer_iter().zip(y.values().outer_iter()) {
        assert_eq!(stream.step(x_t).unwrap(), y_t, "{name}");
    }
}

macro_rules! each_cell {
    ($($test:ident $long:ident $cell:ident)+) => {$(
        #[test]
        fn $test() {
            let (outputs, gradients) = distances::<$cell<f32>, $cell<f64>>();
            println!("{}: outputs {outputs:.1e}, gradients {gradients:.1e}", stringify!($cell));
            let [most_outputs, most_gradients] = <$cell<f32>>::BOUNDS;
            assert!(outputs <= most_outputs, "{outputs:e}");
            assert!(gradients <= most_gradients, "{gradients:e}");
        }

        #[test]
        fn $long() {
            let most = after_many_steps::<$cell<f32>, $cell<f64>>();
            println!("{}: after 100,000 steps {most:.1e}", stringify!($cell));
            assert!(most <= <$cell<f32>>::BOUNDS[0], "{most:e}");
        }
    )+};
}

each_cell! {
    rnn_is_near_f64_at_the_ends_of_the_range rnn_stays_near_f64_for_100_000_steps RnnCell
    lstm_is_near_f64_at_the_ends_of_the_range lstm_stays_near_f64_for_100_000_steps LstmCell
    gru_is_near_f64_at_the_ends_of_the_range gru_stays_near_f64_for_100_000_steps GruCell
    peephole_is_near_f64_at_the_ends_of_the_range peephole_stays_near_f64_for_100_000_steps
        PeepholeLstmCell
    coupled_is_near_f64_at_the_ends_of_the_range coupled_stays_near_f64_for_100_000_steps
        CoupledLstmCell
    projected_is_near_f64_at_the_ends_of_the_range projected_stays_near_f64_for_100_000_steps
        ProjectedLstmCell
    layer_norm_is_near_f64_at_the_ends_of_the_range layer_norm_stays_near_f64_for_100_000_steps
        LayerNormLstmCell
}

/// Streams 100,000 steps in f32 and in f64: random inputs, then zeros, in which a state decays. Returns the
/// greatest difference of an output.
fn after_many_steps<C: Case<Elem = f32>, W: Case<Elem = f64>>() -> f64 {
    let narrow = network::<C>(1.0, false);
    let wide: Recurrent<W> = widened(&narrow);
    let (mut stream, mut wide_stream) = (narrow.stream(1).unwrap(), wide.stream(1).unwrap());
    let (mut rng, mut most) = (ChaCha8Rng::seed_from_u64(5), 0.0_f64);
    let mut x = Array2::<f32>::zeros((1, INPUT));
    for t in 0..100_000 {
        let random = t < 50_000;
        x.mapv_inplace(|_| if random { rng.random_range(-1.0..1.0) } else { 0.0 });
        let y = stream.step(x.view()).unwrap();
        let wide_y = wide_stream.step(x.mapv(f64::from).view()).unwrap();
        for (a, b) in y.iter().zip(wide_y) {
            assert!(a.is_finite(), "step {t}");
            most = most.max((f64::from(*a) - b).abs());
        }
    }
    most
}

/// The gradient through 100,000 steps vanishes without a subnormal number, and the memory of training is bounded.
#[test]
fn training_over_100_000_steps_stays_near_f64() {
    let narrow = network::<LstmCell<f32>>(1.0, false);
    let wide: Lstm<f64> = widened(&narrow);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let x = Array3::from_shape_simple_fn((100_000, 1, INPUT), || rng.random_range(-1.0..1.0_f32));
    let x = Sequences::full(x).unwrap();
    let (y, h, d_x, grad) = trained(&narrow, &x);
    let (wide_y, wide_h, wide_d_x, wide_grad) = trained(&wide, &wide_of(&x));
    assert!(distance("y", &y, &wide_y).max(distance("h", &h, &wide_h)) <= OUTPUTS);
    assert!(distance("d_x", &d_x, &wide_d_x) <= GRADIENTS);
    let sums = distance("grad", &grad, &wide_grad);
    println!("gradients of 100,000 steps: {sums:.1e}");
    assert!(sums <= GRADIENTS, "{sums:e}");
    assert!(d_x.values().iter().all(|d| !d.is_subnormal()));
    let last = y.values().index_axis(Axis(0), 99_999);
    assert!(last.iter().all(|y| y.abs() > 0.0));
}
