//! The LSTM: a cell state that gates write, keep and read.
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

use ndarray::{Array1, ArrayView2};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::Result;
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::{Packed, Simd, Start, lanes, product, product_then};

/// A long short-term memory cell; equations in the [module](self).
#[derive(Clone, Debug)]
pub struct LstmCell<T> {
    weights: GateWeights<T>,
}

/// Options of the LSTM.
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
    /// The forget gate's bias at the start, set as `bias_ih` with `bias_hh` zero in the same rows;
    /// 1 lets the cell remember from the first batch on (Jozefowicz et al., 2015). None: as the
    /// other biases.
    pub forget_bias: Option<f64>,
}

impl<T: Float> Cell<T> for LstmCell<T> {
    type Options = LstmOptions;
    type Packed = Packed<T>;
    const NAME: &'static str = "lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["i", "f", "g", "o"];
    const FUSED: bool = true;

    fn new(config: &CellConfig, options: &LstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let mut weights = GateWeights::new(config, 4, config.hidden_size, rng)?;
        if let Some(value) = options.forget_bias {
            weights.set_bias("forget_bias", 4, 1, value)?;
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
        Packed::gates(simd, self.weights.weight_hh.t(), 4)
    }

    fn pack_backward<S: Simd>(&self, simd: S) -> Packed<T> {
        Packed::new(simd, self.weights.weight_hh.view())
    }

    #[inline(always)]
    fn forward<S: Simd>(&self, simd: S, weight_hh: &Packed<T>, step: ForwardStep<'_, '_, T>) {
        let ForwardStep { prev, next: [h, c], input, gates, .. } = step else { return };
        product_then(
            simd,
            prev[0],
            weight_hh,
            input,
            gates,
            #[inline(always)]
            |r, l, [i, f, g, o]| {
                let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
                let c_t = f * l.load(prev[1].row(r)) + i * g;
                l.store(c.row_mut(r), c_t);
                l.store(h.row_mut(r), o * tanh(c_t));
                [i, f, g, o]
            },
        );
    }

    #[inline(always)]
    fn backward<S: Simd>(&self, simd: S, weight_hh: &Packed<T>, step: BackwardStep<'_, '_, T>) {
        let BackwardStep { prev, next, mut gates, d_state: [d_h, d_c], .. } = step else { return };
        for r in 0..gates.count() {
            let [i, f, g, o] = gates.parts_mut(r);
            let (c_prev, c, d_h, d_c) =
                (prev[1].row(r), next[1].row(r), d_h.row(r), d_c.row_mut(r));
            for l in lanes(simd, c.len()) {
                let one = l.splat(1.0);
                let (i_t, f_t, g_t, o_t) = (l.load(i), l.load(f), l.load(g), l.load(o));
                let (tanh_c, d_h_t) = (tanh(l.load(c)), l.load(d_h));
                let d_c_t = l.load(d_c) + d_h_t * o_t * (one - tanh_c * tanh_c);
                l.store(i, d_c_t * g_t * i_t * (one - i_t));
                l.store(f, d_c_t * l.load(c_prev) * f_t * (one - f_t));
                l.store(g, d_c_t * i_t * (one - g_t * g_t));
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

impl<T: Float> Arrays<T> for LstmCell<T> {
    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}
