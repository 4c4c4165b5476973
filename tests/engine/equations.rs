//! Tests of small cells against their equations, evaluated with plain numbers.
//!
//! All weights and biases differ, and the outputs of a few steps depend on each of them. So a cell that
//! confuses two gates, drops a bias or adds it in the wrong place gives other numbers. A test of the
//! equations themselves checks this too.

use std::collections::BTreeMap;

use ndarray::Array3;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{
    Cell, CoupledLstmCell, GruCell, GruOptions, LayerNormLstmCell, LstmCell, Nonlinearity,
    PeepholeLstmCell, ProjectedLstmCell, ProjectedLstmOptions, Reset, RnnCell,
};
use recurrent::{Arrays, Recurrent, Sequences};

/// The inputs of the steps, of width 1.
const X: [f64; 4] = [0.7, -0.4, 0.9, 0.3];

/// The parameters by name, row by row.
#[derive(Clone)]
struct Parameters(BTreeMap<String, Vec<f64>>);

/// The equations of a cell: from the parameters to the outputs of all steps.
type Equations = fn(&Parameters) -> Vec<f64>;

impl Parameters {
    fn get(&self, name: &str) -> &[f64] {
        &self.0[&format!("{name}_l0")]
    }

    /// Returns row `row` of W_ih x + b_ih.
    fn input(&self, row: usize, x: f64) -> f64 {
        self.get("weight_ih")[row] * x + self.get("bias_ih")[row]
    }

    /// Returns row `row` of W_hh h + b_hh.
    fn recurrent(&self, row: usize, h: &[f64]) -> f64 {
        dot(&self.get("weight_hh")[row * h.len()..], h) + self.get("bias_hh")[row]
    }

