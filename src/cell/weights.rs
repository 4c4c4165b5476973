//! [`GateWeights`]: the two weights and two biases that gates are made of, in PyTorch's layout.

use std::ops::Range;

use ndarray::{Array1, Array2, Axis, Slice};
use rand::Rng;

use super::{CellConfig, Steps};
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequences::Input;
use crate::tensor::reduce::add_column_sums;
use crate::tensor::{Level, RowRefs, add_outer_products};

/// W_ih, W_hh, b_ih and b_hh of all gates, one below the other.
///
/// Both biases are kept, as in PyTorch: their sum is the same function but trains differently.
#[derive(Clone, Debug)]
pub struct GateWeights<T> {
    /// W_ih [gates·hidden, input].
    pub weight_ih: Array2<T>,
    /// W_hh [gates·hidden, recurrent width].
    pub weight_hh: Array2<T>,
    /// b_ih [gates·hidden].
    pub bias_ih: Option<Array1<T>>,
    /// b_hh [gates·hidden].
    pub bias_hh: Option<Array1<T>>,
}

impl<T: Float> GateWeights<T> {
    /// Fresh weights of `gates` gates that see a recurrent state of width `state_size`.
    pub fn new(
        config: &CellConfig,
        gates: usize,
        state_size: usize,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let hidden = config.hidden_size;
        Ok(Self {
            weight_ih: config.weight(config.weight_ih, gates, (hidden, config.input_size), rng)?,
            weight_hh: config.weight(config.weight_hh, gates, (hidden, state_size), rng)?,
            bias_ih: config.bias(gates, rng)?,
            bias_hh: config.bias(gates, rng)?,
        })
    }

    /// b_ih + b_hh, where there are any: what is added to W_ih x if both act alike.
    pub fn bias(&self) -> Option<Array1<T>> {
        Some(self.bias_ih.as_ref()? + self.bias_hh.as_ref()?)
    }

    /// Sets the bias of the forget gate, which is `gate` of `gates` equal parts: `value` in `bias_ih` and
    /// zero in `bias_hh`. Without a value it stays as the other biases.
    pub fn set_forget_bias(&mut self, value: Option<f64>, gates: usize, gate: usize) -> Result<()> {
        let Some(value) = value else { return Ok(()) };
        let (Some(bias_ih), Some(bias_hh), true) =
            (&mut self.bias_ih, &mut self.bias_hh, value.is_finite())
        else {
            let expected = "a finite value, in a cell with bias";
            return Err(Error::argument("forget_bias", expected, value));
        };
        let hidden = bias_ih.len() / gates;
        let rows = Slice::from(gate * hidden..(gate + 1) * hidden);
        bias_ih.slice_axis_mut(Axis(0), rows).fill(T::from_f64(value));
        bias_hh.slice_axis_mut(Axis(0), rows).fill(T::zero());
        Ok(())
    }

    /// To a gradient: adds those of all four, where `d_gates` is the gradient of both halves of the sum
    /// W_ih x + b_ih + W_hh h' + b_hh: dW_ih = Σ d_a ⊗ x, dW_hh = Σ d_a ⊗ h', db = Σ d_a.
    pub fn accumulate(&mut self, steps: &Steps<'_, T>) {
        let (level, d_gates, h_prev) = (steps.level(), steps.d_gates(), steps.prev(0));
        let (weight_ih, weight_hh) = (self.weight_ih.view_mut(), self.weight_hh.view_mut());
        match &steps.x() {
            // Side by side, as the gates' gradients are laid out once for both.
            Input::Dense(x) => {
                let sums = &mut [(x, weight_ih), (&h_prev, weight_hh)];
                add_outer_products(level, &d_gates, sums);
            }
            x => {
                x.add_outer_products(level, &d_gates, weight_ih);
                add_outer_products(level, &d_gates, &mut [(&h_prev, weight_hh)]);
            }
        }
        let biases = [&mut self.bias_ih, &mut self.bias_hh].into_iter().flatten();
        add_column_sums(level, &d_gates, biases.map(|bias| bias.view_mut()).collect());
    }

    /// To a gradient: dW_ih += Σ d_a ⊗ x and db_ih += Σ d_a.
    pub fn add_input(&mut self, steps: &Steps<'_, T>) {
        let d_gates = steps.d_gates();
        steps.x().add_outer_products(steps.level(), &d_gates, self.weight_ih.view_mut());
        if let Some(bias) = &mut self.bias_ih {
            add_column_sums(steps.level(), &d_gates, vec![bias.view_mut()]);
        }
    }

    /// To a gradient, in `rows` of W_hh and b_hh: dW_hh += Σ d_a ⊗ h' and db_hh += Σ d_a, where
    /// `d_gates` is as wide as there are rows.
    pub fn add_recurrent(
        &mut self,
        level: Level,
        rows: Range<usize>,
        d_gates: &RowRefs<'_, T>,
        input: &RowRefs<'_, T>,
    ) {
        let rows = Slice::from(rows);
        let weight = self.weight_hh.slice_axis_mut(Axis(0), rows);
        add_outer_products(level, d_gates, &mut [(input, weight)]);
        if let Some(bias) = &mut self.bias_hh {
            add_column_sums(level, d_gates, vec![bias.slice_axis_mut(Axis(0), rows)]);
        }
    }
}

impl<T: Float> Arrays for GateWeights<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, T>) {
        f("weight_ih", self.weight_ih.view().into_dyn());
        f("weight_hh", self.weight_hh.view().into_dyn());
        self.bias_ih.for_each(&mut |_, bias| f("bias_ih", bias));
        self.bias_hh.for_each(&mut |_, bias| f("bias_hh", bias));
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, T>) {
        f("weight_ih", self.weight_ih.view_mut().into_dyn());
        f("weight_hh", self.weight_hh.view_mut().into_dyn());
        self.bias_ih.for_each_mut(&mut |_, bias| f("bias_ih", bias));
        self.bias_hh.for_each_mut(&mut |_, bias| f("bias_hh", bias));
    }
}
