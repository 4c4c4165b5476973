//! The LSTM with peepholes: gates that also read the cell state.
//!
//! With rows of the weights in the order i, f, g, o and H = hidden_size, I = input_size:
//!
//! ```text
//! a = W_ih x + b_ih + W_hh h' + b_hh      W_ih [4H, I], W_hh [4H, H]
//! i = σ(a_i + w_ci ∘ c')                  w_ci, w_cf, w_co [H]
//! f = σ(a_f + w_cf ∘ c')                  g = tanh(a_g)
//! c = f ∘ c' + i ∘ g
//! o = σ(a_o + w_co ∘ c)                   h = o ∘ tanh(c)
//! ```
//!
//! Backward, with d_h and d_c from the output and the step after:
//!
//! ```text
//! d_a_o = d_h ∘ tanh(c) ∘ o(1 − o)
//! d_c  += d_h ∘ o ∘ (1 − tanh²(c)) + w_co ∘ d_a_o
//! d_a_i = d_c ∘ g ∘ i(1 − i)     d_a_f = d_c ∘ c' ∘ f(1 − f)     d_a_g = d_c ∘ i ∘ (1 − g²)
//! d_h'  = W_hhᵀ d_a              d_c'  = d_c ∘ f + w_ci ∘ d_a_i + w_cf ∘ d_a_f
//! d_w_ci = Σ d_a_i ∘ c'          d_w_cf = Σ d_a_f ∘ c'           d_w_co = Σ d_a_o ∘ c
//! ```
//!
//! Kept for backward: i, f, g, o. tanh(c) is computed again from c.
//!
//! Source: Gers and Schmidhuber, *Recurrent Nets that Time and Count*, 2000, in the form of Greff et
//! al., *LSTM: A Search Space Odyssey*, 2017.

use ndarray::Array1;
use rand::Rng;

use super::weights::gate_weights;
use super::{BackwardStep, Block, Cell, CellConfig, ForwardStep, GateWeights, LstmOptions, Steps};
use crate::compiled;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::reduce::add_column_products;
use crate::tensor::{Packed, Simd, lanes};

/// An LSTM cell with peepholes; equations in the [module](self).
///
/// The peepholes are named `weight_ci`, `weight_cf`, `weight_co`. The initialiser of W_hh fills each as a
/// column [H, 1].
#[derive(Clone, Debug)]
pub struct PeepholeLstmCell<T> {
    weights: GateWeights<T>,
    weight_ci: Array1<T>,
    weight_cf: Array1<T>,
    weight_co: Array1<T>,
}

impl<T: Float> PeepholeLstmCell<T> {
    /// Returns w_ci, w_cf, w_co.
    #[expect(clippy::expect_used, reason = "`new` makes contiguous vectors")]
    fn peepholes(&self) -> [&[T]; 3] {
        [&self.weight_ci, &self.weight_cf, &self.weight_co]
            .map(|weight| weight.as_slice().expect("`new` makes contiguous vectors"))
    }
}

impl<T: Float> Cell for PeepholeLstmCell<T> {
    type Options = LstmOptions;
    const NAME: &'static str = "peephole_lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["i", "f", "g", "o"];

    fn new(config: &CellConfig, options: &LstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = GateWeights::new(config, 4, config.hidden_size, rng)?;
        weights.set_forget_bias(options, 4, 1)?;
        let mut peephole = || -> Result<Array1<T>> {
            let column = config.weight(config.weight_hh, 1, (config.hidden_size, 1), rng)?;
            Ok(column.into_iter().collect())
        };
        let (weight_ci, weight_cf) = (peephole()?, peephole()?);
        Ok(Self { weights, weight_ci, weight_cf, weight_co: peephole()? })
    }

