//! The vanilla RNN: h is tanh or relu of a sum of two products.
//!
//! With H = hidden_size and I = input_size:
//!
//! ```text
//! h = φ(W_ih x + b_ih + W_hh h' + b_hh)      φ = tanh or relu, W_ih [H, I], W_hh [H, H]
//! d_a = d_h ∘ φ'                             φ' = 1 − h² or [h > 0]
//! d_h' = W_hhᵀ d_a
//! ```
//!
//! Kept for backward: h, as the activated gate.
//!
//! Source: Elman, *Finding Structure in Time*, 1990; layout and names of `torch.nn.RNN`.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::weights::gate_weights;
use super::{BackwardStep, Block, Cell, CellConfig, ForwardStep, GateWeights};
use crate::compiled;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{relu, tanh};
use crate::tensor::{Packed, Select, Simd, SimdBase, lanes};

/// A vanilla recurrent cell; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct RnnCell<T> {
    pub(crate) nonlinearity: Nonlinearity,
    weights: GateWeights<T>,
}

/// The activation φ of the vanilla RNN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nonlinearity {
    /// tanh.
    #[default]
    Tanh,
    /// max(x, 0).
    Relu,
}

impl<T: Float> Cell for RnnCell<T> {
    type Options = Nonlinearity;
    const NAME: &'static str = "rnn";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["h"];

    fn new(config: &CellConfig, &nonlinearity: &Nonlinearity, rng: &mut dyn Rng) -> Result<Self> {
        let weights = GateWeights::new(config, 1, config.hidden_size, rng)?;
        Ok(Self { nonlinearity, weights })
    }

    gate_weights!();

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.sum_gates(&packed[0], |level, block| forward(level, self.nonlinearity, block));
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        backward(step.level, self.nonlinearity, &mut step.reborrow());
        step.multiply_gates(&packed[0]);
    }
}

compiled! {
    fn forward<'a, T>(nonlinearity: Nonlinearity, block: &'a mut Block<'a, T>) = forward_on;
    fn backward<'a, T>(nonlinearity: Nonlinearity, step: &'a mut BackwardStep<'a, T>) = backward_on;
}

#[inline(always)]
fn forward_on<S: Simd, T: Float>(simd: S, nonlinearity: Nonlinearity, block: &mut Block<'_, T>) {
    let Block { units, next: [h, ..], gates, .. } = block;
    for r in 0..gates.count() {
        let (a, h) = (&mut gates.row_mut(r)[units.clone()], &mut h.row_mut(r)[units.clone()]);
        for l in lanes(simd, h.len()) {
            let h_t = match nonlinearity {
                Nonlinearity::Tanh => tanh(l.load(a)),
                Nonlinearity::Relu => relu(l.load(a)),
            };
            l.store(a, h_t);
            l.store(h, h_t);
        }
    }
}

#[inline(always)]
fn backward_on<S: Simd, T: Float>(
    simd: S,
    nonlinearity: Nonlinearity,
    step: &mut BackwardStep<'_, T>,
) {
    let BackwardStep { gates, d_state: [d_h, ..], .. } = step;
    for r in 0..gates.count() {
        let (a, d_h) = (gates.row_mut(r), d_h.row(r));
        for l in lanes(simd, d_h.len()) {
            let (h_t, zero, one) = (l.load(a), l.splat(0.0), l.splat(1.0));
            let slope = match nonlinearity {
                Nonlinearity::Tanh => one - h_t * h_t,
                Nonlinearity::Relu => h_t.simd_gt(zero).select(one, zero),
            };
            l.store(a, l.load(d_h) * slope);
        }
    }
}

crate::arrays!(RnnCell { ..weights });
