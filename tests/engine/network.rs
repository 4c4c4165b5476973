//! Tests of the engine with toy cells whose results and gradients are known in closed form. So lengths,
//! directions, states, streams, dropout and tapes are tested without the equations of an LSTM. Values are
//! small integers or powers of ½, so results are exact.

use ndarray::{Array1, Array2, Array3, ArrayD, Axis, Slice};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::arrays::{Visit, VisitMut};
use recurrent::cell::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use recurrent::tensor::{Level, Packed};
use recurrent::{Arrays, Recurrent, Result, Sequences};

/// A cell with h = a·h' + W x, where W is initially the identity: a cumulative sum for a = 1.
#[derive(Clone, Debug)]
struct Decay {
    a: Array1<f64>,
    weights: GateWeights<f64>,
}

/// The factor a of [`Decay`].
#[derive(Clone, Debug)]
struct Factor(f64);

impl Default for Factor {
    fn default() -> Self {
        Self(1.0)
    }
}

/// A cell with two states of different widths: n = n' + 1, and h = h' + n'·(W x), where W is initially the
/// identity. So h is the sum of the inputs, each times its position in the walk.
#[derive(Clone, Debug)]
struct Ranked {
    weights: GateWeights<f64>,
}

impl Arrays for Decay {
    type Elem = f64;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, f64>) {
        f("a", self.a.view().into_dyn());
        f("weight_ih", self.weights.weight_ih.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, f64>) {
        f("a", self.a.view_mut().into_dyn());
        f("weight_ih", self.weights.weight_ih.view_mut().into_dyn());
    }
}

impl Arrays for Ranked {
    type Elem = f64;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, f64>) {
        f("weight_ih", self.weights.weight_ih.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, f64>) {
        f("weight_ih", self.weights.weight_ih.view_mut().into_dyn());
    }
}

/// Returns weights with the identity as W_ih and nothing else.
fn identity(config: &CellConfig) -> GateWeights<f64> {
    let shape = (config.hidden_size, config.input_size);
    GateWeights {
        weight_ih: Array2::from_shape_fn(shape, |(i, j)| f64::from(i == j)),
        weight_hh: Array2::zeros((config.hidden_size, 0)),
        bias_ih: None,
        bias_hh: None,
    }
}

impl Cell for Decay {
    type Options = Factor;
    const NAME: &'static str = "decay";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["x"];

    fn new(config: &CellConfig, &Factor(a): &Factor, _rng: &mut dyn Rng) -> Result<Self> {
        Ok(Self { a: Array1::from_elem(1, a), weights: identity(config) })
    }