    /// Returns row `row` of W_ih x + b_ih + W_hh h + b_hh.
    fn sum(&self, row: usize, x: f64, h: &[f64]) -> f64 {
        self.input(row, x) + self.recurrent(row, h)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Returns x̂, with mean 0 and variance 1.
fn normalized(x: &[f64]) -> Vec<f64> {
    let mean = x.iter().sum::<f64>() / x.len() as f64;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64;
    x.iter().map(|x| (x - mean) / (variance + 1e-5).sqrt()).collect()
}

fn rnn(p: &Parameters) -> Vec<f64> {
    let mut h = 0.0;
    let step = |&x: &f64| {
        h = p.sum(0, x, &[h]).tanh();
        h
    };
    X.iter().map(step).collect()
}

fn relu_rnn(p: &Parameters) -> Vec<f64> {
    let mut h = 0.0;
    let step = |&x: &f64| {
        h = p.sum(0, x, &[h]).max(0.0);
        h
    };
    X.iter().map(step).collect()
}

fn lstm(p: &Parameters) -> Vec<f64> {
    let (mut h, mut c) = (0.0, 0.0);
    let step = |&x: &f64| {
        let i = sigmoid(p.sum(0, x, &[h]));
        let f = sigmoid(p.sum(1, x, &[h]));
        let g = p.sum(2, x, &[h]).tanh();
        let o = sigmoid(p.sum(3, x, &[h]));
        c = f * c + i * g;
        h = o * c.tanh();
        h
    };
    X.iter().map(step).collect()
}

fn peephole_lstm(p: &Parameters) -> Vec<f64> {
    let (mut h, mut c) = (0.0, 0.0);
    let step = |&x: &f64| {
        let i = sigmoid(p.sum(0, x, &[h]) + p.get("weight_ci")[0] * c);
        let f = sigmoid(p.sum(1, x, &[h]) + p.get("weight_cf")[0] * c);
        let g = p.sum(2, x, &[h]).tanh();
        c = f * c + i * g;
        let o = sigmoid(p.sum(3, x, &[h]) + p.get("weight_co")[0] * c);
        h = o * c.tanh();
        h
    };
    X.iter().map(step).collect()
}

fn coupled_lstm(p: &Parameters) -> Vec<f64> {
    let (mut h, mut c) = (0.0, 0.0);
    let step = |&x: &f64| {
        let f = sigmoid(p.sum(0, x, &[h]));
        let g = p.sum(1, x, &[h]).tanh();
        let o = sigmoid(p.sum(2, x, &[h]));
        c = f * c + (1.0 - f) * g;
        h = o * c.tanh();
        h
    };
    X.iter().map(step).collect()
}

/// Computes two units with one output: rows 0 and 1 are i, rows 2 and 3 are f, and so on.
fn projected_lstm(p: &Parameters) -> Vec<f64> {
    let (mut h, mut c) = (0.0, [0.0, 0.0]);
    let step = |&x: &f64| {
        let mut m = [0.0, 0.0];
        for unit in 0..2 {
            let i = sigmoid(p.sum(unit, x, &[h]));
            let f = sigmoid(p.sum(2 + unit, x, &[h]));
            let g = p.sum(4 + unit, x, &[h]).tanh();
            let o = sigmoid(p.sum(6 + unit, x, &[h]));
            c[unit] = f * c[unit] + i * g;
            m[unit] = o * c[unit].tanh();
        }
        h = dot(p.get("weight_hr"), &m);
        h
    };
    X.iter().map(step).collect()
}

fn gru_reset_after(p: &Parameters) -> Vec<f64> {
    let mut h = 0.0;
    let step = |&x: &f64| {
        let r = sigmoid(p.sum(0, x, &[h]));
        let z = sigmoid(p.sum(1, x, &[h]));
        let n = (p.input(2, x) + r * p.recurrent(2, &[h])).tanh();
        h = (1.0 - z) * n + z * h;
        h
    };
    X.iter().map(step).collect()
}

fn gru_reset_before(p: &Parameters) -> Vec<f64> {
    let mut h = 0.0;
    let step = |&x: &f64| {
        let r = sigmoid(p.sum(0, x, &[h]));
        let z = sigmoid(p.sum(1, x, &[h]));
        let n = p.sum(2, x, &[r * h]).tanh();
        h = (1.0 - z) * n + z * h;
        h
    };
    X.iter().map(step).collect()
}

/// Computes two units, because the value of a single unit would be normalised to 0.
fn layer_norm_lstm(p: &Parameters) -> Vec<f64> {
    let (mut h, mut c) = (vec![0.0, 0.0], vec![0.0, 0.0]);
    let affine = |name: &str, x: &[f64], row: usize| {
        let [weight, bias] = ["weight", "bias"].map(|part| p.get(&format!("{name}_{part}"))[row]);
        weight * normalized(x)[row] + bias
    };
    let step = |&x: &f64| {
        let u: Vec<f64> = p.get("weight_ih").iter().map(|w| w * x).collect();
        let v: Vec<f64> = p.get("weight_hh").chunks(2).map(|w| dot(w, &h)).collect();
        let a = |row| affine("ln_hh", &v, row) + affine("ln_ih", &u, row) + p.get("bias")[row];
        for unit in 0..2 {
            let (i, f, g) = (sigmoid(a(unit)), sigmoid(a(2 + unit)), a(4 + unit).tanh());
            c[unit] = f * c[unit] + i * g;
        }
        h = (0..2).map(|unit| sigmoid(a(6 + unit)) * affine("ln_c", &c, unit).tanh()).collect();
        h.clone()
    };
    X.iter().flat_map(step).collect()
}

/// Returns the greatest difference between two lists of numbers.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Exchanges gates `a` and `b` in every parameter that has a row for each unit of each gate.
fn with_exchanged_gates(
    p: &Parameters,
    gates: usize,
    rows: usize,
    (a, b): (usize, usize),
) -> Parameters {
    let mut exchanged = p.clone();
    for (name, values) in &mut exchanged.0 {
        let peephole_or_output = ["weight_c", "weight_hr", "ln_c"];
        if peephole_or_output.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        assert_eq!(values.len() % rows, 0, "{name}");
        let part = values.len() / gates;
        for k in 0..part {
            values.swap(a * part + k, b * part + k);
        }
    }
    exchanged
}

fn check<C: Cell<Elem = f64>>(hidden: usize, options: C::Options, equations: Equations) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut net = Recurrent::<C>::builder(1, hidden).options(options).build(&mut rng).unwrap();
    let (mut k, mut parameters) = (0, Parameters(BTreeMap::new()));
    net.for_each_mut(&mut |name, mut array| {
        // Distinct numbers between 0.2 and 1.2.
        array.mapv_inplace(|_| {
            k += 1;
            0.2 + f64::from(k * 37 % 101) / 101.0
        });
        parameters.0.insert(name.to_owned(), array.iter().copied().collect());
    });
    let x = Array3::from_shape_fn((X.len(), 1, 1), |(t, _, _)| X[t]);
    let (output, _) = net.forward(&Sequences::full(x).unwrap(), None).unwrap();
    let expected = equations(&parameters);
    let error = distance(output.values().as_slice().unwrap(), &expected);
    assert!(error < 1e-13, "{}: error {error:e}", C::NAME);

    for (name, values) in &parameters.0 {
        for place in 0..values.len() {
            let mut dropped = parameters.clone();
            dropped.0.get_mut(name).unwrap()[place] = 0.0;
            let change = distance(&equations(&dropped), &expected);
            assert!(change > 1e-5, "{}: {name}[{place}] has no part: {change:e}", C::NAME);
        }
    }
    let gates = C::GATES.len();
    for (a, b) in (0..gates).flat_map(|a| (0..a).map(move |b| (a, b))) {
        let exchanged = with_exchanged_gates(&parameters, gates, gates * hidden, (a, b));
        let change = distance(&equations(&exchanged), &expected);
        assert!(change > 1e-5, "{}: {a} and {b} look alike: {change:e}", C::NAME);
    }
}

#[test]
fn an_rnn_is_its_equation() {
    check::<RnnCell<f64>>(1, Nonlinearity::Tanh, rnn);
    check::<RnnCell<f64>>(1, Nonlinearity::Relu, relu_rnn);
}

#[test]
fn an_lstm_is_its_equations() {
    check::<LstmCell<f64>>(1, Default::default(), lstm);
}

#[test]
fn a_peephole_lstm_is_its_equations() {
    check::<PeepholeLstmCell<f64>>(1, Default::default(), peephole_lstm);
}

#[test]
fn a_coupled_lstm_is_its_equations() {
    check::<CoupledLstmCell<f64>>(1, Default::default(), coupled_lstm);
}

#[test]
fn a_projected_lstm_is_its_equations() {
    check::<ProjectedLstmCell<f64>>(2, ProjectedLstmOptions::new(1), projected_lstm);
}

#[test]
fn a_gru_is_its_equations() {
    check::<GruCell<f64>>(1, GruOptions::new(Reset::After), gru_reset_after);
    check::<GruCell<f64>>(1, GruOptions::new(Reset::Before), gru_reset_before);
}

#[test]
fn a_layer_normalised_lstm_is_its_equations() {
    check::<LayerNormLstmCell<f64>>(2, Default::default(), layer_norm_lstm);
}
