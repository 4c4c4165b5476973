//! A user-defined cell that uses only the public interface: the minimal gated unit.
//!
//! With rows of the weights in the order f, n, H = hidden_size, I = input_size and b = b_ih + b_hh:
//!
//! ```text
//! f = σ(W_f x + U_f h' + b_f)               W [2H, I], U [2H, H]
//! n = tanh(W_n x + U_n p + b_n)             p = f ∘ h'
//! h = (1 − f) ∘ h' + f ∘ n
//! ```
//!
//! Backward, with d_h the sum of the gradients from the output and from the next step. Because
//! h − h' = f ∘ (n − h'), it uses the states in place of n:
//!
//! ```text
//! d_a_n = d_h ∘ f ∘ (1 − n²)                d_p = U_nᵀ d_a_n
//! d_a_f = (d_h ∘ (h − h') + d_p ∘ p) ∘ (1 − f)
//! d_h'  = d_h ∘ (1 − f) + d_p ∘ f + U_fᵀ d_a_f
//! ```
//!
//! Source: Zhou et al., *Minimal Gated Unit for Recurrent Neural Networks*, 2016.

use ndarray::{ArrayView2, Axis};
use rand::Rng;
use recurrent::arrays::{Visit, VisitMut};
use recurrent::cell::{BackwardStep, Cell, CellConfig, ForwardStep, GateWeights, Steps};
use recurrent::tensor::activation::{sigmoid, tanh};
use recurrent::tensor::{Accumulate, Level, Packed, Rows, RowsMut, Simd, lanes, product};
use recurrent::{Arrays, Float, Result, compiled};

/// The parameters. `GateWeights` holds W, U and the biases under PyTorch's names and computes their
/// gradients. Other arrays would be further fields.
#[derive(Clone)]
pub(crate) struct MinimalGatedUnit<T> {
    weights: GateWeights<T>,
}

/// The parameters as a bundle, for optimisers, files and checks. A gradient has the type of the cell.
impl<T: Float> Arrays for MinimalGatedUnit<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        self.weights.for_each(f);
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        self.weights.for_each_mut(f);
    }
}

impl<T: Float> MinimalGatedUnit<T> {
    /// Returns U_f and U_n, which are multiplied one after the other.
    fn weight_parts(&self) -> [ArrayView2<'_, T>; 2] {
        self.weights.weight_hh.view().split_at(Axis(0), self.hidden_size()).into()
    }
}

impl<T: Float> Cell for MinimalGatedUnit<T> {
    type Options = ();
    const NAME: &'static str = "minimal_gated_unit";
    const STATE: &'static [&'static str] = &["h"];
    const GATES: &'static [&'static str] = &["f", "n"];

    fn new(config: &CellConfig, _options: &(), rng: &mut dyn Rng) -> Result<Self> {
        Ok(Self { weights: GateWeights::new(config, 2, config.hidden_size, rng)? })
    }

    fn weights(&self) -> &GateWeights<T> {
        &self.weights
    }

    fn weights_mut(&mut self) -> &mut GateWeights<T> {
        &mut self.weights
    }

    /// Returns the width of p, which is stored for backward beside the gates.
    fn saved_size(&self) -> usize {
        self.hidden_size()
    }

    /// Returns Uᵀ for y = x·Uᵀ, with rows x; [`pack_backward`](Self::pack_backward) returns U for
    /// d_x = d_y·U.
    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight.reversed_axes())).into()
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        self.weight_parts().map(|weight| Packed::new(level, weight)).into()
    }

    /// Replaces W x + b in `gates` by f and n. A row is a sequence of the batch.
    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        step.input();
        let ForwardStep { level, prev: [h_prev, ..], next: [h, ..], gates, saved: p, .. } = step;
        let (level, h_prev, hidden) = (*level, *h_prev, self.hidden_size());
        product(h_prev, &packed[0], Accumulate::Output, gates.columns_mut(0..hidden));
        forget(level, h_prev, gates.columns_mut(0..hidden), p.reborrow());
        let n = gates.columns_mut(hidden..2 * hidden);
        product(p.as_rows(), &packed[1], Accumulate::Output, n);
        blend(level, h_prev, gates.reborrow(), h.reborrow());
    }

    /// Replaces f and n in `gates` by d_a_f and d_a_n, and d_h in `d_state` by d_h'. `saved` holds p
    /// afterwards, for `accumulate`.
    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let hidden = self.hidden_size();
        blend_backward(step.level, step.gates.reborrow(), step.d_state[0].as_rows());
        // `saved` holds d_p until `forget_backward` writes p again.
        let d_n = step.gates.as_rows().columns(hidden..2 * hidden);
        product(d_n, &packed[1], Accumulate::Zero, step.saved.reborrow());
        forget_backward(step.level, step.reborrow());
        let d_f = step.gates.as_rows().columns(0..hidden);
        product(d_f, &packed[0], Accumulate::Output, step.d_state[0].reborrow());
    }

    /// Adds the gradients of the parameters over all steps. The input of U_f is h', that of U_n is p.
    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut Self) {
        let (f, n) = (0..self.hidden_size(), self.hidden_size()..2 * self.hidden_size());
        let (level, d_gates) = (steps.level(), steps.d_gates());
        let (d_f, d_n) = (d_gates.columns(f.clone()), d_gates.columns(n.clone()));
        grad.weights.add_input(steps);
        grad.weights.add_recurrent(level, f, &d_f, &steps.prev(0));
        grad.weights.add_recurrent(level, n, &d_n, &steps.saved());
    }
}

