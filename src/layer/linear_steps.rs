//! [`LinearSteps`]: a linear layer that is applied step by step, with weights that are packed once.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2};

use crate::error::Result;
use crate::float::Float;
use crate::layer::Linear;
use crate::layer::linear::PackedLinear;
use crate::tensor::{Precision, RowRefs, Rows};

/// A linear layer on the steps of a walk, [rows, features] each. All results equal, bit for bit, those of the
/// layer on the steps one below the other.
pub(crate) struct LinearSteps<'m, T: Float> {
    linear: &'m Linear<T>,
    packed: Arc<PackedLinear<'m, T>>,
    /// The weight for the backward pass, packed at its first step.
    backward: Option<PackedLinear<'m, T>>,
    /// The input of each step of training, and the gradients of the outputs from the last step on.
    x: Vec<Array2<T>>,
    d_y: Vec<Array2<T>>,
}

impl<'m, T: Float> LinearSteps<'m, T> {
    pub(crate) fn new(linear: &'m Linear<T>) -> Self {
        Self::with(linear, Precision::Full)
    }

    /// Creates a walk whose weight has the given precision, which [`Precision::check`] allows. One of a reduced
    /// precision has no backward pass.
    pub(crate) fn with(linear: &'m Linear<T>, precision: Precision) -> Self {
        Self::begin(linear, Arc::new(linear.packed_with(precision)))
    }

    fn begin(linear: &'m Linear<T>, packed: Arc<PackedLinear<'m, T>>) -> Self {
        Self { linear, packed, backward: None, x: Vec::new(), d_y: Vec::new() }
    }

    /// Returns another walk, from its first step. It shares the packed weight.
    pub(crate) fn another(&self) -> Self {
        Self::begin(self.linear, self.packed.clone())
    }

    /// Returns `count` walks that begin here, each with its own rows.
    pub(crate) fn divided(self, count: usize) -> Vec<Self> {
        (0..count).map(|_| self.another()).collect()
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

    /// Adds the gradients of the parameters over all steps of all `blocks` to `grad`. The rows are added step by
    /// step, those of the first block first, so the division into blocks changes no bit.
    pub(crate) fn finish(blocks: &[Self], grad: &mut Linear<T>) -> Result<()> {
        let Some(Self { linear, x, .. }) = blocks.first() else { return Ok(()) };
        let steps = x.len();
        let x = (0..steps).flat_map(|t| blocks.iter().flat_map(move |b| Rows::of(&b.x[t]).iter()));
        let d_y = (0..steps).rev();
        let d_y = d_y.flat_map(|t| blocks.iter().flat_map(move |b| Rows::of(&b.d_y[t]).iter()));
        let (x, d_y) = (
            RowRefs::new(x.collect(), linear.input_size()),
            RowRefs::new(d_y.collect(), linear.output_size()),
        );
        linear.add_gradients(&x, &d_y, grad)
    }
}
