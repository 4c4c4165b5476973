//! [`Trainer`]: the options of a training.

use std::fmt::Debug;
use std::ops::ControlFlow;
use std::path::PathBuf;

use crate::error::{Error, Result, check_count};
use crate::optim::Optimizer;
use crate::optim::schedule::Schedule;
use crate::train::course::{Course, Event};
use crate::train::ranks::{ALONE, Ranks};
use crate::train::resume::Checkpoint;
use crate::train::run::Settings;
use crate::train::{Communicator, Model};

/// The options that do not depend on the model.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) epochs: usize,
    pub(super) batch_size: usize,
    pub(super) bucketed: usize,
    pub(super) seed: u64,
    pub(super) accumulate: usize,
    /// The greatest norm, and the order of the norm.
    pub(super) clip_norm: Option<(f64, f64)>,
    pub(super) clip_value: Option<f64>,
    pub(super) patience: Option<usize>,
    pub(super) ema: Option<f64>,
    /// Whether the checkpoint before the last is kept.
    pub(super) keep_previous: bool,
    /// The initial learning rate, which the factors of a schedule multiply.
    pub(super) first_rate: f64,
    /// Two options that were set and exclude each other.
    pub(super) conflict: Option<[&'static str; 2]>,
}

impl Options {
    fn new(first_rate: f64) -> Self {
        Self {
            epochs: 10,
            batch_size: 32,
            bucketed: 1,
            seed: 0,
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            patience: None,
            ema: None,
            keep_previous: false,
            first_rate,
            conflict: None,
        }
    }

    /// Fails unless every option is in range and none excludes another.
    pub(super) fn check(
        &self,
        samples: usize,
        valid: Option<usize>,
        every: Option<usize>,
    ) -> Result<()> {
        if let Some([one, other]) = self.conflict {
            return Err(Error::argument(one, format!("none beside {other}"), "both"));
        }
        for (argument, count) in [
            ("epochs", self.epochs),
            ("train: samples", samples),
            ("valid: samples", valid.unwrap_or(1)),
            ("batch_size", self.batch_size),
            ("bucketed", self.bucketed),
            ("accumulate", self.accumulate),
            ("early_stopping", self.patience.unwrap_or(1)),
            ("checkpoint_every", every.unwrap_or(1)),
        ] {
            check_count(argument, count)?;
        }
        Ok(())
    }

    /// Returns the settings that a checkpoint compares. `described` are those of the optimiser and the
    /// schedule.
    pub(super) fn settings(&self, samples: usize, described: &[(&str, &dyn Debug)]) -> Settings {
        // The description of a norm of type 2 is that of earlier checkpoints.
        let euclidean = self.clip_norm.map(|(max_norm, _)| max_norm);
        let clip_norm: &dyn Debug = match &self.clip_norm {
            Some((_, norm_type)) if *norm_type != 2.0 => &self.clip_norm,
            _ => &euclidean,
        };
        let own: [(&str, &dyn Debug); 10] = [
            ("seed", &self.seed),
            ("batch_size", &self.batch_size),
            ("bucketed", &self.bucketed),
            ("accumulate", &self.accumulate),
            ("clip_norm", clip_norm),
            ("clip_value", &self.clip_value),
            ("early_stopping", &self.patience),
            ("ema", &self.ema),
            ("learning_rate", &self.first_rate),
            ("train: samples", &samples),
        ];
        let all = own.iter().chain(described);
        all.map(|(name, value)| ((*name).to_owned(), format!("{value:?}"))).collect()
    }
}

type GradientHook<'a, M> = Box<dyn FnMut(&mut M) -> Result<()> + Send + 'a>;

/// A training loop for a [`Model`]; see the [module](super).
pub struct Trainer<'a, M: Model> {
    pub(super) optimizer: Box<dyn Optimizer<M> + Send + 'a>,
    pub(super) course: Course<'a>,
    pub(super) checkpoint: Option<Checkpoint>,
    pub(super) on_gradient: Option<GradientHook<'a, M>>,
    pub(super) ranks: Ranks<'a>,
}

impl<'a, M: Model> Trainer<'a, M> {
    /// Creates a trainer with `optimizer`, for ten epochs in batches of 32 samples.
    pub fn new(optimizer: impl Optimizer<M> + Send + 'a) -> Self {
        Self {
            course: Course::new(Options::new(optimizer.learning_rate())),
            optimizer: Box::new(optimizer),
            checkpoint: None,
            on_gradient: None,
            ranks: ALONE,
        }
    }

