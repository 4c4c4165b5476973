//! The GRU: a state that an update gate blends with a candidate.
//!
//! With rows of the weights in the order r, z, n and H = hidden_size, I = input_size:
//!
//! ```text
//! r = σ(W_ir x + b_ir + W_hr h' + b_hr)       W_ih [3H, I], W_hh [3H, H]
//! z = σ(W_iz x + b_iz + W_hz h' + b_hz)
//! n = tanh(W_in x + b_in + r ∘ q)             q = W_hn h' + b_hn          (Reset::After)
//! n = tanh(W_in x + b_in + W_hn p + b_hn)     p = r ∘ h'                  (Reset::Before)
//! h = (1 − z) ∘ n + z ∘ h'
//! ```
//!
//! Backward, with d_h from the output and the step after:
//!
//! ```text
//! d_a_z = d_h ∘ (h' − n) ∘ z(1 − z)           d_a_n = d_h ∘ (1 − z) ∘ (1 − n²)
//!
//! Reset::After     d_q   = d_a_n ∘ r          d_a_r = d_a_n ∘ q ∘ r(1 − r)
//!                  d_h'  = d_h ∘ z + W_hrᵀ d_a_r + W_hzᵀ d_a_z + W_hnᵀ d_q
//! Reset::Before    d_p   = W_hnᵀ d_a_n        d_a_r = d_p ∘ h' ∘ r(1 − r)
//!                  d_h'  = d_h ∘ z + W_hrᵀ d_a_r + W_hzᵀ d_a_z + d_p ∘ r
//! ```
//!
//! Kept for backward: r, z, n, and q or p. For the gradient of W_hn, backward leaves d_q or p.
//!
//! Source: Cho et al., *Learning Phrase Representations using RNN Encoder–Decoder*, 2014, which
//! resets before the product; `torch.nn.GRU` for the form that resets after it, layout and names.

use std::ops::Range;

use ndarray::{Array1, ArrayView2, Axis, Slice};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::weights::gate_weights;
use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use crate::compiled;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Accumulate, Level, Packed, Rows, RowsMut, Simd, lanes, product};

/// A gated recurrent unit; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct GruCell<T> {
    pub(crate) reset: Reset,
    weights: GateWeights<T>,
}

/// Options of the GRU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GruOptions {
    /// The position of the reset gate.
    pub reset: Reset,
}

impl GruOptions {
    /// Creates options with the reset gate at `reset`.
    pub fn new(reset: Reset) -> Self {
        Self { reset }
    }
}

/// The position of the reset gate of a GRU, relative to the product with W_hn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reset {
    /// After the product, r ∘ (W_hn h' + b_hn), as in PyTorch, cuDNN and Keras (`reset_after=True`).
    #[default]
    After,
    /// Before the product, W_hn (r ∘ h') + b_hn, as in the paper and ONNX (`linear_before_reset=0`).
    Before,
}

impl<T: Float> GruCell<T> {
    /// Returns the columns of r and z, and those of n, in a row of the gates. They are also the rows of W_hh.
    fn columns(&self) -> (Range<usize>, Range<usize>) {
        let hidden = self.hidden_size();
        (0..2 * hidden, 2 * hidden..3 * hidden)
    }

    /// Returns the value that W_hn h' is added to in q: b_hn, or zero without biases.
    fn start_of_q(&self) -> Accumulate<'_, T> {
        match Accumulate::bias(self.weights.bias_hh.as_ref()) {
            Accumulate::Bias(bias) => Accumulate::Bias(&bias[self.columns().1]),
            none => none,
        }
    }

    /// Returns the rows of W_hh for r and z, and those for n. They are multiplied separately.
    fn weight_parts(&self) -> [ArrayView2<'_, T>; 2] {
        let (rz, n) = self.columns();
        [rz, n].map(|rows| self.weights.weight_hh.slice_axis(Axis(0), Slice::from(rows)))
    }
}

impl<T: Float> Cell for GruCell<T> {
    type Options = GruOptions;
    const NAME: &'static str = "gru";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["r", "z", "n"];

    fn new(config: &CellConfig, options: &GruOptions, rng: &mut dyn Rng) -> Result<Self> {
        let weights = GateWeights::new(config, 3, config.hidden_size, rng)?;
        Ok(Self { reset: options.reset, weights })
    }

