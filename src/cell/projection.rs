//! The LSTM with a recurrent projection (LSTMP): a wide cell state, a narrow output.
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
//! Kept for backward: i, f, g, o; for the gradient of W_hr backward leaves m and d_h.
//!
//! Source: Sak, Senior and Beaufays, *Long Short-Term Memory Recurrent Neural Network Architectures
//! for Large Scale Acoustic Modeling*, 2014, without its peepholes; layout and names of
//! `torch.nn.LSTM` with `proj_size`.

use ndarray::{Array1, Array2, ArrayView2};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Packed, Simd, Start, add_outer_products, lanes, product};

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
    /// Width of the output: at least 1, less than hidden_size. There is no default: it must be set.
    pub proj_size: usize,
    /// The forget gate's bias at the start, as in [`LstmOptions`](super::LstmOptions).
    pub forget_bias: Option<f64>,
}

impl ProjectedLstmOptions {
    /// A cell whose output has `proj_size` values.
    pub fn new(proj_size: usize) -> Self {
        Self { proj_size, forget_bias: None }
    }
}

impl<T: Float> Cell<T> for ProjectedLstmCell<T> {
    type Options = ProjectedLstmOptions;
    /// W_hh and W_hr.
    type Packed = [Packed<T>; 2];
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
        if let Some(value) = options.forget_bias {
            weights.set_bias("forget_bias", 4, 1, value)?;
        }
        let weight_hr = config.weight(config.weight_hh, 1, (proj, hidden), rng)?;
        Ok(Self { weights, weight_hr })
    }

    fn hidden_size(&self) -> usize {
        self.weight_hr.ncols()
    }

    fn state_size(&self, index: usize) -> usize {
        if index == 0 { self.weight_hr.nrows() } else { self.weight_hr.ncols() }
    }

    /// m, then d_h.
    fn saved_size(&self) -> usize {
        self.weight_hr.ncols() + self.weight_hr.nrows()
    }

    fn weight_ih(&self) -> ArrayView2<'_, T> {
        self.weights.weight_ih.view()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        self.weights.bias()
    }

    fn pack_forward<S: Simd>(&self, simd: S) -> [Packed<T>; 2] {
        [&self.weights.weight_hh, &self.weight_hr].map(|weight| Packed::new(simd, weight.t()))
    }

    fn pack_backward<S: Simd>(&self, simd: S) -> [Packed<T>; 2] {
        [&self.weights.weight_hh, &self.weight_hr].map(|weight| Packed::new(simd, weight.view()))
    }

    #[inline(always)]
    fn forward<S: Simd>(
        &self,
        simd: S,
        [weight_hh, weight_hr]: &[Packed<T>; 2],
        step: ForwardStep<'_, '_, T>,
    ) {
        let ForwardStep { prev, next: [h, c], mut gates, mut saved, .. } = step else { return };
        product(simd, prev[0], weight_hh, Start::Output, gates.reborrow());
        let mut m = saved.columns_mut(0..self.hidden_size());
        for r in 0..gates.count() {
            let [i, f, g, o] = gates.parts_mut(r);
            let (c_prev, m, c) = (prev[1].row(r), m.row_mut(r), c.row_mut(r));
            for l in lanes(simd, c.len()) {
                let (i_t, f_t) = (sigmoid(l.load(i)), sigmoid(l.load(f)));
                let (g_t, o_t) = (tanh(l.load(g)), sigmoid(l.load(o)));
                let c_t = f_t * l.load(c_prev) + i_t * g_t;
                l.store(i, i_t);
                l.store(f, f_t);
                l.store(g, g_t);
                l.store(o, o_t);
                l.store(c, c_t);
                l.store(m, o_t * tanh(c_t));
            }
        }
        product(simd, m.as_rows(), weight_hr, Start::Zero, h.reborrow());
    }

    #[inline(always)]
    fn backward<S: Simd>(
        &self,
        simd: S,
        [weight_hh, weight_hr]: &[Packed<T>; 2],
        step: BackwardStep<'_, '_, T>,
    ) {
        let BackwardStep { prev, next, mut gates, mut saved, d_state: [d_h, d_c] } = step else {
            return;
        };
        let hidden = self.hidden_size();
        product(simd, d_h.as_rows(), weight_hr, Start::Zero, saved.columns_mut(0..hidden));
        for r in 0..gates.count() {
            let [i, f, g, o] = gates.parts_mut(r);
            // d_m becomes m again.
            let (m, d_h_kept) = saved.row_mut(r).split_at_mut(hidden);
            d_h_kept.copy_from_slice(d_h.row(r));
            let (c_prev, c, d_c) = (prev[1].row(r), next[1].row(r), d_c.row_mut(r));
            for l in lanes(simd, c.len()) {
                let one = l.splat(1.0);
                let (i_t, f_t, g_t, o_t) = (l.load(i), l.load(f), l.load(g), l.load(o));
                let (tanh_c, d_m_t) = (tanh(l.load(c)), l.load(m));
                let d_c_t = l.load(d_c) + d_m_t * o_t * (one - tanh_c * tanh_c);
                l.store(i, d_c_t * g_t * i_t * (one - i_t));
                l.store(f, d_c_t * l.load(c_prev) * f_t * (one - f_t));
                l.store(g, d_c_t * i_t * (one - g_t * g_t));
                l.store(o, d_m_t * tanh_c * o_t * (one - o_t));
                l.store(d_c, d_c_t * f_t);
                l.store(m, o_t * tanh_c);
            }
        }
        product(simd, gates.as_rows(), weight_hh, Start::Zero, d_h.reborrow());
    }

    fn accumulate<S: Simd>(&self, simd: S, steps: &Steps<'_, T>, grad: &mut Self) {
        let hidden = self.hidden_size();
        let (m, d_h) = (0..hidden, hidden..self.saved_size());
        let (m, d_h) = (steps.saved.columns(m), steps.saved.columns(d_h));
        grad.weights.accumulate(simd, steps);
        add_outer_products(simd, &d_h, [(&m, grad.weight_hr.view_mut())]);
    }
}

impl<T: Float> Arrays<T> for ProjectedLstmCell<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
        f("weight_hr", self.weight_hr.view().into_dyn());
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
        f("weight_hr", self.weight_hr.view_mut().into_dyn());
    }
}
