//! The LSTM with layer normalisation inside the step.
//!
//! With rows of the weights in the order i, f, g, o, H = hidden_size, I = input_size and, over all
//! values x of a row, LN(x; α, β) = α ∘ x̂ + β, x̂ = (x − mean) / √(variance + ε):
//!
//! ```text
//! u = W_ih x                              W_ih [4H, I]
//! v = W_hh h'                             W_hh [4H, H]
//! a = LN(v; α_hh, β_hh) + LN(u; α_ih, β_ih) + b
//! i, f, o = σ(a_i), σ(a_f), σ(a_o)        g = tanh(a_g)
//! c = f ∘ c' + i ∘ g                      y = LN(c; α_c, β_c)
//! h = o ∘ tanh(y)
//! ```
//!
//! Backward, with d_h and d_c from the output and the step after. LNᵀ maps the gradient of x̂ to that of
//! x, LNᵀ(d_x̂) = (d_x̂ − mean(d_x̂) − x̂ ∘ mean(d_x̂ ∘ x̂)) / √(variance + ε):
//!
//! ```text
//! d_y   = d_h ∘ o ∘ (1 − tanh²(y))        d_a_o = d_h ∘ tanh(y) ∘ o(1 − o)
//! d_c  += LNᵀ(d_y ∘ α_c)                  d_a_i = d_c ∘ g ∘ i(1 − i)
//! d_a_f = d_c ∘ c' ∘ f(1 − f)             d_a_g = d_c ∘ i ∘ (1 − g²)
//! d_u   = LNᵀ(d_a ∘ α_ih)                 d_v   = LNᵀ(d_a ∘ α_hh)
//! d_h'  = W_hhᵀ d_v                       d_c'  = d_c ∘ f
//! d_α   = Σ d_a ∘ v̂, Σ d_a ∘ û, Σ d_y ∘ ĉ
//! d_β   = Σ d_a, Σ d_a, Σ d_y             d_b   = Σ d_a
//! ```
//!
//! Kept for backward: i, f, g, o, the normalised rows and the factors 1 / √(variance + ε). For the
//! gradients of the parameters, backward leaves d_a, d_v and d_y. With H = 1, ĉ and its gradient are
//! zero.
//!
//! Source: Ba, Kiros and Hinton, *Layer Normalization*, 2016, supplementary equations 20 to 22.

use ndarray::Array1;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::weights::gate_weights;
use super::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, LstmOptions, Steps};
use crate::compiled;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::tensor::activation::{sigmoid, tanh};
use crate::tensor::reduce::{add_column_products, add_column_sums, normalize, normalize_backward};
use crate::tensor::{
    Accumulate, Lanes, Level, Packed, RowRefs, Simd, Vector, add_outer_products, lanes, product,
};

/// An LSTM cell with layer normalisation; equations in the [module](self).
///
/// | name | shape | equation | initial value |
/// |---|---|---|---|
/// | `weight_ih`, `weight_hh` | `[4H, I]`, `[4H, H]` | W_ih, W_hh | as configured |
/// | `bias` | `[4H]` | b | as configured |
/// | `ln_ih_weight`, `ln_hh_weight`, `ln_c_weight` | `[4H]`, `[4H]`, `[H]` | α | 1 |
/// | `ln_ih_bias`, `ln_hh_bias`, `ln_c_bias` | `[4H]`, `[4H]`, `[H]` | β | 0 |
///
/// A cell without bias has neither b nor β.
#[derive(Clone, Debug)]
pub struct LayerNormLstmCell<T> {
    epsilon: T,
    /// W_ih and W_hh, without biases.
    weights: GateWeights<T>,
    bias: Option<Array1<T>>,
    ln_ih: Affine<T>,
    ln_hh: Affine<T>,
    ln_c: Affine<T>,
}

/// α and β of one normalisation.
#[derive(Clone, Debug)]
struct Affine<T> {
    weight: Array1<T>,
    bias: Option<Array1<T>>,
}

