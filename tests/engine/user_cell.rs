//! A cell of one's own, written against the public interface alone: the minimal gated unit.
//!
//! With rows of the weights in the order f, n, H = hidden_size, I = input_size and b = b_ih + b_hh:
//!
//! ```text
//! f = σ(W_f x + U_f h' + b_f)               W [2H, I], U [2H, H]
//! n = tanh(W_n x + U_n p + b_n)             p = f ∘ h'
//! h = (1 − f) ∘ h' + f ∘ n
//! ```
//!
//! Backward, with d_h from the output and the step after; as h − h' = f ∘ (n − h'), the states stand
//! in for n:
//!
//! ```text
//! d_a_n = d_h ∘ f ∘ (1 − n²)                d_p = U_nᵀ d_a_n
//! d_a_f = (d_h ∘ (h − h') + d_p ∘ p) ∘ (1 − f)
//! d_h'  = d_h ∘ (1 − f) + d_p ∘ f + U_fᵀ d_a_f
//! ```
//!
//! Source: Zhou et al., *Minimal Gated Unit for Recurrent Neural Networks*, 2016.
//!
//! The file has two parts: the cell, and the checks that every cell should pass.

use ndarray::{Array3, ArrayView2, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::arrays::{Visit, VisitMut};
use recurrent::cell::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use recurrent::check::GradientCheck;
use recurrent::tensor::activation::{sigmoid, tanh};
use recurrent::tensor::{Accumulate, Level, Packed, Rows, RowsMut, Simd, lanes, product};
use recurrent::{Arrays, Float, Recompute, Recurrent, Result, Sequences, State, compiled};

/// The parameters. `GateWeights` holds W, U and the biases under PyTorch's names, and knows their
/// gradients; arrays of one's own would stand beside it.
#[derive(Clone)]
pub(crate) struct MinimalGatedUnit<T> {
    weights: GateWeights<T>,
}

/// The walk over the parameters: what optimisers, files and checks see. A gradient is a cell too.
impl<T: Float> Arrays for MinimalGatedUnit<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}

impl<T: Float> MinimalGatedUnit<T> {
    /// U_f and U_n: they are multiplied one after the other.
    fn weight_parts(&self) -> [ArrayView2<'_, T>; 2] {
        self.weights.weight_hh.view().split_at(Axis(0), self.hidden_size()).into()
    }
}

impl<T: Float> Cell for MinimalGatedUnit<T> {
    type Options = ();
    const NAME: &'static str = "minimal_gated_unit";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["f", "n"];

    fn new(config: &CellConfig, _options: &(), rng: &mut dyn Rng) -> Result<Self> {
        Ok(Self { weights: GateWeights::new(config, 2, config.hidden_size, rng)? })
    }

    fn weights(&self) -> &GateWeights<T> {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut GateWeights<T> {
        &mut self.weights
    }

    /// p, beside the gates, which the engine keeps anyway.
    fn saved_size(&self) -> usize {
        self.hidden_size()
    }

    /// A step multiplies rows from the left: y = x·Uᵀ forward, d_x = d_y·U backward.
    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight.reversed_axes())).into()
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight)).into()
    }

    /// `gates` comes with W x + b and leaves with f and n. One row is one sequence of the batch.
    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.input();
        let ForwardStep { level, prev: [h_prev, ..], next: [h, ..], gates, saved: p, .. } = step;
        let (level, h_prev, hidden) = (*level, *h_prev, self.hidden_size());
        product(h_prev, &packed[0], Accumulate::Output, gates.columns_mut(0..hidden));
        forget(level, h_prev, gates.columns_mut(0..hidden), p.reborrow());
        let n = gates.columns_mut(hidden..2 * hidden);
        product(p.as_rows(), &packed[1], Accumulate::Output, n);
        blend(level, h_prev, gates.reborrow(), h.reborrow());
    }

    /// Forward read upwards. `gates` leaves with d_a_f and d_a_n, `saved` with p for `accumulate`,
    /// `d_state` with d_h'.
    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let hidden = self.hidden_size();
        blend_backward(step.level, step.gates.reborrow(), step.d_state[0].as_rows());
        // The place of p takes d_p, until p is written again.
        let d_n = step.gates.as_rows().columns(hidden..2 * hidden);
        product(d_n, &packed[1], Accumulate::Zero, step.saved.reborrow());
        forget_backward(step.level, step.reborrow());
        let d_f = step.gates.as_rows().columns(0..hidden);
        product(d_f, &packed[0], Accumulate::Output, step.d_state[0].reborrow());
    }

    /// The gradients of the parameters, from the rows of all steps: U_f saw h', U_n saw p.
    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        let (f, n) = (0..self.hidden_size(), self.hidden_size()..2 * self.hidden_size());
        let (level, d_gates) = (steps.level(), steps.d_gates());
        let (d_f, d_n) = (d_gates.columns(f.clone()), d_gates.columns(n.clone()));
        grad.weights.add_input(steps);
        grad.weights.add_recurrent(level, f, &d_f, &steps.prev(0));
        grad.weights.add_recurrent(level, n, &d_n, &steps.saved());
    }
}

