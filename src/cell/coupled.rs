//! The LSTM with coupled gates (CIFG): the input gate is 1 minus the forget gate.
//!
//! With rows of the weights in the order f, g, o and H = hidden_size, I = input_size:
//!
//! ```text
//! a = W_ih x + b_ih + W_hh h' + b_hh      W_ih [3H, I], W_hh [3H, H]
//! f, o = σ(a_f), σ(a_o)                   g = tanh(a_g)
//! c = f ∘ c' + (1 − f) ∘ g                h = o ∘ tanh(c)
//! ```
//!
//! Backward, with d_h and d_c from the output and the step after:
//!
//! ```text
//! d_c  += d_h ∘ o ∘ (1 − tanh²(c))
//! d_a_f = d_c ∘ (c' − g) ∘ f(1 − f)       d_a_g = d_c ∘ (1 − f) ∘ (1 − g²)
//! d_a_o = d_h ∘ tanh(c) ∘ o(1 − o)
//! d_h'  = W_hhᵀ d_a                       d_c'  = d_c ∘ f
//! ```
//!
//! Kept for backward: f, g, o. tanh(c) is computed again from c.
//!
//! Source: Greff et al., *LSTM: A Search Space Odyssey*, 2017, variant CIFG without peepholes.

use rand::Rng;

use super::weights::gate_weights;
use super::{BackwardStep, Block, Cell, CellConfig, ForwardStep, GateWeights, LstmOptions};
use crate::compiled;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Packed, Simd, lanes};

/// An LSTM cell whose input gate is 1 − f; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct CoupledLstmCell<T> {
    weights: GateWeights<T>,
}

impl<T: Float> Cell for CoupledLstmCell<T> {
    type Options = LstmOptions;
    const NAME: &'static str = "coupled_lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["f", "g", "o"];

    fn new(config: &CellConfig, options: &LstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = GateWeights::new(config, 3, config.hidden_size, rng)?;
        weights.set_forget_bias(options, 3, 0)?;
        Ok(Self { weights })
    }

    gate_weights!();

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.sum_gates(&packed[0], forward);
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        backward(step.level, &mut step.reborrow());
        step.multiply_gates(&packed[0]);
    }
}

compiled! {
    fn forward<'a, T>(block: &'a mut Block<'a, T>) = forward_on;
    fn backward<'a, T>(step: &'a mut BackwardStep<'a, T>) = backward_on;
}

#[inline(always)]
fn forward_on<S: Simd, T: Float>(simd: S, block: &mut Block<'_, T>) {
    let Block { units, prev: [_, c_prev, ..], next: [h, c, ..], gates, .. } = block;
    for r in 0..gates.count() {
        let mut a = gates.parts_mut(r, units);
        let c_prev = &c_prev.row(r)[units.clone()];
        let (h, c) = (&mut h.row_mut(r)[units.clone()], &mut c.row_mut(r)[units.clone()]);
        for l in lanes(simd, c.len()) {
            let [f, g, o] = l.load_each(&a);
            let (f, g, o) = (sigmoid(f), tanh(g), sigmoid(o));
            let c_t = g + f * (l.load(c_prev) - g);
            l.store_each(&mut a, [f, g, o]);
            l.store(c, c_t);
            l.store(h, o * tanh(c_t));
        }
    }
}

#[inline(always)]
fn backward_on<S: Simd, T: Float>(simd: S, step: &mut BackwardStep<'_, T>) {
    let BackwardStep { prev: [_, c_prev, ..], next: [_, c, ..], gates, .. } = step;
    let ([d_h, d_c, ..], [_, d_c_all, ..]) = (&mut step.d_state, &mut step.total);
    for r in 0..gates.count() {
        let mut a = gates.row_parts_mut(r);
        let (c_prev, c, d_h, d_c) = (c_prev.row(r), c.row(r), d_h.row(r), d_c.row_mut(r));
        for l in lanes(simd, c.len()) {
            let (one, [f, g, o]) = (l.splat(1.0), l.load_each(&a));
            let (tanh_c, d_h_t) = (tanh(l.load(c)), l.load(d_h));
            let d_c_t = l.load(d_c) + d_h_t * o * (one - tanh_c * tanh_c);
            let d_f = d_c_t * (l.load(c_prev) - g) * f * (one - f);
            let (d_g, d_o) = (d_c_t * (one - f) * (one - g * g), d_h_t * tanh_c * o * (one - o));
            l.store_each(&mut a, [d_f, d_g, d_o]);
            l.record(d_c_all.row_mut(r), d_c_t);
            l.store(d_c, d_c_t * f);
        }
    }
}

crate::arrays!(CoupledLstmCell { ..weights });