    gate_weights!();

    /// Returns the width of q for [`Reset::After`], or of p for [`Reset::Before`].
    fn saved_size(&self) -> usize {
        self.hidden_size()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        let mut bias = self.weights.bias()?;
        if let (Reset::After, Some(bias_ih)) = (self.reset, &self.weights.bias_ih) {
            let n = Slice::from(self.columns().1);
            bias.slice_axis_mut(Axis(0), n).assign(&bias_ih.slice_axis(Axis(0), n));
        }
        Some(bias)
    }

    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight.reversed_axes())).into()
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight)).into()
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.input();
        let ForwardStep { level, prev: [h_prev, ..], next: [h, ..], gates, saved, .. } = step;
        let (level, h_prev) = (*level, *h_prev);
        let (rz, n) = self.columns();
        product(h_prev, &packed[0], Accumulate::Output, gates.columns_mut(rz));
        match self.reset {
            Reset::After => {
                product(h_prev, &packed[1], self.start_of_q(), saved.reborrow());
                reset_after(level, gates.reborrow(), saved.as_rows());
            }
            Reset::Before => {
                reset_before(level, h_prev, gates.reborrow(), saved.reborrow());
                product(saved.as_rows(), &packed[1], Accumulate::Output, gates.columns_mut(n));
            }
        }
        blend(level, h_prev, gates.reborrow(), h.reborrow());
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let BackwardStep { level, prev: [h_prev, ..], gates, saved, d_state: [d_h, ..], .. } = step;
        let (level, h_prev) = (*level, *h_prev);
        let (rz, n) = self.columns();
        blend_backward(level, h_prev, gates.reborrow(), d_h.reborrow());
        match self.reset {
            Reset::After => {
                reset_after_backward(level, gates.reborrow(), saved.reborrow());
                product(saved.as_rows(), &packed[1], Accumulate::Output, d_h.reborrow());
            }
            Reset::Before => {
                let d_n = gates.as_rows().columns(n);
                product(d_n, &packed[1], Accumulate::Zero, saved.reborrow());
                reset_before_backward(
                    level,
                    h_prev,
                    gates.reborrow(),
                    saved.reborrow(),
                    d_h.reborrow(),
                );
            }
        }
        product(gates.as_rows().columns(rz), &packed[0], Accumulate::Output, d_h.reborrow());
    }

    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        let (level, d_gates, saved, h_prev) =
            (steps.level(), steps.d_gates(), steps.saved(), steps.prev(0));
        let (rz, n) = self.columns();
        grad.weights.add_input(steps);
        grad.weights.add_recurrent(level, rz.clone(), &d_gates.columns(rz), &h_prev);
        match self.reset {
            Reset::After => grad.weights.add_recurrent(level, n, &saved, &h_prev),
            Reset::Before => {
                grad.weights.add_recurrent(level, n.clone(), &d_gates.columns(n), &saved);
            }
        }
    }
}

compiled! {
    /// Computes r, z = σ(r), σ(z), n = n + r ∘ q.
    fn reset_after<'a, T>(gates: RowsMut<'a, T>, q: Rows<'a, T>) = reset_after_on;
    /// Computes r, z = σ(r), σ(z), p = r ∘ h'.
    fn reset_before<'a, T>(h_prev: Rows<'a, T>, gates: RowsMut<'a, T>, p: RowsMut<'a, T>) =
        reset_before_on;
    /// Computes n = tanh(n), h = (1 − z) ∘ n + z ∘ h'.
    fn blend<'a, T>(h_prev: Rows<'a, T>, gates: RowsMut<'a, T>, h: RowsMut<'a, T>) = blend_on;
    /// Computes the derivative of [`blend`]: z and n become d_a_z and d_a_n, d_h becomes d_h ∘ z.
    fn blend_backward<'a, T>(h_prev: Rows<'a, T>, gates: RowsMut<'a, T>, d_h: RowsMut<'a, T>) =
        blend_backward_on;
    /// Computes the derivative of [`reset_after`]: r becomes d_a_r, q becomes d_q.
    fn reset_after_backward<'a, T>(gates: RowsMut<'a, T>, q: RowsMut<'a, T>) =
        reset_after_backward_on;
    /// Computes the derivative of [`reset_before`]: r becomes d_a_r, d_p becomes p again.
    fn reset_before_backward<'a, T>(
        h_prev: Rows<'a, T>,
        gates: RowsMut<'a, T>,
        p: RowsMut<'a, T>,
        d_h: RowsMut<'a, T>,
    ) = reset_before_backward_on;
}

