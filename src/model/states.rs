//! Rows side by side, and the states of all layers as rows: the input and the output of a linear layer.
#![expect(clippy::indexing_slicing, reason = "there is a block, and blocks have the same states")]

use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

use crate::float::Float;
use crate::sequence::State;

/// Returns the arrays [rows, width] side by side, in standard layout.
#[expect(clippy::expect_used, reason = "each part gives its width to each row")]
pub(super) fn beside<T: Float>(parts: &[ArrayView2<'_, T>]) -> Array2<T> {
    let rows = parts.first().map_or(0, |part| part.nrows());
    let width = parts.iter().map(|part| part.ncols()).sum();
    let mut all = Vec::with_capacity(rows * width);
    for row in 0..rows {
        for part in parts {
            match part.row(row).to_slice() {
                Some(row) => all.extend_from_slice(row),
                None => all.extend(part.row(row)),
            }
        }
    }
    Array2::from_shape_vec((rows, width), all).expect("as many rows of each")
}

/// Copies the columns of `values` to `parts`, the inverse of [`beside`].
pub(super) fn divide<'a, T: Float>(
    values: ArrayView2<'_, T>,
    parts: impl Iterator<Item = ArrayViewMut2<'a, T>>,
) {
    let mut rest = values;
    for mut part in parts {
        let (here, after) = rest.split_at(Axis(1), part.ncols());
        part.assign(&here);
        rest = after;
    }
}

/// Returns all states side by side, layer by layer: [batch, sum of the widths].
pub(super) fn side_by_side<T: Float>(state: &State<T>) -> Array2<T> {
    let parts: Vec<_> = state.parts().iter().flatten().map(|part| part.view()).collect();
    beside(&parts)
}

/// Returns the states of the sequences of all `blocks`, in order.
pub(super) fn joined<T: Float>(blocks: Vec<State<T>>) -> State<T> {
    let mut all = blocks[0].zeros(blocks.iter().map(State::batch).sum());
    for (k, part) in all.parts_mut().iter_mut().enumerate() {
        for (s, to) in part.iter_mut().enumerate() {
            let mut rest = to.view_mut();
            for block in &blocks {
                let (mut here, after) = rest.split_at(Axis(0), block.batch());
                here.assign(&block.parts()[k][s]);
                rest = after;
            }
        }
    }
    all
}

/// Returns `state` with its values taken from `values`, the inverse of [`side_by_side`].
pub(super) fn filled<T: Float>(mut state: State<T>, values: &Array2<T>) -> State<T> {
    let parts = state.parts_mut().iter_mut().flatten();
    divide(values.view(), parts.map(|part| part.view_mut()));
    state
}