    /// Sets the number of epochs, the passes over all samples, at least 1. Default: 10.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.course.options.epochs = epochs;
        self
    }

    /// Sets the number of samples in a batch. Default: 32.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.course.options.batch_size = batch_size;
        self
    }

    /// Sorts the samples of every `batches` batches by length, so that a batch has little padding.
    /// Default: 1, which does not sort.
    pub fn bucketed(mut self, batches: usize) -> Self {
        self.course.options.bucketed = batches;
        self
    }

    /// Sets the seed of the order of samples and of the random factors of the model, such as those of
    /// dropout. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.course.options.seed = seed;
        self
    }

    /// Averages the gradients of `batches` batches for each optimiser step. Default: 1.
    ///
    /// Each batch has the [weight](Model::weighted_loss_and_grad) of the rows or steps that count in it, so
    /// the step is that of one batch of all their samples. Batches in which nothing counts make no step.
    /// A [`Sum`](crate::loss::Sum) is not divided and counts as one: the step has the mean of the sums.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.course.options.accumulate = batches;
        self
    }

    /// Limits the global norm of the gradient ([`clip_global_norm`](crate::optim::clip_global_norm)).
    pub fn clip_norm(self, max_norm: f64) -> Self {
        self.clip_norm_of_type(max_norm, 2.0)
    }

    /// Limits the global p-norm of the gradient, where p = `norm_type`
    /// ([`clip_global_norm_of_type`](crate::optim::clip_global_norm_of_type)). It replaces the limit of
    /// [`clip_norm`](Self::clip_norm), the norm of type 2.
    pub fn clip_norm_of_type(mut self, max_norm: f64, norm_type: f64) -> Self {
        self.course.options.clip_norm = Some((max_norm, norm_type));
        self
    }

    /// Limits the magnitude of each value of the gradient ([`clip_value`](crate::optim::clip_value)). If
    /// [`clip_norm`](Self::clip_norm) is set too, values are clipped first.
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.course.options.clip_value = Some(limit);
        self
    }

    /// Ends the training when the validation loss, or the training loss without validation, has not
    /// improved for `patience` epochs. A loss that is NaN is no improvement. The trained model has the
    /// weights of the best epoch, even if the training was not ended early or a callback ended it. If no
    /// epoch has a loss that is a number, it has the last weights.
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.course.options.patience = Some(patience);
        self
    }

    /// Evaluates and returns the moving average of the weights ([`Ema`](crate::optim::Ema)) with δ =
    /// `decay`, instead of the last weights.
    pub fn ema(mut self, decay: f64) -> Self {
        self.course.options.ema = Some(decay);
        self
    }

    /// Multiplies the initial learning rate by the factor of `schedule` for the epoch.
    /// [`Schedule::observe`] receives the validation loss, or the training loss without validation.
    ///
    /// [`fit`](Self::fit) fails if [`schedule_by_step`](Self::schedule_by_step) is set too.
    pub fn schedule(self, schedule: impl Schedule + Send + 'a) -> Self {
        self.set_schedule(Box::new(schedule), false)
    }

    /// Multiplies the initial learning rate by the factor of `schedule` for the optimiser step, for
    /// schedules such as [`OneCycle`](crate::optim::schedule::OneCycle).
    pub fn schedule_by_step(self, schedule: impl Schedule + Send + 'a) -> Self {
        self.set_schedule(Box::new(schedule), true)
    }

    fn set_schedule(mut self, schedule: Box<dyn Schedule + Send + 'a>, by_step: bool) -> Self {
        if self.course.schedule.as_ref().is_some_and(|(_, other)| *other != by_step) {
            self.course.options.conflict = Some(["schedule", "schedule_by_step"]);
        }
        self.course.schedule = Some((schedule, by_step));
        self
    }

    /// Writes the state of the training to `path` at the end of each epoch and when a callback stops it.
    /// If the file exists, the training resumes from it. The result is then bit for bit the same as
    /// without the interruption.
    ///
    /// [`fit`](Self::fit) fails before the first step if the file cannot be written, and removes the
    /// temporary files that killed processes have left in its folder.
    ///
    /// If the training in the file is complete, [`fit`](Self::fit) returns its history at once and sets
    /// [`Resumed::complete`](crate::train::Resumed::complete). To train again, delete the file.
    ///
    /// The settings, [`Model::options`] and the number of samples must be those of the file. The samples
    /// themselves are not compared.
    pub fn checkpoint(self, path: impl Into<PathBuf>) -> Self {
        self.set_checkpoint(Checkpoint { path: path.into(), every: None })
    }

    /// Writes a [`checkpoint`](Self::checkpoint) also after every `steps` optimiser steps. It takes the place
    /// of `checkpoint`: [`fit`](Self::fit) fails if both are set.
    pub fn checkpoint_every(self, steps: usize, path: impl Into<PathBuf>) -> Self {
        self.set_checkpoint(Checkpoint { path: path.into(), every: Some(steps) })
    }

    /// Sets whether the checkpoint before the last is kept, as a file with `.previous` at the end of its name.
    /// A write never damages a checkpoint. A damaged disk or another program may: the training then goes on
    /// from the previous file if it is renamed. Default: false.
    pub fn keep_previous_checkpoint(mut self, keep: bool) -> Self {
        self.course.options.keep_previous = keep;
        self
    }

    fn set_checkpoint(mut self, checkpoint: Checkpoint) -> Self {
        let other = self.checkpoint.as_ref();
        if other.is_some_and(|other| other.every.is_some() != checkpoint.every.is_some()) {
            self.course.options.conflict = Some(["checkpoint", "checkpoint_every"]);
        }
        self.checkpoint = Some(checkpoint);
        self
    }

    /// Adds a callback, which is called for each [`Event`]. If it returns `ControlFlow::Break(())`, the
    /// training writes its checkpoint, if one is set, and ends.
    pub fn callback(
        mut self,
        callback: impl FnMut(&Event<'_>) -> ControlFlow<()> + Send + 'a,
    ) -> Self {
        self.course.callbacks.push(Box::new(callback));
        self
    }

    /// Calls `hook` with the gradient of each optimiser step, after averaging and before clipping. In
    /// [distributed](Self::distributed) training every rank calls its hook with the mean over all ranks. An
    /// error of the hook ends the training before the step.
    ///
    /// ```
    /// use recurrent::cell::LstmCell;
    /// use recurrent::{Arrays, model::SequenceClassifier, optim::Adam, train::Trainer};
    ///
    /// type Classifier = SequenceClassifier<LstmCell<f32>>;
    ///
    /// let trainer = Trainer::new(Adam::new(1e-3)?);
    /// let trainer = trainer.on_gradient(|grad: &mut Classifier| grad.check_finite());
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn on_gradient(mut self, hook: impl FnMut(&mut M) -> Result<()> + Send + 'a) -> Self {
        self.on_gradient = Some(Box::new(hook));
        self
    }

    /// Divides the samples of each batch among the ranks of `communicator`. Every rank calls
    /// [`fit`](Self::fit) with the same settings and sources, or each with the samples that it
    /// [holds](crate::data::Source::holds).
    ///
    /// The training is that of one process. The ranks add their gradients, each with its
    /// [weight](Model::weighted_loss_and_grad), in the order of the ranks, and every rank makes the same
    /// optimiser step. They merge the [scores](crate::train::Score::to_numbers) of the validation. Rank 0 gives
    /// the initial weights, and reads and writes the checkpoint, from which any number of ranks can resume.
    /// If a callback of any rank ends the training, it ends at all ranks after the same step. An error of one
    /// rank is an error of all ([`Error::Rank`]).
    ///
    /// | batches of a step ([`accumulate`](Self::accumulate)) | a rank computes | equal to one process |
    /// |---|---|---|
    /// | fewer than ranks, as by default | a part of each batch | up to the rounding of sums |
    /// | at least as many as ranks | whole batches | bit for bit, dropout included |
    ///
    /// In a part of a batch, a rank draws random factors from its own part of the random numbers of the batch.
    /// So dropout depends on the number of ranks, unless they compute whole batches. A loss that is no mean,
    /// [`Sum`](crate::loss::Sum), needs whole batches. With [`Weighted`](crate::loss::Weighted), parts equal the
    /// batch if both counts have the same ratio in all parts.
    ///
    /// ```
    /// use std::thread;
    /// use ndarray::Array2;
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::cell::GruCell;
    /// use recurrent::train::{Communicator, ThreadCommunicator, Trainer};
    /// use recurrent::{Result, data::Dataset, model::SequenceClassifier, optim::Adam};
    ///
    /// fn train(communicator: &dyn Communicator) -> Result<f64> {
    ///     let x = (0..24).map(|i| Array2::from_elem((2 + i % 3, 1), (i % 2) as f64)).collect();
    ///     let data = Dataset::new(x, (0..24).map(|i| i % 2).collect::<Vec<usize>>())?;
    ///     let mut rng = ChaCha8Rng::seed_from_u64(1);
    ///     let mut model = SequenceClassifier::<GruCell<f64>>::builder(1, 2).hidden_size(4).build(&mut rng)?;
    ///     let trainer = Trainer::new(Adam::new(0.05)?).epochs(5).batch_size(10).distributed(communicator);
    ///     let history = trainer.fit(&mut model, &data, Some(&data))?;
    ///     Ok(history.epochs[4].loss)
    /// }
    ///
    /// let losses = |ranks| -> Result<Vec<f64>> {
    ///     let ranks = ThreadCommunicator::group(ranks)?;
    ///     thread::scope(|scope| {
    ///         let threads = ranks.into_iter().map(|rank| scope.spawn(move || train(&rank)));
    ///         let threads: Vec<_> = threads.collect();
    ///         threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    ///     })
    /// };
    /// let (alone, together) = (losses(1)?[0], losses(3)?);
    /// assert!(together.iter().all(|loss| *loss == together[0]));
    /// assert!((together[0] - alone).abs() < 1e-12);
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    pub fn distributed(mut self, communicator: &'a dyn Communicator) -> Self {
        self.ranks = Ranks(communicator);
        self
    }
}