    fn weights(&self) -> &GateWeights<f64> {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut GateWeights<f64> {
        &mut self.weights
    }

    fn pack_forward(&self, _level: Level) -> Vec<Packed<f64>> {
        Vec::new()
    }

    fn pack_backward(&self, _level: Level) -> Vec<Packed<f64>> {
        Vec::new()
    }

    fn forward(&self, _packed: &[Packed<f64>], step: &mut ForwardStep<'_, f64>) {
        let ForwardStep { prev, next: [h, ..], gates, .. } = step;
        for r in 0..gates.count() {
            let (h_prev, x, h) = (prev[0].row(r), gates.row(r), h.row_mut(r));
            for i in 0..h.len() {
                h[i] = self.a[0] * h_prev[i] + x[i];
            }
        }
    }

    fn backward(&self, _packed: &[Packed<f64>], step: &mut BackwardStep<'_, f64>) {
        let BackwardStep { gates, d_state: [d_h, ..], .. } = step;
        for r in 0..gates.count() {
            gates.row_mut(r).copy_from_slice(d_h.row(r));
            d_h.row_mut(r).iter_mut().for_each(|d| *d *= self.a[0]);
        }
    }

    fn accumulate(&self, steps: &Steps<'_, f64>, grad: &mut Self) {
        let d_weight = grad.weights.weight_ih.view_mut();
        steps.x().add_outer_products(steps.level(), &steps.d_gates(), d_weight);
        for (d, h_prev) in steps.d_gates().rows().iter().zip(steps.prev(0).rows()) {
            grad.a[0] += d.iter().zip(*h_prev).map(|(d, h)| d * h).sum::<f64>();
        }
    }
}

impl Cell for Ranked {
    /// Whether W_ih has another memory layout than it should.
    type Options = bool;
    const NAME: &'static str = "ranked";
    const STATE: &'static [&'static str] = &["h", "n"];
    const GATES: &'static [&'static str] = &["x"];

    fn new(config: &CellConfig, &turned: &bool, _rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = identity(config);
        if turned {
            weights.weight_ih = weights.weight_ih.reversed_axes();
        }
        Ok(Self { weights })
    }

    fn state_size(&self, index: usize) -> usize {
        if index == 0 { self.hidden_size() } else { 1 }
    }

    fn weights(&self) -> &GateWeights<f64> {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut GateWeights<f64> {
        &mut self.weights
    }

    fn pack_forward(&self, _level: Level) -> Vec<Packed<f64>> {
        Vec::new()
    }

    fn pack_backward(&self, _level: Level) -> Vec<Packed<f64>> {
        Vec::new()
    }

    fn forward(&self, _packed: &[Packed<f64>], step: &mut ForwardStep<'_, f64>) {
        let ForwardStep { prev, next: [h, n, ..], gates, .. } = step;
        for r in 0..gates.count() {
            let (h_prev, n_prev, x) = (prev[0].row(r), prev[1].row(r)[0], gates.row(r));
            for (i, h) in h.row_mut(r).iter_mut().enumerate() {
                *h = h_prev[i] + n_prev * x[i];
            }
            n.row_mut(r)[0] = n_prev + 1.0;
        }
    }

    fn backward(&self, _packed: &[Packed<f64>], step: &mut BackwardStep<'_, f64>) {
        let BackwardStep { prev, gates, d_state: [d_h, d_n, ..], .. } = step;
        for r in 0..gates.count() {
            let (n_prev, d_h, d_n) = (prev[1].row(r)[0], d_h.row(r), d_n.row_mut(r));
            for (x, d_h) in gates.row_mut(r).iter_mut().zip(d_h) {
                d_n[0] += *x * d_h;
                *x = n_prev * d_h;
            }
        }
    }

    fn accumulate(&self, steps: &Steps<'_, f64>, grad: &mut Self) {
        let d_weight = grad.weights.weight_ih.view_mut();
        steps.x().add_outer_products(steps.level(), &steps.d_gates(), d_weight);
    }
}

const TIME: usize = 6;
const LENGTHS: [usize; 5] = [4, 0, 2, 5, 1];
const WIDTH: usize = 2;

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn decay(a: f64, layers: usize, bidirectional: bool) -> Recurrent<Decay> {
    let builder = Recurrent::builder(WIDTH, WIDTH).num_layers(layers).options(Factor(a));
    builder.bidirectional(bidirectional).build(&mut rng()).unwrap()
}

fn ranked(bidirectional: bool) -> Recurrent<Ranked> {
    Recurrent::builder(WIDTH, WIDTH).bidirectional(bidirectional).build(&mut rng()).unwrap()
}

/// Returns small integers, in the padding too.
fn integers(shape: (usize, usize, usize)) -> Array3<f64> {
    Array3::from_shape_fn(shape, |(t, b, i)| ((7 * t + 3 * b + 5 * i) % 11) as f64 - 5.0)
}

fn ragged() -> Sequences<f64> {
    Sequences::new(integers((TIME, LENGTHS.len(), WIDTH)), LENGTHS.to_vec()).unwrap()
}

fn array<A: Arrays<Elem = f64>>(arrays: &A, name: &str) -> ArrayD<f64> {
    let mut found = None;
    arrays.for_each(&mut |of, array| {
        if of == name {
            found = Some(array.to_owned());
        }
    });
    found.unwrap()
}

fn row(values: &Array3<f64>, t: usize, b: usize) -> Array1<f64> {
    values.index_axis(Axis(0), t).row(b).to_owned()
}

