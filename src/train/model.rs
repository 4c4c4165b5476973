//! [`Model`]: the interface between a model and the training loop.

use rand::Rng;

use crate::arrays::Arrays;
use crate::data::columns::check_same;
use crate::data::{Scaler, Source};
use crate::error::{Result, check_count};
use crate::train::Score;
use crate::train::locate::locate;

/// A model that [`Trainer`](crate::train::Trainer) can train, such as layers with a loss.
///
/// The macro [`arrays!`](crate::arrays!) implements [`Arrays`]. Two methods have no default. A model, and so a
/// [`Trainer`](crate::train::Trainer) of it, can be sent to another thread.
pub trait Model: Arrays + Send {
    /// A batch of inputs and targets.
    type Batch;
    /// The evaluation of the model.
    type Score: Score;

    /// Returns the mean loss of `batch` and adds its gradient to `grad`. Random factors, such as those
    /// of dropout, are drawn from `rng`.
    fn loss_and_grad(&self, batch: &Self::Batch, grad: &mut Self, rng: &mut dyn Rng)
    -> Result<f64>;

    /// Does the same as [`loss_and_grad`](Model::loss_and_grad), and returns the weight of the loss
    /// beside it: the sum of weights that the mean was divided by, such as the number of rows or steps. It
    /// is 0 if nothing in the batch counts; loss and gradient are then 0 too.
    ///
    /// The trainer weighs batches by it, so that accumulated gradients and reported losses do not depend
    /// on how samples are divided into batches. After `None`, the default, the weight is the number of
    /// samples. Override it for a model whose loss counts something else.
    ///
    /// ```text
    /// L = Σ_k w_k·L_k / Σ_k w_k        ∂L/∂θ = Σ_k w_k·∂L_k/∂θ / Σ_k w_k
    /// ```
    ///
    /// ```
    /// use ndarray::{Array1, array};
    /// use rand::Rng;
    /// use recurrent::{Result, arrays, data::Source, model::MeanLoss, optim::Sgd, train::{Model, Trainer}};
    ///
    /// /// A number that is near all numbers of all lists.
    /// #[derive(Clone)]
    /// struct Near { value: Array1<f64> }
    /// arrays!([] Near: f64 { value: array });
    ///
    /// impl Model for Near {
    ///     type Batch = Vec<Vec<f64>>;
    ///     type Score = MeanLoss;
    ///     fn loss_and_grad(&self, lists: &Vec<Vec<f64>>, grad: &mut Self, rng: &mut dyn Rng) -> Result<f64> {
    ///         Ok(self.weighted_loss_and_grad(lists, grad, rng)?.0)
    ///     }
    ///     fn weighted_loss_and_grad(
    ///         &self, lists: &Vec<Vec<f64>>, grad: &mut Self, _: &mut dyn Rng,
    ///     ) -> Result<(f64, Option<f64>)> {
    ///         let errors: Vec<f64> = lists.concat().iter().map(|y| self.value[0] - y).collect();
    ///         let count = errors.len() as f64;
    ///         grad.value[0] += errors.iter().sum::<f64>() / count;
    ///         Ok((errors.iter().map(|e| e * e / 2.0).sum::<f64>() / count, Some(count)))
    ///     }
    ///     fn score_batch(&self, _: &Vec<Vec<f64>>, _: &mut MeanLoss) -> Result<()> { Ok(()) }
    /// }
    ///
    /// struct Lists(Vec<Vec<f64>>);
    /// impl Source<Vec<Vec<f64>>> for Lists {
    ///     fn len(&self) -> usize { self.0.len() }
    ///     fn batch(&self, lists: &[usize]) -> Result<Vec<Vec<f64>>> {
    ///         Ok(lists.iter().map(|&i| self.0[i].clone()).collect())
    ///     }
    /// }
    ///
    /// let (mut model, lists) = (Near { value: array![0.0] }, Lists(vec![vec![1.0], vec![3.0, 4.0, 4.0]]));
    /// let trainer = Trainer::new(Sgd::new(1.0)?).epochs(1).batch_size(1).accumulate(2);
    /// trainer.fit(&mut model, &lists, None)?;
    /// assert!((model.value[0] - 3.0).abs() < 1e-12); // the mean of the four numbers
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    fn weighted_loss_and_grad(
        &self,
        batch: &Self::Batch,
        grad: &mut Self,
        rng: &mut dyn Rng,
    ) -> Result<(f64, Option<f64>)> {
        Ok((self.loss_and_grad(batch, grad, rng)?, None))
    }

