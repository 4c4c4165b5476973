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

use ndarray::{Array1, Array3, ArrayView2, Axis};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::arrays::{Visit, VisitMut};
use recurrent::cell::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use recurrent::check::GradientCheck;
use recurrent::tensor::activation::{sigmoid, tanh};
use recurrent::tensor::{Packed, Simd, Start, lanes, product};
use recurrent::{Arrays, Checkpoint, Float, Recurrent, Result, Sequences, State};

/// The parameters. `GateWeights` holds W, U and the biases under PyTorch's names, and knows their
/// gradients; arrays of one's own would stand beside it.
#[derive(Clone)]
struct MinimalGatedUnit<T> {
    weights: GateWeights<T>,
}

/// The walk over the parameters: what optimisers, files and checks see. A gradient is a cell too.
impl<T: Float> Arrays<T> for MinimalGatedUnit<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}

impl<T: Float> Cell<T> for MinimalGatedUnit<T> {
    type Options = ();
    /// U_f and U_n, laid out for the products of a step: they are multiplied one after the other.
    type Packed = [Packed<T>; 2];
    const NAME: &'static str = "minimal_gated_unit";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["f", "n"];

    fn new(config: &CellConfig, _options: &(), rng: &mut dyn Rng) -> Result<Self> {
        Ok(Self { weights: GateWeights::new(config, 2, config.hidden_size, rng)? })
    }

    fn hidden_size(&self) -> usize {
        self.weights.weight_hh.ncols()
    }

    /// p, beside the gates, which the engine keeps anyway.
    fn saved_size(&self) -> usize {
        self.hidden_size()
    }

    /// The engine computes W x + b for many steps at once ...
    fn weight_ih(&self) -> ArrayView2<'_, T> {
        self.weights.weight_ih.view()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        self.weights.bias()
    }

    /// ... and a step multiplies rows from the left: y = x·Uᵀ forward, d_x = d_y·U backward.
    fn pack_forward<S: Simd>(&self, simd: S) -> [Packed<T>; 2] {
        let (u_f, u_n) = self.weights.weight_hh.view().split_at(Axis(0), self.hidden_size());
        [u_f, u_n].map(|weight| Packed::new(simd, weight.t()))
    }

    fn pack_backward<S: Simd>(&self, simd: S) -> [Packed<T>; 2] {
        let (u_f, u_n) = self.weights.weight_hh.view().split_at(Axis(0), self.hidden_size());
        [u_f, u_n].map(|weight| Packed::new(simd, weight))
    }

    /// `gates` comes with W x + b and leaves with f and n. One row is one sequence of the batch;
    /// `lanes` walks a row in native vectors.
    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, [u_f, u_n]: &[Packed<T>; 2], step: ForwardStep<'_, '_, T>) {
        let ForwardStep { prev, next: [h], mut gates, mut saved, .. } = step else { return };
        let hidden = self.hidden_size();
        product(simd, prev[0], u_f, Start::Output, gates.columns_mut(0..hidden));
        for r in 0..gates.count() {
            let [f, _] = gates.parts_mut(r);
            let (h_prev, p) = (prev[0].row(r), saved.row_mut(r));
            for l in lanes(simd, p.len()) {
                let f_t = sigmoid(l.load(f));
                l.store(f, f_t);
                l.store(p, f_t * l.load(h_prev));
            }
        }
        product(simd, saved.as_rows(), u_n, Start::Output, gates.columns_mut(hidden..2 * hidden));
        for r in 0..gates.count() {
            let [f, n] = gates.parts_mut(r);
            let (h_prev, h) = (prev[0].row(r), h.row_mut(r));
            for l in lanes(simd, h.len()) {
                let (n_t, h_prev_t) = (tanh(l.load(n)), l.load(h_prev));
                l.store(n, n_t);
                l.store(h, h_prev_t + l.load(f) * (n_t - h_prev_t));
            }
        }
    }

    /// Forward read upwards. `gates` leaves with d_a_f and d_a_n, `saved` with p for `accumulate`,
    /// `d_state` with d_h'.
    #[inline(always)]
    fn backward<S: Simd>(
        &self,
        simd: S,
        [u_f, u_n]: &[Packed<T>; 2],
        step: BackwardStep<'_, '_, T>,
    ) {
        let BackwardStep { prev, next, mut gates, mut saved, d_state: [d_h] } = step else {
            return;
        };
        let hidden = self.hidden_size();
        for r in 0..gates.count() {
            let [f, n] = gates.parts_mut(r);
            let d_h = d_h.row(r);
            for l in lanes(simd, d_h.len()) {
                let n_t = l.load(n);
                l.store(n, l.load(d_h) * l.load(f) * (l.splat(1.0) - n_t * n_t));
            }
        }
        // The place of p takes d_p, until p is written again.
        let d_n = gates.as_rows().columns(hidden..2 * hidden);
        product(simd, d_n, u_n, Start::Zero, saved.reborrow());
        for r in 0..gates.count() {
            let [f, _] = gates.parts_mut(r);
            let (h_prev, h) = (prev[0].row(r), next[0].row(r));
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
        let d_f = gates.as_rows().columns(0..hidden);
        product(simd, d_f, u_f, Start::Output, d_h.reborrow());
    }

    /// The gradients of the parameters, from the rows of all steps: U_f saw h', U_n saw p.
    fn accumulate<S: Simd>(&self, simd: S, steps: &Steps<'_, T>, grad: &mut Self) {
        let (f, n) = (0..self.hidden_size(), self.hidden_size()..2 * self.hidden_size());
        let Steps { x, d_gates, saved, prev, .. } = steps;
        grad.weights.add_input(simd, d_gates, x);
        grad.weights.add_recurrent(simd, f.clone(), &d_gates.columns(f), &prev[0]);
        grad.weights.add_recurrent(simd, n.clone(), &d_gates.columns(n), saved);
    }
}

type Network<T> = Recurrent<T, MinimalGatedUnit<T>>;

const TIME: usize = 5;
const LENGTHS: [usize; 4] = [2, 0, 5, 3];

fn random<T: Float, A: Arrays<T>>(mut arrays: A, rng: &mut ChaCha8Rng) -> A {
    arrays.for_each_mut(&mut |_, mut array| {
        array.mapv_inplace(|_| T::of(rng.random_range(-1.0..1.0)));
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
fn dot<A: Arrays<f64>>(w: &A, values: &A) -> Result<f64> {
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
    let gradient = ((grad, x.with_values(d_x).unwrap()), d_given);
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
    let mut run = |checkpoint| {
        let (output, last, tape) = net.forward_train_with(&x, None, &mut rng, checkpoint).unwrap();
        let mut grad = net.zeros_like();
        let (d_x, d_initial) = net.backward(tape, &d_output, None, &mut grad).unwrap();
        let mut bits = Vec::new();
        ((output, last), ((d_x, d_initial), grad)).for_each(&mut |_, array| {
            bits.extend(array.iter().map(|value| value.to_bits()));
        });
        bits
    };
    let expected = run(Checkpoint::Store);
    assert_eq!(run(Checkpoint::Every(2)), expected);
    assert_eq!(run(Checkpoint::Sqrt), expected);
}
