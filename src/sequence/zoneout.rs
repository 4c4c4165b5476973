//! Zoneout: some values of a state keep their old value.
//!
//! With ŝ the new state that the cell computes from s':
//!
//! ```text
//! s = m ∘ s' + (1 − m) ∘ ŝ        m = 1 with probability p, else 0; in inference m = p
//! d_ŝ = (1 − m) ∘ d_s             d_s' = m ∘ d_s + the gradient through the cell
//! ```
//!
//! m is drawn for each call, layer, direction, state, sequence, step and value. Together these determine
//! the position in a random stream, so the backward pass draws the same numbers on any number of threads.
//!
//! Source: Krueger et al., *Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations*, 2017.

use ndarray::{Array1, ArrayView2};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::cell::any::{AnyCell, AnyGradient, Sizes};
use crate::cell::step::{Noise, Window};
use crate::cell::{BackwardStep, ForwardStep, MAX_STATES, Steps};
use crate::float::{Float, per_float};
use crate::sequences::Input;
use crate::tensor::activation::flush_tiny_rows;
use crate::tensor::{Level, Packed, RowRefs, Rows};

/// A cell with zoneout. It saves ŝ after the values that the cell itself saves.
pub(crate) struct Zoneout<'m, T: Float> {
    cell: Box<dyn AnyCell<'m, T> + 'm>,
    /// The sizes of the cell itself.
    sizes: Sizes,
    /// The probability p of each state.
    p: [f64; MAX_STATES],
}

per_float! {
    /// Returns the cell with zoneout, where `p` is the probability of each state.
    pub(crate) fn zoneout<'m, T>(
        cell: Box<dyn AnyCell<'m, T> + 'm>,
        p: [f64; MAX_STATES],
    ) -> Box<dyn AnyCell<'m, T> + 'm> = boxed;
}

fn boxed<'m, T: Float>(
    cell: Box<dyn AnyCell<'m, T> + 'm>,
    p: [f64; MAX_STATES],
) -> Box<dyn AnyCell<'m, T> + 'm> {
    Box::new(Zoneout { sizes: cell.sizes(), cell, p })
}

impl<'m, T: Float> Zoneout<'m, T> {
    /// Returns the columns of ŝ in a row of `saved`, state by state.
    fn columns(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let mut end = self.sizes.saved;
        self.sizes.states().iter().map(move |width| {
            end += width;
            end - width..end
        })
    }

    /// Returns m of state `s` of the sequence in row `r` of a step.
    fn factors(&self, noise: Noise, s: usize, r: usize) -> impl Iterator<Item = T> {
        let (p, width) = (self.p[s], self.sizes.states()[s]);
        let mut rng = noise.seed.map(|seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(((noise.place + r) * MAX_STATES + s) as u64);
            // A random number takes two words.
            rng.set_word_pos(2 * (noise.t as u128) * (width as u128));
            rng
        });
        (0..width).map(move |_| match &mut rng {
            None => T::from_f64(p),
            Some(rng) => T::from_f64(f64::from(u8::from(rng.random::<f64>() < p))),
        })
    }
}

impl<'m, T: Float> AnyCell<'m, T> for Zoneout<'m, T> {
    fn sizes(&self) -> Sizes {
        let states: usize = self.sizes.states().iter().sum();
        Sizes { saved: self.sizes.saved + states, ..self.sizes }
    }

    fn weight_ih(&self) -> ArrayView2<'m, T> {
        self.cell.weight_ih()
    }

    fn input_bias(&self) -> Option<Array1<T>> {
        self.cell.input_bias()
    }

    fn pack_forward(&self, level: Level) -> Vec<Packed<T>> {
        self.cell.pack_forward(level)
    }

    fn pack_backward(&self, level: Level) -> Vec<Packed<T>> {
        self.cell.pack_backward(level)
    }

    fn forward(&self, packed: &[Packed<T>], step: &mut ForwardStep<'_, T>) {
        let all = step.saved.narrow(0..self.sizes.saved);
        self.cell.forward(packed, step);
        step.saved.widen(all);
        let ForwardStep { level, prev, next, saved, noise, .. } = step;
        for (s, columns) in self.columns().enumerate() {
            flush_tiny_rows(*level, next[s].reborrow());
            for r in 0..next[s].count() {
                let made = &mut saved.row_mut(r)[columns.clone()];
                made.copy_from_slice(next[s].row(r));
                let values = prev[s].row(r).iter().zip(made).zip(self.factors(*noise, s, r));
                for (next, ((&before, &mut made), m)) in next[s].row_mut(r).iter_mut().zip(values) {
                    *next = m * before + (T::one() - m) * made;
                }
            }
        }
    }

    fn backward(&self, packed: &[Packed<T>], step: &mut BackwardStep<'_, T>) {
        let (mut made, mut skipped) = (Vec::new(), Vec::new());
        for (s, columns) in self.columns().enumerate() {
            let d_state = &mut step.d_state[s];
            let mut of_state = Vec::with_capacity(d_state.count() * columns.len());
            for r in 0..d_state.count() {
                of_state.extend_from_slice(&step.saved.row(r)[columns.clone()]);
                let factors = self.factors(step.noise, s, r);
                for (d, m) in d_state.row_mut(r).iter_mut().zip(factors) {
                    skipped.push(m * *d);
                    *d *= T::one() - m;
                }
            }
            made.push(of_state);
        }
        let mut own = step.reborrow();
        own.next = [Rows::default(); MAX_STATES];
        // The output is computed from the states before zoneout.
        own.total = Default::default();
        for ((next, made), &width) in own.next.iter_mut().zip(&made).zip(self.sizes.states()) {
            *next = Rows::new(made, width);
        }
        own.saved.narrow(0..self.sizes.saved);
        self.cell.backward(packed, &mut own);
        let mut skipped = skipped.into_iter();
        for d_state in step.d_state.iter_mut().take(self.sizes.states().len()) {
            flush_tiny_rows(step.level, d_state.reborrow());
            for r in 0..d_state.count() {
                d_state.row_mut(r).iter_mut().zip(&mut skipped).for_each(|(d, more)| *d += more);
            }
        }
    }

    fn accumulate(&self, steps: &Steps<'_, T>, grad: &mut dyn AnyGradient<T>) {
        let window = &Made { zoneout: self, steps };
        self.cell.accumulate(&Steps { level: steps.level(), window }, grad);
    }
}

/// The rows of a window, with ŝ in place of the states after each step.
struct Made<'a, 'm, T: Float> {
    zoneout: &'a Zoneout<'m, T>,
    steps: &'a Steps<'a, T>,
}

impl<T: Float> Window<T> for Made<'_, '_, T> {
    fn x(&self) -> Input<RowRefs<'_, T>, Vec<usize>> {
        self.steps.x()
    }

    fn d_gates(&self) -> RowRefs<'_, T> {
        self.steps.d_gates()
    }

    fn saved(&self) -> RowRefs<'_, T> {
        self.steps.saved().columns(0..self.zoneout.sizes.saved)
    }

    fn prev(&self, state: usize) -> RowRefs<'_, T> {
        self.steps.prev(state)
    }

    #[expect(clippy::expect_used, reason = "there are columns for each state of the cell")]
    fn next(&self, state: usize) -> RowRefs<'_, T> {
        let columns = self.zoneout.columns().nth(state);
        self.steps.saved().columns(columns.expect("a state of the cell"))
    }
}
