//! The arrays of a layer in Keras' layout: matrices as [inputs, outputs], and Keras' order of the gates.

use std::any::Any;

use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis, stack};

use super::layer::KerasLayer;
use super::recurrent::{KerasCell, ordered};
use crate::arrays::views;
use crate::cell::{
    Cell, CoupledLstmCell, GateWeights, GruCell, LayerNormLstmCell, LstmCell, PeepholeLstmCell,
    ProjectedLstmCell, RnnCell,
};
use crate::layer::{Embedding, LayerNorm, Linear};
use crate::model::BuiltInCell;
use crate::sequence::Recurrent;

/// The arrays of a group `vars`, in order, with the path of the group below that of the layer.
pub(super) type Part = (&'static str, Vec<ArrayD<f32>>);

/// A cell in Keras' layout.
pub(super) struct CellArrays {
    /// The class of the layer, such as `LSTM`.
    pub(super) class: &'static str,
    /// The kernel, the recurrent kernel and, of a cell with biases, the bias.
    pub(super) arrays: Vec<ArrayD<f32>>,
}

impl CellArrays {
    /// Returns the arrays of a cell, or its name if Keras has no such cell. `name` is that of its type.
    pub(super) fn of(cell: &dyn Any, name: &'static str) -> Result<Self, &'static str> {
        if let Some(cell) = cell.downcast_ref::<LstmCell<f32>>() {
            return Ok(Self::new(cell));
        }
        if let Some(cell) = cell.downcast_ref::<GruCell<f32>>() {
            return Ok(Self::new(cell));
        }
        if let Some(cell) = cell.downcast_ref::<RnnCell<f32>>() {
            return Ok(Self::new(cell));
        }
        match cell.downcast_ref::<BuiltInCell<f32>>().ok_or(name)? {
            BuiltInCell::Lstm(cell) => Ok(Self::new(cell)),
            BuiltInCell::Gru(cell) => Ok(Self::new(cell)),
            BuiltInCell::Rnn(cell) => Ok(Self::new(cell)),
            BuiltInCell::PeepholeLstm(_) => Err(PeepholeLstmCell::<f32>::NAME),
            BuiltInCell::CoupledLstm(_) => Err(CoupledLstmCell::<f32>::NAME),
            BuiltInCell::ProjectedLstm(_) => Err(ProjectedLstmCell::<f32>::NAME),
            BuiltInCell::LayerNormLstm(_) => Err(LayerNormLstmCell::<f32>::NAME),
        }
    }

    #[expect(clippy::expect_used, reason = "a cell has two biases of one length")]
    fn new<C: KerasCell>(cell: &C) -> Self {
        let GateWeights { weight_ih, weight_hh, bias_ih, bias_hh } = cell.weights();
        let units = cell.hidden_size();
        // The exchange of two gates is its own inverse.
        let kernel = |weight: &Array2<f32>| transposed(ordered::<C>(weight.view(), units).view());
        let mut arrays = vec![kernel(weight_ih), kernel(weight_hh)];
        if let (Some(input), Some(state)) = (bias_ih, bias_hh) {
            let row = |bias: Array1<f32>| {
                ordered::<C>(bias.insert_axis(Axis(1)).view(), units).remove_axis(Axis(1))
            };
            arrays.push(if cell.has_two_biases() {
                let rows = [input, state].map(|bias| row(bias.clone()));
                let rows = stack(Axis(0), &[rows[0].view(), rows[1].view()]);
                rows.expect("biases of one length").into_dyn()
            } else {
                row(sum(input, state)).into_dyn()
            });
        }
        Self { class: C::CLASS, arrays }
    }
}

/// Returns the sum of two biases. It keeps the bits of `input` where `state` is zero.
fn sum(input: &Array1<f32>, state: &Array1<f32>) -> Array1<f32> {
    let sum = |(&a, &b): (&f32, &f32)| if b == 0.0 { a } else { a + b };
    input.iter().zip(state).map(sum).collect()
}

fn transposed(weight: ArrayView2<'_, f32>) -> ArrayD<f32> {
    weight.t().as_standard_layout().into_owned().into_dyn()
}

/// Returns the paths of the cells of a layer below its group.
pub(super) fn cell_paths(bidirectional: bool) -> &'static [&'static str] {
    if bidirectional { &["forward_layer/cell", "backward_layer/cell"] } else { &["cell"] }
}

/// Returns the kernel and the bias of a dense layer.
pub(super) fn dense(linear: &Linear<f32>) -> Vec<ArrayD<f32>> {
    let bias = linear.bias().map(|bias| bias.clone().into_dyn());
    [transposed(linear.weight())].into_iter().chain(bias).collect()
}

/// Returns the vectors of an embedding.
pub(super) fn embedding(embedding: &Embedding<f32>) -> Vec<ArrayD<f32>> {
    vec![embedding.weight().to_owned().into_dyn()]
}

/// Returns the scale and the offset of a normalisation.
pub(super) fn layer_norm(norm: &LayerNorm<f32>) -> Vec<ArrayD<f32>> {
    views(norm).into_iter().map(|(_, array)| array.to_owned()).collect()
}

/// Returns the arrays of a layer, part by part.
pub(super) fn parts(layer: &KerasLayer) -> Vec<Part> {
    match layer {
        KerasLayer::Embedding { embedding, .. } => vec![("", self::embedding(embedding))],
        KerasLayer::Rnn(recurrent) => cells(&recurrent.network),
        KerasLayer::Lstm(recurrent) => cells(&recurrent.network),
        KerasLayer::Gru(recurrent) => cells(&recurrent.network),
        KerasLayer::Dense(linear, _) => vec![("", dense(linear))],
        KerasLayer::LayerNorm(norm) => vec![("", layer_norm(norm))],
        KerasLayer::Masking(_)
        | KerasLayer::Activation(_)
        | KerasLayer::Merge(_)
        | KerasLayer::Identity => Vec::new(),
    }
}

/// Returns the arrays of the cells of one layer.
fn cells<C: KerasCell>(network: &Recurrent<C>) -> Vec<Part> {
    let paths = cell_paths(network.bidirectional()).iter();
    let cells = network.cells().iter().map(|cell| CellArrays::new(cell).arrays);
    paths.copied().zip(cells).collect()
}
