//! [`Recurrent`] as a [`Layer`]: a map from sequences to the output of the last layer at each step.
//! The initial state is the learned one or zeros.

use rand::Rng;

use crate::cell::Cell;
use crate::error::Result;
use crate::float::Float;
use crate::layer::Layer;
use crate::sequence::{Recurrent, Tape};
use crate::sequences::Sequences;

/// The output is [time, batch, output], with one row for each step. The [methods](Recurrent) of the same
/// names also take an initial state and return the final state.
impl<T: Float, C: Cell<Elem = T>> Layer<Sequences<T>> for Recurrent<C> {
    type Output = Sequences<T>;
    type Tape = Tape<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        Ok(self.forward(x, None)?.0)
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Tape<T>)> {
        let (y, _, tape) = self.forward_train(x, None, rng)?;
        Ok((y, tape))
    }

    fn backward(&self, tape: Tape<T>, d_y: &Sequences<T>, grad: &mut Self) -> Result<Sequences<T>> {
        Ok(self.backward(tape, d_y, None, grad)?.0)
    }
}