/// Options of the LSTM with layer normalisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerNormLstmOptions {
    /// ε of the normalisations, greater than 0. The default is 1e-5.
    pub epsilon: f64,
    /// The options of every LSTM. The forget gate's bias is its part of b.
    #[serde(flatten)]
    pub lstm: LstmOptions,
}

impl Default for LayerNormLstmOptions {
    fn default() -> Self {
        Self { epsilon: 1e-5, lstm: LstmOptions::default() }
    }
}

impl<T: Float> Affine<T> {
    fn new(width: usize, bias: bool) -> Self {
        Self { weight: Array1::ones(width), bias: bias.then(|| Array1::zeros(width)) }
    }

    /// Adds Σ d ∘ x̂ to d_α and Σ d to d_β. `self` is the gradient of a normalisation.
    fn accumulate(&mut self, level: Level, d: &RowRefs<'_, T>, normalized: &RowRefs<'_, T>) {
        add_column_products(level, d, normalized, self.weight.view_mut());
        if let Some(bias) = &mut self.bias {
            add_column_sums(level, d, vec![bias.view_mut()]);
        }
    }
}

/// The ends of the six parts of a row of `saved`, in multiples of H: û, v̂, d_a, d_v, ĉ, d_y. The
/// factors 1 / √(variance + ε) of û, v̂ and ĉ follow.
const ENDS: [usize; 6] = [4, 8, 12, 16, 17, 18];

/// Returns the six parts of a row of `saved`, and the factors after them.
#[inline(always)]
fn parts_of<T>(row: &mut [T], hidden: usize) -> ([&mut [T]; 6], &mut [T]) {
    let (mut rest, mut start) = (row, 0);
    let parts = ENDS.map(|end| {
        let (head, tail) = std::mem::take(&mut rest).split_at_mut((end - start) * hidden);
        (rest, start) = (tail, end);
        head
    });
    (parts, rest)
}

/// α and β of the three normalisations, and b, as slices.
#[derive(Clone, Copy)]
struct Norms<'a, T> {
    epsilon: T,
    /// α of u, v and c.
    scales: [&'a [T]; 3],
    /// b, β_ih and β_hh, and β_c.
    shifts: Option<([&'a [T]; 3], &'a [T])>,
}

impl<T: Float> Norms<'_, T> {
    /// Returns b + β_ih + β_hh.
    #[inline(always)]
    fn shift<S: Simd>(&self, l: Lanes<S, T>) -> Vector<S, T> {
        match self.shifts {
            Some(([b, ih, hh], _)) => l.load(b) + l.load(ih) + l.load(hh),
            None => l.splat(0.0),
        }
    }

    /// Returns y = α_c ∘ ĉ + β_c.
    #[inline(always)]
    fn y<S: Simd>(&self, l: Lanes<S, T>, c: &[T]) -> Vector<S, T> {
        let shift = self.shifts.map_or(l.splat(0.0), |(_, shift)| l.load(shift));
        l.load(self.scales[2]) * l.load(c) + shift
    }
}

impl<T: Float> LayerNormLstmCell<T> {
    fn norms(&self) -> Norms<'_, T> {
        #[expect(clippy::expect_used, reason = "`new` makes contiguous vectors")]
        fn slice<T>(vector: &Array1<T>) -> &[T] {
            vector.as_slice().expect("`new` makes contiguous vectors")
        }
        let Self { epsilon, bias, ln_ih, ln_hh, ln_c, .. } = self;
        let biases = [bias, &ln_ih.bias, &ln_hh.bias, &ln_c.bias];
        let shifts = match biases.map(|bias| bias.as_ref().map(slice)) {
            [Some(b), Some(ih), Some(hh), Some(c)] => Some(([b, ih, hh], c)),
            _ => None,
        };
        Norms {
            epsilon: *epsilon,
            scales: [ln_ih, ln_hh, ln_c].map(|ln| slice(&ln.weight)),
            shifts,
        }
    }
}

