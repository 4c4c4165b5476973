//! [`Model`]: what the loop trains.

use rand::Rng;

use crate::arrays::Arrays;
use crate::data::Source;
use crate::error::Result;
use crate::train::Score;

/// What [`Trainer`](crate::train::Trainer) trains: any composition of layers that can learn from a
/// batch and be judged by one.
///
/// [`Arrays`] comes from [`arrays!`](crate::arrays!); the two methods are all that is left to write.
pub trait Model: Arrays {
    /// Inputs and targets together.
    type Batch;
    /// What the model is judged by.
    type Score: Score;

    /// The mean loss of `batch`, whose gradient is added to `grad`. What is random in training, such
    /// as dropout, is drawn from `rng`.
    fn loss_and_grad(&self, batch: &Self::Batch, grad: &mut Self, rng: &mut dyn Rng)
    -> Result<f64>;

    /// Adds what the model says of `batch`, as in use, to `score`.
    fn score_batch(&self, batch: &Self::Batch, score: &mut Self::Score) -> Result<()>;

    /// The score over all of `source`, `batch_size` samples at a time.
    ///
    /// # Errors
    /// Those of the source and of [`measure`](Model::score_batch); a `batch_size` of zero.
    fn evaluate(&self, source: &dyn Source<Self::Batch>, batch_size: usize) -> Result<Self::Score> {
        crate::error::check_size("batch_size", &[batch_size])?;
        let mut score = Self::Score::default();
        let all: Vec<usize> = (0..source.len()).collect();
        for indices in all.chunks(batch_size) {
            self.score_batch(&source.batch(indices)?, &mut score)?;
        }
        Ok(score)
    }
}
