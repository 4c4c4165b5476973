//! The weights of a node, under the names of this crate's networks.

use super::cells::Cells;
use super::{Networks, Node};
use crate::arrays::{Views, views};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::interop::onnx::value::{Element, Value};

impl Node {
    /// Returns the arrays of layer `l` of a network: `weight_ih_l0`, `weight_ih_l0_reverse` and so on. Fails if no cell
    /// of this crate has the settings of the node, if the weights are not constants, or if the only direction is
    /// backward in time.
    pub(in crate::interop::onnx) fn arrays(&self, l: usize) -> Result<Vec<(String, Value)>> {
        if let [(_, true)] = self.directions[..] {
            return Err(Error::argument("direction", "forward or bidirectional", "reverse"));
        }
        match &self.networks {
            Some(Networks::F32(cells)) => named(cells, l),
            Some(Networks::F64(cells)) => named(cells, l),
            None => Err(Error::argument("W, R, B, P", "constants", "values of other nodes")),
        }
    }
}

fn named<T: Float + Element>(cells: &[Cells<T>], l: usize) -> Result<Vec<(String, Value)>> {
    let mut arrays = Vec::new();
    for (cells, direction) in cells.iter().zip(["", "_reverse"]) {
        let Some(views) = weights(cells) else {
            let expected = "those of an RNN, LSTM, GRU or LSTM with peepholes of this crate";
            return Err(Error::argument("settings", expected, "others"));
        };
        for (name, array) in views {
            let name = name.trim_end_matches("_l0");
            arrays.push((format!("{name}_l{l}{direction}"), T::value(array.to_owned())));
        }
    }
    Ok(arrays)
}

/// Returns the weights, unless the settings are not those of one of this crate's cells.
fn weights<T: Float>(cells: &Cells<T>) -> Option<Views<'_, T>> {
    Some(match cells {
        Cells::Rnn(network) => views(network),
        Cells::Gru(network) => views(network),
        Cells::Lstm(network) => views(network),
        Cells::Peephole(network) => views(network),
        Cells::Steps(_) => return None,
    })
}