/// Returns the columns of the direction forward in time, and those of the reverse direction.
fn columns(values: &Array3<f64>) -> (Array3<f64>, Array3<f64>) {
    let (left, right) = values.view().split_at(Axis(2), WIDTH);
    (left.to_owned(), right.to_owned())
}

/// Returns Σ f(k)·x_k over the given steps.
fn weighted(
    x: &Array3<f64>,
    b: usize,
    steps: std::ops::Range<usize>,
    f: impl Fn(usize) -> f64,
) -> Array1<f64> {
    steps.fold(Array1::zeros(x.dim().2), |sum, k| sum + f(k) * row(x, k, b))
}

#[test]
fn each_direction_walks_from_its_own_end_of_each_sequence() {
    let (net, x) = (decay(1.0, 1, true), ragged());
    let (output, last) = net.forward(&x, None).unwrap();
    assert_eq!(output.values().dim(), (TIME, LENGTHS.len(), 2 * WIDTH));
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let (mut forward, mut reverse) = (Array1::zeros(WIDTH), Array1::zeros(WIDTH));
            if t < length {
                forward = weighted(x.values(), b, 0..t + 1, |_| 1.0);
                reverse = weighted(x.values(), b, t..length, |_| 1.0);
            }
            let (left, right) = columns(output.values());
            assert_eq!(row(&left, t, b), forward, "step {t} of {b}");
            assert_eq!(row(&right, t, b), reverse, "step {t} of {b}");
        }
        let total = weighted(x.values(), b, 0..length, |_| 1.0);
        assert_eq!(last.part("h", 0, false).unwrap().row(b), total);
        assert_eq!(last.part("h", 0, true).unwrap().row(b), total);
    }
}

#[test]
fn a_sequence_enters_with_its_initial_state_and_leaves_with_its_final_state() {
    let (net, x) = (ranked(true), ragged());
    let mut initial = net.zero_state(LENGTHS.len()).unwrap();
    let start = |b: usize| [100.0, 200.0].map(|start| start + 10.0 * b as f64);
    let n = Array3::from_shape_fn((2, LENGTHS.len(), 1), |(k, b, _)| start(b)[k]);
    let h = integers((2, LENGTHS.len(), WIDTH));
    initial.set("n", n).unwrap();
    initial.set("h", h.clone()).unwrap();
    let (_, last) = net.forward(&x, Some(&initial)).unwrap();
    for (b, length) in LENGTHS.into_iter().enumerate() {
        let [forward, reverse] = start(b);
        let counted = last.get("n").unwrap();
        let expected = [forward + length as f64, reverse + length as f64];
        assert_eq!([counted[[0, b, 0]], counted[[1, b, 0]]], expected, "sequence {b}");

        let sums = last.get("h").unwrap();
        let there = weighted(x.values(), b, 0..length, |k| forward + k as f64);
        let back = weighted(x.values(), b, 0..length, |k| reverse + (length - 1 - k) as f64);
        assert_eq!(row(&sums, 0, b), row(&h, 0, b) + there, "sequence {b}");
        assert_eq!(row(&sums, 1, b), row(&h, 1, b) + back, "sequence {b}");
    }
}

