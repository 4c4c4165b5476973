//! The LSTM: a cell state, with gates that control its input, decay and output.
//!
//! With rows of the weights in the order i, f, g, o and H = hidden_size, I = input_size:
//!
//! ```text
//! a = W_ih x + b_ih + W_hh h' + b_hh      W_ih [4H, I], W_hh [4H, H]
//! i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
//! c = f ∘ c' + i ∘ g                      h = o ∘ tanh(c)
//! ```
//!
//! Backward, with d_h and d_c from the output and the step after:
//!
//! ```text
//! d_c  += d_h ∘ o ∘ (1 − tanh²(c))
//! d_a_i = d_c ∘ g ∘ i(1 − i)     d_a_f = d_c ∘ c' ∘ f(1 − f)
//! d_a_g = d_c ∘ i ∘ (1 − g²)     d_a_o = d_h ∘ tanh(c) ∘ o(1 − o)
//! d_h'  = W_hhᵀ d_a              d_c'  = d_c ∘ f
//! ```
//!
//! Kept for backward: i, f, g, o. tanh(c) is computed again from c.
//!
//! Source: Hochreiter and Schmidhuber, *Long Short-Term Memory*, 1997; the forget gate of Gers,
//! Schmidhuber and Cummins, *Learning to Forget*, 2000; layout and names of `torch.nn.LSTM`.

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::weights::gate_weights;
use super::{BackwardStep, Block, Cell, CellConfig, ForwardStep, GateWeights};
use crate::compiled;
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Packed, Simd, lanes};

/// A long short-term memory cell; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct LstmCell<T> {
    weights: GateWeights<T>,
}

/// Options of every LSTM. Variants with more options have these among them.
///
/// ```
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{Lstm, cell::LstmOptions};
///
/// let options = LstmOptions { forget_bias: Some(1.0) };
/// let lstm = Lstm::<f32>::builder(3, 8).options(options).build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LstmOptions {
    /// The initial bias of the forget gate: its rows of `bias_ih`, while those of `bias_hh` are zero. With
    /// 1, the cell remembers from the first batch on (Jozefowicz et al., 2015). `None` initialises it like
    /// the other biases.
    pub forget_bias: Option<f64>,
}

impl<T: Float> Cell for LstmCell<T> {
    type Options = LstmOptions;
    const NAME: &'static str = "lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["i", "f", "g", "o"];

    fn new(config: &CellConfig, options: &LstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = GateWeights::new(config, 4, config.hidden_size, rng)?;
        weights.set_forget_bias(options, 4, 1)?;
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
            let [i, f, g, o] = l.load_each(&a);
            let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
            let c_t = f * l.load(c_prev) + i * g;
            l.store_each(&mut a, [i, f, g, o]);
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
            let (one, [i, f, g, o]) = (l.splat(1.0), l.load_each(&a));
            let (tanh_c, d_h_t) = (tanh(l.load(c)), l.load(d_h));
            let d_c_t = l.load(d_c) + d_h_t * o * (one - tanh_c * tanh_c);
            let (d_i, d_f) = (d_c_t * g * i * (one - i), d_c_t * l.load(c_prev) * f * (one - f));
            let (d_g, d_o) = (d_c_t * i * (one - g * g), d_h_t * tanh_c * o * (one - o));
            l.store_each(&mut a, [d_i, d_f, d_g, d_o]);
            l.record(d_c_all.row_mut(r), d_c_t);
            l.store(d_c, d_c_t * f);
        }
    }
}

crate::arrays!(LstmCell { ..weights });