impl<T: Float> Cell for LayerNormLstmCell<T> {
    type Options = LayerNormLstmOptions;
    const NAME: &'static str = "layer_norm_lstm";
    const STATE: &'static [&'static str] = &["h", "c"];
    const GATES: &'static [&'static str] = &["i", "f", "g", "o"];

    fn new(config: &CellConfig, options: &LayerNormLstmOptions, rng: &mut dyn Rng) -> Result<Self> {
        let hidden = config.hidden_size;
        let epsilon = T::from_f64(options.epsilon);
        if !(epsilon.is_finite() && epsilon > T::zero()) {
            return Err(Error::argument("epsilon", "a finite value over 0", options.epsilon));
        }
        let without_bias = CellConfig { bias: false, ..config.clone() };
        let mut weights = GateWeights::new(&without_bias, 4, hidden, rng)?;
        weights.bias_ih = config.bias(4, rng)?;
        weights.set_forget_bias(&options.lstm, 4, 1)?;
        let bias = weights.bias_ih.take();
        let (ln_ih, ln_c) =
            (Affine::new(4 * hidden, config.bias), Affine::new(hidden, config.bias));
        Ok(Self { epsilon, weights, bias, ln_hh: ln_ih.clone(), ln_ih, ln_c })
    }

    gate_weights!();

    fn saved_size(&self) -> usize {
        18 * self.hidden_size() + 3
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.input();
        let hidden = self.hidden_size();
        let v = step.saved.columns_mut(4 * hidden..8 * hidden);
        product(step.prev[0], &packed[0], Accumulate::Zero, v);
        forward(step.level, self.norms(), &mut step.reborrow());
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let hidden = self.hidden_size();
        backward(step.level, self.norms(), &mut step.reborrow());
        let d_v = step.saved.as_rows().columns(12 * hidden..16 * hidden);
        product(d_v, &packed[0], Accumulate::Zero, step.d_state[0].reborrow());
    }

    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        let (level, hidden, saved) = (steps.level(), self.hidden_size(), steps.saved());
        let mut start = 0;
        let [u, v, d_a, d_v, c, d_y] = ENDS
            .map(|end| saved.columns(std::mem::replace(&mut start, end) * hidden..end * hidden));
        let GateWeights { weight_ih, weight_hh, .. } = &mut grad.weights;
        steps.x().add_outer_products(level, &steps.d_gates(), weight_ih.view_mut());
        add_outer_products(level, &d_v, &mut [(&steps.prev(0), weight_hh.view_mut())]);
        if let Some(bias) = &mut grad.bias {
            add_column_sums(level, &d_a, vec![bias.view_mut()]);
        }
        grad.ln_ih.accumulate(level, &d_a, &u);
        grad.ln_hh.accumulate(level, &d_a, &v);
        grad.ln_c.accumulate(level, &d_y, &c);
    }
}

compiled! {
    fn forward<'a, T>(norms: Norms<'a, T>, step: &'a mut ForwardStep<'a, T>) = forward_on;
    fn backward<'a, T>(norms: Norms<'a, T>, step: &'a mut BackwardStep<'a, T>) = backward_on;
}

