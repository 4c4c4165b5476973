//! The vanilla RNN: one tanh or relu a step.
//!
//! With H = hidden_size and I = input_size:
//!
//! ```text
//! h = φ(W_ih x + b_ih + W_hh h' + b_hh)      φ = tanh or relu, W_ih [H, I], W_hh [H, H]
//! d_a = d_h ∘ φ'                             φ' = 1 − h² or [h > 0]
//! d_h' = W_hhᵀ d_a
//! ```
//!
//! Kept for backward: nothing beside the states.
//!
//! Source: Elman, *Finding Structure in Time*, 1990; layout and names of `torch.nn.RNN`.

use ndarray::{Array1, ArrayView2};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{relu, tanh};
use crate::tensor::{Packed, Select, Simd, SimdBase, Start, lanes, product};

/// A vanilla recurrent cell; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct RnnCell<T> {
    nonlinearity: Nonlinearity,
    weights: GateWeights<T>,
}

/// φ of the vanilla RNN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nonlinearity {
    /// tanh.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
}

impl<T: Float> Cell<T> for RnnCell<T> {
    type Options = Nonlinearity;
    type Packed = Packed<T>;
    const NAME: &'static str = "rnn";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["h"];

    fn new(config: &CellConfig, &nonlinearity: &Nonlinearity, rng: &mut dyn Rng) -> Result<Self> {
        let weights = GateWeights::new(config, 1, config.hidden_size, rng)?;
        Ok(Self { nonlinearity, weights })
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
        let ForwardStep { prev, next: [h], mut gates, .. } = step else { return };
        product(simd, prev[0], weight_hh, Start::Output, gates.reborrow());
        for r in 0..gates.count() {
            let (a, h) = (gates.row_mut(r), h.row_mut(r));
            for l in lanes(simd, h.len()) {
                let h_t = match self.nonlinearity {
                    Nonlinearity::Tanh => tanh(l.load(a)),
                    Nonlinearity::Relu => relu(l.load(a)),
                };
                l.store(a, h_t);
                l.store(h, h_t);
            }
        }
    }

    #[inline(always)]
    fn backward<S: Simd>(&self, simd: S, weight_hh: &Packed<T>, step: BackwardStep<'_, '_, T>) {
        let BackwardStep { mut gates, d_state: [d_h], .. } = step else { return };
        for r in 0..gates.count() {
            let (a, d_h) = (gates.row_mut(r), d_h.row(r));
            for l in lanes(simd, d_h.len()) {
                let (h_t, zero, one) = (l.load(a), l.splat(0.0), l.splat(1.0));
                let slope = match self.nonlinearity {
                    Nonlinearity::Tanh => one - h_t * h_t,
                    Nonlinearity::Relu => h_t.simd_gt(zero).select(one, zero),
                };
                l.store(a, l.load(d_h) * slope);
            }
        }
        product(simd, gates.as_rows(), weight_hh, Start::Zero, d_h.reborrow());
    }

    fn accumulate<S: Simd>(&self, simd: S, steps: &Steps<'_, T>, grad: &mut Self) {
        grad.weights.accumulate(simd, steps);
    }
}

impl<T: Float> Arrays<T> for RnnCell<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}
