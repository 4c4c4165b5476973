//! The states of all layers as rows, the input and the output of a linear layer.

use ndarray::{Array2, Axis};

use crate::float::Float;
use crate::sequence::State;

/// Returns all states side by side, layer by layer: [batch, sum of the widths].
pub(super) fn side_by_side<T: Float>(state: &State<T>) -> Array2<T> {
    let parts: Vec<_> = state.parts().iter().flatten().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(1), &parts).expect("states of one batch")
}

/// Returns `state` with its values taken from `values`, the inverse of [`side_by_side`].
pub(super) fn filled<T: Float>(mut state: State<T>, values: &Array2<T>) -> State<T> {
    let mut rest = values.view();
    for part in state.parts_mut().iter_mut().flatten() {
        let (here, after) = rest.split_at(Axis(1), part.ncols());
        part.assign(&here);
        rest = after;
    }
    state
}
