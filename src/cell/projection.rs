//! The LSTM with a recurrent projection (LSTMP): a wide cell state with a narrow output.
//!
//! With rows of the weights in the order i, f, g, o and H = hidden_size, P = proj_size < H,
//! I = input_size:
//!
//! ```text
//! a = W_ih x + b_ih + W_hh h' + b_hh      W_ih [4H, I], W_hh [4H, P]
//! i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
//! c = f ∘ c' + i ∘ g                      m = o ∘ tanh(c)
//! h = W_hr m                              W_hr [P, H]
//! ```
//!
//! Backward, with d_h and d_c from the output and the step after:
//!
//! ```text
//! d_m   = W_hrᵀ d_h
//! d_c  += d_m ∘ o ∘ (1 − tanh²(c))
//! d_a_i = d_c ∘ g ∘ i(1 − i)     d_a_f = d_c ∘ c' ∘ f(1 − f)
//! d_a_g = d_c ∘ i ∘ (1 − g²)     d_a_o = d_m ∘ tanh(c) ∘ o(1 − o)
//! d_h'  = W_hhᵀ d_a              d_c'  = d_c ∘ f              dW_hr = Σ d_h ⊗ m
//! ```
//!
//! Kept for backward: i, f, g, o. For the gradient of W_hr, backward leaves m and d_h.
//!
//! Source: Sak, Senior and Beaufays, *Long Short-Term Memory Recurrent Neural Network Architectures
//! for Large Scale Acoustic Modeling*, 2014, without its peepholes; layout and names of
//! `torch.nn.LSTM` with `proj_size`.

use ndarray::Array2;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::weights::gate_weights;
use super::{BackwardStep, Block, Cell, CellConfig, ForwardStep, GateWeights, LstmOptions, Steps};
use crate::compiled;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Accumulate, Level, Packed, Simd, add_outer_products, lanes, product};

/// An LSTM cell with a projected output; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct ProjectedLstmCell<T> {
    weights: GateWeights<T>,
    /// W_hr [proj, hidden].
    weight_hr: Array2<T>,
}

/// Options of the LSTM with projection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProjectedLstmOptions {
    /// The width of the output, at least 1 and less than hidden_size. The default of 0 is an error.
    pub proj_size: usize,
    /// The options of every LSTM.
    #[serde(flatten)]
    pub lstm: LstmOptions,
}

impl ProjectedLstmOptions {
    /// Creates options for an output of `proj_size` values.
    pub fn new(proj_size: usize) -> Self {
        Self { proj_size, lstm: LstmOptions::default() }
    }
}

impl<T: Float> Cell for ProjectedLstmCell<T> {
    type Options = ProjectedLstmOptions;
    const NAME: &'static str = "projected_lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["i", "f", "g", "o"];

    fn new(config: &CellConfig, options: &ProjectedLstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let (hidden, proj) = (config.hidden_size, options.proj_size);
        if proj == 0 || proj >= hidden {
            let expected = format!("1 ≤ proj_size < {hidden} (hidden_size), set in the options");
            return Err(Error::argument("proj_size", expected, proj));
        }
        let mut weights = GateWeights::new(config, 4, proj, rng)?;
        weights.set_forget_bias(&options.lstm, 4, 1)?;
        let weight_hr = config.weight(config.weight_hh, 1, (proj, hidden), rng)?;
        Ok(Self { weights, weight_hr })
    }

    gate_weights!();

    fn state_size(&self, index: usize) -> usize {
        if index == 0 { self.weight_hr.nrows() } else { self.weight_hr.ncols() }
    }

    /// Returns the width of m and d_h together.
    fn saved_size(&self) -> usize {
        self.weight_hr.ncols() + self.weight_hr.nrows()
    }

    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        let weight_hh = Packed::gates(level, self.weights.weight_hh.t(), 4);
        vec![weight_hh, Packed::new(level, self.weight_hr.t())]
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        let weights = [&self.weights.weight_hh, &self.weight_hr];
        weights.map(|weight| Packed::new(level, weight.view())).into()
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.sum_gates(&packed[0], forward);
        let m = step.saved.as_rows().columns(0..self.hidden_size());
        product(m, &packed[1], Accumulate::Zero, step.next[0].reborrow());
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let d_m = step.saved.columns_mut(0..self.hidden_size());
        product(step.d_state[0].as_rows(), &packed[1], Accumulate::Zero, d_m);
        backward(step.level, &mut step.reborrow());
        step.multiply_gates(&packed[0]);
    }

    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        let (hidden, saved) = (self.hidden_size(), steps.saved());
        let (m, d_h) = (saved.columns(0..hidden), saved.columns(hidden..saved.width()));
        grad.weights.accumulate(steps);
        add_outer_products(steps.level(), &d_h, &mut [(&m, grad.weight_hr.view_mut())]);
    }
}

compiled! {
    fn forward<'a, T>(block: &'a mut Block<'a, T>) = forward_on;
    fn backward<'a, T>(step: &'a mut BackwardStep<'a, T>) = backward_on;
}

#[inline(always)]
fn forward_on<S: Simd, T: Float>(simd: S, block: &mut Block<'_, T>) {
    let Block { units, prev: [_, c_prev, ..], next: [_, c, ..], gates, saved } = block;
    for r in 0..gates.count() {
        let mut a = gates.parts_mut(r, units);
        let c_prev = &c_prev.row(r)[units.clone()];
        let (m, c) = (&mut saved.row_mut(r)[units.clone()], &mut c.row_mut(r)[units.clone()]);
        for l in lanes(simd, c.len()) {
            let [i, f, g, o] = l.load_each(&a);
            let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
            let c_t = f * l.load(c_prev) + i * g;
            l.store_each(&mut a, [i, f, g, o]);
            l.store(c, c_t);
            l.store(m, o * tanh(c_t));
        }
    }
}

#[inline(always)]
fn backward_on<S: Simd, T: Float>(simd: S, step: &mut BackwardStep<'_, T>) {
    let BackwardStep { prev: [_, c_prev, ..], next: [_, c, ..], gates, saved, .. } = step;
    let ([d_h, d_c, ..], [_, d_c_all, ..]) = (&mut step.d_state, &mut step.total);
    for r in 0..gates.count() {
        let mut a = gates.row_parts_mut(r);
        let (c_prev, c, d_c) = (c_prev.row(r), c.row(r), d_c.row_mut(r));
        // d_m becomes m again.
        let (m, d_h_kept) = saved.row_mut(r).split_at_mut(c.len());
        d_h_kept.copy_from_slice(d_h.row(r));
        for l in lanes(simd, c.len()) {
            let (one, [i, f, g, o]) = (l.splat(1.0), l.load_each(&a));
            let (tanh_c, d_m_t) = (tanh(l.load(c)), l.load(m));
            let d_c_t = l.load(d_c) + d_m_t * o * (one - tanh_c * tanh_c);
            let (d_i, d_f) = (d_c_t * g * i * (one - i), d_c_t * l.load(c_prev) * f * (one - f));
            let (d_g, d_o) = (d_c_t * i * (one - g * g), d_m_t * tanh_c * o * (one - o));
            l.store_each(&mut a, [d_i, d_f, d_g, d_o]);
            l.record(d_c_all.row_mut(r), d_c_t);
            l.store(d_c, d_c_t * f);
            l.store(m, o * tanh_c);
        }
    }
}

crate::arrays!(ProjectedLstmCell { ..weights, weight_hr: array });
