//! Inference and training of one layer over random sequences, through the public interface.

use std::hint::black_box;
use std::time::Instant;

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::Cell;
use recurrent::{Arrays, Recurrent, Result, Sequences};

/// A network with an input and a gradient of its output.
pub(crate) struct Work<C: Cell<Elem = f32>> {
    network: Recurrent<C>,
    x: Sequences<f32>,
    d_output: Sequences<f32>,
}

impl<C: Cell<Elem = f32>> Work<C> {
    /// Creates random work of the sizes time, batch, input and hidden.
    pub(crate) fn new([time, batch, input, hidden]: [usize; 4]) -> Result<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let network = Recurrent::builder(input, hidden).build(&mut rng)?;
        let mut random = |width| {
            Array3::from_shape_simple_fn((time, batch, width), || rng.random_range(-1.0..1.0))
        };
        let (x, d_output) = (Sequences::full(random(input))?, Sequences::full(random(hidden))?);
        Ok(Self { network, x, d_output })
    }

    /// Makes one call of inference or of training and returns its seconds.
    pub(crate) fn call(&self, train: bool) -> Result<f64> {
        let start = Instant::now();
        if train {
            let mut rng = ChaCha8Rng::seed_from_u64(0);
            let (_, _, tape) = self.network.forward_train(&self.x, None, &mut rng)?;
            let mut grad = self.network.zeros_like();
            black_box(self.network.backward(tape, &self.d_output, None, &mut grad)?);
        } else {
            black_box(self.network.forward(&self.x, None)?);
        }
        Ok(start.elapsed().as_secs_f64())
    }
}