#[inline(always)]
fn reset_after_on<S: Simd, T: Float>(simd: S, mut gates: RowsMut<'_, T>, q: Rows<'_, T>) {
    for row in 0..gates.count() {
        let [r, z, n] = gates.row_parts_mut(row);
        let q = q.row(row);
        for l in lanes(simd, q.len()) {
            let r_t = sigmoid(l.load(r));
            l.store(r, r_t);
            l.store(z, sigmoid(l.load(z)));
            l.store(n, l.load(n) + r_t * l.load(q));
        }
    }
}

#[inline(always)]
fn reset_before_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut gates: RowsMut<'_, T>,
    mut p: RowsMut<'_, T>,
) {
    for row in 0..gates.count() {
        let [r, z, _] = gates.row_parts_mut(row);
        let (h_prev, p) = (h_prev.row(row), p.row_mut(row));
        for l in lanes(simd, p.len()) {
            let r_t = sigmoid(l.load(r));
            l.store(r, r_t);
            l.store(z, sigmoid(l.load(z)));
            l.store(p, r_t * l.load(h_prev));
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
    for row in 0..gates.count() {
        let [_, z, n] = gates.row_parts_mut(row);
        let (h_prev, h) = (h_prev.row(row), h.row_mut(row));
        for l in lanes(simd, h.len()) {
            let n_t = tanh(l.load(n));
            l.store(n, n_t);
            l.store(h, n_t + l.load(z) * (l.load(h_prev) - n_t));
        }
    }
}

#[inline(always)]
fn blend_backward_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut gates: RowsMut<'_, T>,
    mut d_h: RowsMut<'_, T>,
) {
    for row in 0..gates.count() {
        let [_, z, n] = gates.row_parts_mut(row);
        let (h_prev, d_h) = (h_prev.row(row), d_h.row_mut(row));
        for l in lanes(simd, d_h.len()) {
            let (one, z_t, n_t, d_h_t) = (l.splat(1.0), l.load(z), l.load(n), l.load(d_h));
            l.store(z, d_h_t * (l.load(h_prev) - n_t) * z_t * (one - z_t));
            l.store(n, d_h_t * (one - z_t) * (one - n_t * n_t));
            l.store(d_h, d_h_t * z_t);
        }
    }
}

#[inline(always)]
fn reset_after_backward_on<S: Simd, T: Float>(
    simd: S,
    mut gates: RowsMut<'_, T>,
    mut q: RowsMut<'_, T>,
) {
    for row in 0..gates.count() {
        let [r, _, d_n] = gates.row_parts_mut(row);
        let q = q.row_mut(row);
        for l in lanes(simd, q.len()) {
            let (one, r_t, d_n_t) = (l.splat(1.0), l.load(r), l.load(d_n));
            l.store(r, d_n_t * l.load(q) * r_t * (one - r_t));
            l.store(q, d_n_t * r_t);
        }
    }
}

#[inline(always)]
fn reset_before_backward_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut gates: RowsMut<'_, T>,
    mut p: RowsMut<'_, T>,
    mut d_h: RowsMut<'_, T>,
) {
    for row in 0..gates.count() {
        let [r, ..]: [_; 3] = gates.row_parts_mut(row);
        let (h_prev, p, d_h) = (h_prev.row(row), p.row_mut(row), d_h.row_mut(row));
        for l in lanes(simd, p.len()) {
            let (one, r_t, d_p_t) = (l.splat(1.0), l.load(r), l.load(p));
            let h_t = l.load(h_prev);
            l.store(r, d_p_t * h_t * r_t * (one - r_t));
            l.store(d_h, l.load(d_h) + d_p_t * r_t);
            l.store(p, r_t * h_t);
        }
    }
}

crate::arrays!(GruCell { ..weights });