    gate_weights!();

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        let peepholes = self.peepholes();
        step.sum_gates(&packed[0], |level, block| forward(level, peepholes, &mut block.reborrow()));
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        backward(step.level, self.peepholes(), &mut step.reborrow());
        step.multiply_gates(&packed[0]);
    }

    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        grad.weights.accumulate(steps);
        let (hidden, d_gates) = (self.hidden_size(), steps.d_gates());
        let seen = [(0, steps.prev(1)), (1, steps.prev(1)), (3, steps.next(1))];
        let peepholes = [&mut grad.weight_ci, &mut grad.weight_cf, &mut grad.weight_co];
        for ((gate, c), d_w) in seen.iter().zip(peepholes) {
            let d_a = d_gates.columns(gate * hidden..(gate + 1) * hidden);
            add_column_products(steps.level(), &d_a, c, d_w.view_mut());
        }
    }
}

compiled! {
    fn forward<'a, T>(peepholes: [&'a [T]; 3], block: &'a mut Block<'a, T>) = forward_on;
    fn backward<'a, T>(peepholes: [&'a [T]; 3], step: &'a mut BackwardStep<'a, T>) = backward_on;
}

#[inline(always)]
fn forward_on<S: Simd, T: Float>(simd: S, peepholes: [&[T]; 3], block: &mut Block<'_, T>) {
    let Block { units, prev: [_, c_prev, ..], next: [h, c, ..], gates, .. } = block;
    let [w_ci, w_cf, w_co] = peepholes.map(|weight| &weight[units.clone()]);
    for r in 0..gates.count() {
        let mut a = gates.parts_mut(r, units);
        let c_prev = &c_prev.row(r)[units.clone()];
        let (h, c) = (&mut h.row_mut(r)[units.clone()], &mut c.row_mut(r)[units.clone()]);
        for l in lanes(simd, c.len()) {
            let ([i, f, g, o], c_prev_t) = (l.load_each(&a), l.load(c_prev));
            let i = sigmoid(i + l.load(w_ci) * c_prev_t);
            let f = sigmoid(f + l.load(w_cf) * c_prev_t);
            let g = tanh(g);
            let c_t = f * c_prev_t + i * g;
            let o = sigmoid(o + l.load(w_co) * c_t);
            l.store_each(&mut a, [i, f, g, o]);
            l.store(c, c_t);
            l.store(h, o * tanh(c_t));
        }
    }
}

#[inline(always)]
fn backward_on<S: Simd, T: Float>(simd: S, weights: [&[T]; 3], step: &mut BackwardStep<'_, T>) {
    let [w_ci, w_cf, w_co] = weights;
    let BackwardStep { prev: [_, c_prev, ..], next: [_, c, ..], gates, .. } = step;
    let ([d_h, d_c, ..], [_, d_c_all, ..]) = (&mut step.d_state, &mut step.total);
    for r in 0..gates.count() {
        let mut a = gates.row_parts_mut(r);
        let (c_prev, c, d_h, d_c) = (c_prev.row(r), c.row(r), d_h.row(r), d_c.row_mut(r));
        for l in lanes(simd, c.len()) {
            let (one, [i, f, g, o]) = (l.splat(1.0), l.load_each(&a));
            let (tanh_c, d_h_t) = (tanh(l.load(c)), l.load(d_h));
            let d_o = d_h_t * tanh_c * o * (one - o);
            let d_c_t = l.load(d_c) + d_h_t * o * (one - tanh_c * tanh_c) + l.load(w_co) * d_o;
            let (d_i, d_f) = (d_c_t * g * i * (one - i), d_c_t * l.load(c_prev) * f * (one - f));
            l.record(d_c_all.row_mut(r), d_c_t);
            l.store_each(&mut a, [d_i, d_f, d_c_t * i * (one - g * g), d_o]);
            l.store(d_c, d_c_t * f + l.load(w_ci) * d_i + l.load(w_cf) * d_f);
        }
    }
}

crate::arrays!(PeepholeLstmCell { ..weights, weight_ci: array, weight_cf: array, weight_co: array });