#[test]
fn layers_read_what_the_layer_below_wrote() {
    let mut impulse = Array3::zeros((TIME, 1, WIDTH));
    impulse[[0, 0, 0]] = 1.0;
    let x = Sequences::full(impulse).unwrap();
    let column = |layers: usize| {
        let (output, _) = decay(1.0, layers, false).forward(&x, None).unwrap();
        (0..TIME).map(|t| output.values()[[t, 0, 0]]).collect::<Vec<_>>()
    };
    assert_eq!(column(1), [1.0; TIME]);
    assert_eq!(column(2), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(column(3), [1.0, 3.0, 6.0, 10.0, 15.0, 21.0]);
}

/// For L = Σ (final states) of h = a·h' + x: ∂L/∂x_k = a^(steps still to go), ∂L/∂h_0 = a^length and
/// ∂L/∂a = length·a^(length − 1)·h_0 + Σ (to go)·a^(to go − 1)·x_k.
#[test]
fn gradients_of_final_states_decay_geometrically_from_each_sequence_s_own_end() {
    let a: f64 = 0.5;
    let (net, x) = (decay(a, 1, true), ragged());
    let mut initial = net.zero_state(LENGTHS.len()).unwrap();
    let h_0 = integers((2, LENGTHS.len(), WIDTH));
    initial.set("h", h_0.clone()).unwrap();
    let (_, last, tape) = net.forward_train(&x, Some(&initial), &mut rng()).unwrap();
    let mut d_final = last.clone();
    d_final.fill(1.0);
    let mut grad = net.zeros_like();
    let d_output = x.with_values(Array3::zeros((TIME, LENGTHS.len(), 2 * WIDTH))).unwrap();
    let (d_x, d_initial) = net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();

    let power = |k: usize| a.powi(k as i32);
    let slope = |k: usize| if k == 0 { 0.0 } else { k as f64 * power(k - 1) };
    let mut d_a = [0.0, 0.0];
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let expected = if t < length { power(length - 1 - t) + power(t) } else { 0.0 };
            assert_eq!(row(d_x.values(), t, b), Array1::from_elem(WIDTH, expected));
        }
        for reverse in [false, true] {
            let d_h_0 = d_initial.part("h", 0, reverse).unwrap();
            assert_eq!(d_h_0.row(b), Array1::from_elem(WIDTH, power(length)));
        }
        d_a[0] += slope(length) * row(&h_0, 0, b).sum()
            + weighted(x.values(), b, 0..length, |k| slope(length - 1 - k)).sum();
        d_a[1] +=
            slope(length) * row(&h_0, 1, b).sum() + weighted(x.values(), b, 0..length, slope).sum();
    }
    assert_eq!(array(&grad, "a_l0")[[0]], d_a[0]);
    assert_eq!(array(&grad, "a_l0_reverse")[[0]], d_a[1]);
}

#[test]
fn gradients_of_outputs_reach_back_to_the_start_and_ignore_the_padding() {
    let (net, x) = (decay(1.0, 1, false), ragged());
    let mut grad = net.zeros_like();
    let (_, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let d_output = x.with_values(integers(x.values().dim())).unwrap();
    let (d_x, _) = net.backward(tape, &d_output, None, &mut grad).unwrap();
    let mut d_weight = Array2::<f64>::zeros((WIDTH, WIDTH));
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let expected = weighted(d_output.values(), b, t.min(length)..length, |_| 1.0);
            assert_eq!(row(d_x.values(), t, b), expected);
            for (i, j) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                d_weight[[i, j]] += expected[i] * x.values()[[t, b, j]];
            }
        }
    }
    assert_eq!(array(&grad, "weight_ih_l0"), d_weight.into_dyn());
}