// The equations, compiled for each instruction set. `lanes` divides a row into vectors.
compiled! {
    /// Computes f = σ(f) and p = f ∘ h'.
    fn forget<'a, T>(h_prev: Rows<'a, T>, f: RowsMut<'a, T>, p: RowsMut<'a, T>) = forget_on;
    /// Computes n = tanh(n) and h = (1 − f) ∘ h' + f ∘ n.
    fn blend<'a, T>(h_prev: Rows<'a, T>, gates: RowsMut<'a, T>, h: RowsMut<'a, T>) = blend_on;
    /// Replaces n by d_a_n.
    fn blend_backward<'a, T>(gates: RowsMut<'a, T>, d_h: Rows<'a, T>) = blend_backward_on;
    /// Replaces f by d_a_f, d_h by d_h' without U_fᵀ d_a_f, and d_p by p.
    fn forget_backward<'a, T>(step: BackwardStep<'a, T>) = forget_backward_on;
}

#[inline(always)]
fn forget_on<S: Simd, T: Float>(
    simd: S,
    h_prev: Rows<'_, T>,
    mut f: RowsMut<'_, T>,
    mut p: RowsMut<'_, T>,
) {
    for r in 0..f.count() {
        let (h_prev, f, p) = (h_prev.row(r), f.row_mut(r), p.row_mut(r));
        for l in lanes(simd, p.len()) {
            let f_t = sigmoid(l.load(f));
            l.store(f, f_t);
            l.store(p, f_t * l.load(h_prev));
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
    for r in 0..gates.count() {
        let [f, n] = gates.row_parts_mut(r);
        let (h_prev, h) = (h_prev.row(r), h.row_mut(r));
        for l in lanes(simd, h.len()) {
            let (n_t, h_prev_t) = (tanh(l.load(n)), l.load(h_prev));
            l.store(n, n_t);
            l.store(h, h_prev_t + l.load(f) * (n_t - h_prev_t));
        }
    }
}

#[inline(always)]
fn blend_backward_on<S: Simd, T: Float>(simd: S, mut gates: RowsMut<'_, T>, d_h: Rows<'_, T>) {
    for r in 0..gates.count() {
        let [f, n] = gates.row_parts_mut(r);
        let d_h = d_h.row(r);
        for l in lanes(simd, d_h.len()) {
            let n_t = l.load(n);
            l.store(n, l.load(d_h) * l.load(f) * (l.splat(1.0) - n_t * n_t));
        }
    }
}

#[inline(always)]
fn forget_backward_on<S: Simd, T: Float>(simd: S, step: BackwardStep<'_, T>) {
    let BackwardStep { prev: [h_prev, ..], next: [h, ..], mut gates, mut saved, .. } = step;
    let [mut d_h, ..] = step.d_state;
    for r in 0..gates.count() {
        let [f, _] = gates.row_parts_mut(r);
        let (h_prev, h) = (h_prev.row(r), h.row(r));
        let (p, d_h) = (saved.row_mut(r), d_h.row_mut(r));
        for l in lanes(simd, d_h.len()) {
            let (f_t, h_prev_t) = (l.load(f), l.load(h_prev));
            let (d_h_t, d_p_t, keep) = (l.load(d_h), l.load(p), l.splat(1.0) - f_t);
            let p_t = f_t * h_prev_t;
            l.store(f, (d_h_t * (l.load(h) - h_prev_t) + d_p_t * p_t) * keep);
            l.store(d_h, d_h_t * keep + d_p_t * f_t);
            l.store(p, p_t);
        }
    }
}