    /// Returns whether the loss of a batch is the mean of the losses of its parts by their weights. The default
    /// is true; it is false of a [`Sum`](crate::loss::Sum).
    ///
    /// [Distributed](crate::train::Trainer::distributed) training divides a batch only if it is true.
    fn has_mean_loss(&self) -> bool {
        true
    }

    /// Prepares training step `step`, the number of steps before it. The trainer calls it before each step, so
    /// that a loss may depend on the progress of training, as in scheduled sampling. By default it does nothing.
    fn begin_step(&mut self, step: usize) {
        _ = step;
    }

    /// Adds the evaluation of `batch`, without dropout, to `score`.
    fn score_batch(&self, batch: &Self::Batch, score: &mut Self::Score) -> Result<()>;

    /// Returns a description of the options that the shapes of the weights do not determine, such as
    /// dropout. A checkpoint stores it and refuses to resume under a different one. The default, an
    /// empty string, disables the comparison.
    fn options(&self) -> String {
        String::new()
    }

    /// Returns the names of the features that the model was made for, in order. Training and evaluation
    /// refuse a source with other names. The default, no names, disables the comparison.
    fn columns(&self) -> &[String] {
        &[]
    }

    /// Returns the scaler that the model applies to its inputs, and the same model for inputs that are
    /// scaled already. The default, `None`, is for models without a scaler.
    ///
    /// [`Trainer::fit`](crate::train::Trainer::fit) trains the second model if the sources can scale
    /// their features once, and then takes over its weights.
    fn without_scaler(&self) -> Option<(&Scaler, Self)> {
        None
    }

    /// Returns the score over all samples of `source`, `batch_size` at a time.
    ///
    /// # Errors
    /// If `batch_size` is zero, the features of the source have other names than those of the model, or
    /// the source or [`score_batch`](Model::score_batch) fails. If a loss is not finite, the error names
    /// the sample.
    fn evaluate(&self, source: &dyn Source<Self::Batch>, batch_size: usize) -> Result<Self::Score> {
        check_same(Model::columns(self), source.columns())?;
        score_of(self, source, &chunks(source.len(), batch_size)?)
    }
}

/// Returns the score of `model` over batches of `source`.
pub(super) fn score_of<M: Model>(
    model: &M,
    source: &dyn Source<M::Batch>,
    batches: &[Vec<usize>],
) -> Result<M::Score> {
    let mut score = M::Score::default();
    for indices in batches {
        model
            .score_batch(&source.batch(indices)?, &mut score)
            .map_err(|error| locate(error, model, source, indices))?;
    }
    Ok(score)
}

/// Returns the predictions for all samples of `source` in order. `predict` returns those of a batch of
/// up to `batch_size` samples.
///
/// ```
/// use ndarray::array;
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::{cell::LstmCell, data::Dataset, model::SequenceClassifier, train::predict};
///
/// let data = Dataset::<f32, usize>::new(vec![array![[1.0], [0.5]], array![[0.2]]], vec![0, 1])?;
/// let builder = SequenceClassifier::<LstmCell<f32>>::builder(1, 2);
/// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
/// let classes = predict(&data, 64, |(x, _)| model.predict(x))?;
/// assert_eq!(classes.len(), 2);
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// If `batch_size` is zero, or the source or `predict` fails.
pub fn predict<B, P: IntoIterator>(
    source: &dyn Source<B>,
    batch_size: usize,
    mut predict: impl FnMut(&B) -> Result<P>,
) -> Result<Vec<P::Item>> {
    let mut predictions = Vec::with_capacity(source.len());
    for indices in chunks(source.len(), batch_size)? {
        predictions.extend(predict(&source.batch(&indices)?)?);
    }
    Ok(predictions)
}

/// Returns the indices below `len` in chunks of up to `batch_size`.
pub(super) fn chunks(len: usize, batch_size: usize) -> Result<Vec<Vec<usize>>> {
    check_count("batch_size", batch_size)?;
    let all: Vec<usize> = (0..len).collect();
    Ok(all.chunks(batch_size).map(<[usize]>::to_vec).collect())
}