#[test]
fn a_second_backward_pass_adds_to_the_gradient() {
    let (net, x) = (decay(0.5, 2, true), ragged());
    let d_output = x.with_values(Array3::ones((TIME, LENGTHS.len(), 2 * WIDTH))).unwrap();
    let mut grad = net.zeros_like();
    let mut once = net.zeros_like();
    for k in 0..2 {
        let (_, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
        net.backward(tape, &d_output, None, &mut grad).unwrap();
        if k == 0 {
            once = grad.clone();
        }
    }
    for name in net.names() {
        assert_eq!(array(&grad, &name), 2.0 * array(&once, &name), "{name}");
    }
    assert!(array(&once, "a_l0")[[0]] != 0.0);
}

#[test]
fn the_learned_initial_state_is_every_sequence_s_and_gets_the_gradient_of_all() {
    let builder = Recurrent::<Decay>::builder(WIDTH, WIDTH).options(Factor(0.5));
    let mut net = builder.learned_initial_state(true).build(&mut rng()).unwrap();
    assert_eq!(net.names(), ["a_l0", "weight_ih_l0", "initial.h_l0"]);
    net.for_each_mut(&mut |name, mut array| {
        if name == "initial.h_l0" {
            array.fill(64.0);
        }
    });
    let x = ragged().with_values(Array3::zeros((TIME, LENGTHS.len(), WIDTH))).unwrap();
    let (_, last, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let powers = LENGTHS.map(|length| 0.5_f64.powi(length as i32));
    assert_eq!(last.part("h", 0, false).unwrap().column(0).to_vec(), powers.map(|p| 64.0 * p));

    let (d_output, mut d_final) = (x.zeros_like(), last);
    d_final.fill(1.0);
    let mut grad = net.zeros_like();
    net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();
    let all: f64 = powers.iter().sum();
    assert_eq!(array(&grad, "initial.h_l0"), ArrayD::from_elem(vec![1, WIDTH], all));

    let zeros = net.zero_state(LENGTHS.len()).unwrap();
    let (_, _, tape) = net.forward_train(&x, Some(&zeros), &mut rng()).unwrap();
    let mut grad = net.zeros_like();
    net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();
    assert_eq!(array(&grad, "initial.h_l0").sum(), 0.0, "a given state leaves it out");
}

#[test]
fn a_stream_counts_its_steps_on_as_the_sequence_does() {
    let (net, x) = (ranked(false), Sequences::full(integers((TIME, 3, WIDTH))).unwrap());
    let (output, last) = net.forward(&x, None).unwrap();
    let mut stream = net.stream(3).unwrap();
    for (t, x_t) in x.values().outer_iter().enumerate() {
        assert_eq!(stream.step(x_t).unwrap(), output.values().index_axis(Axis(0), t));
        let counted = stream.snapshot().get("n").unwrap();
        assert_eq!(counted, Array3::from_elem((1, 3, 1), t as f64 + 1.0));
    }
    assert_eq!(stream.snapshot(), last);
}

#[test]
fn the_gradient_by_a_step_s_state_is_that_by_the_initial_state_of_the_rest() {
    let (net, x) = (ranked(false), ragged());
    let batch = LENGTHS.len();
    let (_, mut d_final, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    d_final.for_each_mut(&mut |_, mut array| array.fill(3.0));
    let d_output = x.with_values(integers((TIME, batch, WIDTH))).unwrap();
    let states = ["h", "n"].map(|name| tape.state(name, 0, false).unwrap());
    let mut grad = net.zeros_like();
    let (_, _, steps) = net.backward_steps(tape, &d_output, Some(&d_final), &mut grad).unwrap();

    for t in 0..TIME {
        let mut d_rest = d_final.clone();
        if t + 1 < TIME {
            let rest =
                |values: &Array3<f64>| values.slice_axis(Axis(0), Slice::from(t + 1..)).to_owned();
            let lengths = LENGTHS.map(|length| length.saturating_sub(t + 1));
            let x = Sequences::new(rest(x.values()), lengths.to_vec()).unwrap();
            let mut initial = net.zero_state(batch).unwrap();
            for (name, states) in ["h", "n"].into_iter().zip(&states) {
                initial
                    .set(name, states.slice_axis(Axis(0), Slice::from(t..t + 1)).to_owned())
                    .unwrap();
            }
            let (_, _, tape) = net.forward_train(&x, Some(&initial), &mut rng()).unwrap();
            let mut grad = net.zeros_like();
            let d_output = x.with_values(rest(d_output.values())).unwrap();
            (_, d_rest) = net.backward(tape, &d_output, Some(&d_final), &mut grad).unwrap();
        }
        for (b, length) in LENGTHS.into_iter().enumerate() {
            let got = |name: &str| row(steps.get(name, 0, false).unwrap(), t, b);
            let (mut d_h, mut d_n) = (Array1::zeros(WIDTH), Array1::zeros(1));
            if t < length {
                d_h = &d_rest.part("h", 0, false).unwrap().row(b) + &row(d_output.values(), t, b);
                d_n = d_rest.part("n", 0, false).unwrap().row(b).to_owned();
            }
            assert_eq!(got("h"), d_h, "h of step {t} of sequence {b}");
            assert_eq!(got("n"), d_n, "n of step {t} of sequence {b}");
        }
    }
}

#[test]
fn gradients_by_the_states_of_the_reverse_direction_shrink_towards_the_end() {
    let (net, x) = (decay(0.5, 1, true), ragged());
    let (_, mut d_final, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    d_final.fill(1.0);
    let d_output = x.with_values(Array3::zeros((TIME, LENGTHS.len(), 2 * WIDTH))).unwrap();
    let mut grad = net.zeros_like();
    let (_, _, steps) = net.backward_steps(tape, &d_output, Some(&d_final), &mut grad).unwrap();
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let at = |reverse: bool| steps.get("h", 0, reverse).unwrap()[[t, b, 0]];
            let power = |k: usize| if t < length { 0.5_f64.powi(k as i32) } else { 0.0 };
            assert_eq!(at(false), power(length.saturating_sub(t + 1)));
            assert_eq!(at(true), power(t));
        }
    }
}

/// With a = 0 the output of each layer is its input, so that of the network is the input times the mask.
#[test]
fn dropout_acts_between_layers_in_training_alone_and_backward_through_the_same_mask() {
    let p = 0.25;
    let builder = Recurrent::<Decay>::builder(WIDTH, WIDTH).options(Factor(0.0));
    let net = builder.num_layers(2).dropout(p).build(&mut rng()).unwrap();
    let x = Sequences::full(Array3::ones((100, 50, WIDTH))).unwrap();
    assert_eq!(net.forward(&x, None).unwrap().0, x, "no dropout outside training");

    let (output, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let kept = 1.0 / (1.0 - p);
    assert!(output.values().iter().all(|&value| value == 0.0 || value == kept));
    // The mean of 10,000 factors has a standard deviation of √(p / (1 − p)) / 100 = 0.0058.
    let mean = output.values().mean().unwrap();
    assert!((mean - 1.0).abs() < 0.03, "mean {mean}");
    assert_eq!(&tape.input(0).unwrap(), x.values());
    assert_eq!(&tape.input(1).unwrap(), output.values(), "the mask is on the second layer's input");

    let mut grad = net.zeros_like();
    let d_output = x.with_values(Array3::ones(x.values().dim())).unwrap();
    let (d_x, _) = net.backward(tape, &d_output, None, &mut grad).unwrap();
    assert_eq!(d_x, output);

    let draw = |rng: &mut ChaCha8Rng| net.forward_train(&x, None, rng).unwrap().0;
    let mut continued = rng();
    assert_eq!(draw(&mut continued), output, "the same generator, the same mask");
    assert_ne!(draw(&mut continued), output, "another call, another mask");
}

#[test]
fn the_tape_gives_gates_states_and_inputs_by_name() {
    let (net, x) = (ranked(true), ragged());
    let (output, _, tape) = net.forward_train(&x, None, &mut rng()).unwrap();
    let gates = tape.gate("x", 0, true).unwrap();
    let [there, back] = [false, true].map(|reverse| tape.state("n", 0, reverse).unwrap());
    let h = tape.state("h", 0, true).unwrap();
    assert_eq!(there.dim(), (TIME, LENGTHS.len(), 1));
    assert_eq!(h, columns(output.values()).1);
    for (b, length) in LENGTHS.into_iter().enumerate() {
        for t in 0..TIME {
            let alive = t < length;
            let expected = |value: f64| if alive { value } else { 0.0 };
            assert_eq!(gates[[t, b, 0]], expected(x.values()[[t, b, 0]]));
            assert_eq!(there[[t, b, 0]], expected(t as f64 + 1.0));
            assert_eq!(back[[t, b, 0]], expected(length as f64 - t as f64));
        }
    }
    let message = |result: Result<Array3<f64>>| result.unwrap_err().to_string();
    assert_eq!(message(tape.gate("f", 0, false)), "name: expected one of [\"x\"], got f");
    assert_eq!(message(tape.state("c", 0, false)), "name: expected one of [\"h\", \"n\"], got c");
    assert_eq!(message(tape.state("h", 1, false)), "layer: expected less than 1, got 1");
}

#[test]
fn a_cell_whose_arrays_have_another_layout_is_refused() {
    let error = Recurrent::<Ranked>::builder(WIDTH, WIDTH).options(true).build(&mut rng());
    let message = error.unwrap_err().to_string();
    assert_eq!(message, "weight_ih: expected an array in standard layout, got another layout");
}
