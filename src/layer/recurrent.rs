//! [`Recurrent`] as a [`Layer`]: a map from sequences to the output of the last layer at each step.
//! The initial state is the learned one or zeros.

use rand::Rng;

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::layer::Layer;
use crate::layer::steps::check;
use crate::sequence::{Recurrent, Tape};
use crate::sequences::Sequences;

/// The output is [time, batch, output], with one row for each step. The [methods](Recurrent) of the same
/// names also take an initial state and return the final state.
impl<T: Float, C: Cell<Elem = T>> Layer<Sequences<T>> for Recurrent<C> {
    type Output = Sequences<T>;
    /// The tape, and the empty gradient of token input, which also carries the lengths.
    type Tape = (Tape<T>, Sequences<T>);

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        Ok(self.forward(x, None)?.0)
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Self::Tape)> {
        let (y, _, tape) = self.forward_train(x, None, rng)?;
        Ok((y, (tape, x.no_gradient())))
    }

    fn backward(
        &self,
        (tape, lengths): Self::Tape,
        d_y: &Sequences<T>,
        grad: &mut Self,
    ) -> Result<Sequences<T>> {
        check("d_y", &lengths, (self.output_size(), "time, batch, output"), d_y)?;
        let (d_x, _) = self.backward(tape, d_y.values(), None, grad)?;
        match d_x {
            None => Ok(lengths),
            Some(d_x) => lengths.with_values(d_x),
        }
    }
}