// The equations, compiled for each instruction set; `lanes` walks a row in native vectors.
compiled! {
    /// f = σ(f), p = f ∘ h'.
    fn forget<'a, T>(h_prev: Rows<'a, T>, f: RowsMut<'a, T>, p: RowsMut<'a, T>) = forget_on;
    /// n = tanh(n), h = (1 − f) ∘ h' + f ∘ n.
    fn blend<'a, T>(h_prev: Rows<'a, T>, gates: RowsMut<'a, T>, h: RowsMut<'a, T>) = blend_on;
    /// n becomes d_a_n.
    fn blend_backward<'a, T>(gates: RowsMut<'a, T>, d_h: Rows<'a, T>) = blend_backward_on;
    /// f becomes d_a_f, d_h becomes d_h' without U_fᵀ d_a_f, d_p becomes p again.
    fn forget_backward<'a, T>(step: BackwardStep<'a, T>) = forget_backward_on;
}

#[inline(always)]
fn forget_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut f: RowsMut<'_, T>,
    mut p: RowsMut<'_, T>,
) {
    for r in 0..f.count() {
        let (h_prev, f, p) = (h_prev.row(r), f.row_mut(r), p.row_mut(r));
        for l in lanes(simd, p.len()) {
            let f_t = sigmoid(l.load(f));
            l.store(f, f_t);
            l.store(p, f_t * l.load(h_prev));
        }
    }
}

#[inline(always)]
fn blend_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut gates: RowsMut<'_, T>,
    mut h: RowsMut<'_, T>,
) {
    for r in 0..gates.count() {
        let [f, n] = gates.row_parts_mut(r);
        let (h_prev, h) = (h_prev.row(r), h.row_mut(r));
        for l in lanes(simd, h.len()) {
            let (n_t, h_prev_t) = (tanh(l.load(n)), l.load(h_prev));
            l.store(n, n_t);
            l.store(h, h_prev_t + l.load(f) * (n_t - h_prev_t));
        }
    }
}

#[inline(always)]
fn blend_backward_on<S: Simd, T: Float>(simd: S, mut gates: RowsMut<'_, T>, d_h: Rows<'_, T>) {
    for r in 0..gates.count() {
        let [f, n] = gates.row_parts_mut(r);
        let d_h = d_h.row(r);
        for l in lanes(simd, d_h.len()) {
            let n_t = l.load(n);
            l.store(n, l.load(d_h) * l.load(f) * (l.splat(1.0) - n_t * n_t));
        }
    }
}

#[inline(always)]
fn forget_backward_on<S: Simd, T: Float>(simd: S, step: BackwardStep<'_, T>) {
    let BackwardStep { prev: [h_prev, ..], next: [h, ..], mut gates, mut saved, .. } = step;
    let [mut d_h, ..] = step.d_state;
    for r in 0..gates.count() {
        let [f, _] = gates.row_parts_mut(r);
        let (h_prev, h) = (h_prev.row(r), h.row(r));
        let (p, d_h) = (saved.row_mut(r), d_h.row_mut(r));
        for l in lanes(simd, d_h.len()) {
            let (f_t, h_prev_t) = (l.load(f), l.load(h_prev));
            let (d_h_t, d_p_t, keep) = (l.load(d_h), l.load(p), l.splat(1.0) - f_t);
            let p_t = f_t * h_prev_t;
            l.store(f, (d_h_t * (l.load(h) - h_prev_t) + d_p_t * p_t) * keep);
            l.store(d_h, d_h_t * keep + d_p_t * f_t);
            l.store(p, p_t);
        }
    }
}

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
    let d_output = random(Array3::zeros((TIME, 4, net.output_size())), &mut rng);
    let d_final = random(net.zero_state(4).unwrap(), &mut rng);

    let (_, _, tape) = net.forward_train(&x, initial.as_ref(), &mut rng).unwrap();
    let mut grad = net.zeros_like();
    let (d_x, d_initial) = net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();

    let d_given = initial.is_some().then_some(d_initial);
    let gradient = ((grad, x.with_values(d_x.unwrap()).unwrap()), d_given);
    let report = GradientCheck::default()
        .run(&((net, x), initial), &gradient, |((net, x), initial)| {
            let (output, last) = net.forward(x, initial.as_ref())?;
            Ok(dot(&d_output, output.values())? + dot(&d_final, &last)?)
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
        let (d_x, d_initial) = net.backward(tape, &fill(&d_output), None, &mut grad).unwrap();
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
    let d_output = random(Array3::zeros((TIME, 4, net.output_size())), &mut rng);
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
