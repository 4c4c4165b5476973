//! [`Steps`]: the equations of the three operators with any settings, as the specification writes them.
//!
//! With f, g and h the activations of a direction. The clip bounds the sums that f and g read, as in onnxruntime:
//!
//! ```text
//! RNN    H = f(X Wᵀ + H' Rᵀ + Wb + Rb)
//! GRU    z = f(X Wzᵀ + H' Rzᵀ + Wbz + Rbz)        r = f(X Wrᵀ + H' Rrᵀ + Wbr + Rbr)
//!        n = g(X Whᵀ + (r ∘ H') Rhᵀ + Rbh + Wbh)  or g(X Whᵀ + r ∘ (H' Rhᵀ + Rbh) + Wbh)
//!        H = (1 − z) ∘ n + z ∘ H'
//! LSTM   i = f(X Wiᵀ + H' Riᵀ + Pi ∘ C' + Wbi + Rbi)   o with Po ∘ C, f with Pf ∘ C' or 1 − i
//!        c = g(X Wcᵀ + H' Rcᵀ + Wbc + Rbc)
//!        C = f ∘ C' + i ∘ c                             H = o ∘ h(C)
//! ```
#![expect(clippy::indexing_slicing, reason = "the lengths are one for each sequence")]

use ndarray::{Array1, Array2, Array3, ArrayView2, ArrayView3, Axis, Slice};

use super::{Direction, Kind, Results, Settings};
use crate::float::Float;
use crate::interop::onnx::operator::multiply;

/// One direction of an operator that is not one of this crate's cells.
#[derive(Debug)]
pub(super) struct Steps<T> {
    kind: Kind,
    settings: Settings,
    direction: Direction<T>,
}

impl<T: Float> Steps<T> {
    pub(super) fn new(kind: Kind, settings: Settings, direction: Direction<T>) -> Self {
        Self { kind, settings, direction }
    }

    pub(super) fn input_size(&self) -> usize {
        self.direction.w.ncols()
    }

    pub(super) fn hidden_size(&self) -> usize {
        self.direction.r.ncols()
    }

    /// Runs over `x` [time, batch, input] from states [batch, hidden].
    pub(super) fn forward(
        &self,
        x: ArrayView3<'_, T>,
        lengths: &[usize],
        (mut h, mut c): (Array2<T>, Array2<T>),
    ) -> Results<T> {
        let (time, batch, _) = x.dim();
        let mut output = Array3::zeros((time, batch, h.ncols()));
        let longest = lengths.iter().copied().max().unwrap_or(0);
        for (t, x_t) in x.outer_iter().enumerate().take(longest) {
            let sums = multiply(x_t, self.direction.w.t()) + &self.direction.w_bias;
            let (next_h, next_c) = match self.kind {
                Kind::Rnn => (self.rnn(sums, &h), None),
                Kind::Gru => (self.gru(&sums, &h), None),
                Kind::Lstm => {
                    let (h, c) = self.lstm(&sums, &h, &c);
                    (h, Some(c))
                }
            };
            for b in (0..batch).filter(|&b| t < lengths[b]) {
                h.row_mut(b).assign(&next_h.row(b));
                output.index_axis_mut(Axis(0), t).row_mut(b).assign(&next_h.row(b));
                if let Some(next_c) = &next_c {
                    c.row_mut(b).assign(&next_c.row(b));
                }
            }
        }
        Results { output, h, c: (self.kind == Kind::Lstm).then_some(c) }
    }

    /// Returns activation `index` of sums after the clip.
    fn activate(&self, index: usize, mut values: Array2<T>) -> Array2<T> {
        if let Some(clip) = self.settings.clip {
            let clip = T::from_f64(clip);
            values.mapv_inplace(|value| value.max(-clip).min(clip));
        }
        self.apply(index, values)
    }

    /// Returns activation `index` of the values.
    #[expect(clippy::expect_used, reason = "`as_standard_layout` makes it so")]
    fn apply(&self, index: usize, values: Array2<T>) -> Array2<T> {
        let activation = self.settings.activations[index];
        let mut values = values.as_standard_layout().into_owned();
        activation.apply(values.as_slice_mut().expect("values in standard layout"));
        values
    }

    /// Returns h Rᵀ + Rb for the gates `gates`.
    fn recur(&self, h: ArrayView2<'_, T>, gates: std::ops::Range<usize>) -> Array2<T> {
        let Direction { r, r_bias, .. } = &self.direction;
        let rows = Slice::from(gates.start * h.ncols()..gates.end * h.ncols());
        multiply(h, r.slice_axis(Axis(0), rows).reversed_axes()) + r_bias.slice_axis(Axis(0), rows)
    }

    fn rnn(&self, sums: Array2<T>, h: &Array2<T>) -> Array2<T> {
        self.activate(0, sums + &self.recur(h.view(), 0..1))
    }

    fn gru(&self, sums: &Array2<T>, h: &Array2<T>) -> Array2<T> {
        let hidden = h.ncols();
        let gate = |index: usize| columns(sums, index, hidden);
        let zr = self.recur(h.view(), 0..2);
        let z = self.activate(0, gate(0).to_owned() + columns(&zr, 0, hidden));
        let r = self.activate(0, gate(1).to_owned() + columns(&zr, 1, hidden));
        let candidate = match self.settings.linear_before_reset {
            true => self.recur(h.view(), 2..3) * &r,
            false => self.recur((&r * h).view(), 2..3),
        };
        let n = self.activate(1, candidate + gate(2));
        &n - &(&z * &n) + &(&z * h)
    }

    fn lstm(&self, sums: &Array2<T>, h: &Array2<T>, c: &Array2<T>) -> (Array2<T>, Array2<T>) {
        let hidden = h.ncols();
        let sums = self.recur(h.view(), 0..4) + sums;
        let gate = |index: usize| columns(&sums, index, hidden).to_owned();
        let peephole = |index: usize, c: &Array2<T>| -> Array2<T> {
            let part = Slice::from(index * hidden..(index + 1) * hidden);
            let of = |p: &Array1<T>| c * &p.slice_axis(Axis(0), part);
            self.direction.peepholes.as_ref().map_or_else(|| Array2::zeros(c.dim()), of)
        };
        let i = self.activate(0, gate(0) + &peephole(0, c));
        let f = match self.settings.input_forget {
            true => i.mapv(|i| T::one() - i),
            false => self.activate(0, gate(2) + &peephole(2, c)),
        };
        let c = f * c + &(&i * &self.activate(1, gate(3)));
        let o = self.activate(0, gate(1) + &peephole(1, &c));
        (o * &self.apply(2, c.clone()), c)
    }
}

/// Returns the columns of gate `index`.
fn columns<T>(sums: &Array2<T>, index: usize, hidden: usize) -> ArrayView2<'_, T> {
    sums.slice_axis(Axis(1), Slice::from(index * hidden..(index + 1) * hidden))
}