#[inline(always)]
fn forward_on<S: Simd, T: Float>(simd: S, norms: Norms<'_, T>, step: &mut ForwardStep<'_, T>) {
    let ForwardStep { prev: [_, c_prev, ..], next: [h, c, ..], gates, saved, .. } = step;
    let Norms { epsilon, scales: [scale_u, scale_v, _], .. } = norms;
    for r in 0..gates.count() {
        let ([u, v, _, _, y, _], factors) = parts_of(saved.row_mut(r), c.width());
        let a = gates.row_mut(r);
        u.copy_from_slice(a);
        factors[0] = normalize(simd, u, epsilon);
        factors[1] = normalize(simd, v, epsilon);
        for l in lanes(simd, a.len()) {
            let (u_t, v_t) = (l.load(scale_u) * l.load(u), l.load(scale_v) * l.load(v));
            l.store(a, u_t + v_t + norms.shift(l));
        }
        let mut a = gates.row_parts_mut(r);
        let (c_prev, h, c) = (c_prev.row(r), h.row_mut(r), c.row_mut(r));
        for l in lanes(simd, c.len()) {
            let [i, f, g, o] = l.load_each(&a);
            let (i, f, g, o) = (sigmoid(i), sigmoid(f), tanh(g), sigmoid(o));
            l.store_each(&mut a, [i, f, g, o]);
            l.store(c, f * l.load(c_prev) + i * g);
        }
        y.copy_from_slice(c);
        factors[2] = normalize(simd, y, epsilon);
        for l in lanes(simd, h.len()) {
            l.store(h, l.load(a[3]) * tanh(norms.y(l, y)));
        }
    }
}

#[inline(always)]
fn backward_on<S: Simd, T: Float>(simd: S, norms: Norms<'_, T>, step: &mut BackwardStep<'_, T>) {
    let BackwardStep { prev: [_, c_prev, ..], gates, saved, .. } = step;
    let ([d_h, d_c, ..], [_, d_c_all, ..]) = (&mut step.d_state, &mut step.total);
    let Norms { scales: [scale_u, scale_v, scale_c], .. } = norms;
    let hidden = d_c.width();
    for r in 0..gates.count() {
        let ([u, v, d_a, d_v, c, d_y], factors) = parts_of(saved.row_mut(r), hidden);
        let [i, f, g, o] = gates.row_parts_mut(r);
        let (c_prev, d_h, d_c) = (c_prev.row(r), d_h.row(r), d_c.row_mut(r));
        for l in lanes(simd, hidden) {
            let (one, o_t, d_h_t) = (l.splat(1.0), l.load(o), l.load(d_h));
            let tanh_y = tanh(norms.y(l, c));
            let d_y_t = d_h_t * o_t * (one - tanh_y * tanh_y);
            l.store(d_y, d_y_t);
            l.store(&mut d_a[3 * hidden..], d_h_t * tanh_y * o_t * (one - o_t));
            // o is no longer needed. Its memory takes d_ĉ.
            l.store(o, d_y_t * l.load(scale_c));
        }
        normalize_backward(simd, o, c, factors[2]);
        for l in lanes(simd, hidden) {
            let (one, i_t, f_t, g_t) = (l.splat(1.0), l.load(i), l.load(f), l.load(g));
            let d_c_t = l.load(d_c) + l.load(o);
            l.store(d_a, d_c_t * g_t * i_t * (one - i_t));
            l.store(&mut d_a[hidden..], d_c_t * l.load(c_prev) * f_t * (one - f_t));
            l.store(&mut d_a[2 * hidden..], d_c_t * i_t * (one - g_t * g_t));
            l.record(d_c_all.row_mut(r), d_c_t);
            l.store(d_c, d_c_t * f_t);
        }
        let d_u = gates.row_mut(r);
        for l in lanes(simd, d_u.len()) {
            l.store(d_u, l.load(d_a) * l.load(scale_u));
            l.store(d_v, l.load(d_a) * l.load(scale_v));
        }
        normalize_backward(simd, d_u, u, factors[0]);
        normalize_backward(simd, d_v, v, factors[1]);
    }
}

crate::arrays!(LayerNormLstmCell {
    ..weights,
    bias: array,
    "ln_ih_weight" => ln_ih.weight,
    "ln_ih_bias" => ln_ih.bias,
    "ln_hh_weight" => ln_hh.weight,
    "ln_hh_bias" => ln_hh.bias,
    "ln_c_weight" => ln_c.weight,
    "ln_c_bias" => ln_c.bias,
});
