//! Inspection of a [`Tape`]: the gates, states and inputs of each step, and their memory.

use ndarray::{Array2, Array3, Axis};

use crate::error::{Error, Result};
use crate::float::Float;
use crate::sequence::state::index_of;
use crate::sequence::tape::{BlockTape, DirectionTape, LayerTape, Recompute, Tape};
use crate::sequences::{Input, one_hot_values};
use crate::tensor::Rows;

impl<T: Float> Tape<T> {
    /// Returns the number of bytes of all values on the tape: the layers' inputs, the factors of dropout,
    /// and the values that [`Recompute`] keeps.
    pub fn bytes(&self) -> usize {
        let (mut values, mut tokens) = (0, 0);
        for LayerTape { x, mask, directions } in &self.layers {
            match x {
                Some(Input::Dense(x)) => values += x.len(),
                Some(Input::Tokens(x)) => tokens += x.len(),
                None => {}
            }
            values += mask.as_ref().map_or(0, Array3::len);
            for DirectionTape { blocks, checkpoints, .. } in directions {
                values += blocks.iter().map(BlockTape::len).sum::<usize>();
                values += checkpoints.iter().flatten().map(Array2::len).sum::<usize>();
            }
        }
        values * size_of::<T>() + tokens * size_of::<usize>()
    }

    /// Returns the activated gate `name` (`i f g o` of an LSTM, `r z n` of a GRU) of one layer and
    /// direction at each step, [time, batch, hidden]. It is zero in the padding.
    ///
    /// # Errors
    /// If there is no such gate, layer or direction, or the tape does not store every step.
    pub fn gate(&self, name: &str, layer: usize, reverse: bool) -> Result<Array3<T>> {
        let (names, gate) = (self.gate_names, index_of(self.gate_names, name)?);
        self.collect(layer, reverse, |tape, t| {
            let gates = tape.gates(t);
            let width = gates.width() / names.len();
            gates.columns(gate * width..(gate + 1) * width)
        })
    }

    /// Returns the state `name` (`h`, or `c` of an LSTM) of one layer and direction after each step,
    /// [time, batch, width]. It is zero in the padding.
    ///
    /// # Errors
    /// If there is no such state, layer or direction, or the tape does not store every step.
    pub fn state(&self, name: &str, layer: usize, reverse: bool) -> Result<Array3<T>> {
        let s = index_of(self.state_names, name)?;
        self.collect(layer, reverse, |tape, t| tape.next(t, s))
    }

    /// Returns the input of `layer` [time, batch, width], after dropout.
    ///
    /// # Errors
    /// If there is no such layer.
    #[expect(clippy::unreachable, reason = "training keeps the input")]
    pub fn input(&self, layer: usize) -> Result<Array3<T>> {
        let x = match &self.layer(layer)?.x {
            Some(Input::Tokens(tokens)) => one_hot_values(tokens, self.sizes[0].input),
            Some(Input::Dense(x)) => x.clone(),
            None => unreachable!("training keeps the input"),
        };
        Ok(self.order.unsorted(x))
    }

    fn layer(&self, layer: usize) -> Result<&LayerTape<T>> {
        self.layers.get(layer).ok_or_else(|| {
            Error::argument("layer", format!("less than {}", self.layers.len()), layer)
        })
    }

    fn collect(
        &self,
        layer: usize,
        reverse: bool,
        rows_of: impl for<'a> Fn(&'a BlockTape<T>, usize) -> Rows<'a, T>,
    ) -> Result<Array3<T>> {
        let directions = &self.layer(layer)?.directions;
        let Some(DirectionTape { blocks: tapes, .. }) = directions.get(usize::from(reverse)) else {
            return Err(Error::argument("reverse", "false: the layer has one direction", reverse));
        };
        if self.keep != Recompute::Store {
            let expected = "a tape that stores every step";
            return Err(Error::argument("tape", expected, "one with checkpoints"));
        }
        let width = tapes.first().map_or(0, |tape| rows_of(tape, 0).width());
        let mut all = Array3::zeros((self.order.time, self.order.batch(), width));
        for tape in tapes {
            for t in 0..tape.block.time() {
                let mut step = all.index_axis_mut(Axis(0), t);
                let to = step.rows_mut().into_iter().skip(tape.block.places.start);
                for (mut to, from) in to.zip(rows_of(tape, t).iter()) {
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to = from);
                }
            }
        }
        Ok(self.order.unsorted(all))
    }
}
