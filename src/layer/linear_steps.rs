//! [`LinearSteps`]: a linear layer that is applied step by step, with weights that are packed once.

use ndarray::{Array2, ArrayView2};

use crate::error::Result;
use crate::float::Float;
use crate::layer::Linear;
use crate::layer::linear::PackedLinear;
use crate::tensor::{RowRefs, Rows};

/// A linear layer on the steps of a walk, [rows, features] each. All results equal, bit for bit, those of the
/// layer on the steps one below the other.
pub(crate) struct LinearSteps<'m, T: Float> {
    linear: &'m Linear<T>,
    packed: PackedLinear<'m, T>,
    /// The weight for the backward pass, packed at its first step.
    backward: Option<PackedLinear<'m, T>>,
    /// The input of each step of training, and the gradients of the outputs from the last step on.
    x: Vec<Array2<T>>,
    d_y: Vec<Array2<T>>,
}

impl<'m, T: Float> LinearSteps<'m, T> {
    pub(crate) fn new(linear: &'m Linear<T>) -> Self {
        let packed = linear.packed();
        Self { linear, packed, backward: None, x: Vec::new(), d_y: Vec::new() }
    }

    /// Returns y [rows, output] of `x` [rows, input].
    pub(crate) fn step(&self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.packed.forward_rows(x)
    }

    /// Returns the same, and stores `x` for the backward pass.
    pub(crate) fn step_train(&mut self, x: Array2<T>) -> Result<Array2<T>> {
        let y = self.step(x.view())?;
        self.x.push(x);
        Ok(y)
    }

    /// Returns d_x [rows, input] from `d_y` [rows, output] of the last step that is left.
    pub(crate) fn step_back(&mut self, d_y: Array2<T>) -> Result<Array2<T>> {
        let backward = self.backward.get_or_insert_with(|| self.linear.packed_backward());
        let d_x = backward.forward_rows(d_y.view())?;
        self.d_y.push(d_y);
        Ok(d_x)
    }

    /// Adds the gradients of the parameters over all steps to `grad`.
    pub(crate) fn finish(self, grad: &mut Linear<T>) -> Result<()> {
        let x = self.x.iter().flat_map(|x| Rows::of(x).iter()).collect();
        let d_y = self.d_y.iter().rev().flat_map(|d_y| Rows::of(d_y).iter()).collect();
        let (x, d_y) = (
            RowRefs::new(x, self.linear.input_size()),
            RowRefs::new(d_y, self.linear.output_size()),
        );
        self.linear.add_gradients(&x, &d_y, grad)
    }
}
