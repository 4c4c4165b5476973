//! The LSTM with coupled gates (CIFG): what is forgotten is what is written.
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

use ndarray::{Array1, ArrayView2};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Packed, Simd, Start, lanes, product};

/// An LSTM cell whose input gate is 1 − f; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct CoupledLstmCell<T> {
    weights: GateWeights<T>,
}

/// Options of the LSTM with coupled gates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CoupledLstmOptions {
    /// The forget gate's bias at the start, as in [`LstmOptions`](super::LstmOptions).
    pub forget_bias: Option<f64>,
}

impl<T: Float> Cell<T> for CoupledLstmCell<T> {
    type Options = CoupledLstmOptions;
    type Packed = Packed<T>;
    const NAME: &'static str = "coupled_lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["f", "g", "o"];

    fn new(config: &CellConfig, options: &CoupledLstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = GateWeights::new(config, 3, config.hidden_size, rng)?;
        if let Some(value) = options.forget_bias {
            weights.set_bias("forget_bias", 3, 0, value)?;
        }
        Ok(Self { weights })
    }

    fn hidden_size(&self) -> usize {
        self.weights.weight_hh.ncols()
    }

    fn weight_ih(&self) -> ArrayView2<'_, T> {
        self.weights.weight_ih.view()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        self.weights.bias()
    }

    fn pack_forward<S: Simd>(&self, simd: S) -> Packed<T> {
        Packed::new(simd, self.weights.weight_hh.t())
    }

    fn pack_backward<S: Simd>(&self, simd: S) -> Packed<T> {
        Packed::new(simd, self.weights.weight_hh.view())
    }

    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, weight_hh: &Packed<T>, step: ForwardStep<'_, '_, T>) {
        let ForwardStep { prev, next: [h, c], mut gates, .. } = step else { return };
        product(simd, prev[0], weight_hh, Start::Output, gates.reborrow());
        for r in 0..gates.count() {
            let [f, g, o] = gates.parts_mut(r);
            let (c_prev, h, c) = (prev[1].row(r), h.row_mut(r), c.row_mut(r));
            for l in lanes(simd, c.len()) {
                let (f_t, g_t, o_t) = (sigmoid(l.load(f)), tanh(l.load(g)), sigmoid(l.load(o)));
                let c_t = g_t + f_t * (l.load(c_prev) - g_t);
                l.store(f, f_t);
                l.store(g, g_t);
                l.store(o, o_t);
                l.store(c, c_t);
                l.store(h, o_t * tanh(c_t));
            }
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(&self, simd: S, weight_hh: &Packed<T>, step: BackwardStep<'_, '_, T>) {
        let BackwardStep { prev, next, mut gates, d_state: [d_h, d_c], .. } = step else { return };
        for r in 0..gates.count() {
            let [f, g, o] = gates.parts_mut(r);
            let (c_prev, c, d_h, d_c) =
                (prev[1].row(r), next[1].row(r), d_h.row(r), d_c.row_mut(r));
            for l in lanes(simd, c.len()) {
                let (one, f_t, g_t, o_t) = (l.splat(1.0), l.load(f), l.load(g), l.load(o));
                let (tanh_c, d_h_t) = (tanh(l.load(c)), l.load(d_h));
                let d_c_t = l.load(d_c) + d_h_t * o_t * (one - tanh_c * tanh_c);
                l.store(f, d_c_t * (l.load(c_prev) - g_t) * f_t * (one - f_t));
                l.store(g, d_c_t * (one - f_t) * (one - g_t * g_t));
                l.store(o, d_h_t * tanh_c * o_t * (one - o_t));
                l.store(d_c, d_c_t * f_t);
            }
        }
        product(simd, gates.as_rows(), weight_hh, Start::Zero, d_h.reborrow());
    }

    fn accumulate<S: Simd>(&self, simd: S, steps: &Steps<'_, T>, grad: &mut Self) {
        grad.weights.accumulate(simd, steps);
    }
}

impl<T: Float> Arrays<T> for CoupledLstmCell<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}
