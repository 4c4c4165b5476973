//! [`GateWeights`]: the two weights and two biases of all gates of a cell, in PyTorch's layout.

use std::ops::Range;

use ndarray::{Array1, Array2, Axis, Slice};
use rand::Rng;

use super::{CellConfig, LstmOptions, Steps};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequences::Input;
use crate::tensor::elementwise::sum;
use crate::tensor::reduce::add_column_sums;
use crate::tensor::{Level, RowRefs, add_outer_products};

/// Implements [`Cell::weights`](super::Cell::weights) and `weights_mut` with the field `weights`.
macro_rules! gate_weights {
    () => {
        fn weights(&self) -> &GateWeights<T> {
            &self.weights
        }

        fn weights_mut(&mut self) -> &mut GateWeights<T> {
            &mut self.weights
        }
    };
}
pub(crate) use gate_weights;

/// W_ih, W_hh, b_ih and b_hh of all gates, stacked along the first axis.
///
/// There are two biases, as in PyTorch. A single one would give the same function, but train differently.
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
    /// Creates the initial weights of `gates` gates that read a recurrent state of width `state_size`.
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

    /// Returns b_ih + b_hh, if there are biases.
    pub fn bias(&self) -> Option<Array1<T>> {
        Some(sum(self.bias_ih.as_ref()?, self.bias_hh.as_ref()?))
    }

    /// Sets the bias of the forget gate, number `gate` of `gates`, by the options `lstm`: the value in
    /// `bias_ih` and zero in `bias_hh`. Without a value the biases are unchanged.
    ///
    /// # Errors
    /// If the value is not finite, there is no bias, or the biases have no such gate.
    pub fn set_forget_bias(&mut self, lstm: &LstmOptions, gates: usize, gate: usize) -> Result<()> {
        let Some(value) = lstm.forget_bias else { return Ok(()) };
        let (Some(bias), true) = (&mut self.bias_ih, value.is_finite()) else {
            let expected = "a finite value, in a cell with bias";
            return Err(Error::argument("forget_bias", expected, value));
        };
        let rows = bias.len();
        let same = self.bias_hh.as_ref().is_none_or(|bias| bias.len() == rows);
        if gate >= gates || !rows.is_multiple_of(gates) || !same {
            let expected = format!("a gate of {gates} in {rows} rows of each bias");
            return Err(Error::argument("gate", expected, gate));
        }
        let rows = Slice::from(rows / gates * gate..rows / gates * (gate + 1));
        bias.slice_axis_mut(Axis(0), rows).fill(T::from_f64(value));
        self.bias_hh.iter_mut().for_each(|bias| bias.slice_axis_mut(Axis(0), rows).fill(T::zero()));
        Ok(())
    }

    /// Adds the gradients of all four arrays to `self`, a gradient: dW_ih = Σ d_a ⊗ x, dW_hh = Σ d_a ⊗ h',
    /// db = Σ d_a. `d_gates` must be the gradient of the whole sum W_ih x + b_ih + W_hh h' + b_hh.
    pub fn accumulate(&mut self, steps: &Steps<'_, T>) {
        let (level, d_gates, h_prev) = (steps.level(), steps.d_gates(), steps.prev(0));
        let (weight_ih, weight_hh) = (self.weight_ih.view_mut(), self.weight_hh.view_mut());
        match &steps.x() {
            // In one call, so that the gradients of the gates are packed once for both.
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

    /// Adds Σ d_a ⊗ x to dW_ih and Σ d_a to db_ih. `self` is a gradient.
    pub fn add_input(&mut self, steps: &Steps<'_, T>) {
        let d_gates = steps.d_gates();
        steps.x().add_outer_products(steps.level(), &d_gates, self.weight_ih.view_mut());
        if let Some(bias) = &mut self.bias_ih {
            add_column_sums(steps.level(), &d_gates, vec![bias.view_mut()]);
        }
    }

    /// Adds Σ d_a ⊗ h' to the given rows of dW_hh and Σ d_a to those of db_hh, where h' is `input` and the
    /// width of `d_gates` is the number of rows. `self` is a gradient.
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

crate::arrays!(GateWeights { weight_ih: array, weight_hh: array, bias_ih: array, bias_hh: array });
