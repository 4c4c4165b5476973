//! [`Course`]: the part of the training loop that does not depend on the model. It is compiled once, in
//! the library.

use std::ops::ControlFlow;
use std::time::Instant;

use crate::data::Batches;
use crate::error::{Error, Result};
use crate::optim::schedule::Schedule;
use crate::train::history::Epoch;
use crate::train::options::Options;
use crate::train::run::{Exact, Run, Settings};
use crate::train::weighting::MeanOfBatches;
use crate::train::{History, Resumed};

/// An event of a training, passed to the callbacks.
///
/// A training that resumes may have no step left in its epoch: an [`Epoch`](Event::Epoch) can be the first
/// event, or follow [`Resumed`](Event::Resumed).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The training was resumed from its checkpoint. No event follows if it is already complete.
    Resumed(&'a Resumed),
    /// An optimiser step is complete. Batches in which nothing counts make no step and no event.
    #[non_exhaustive]
    Step {
        /// The number of optimiser steps since the start of the training.
        step: usize,
        /// The epoch, from 0.
        epoch: usize,
        /// The number of epochs of the training.
        epochs: usize,
        /// The number of batches of this epoch that are complete.
        batch: usize,
        /// The number of batches in this epoch.
        batches: usize,
        /// The mean training loss of this epoch so far.
        loss: f64,
        /// The mean training loss of this step alone.
        step_loss: f64,
        /// The norm of the gradient of this step, after averaging and
        /// [`on_gradient`](crate::train::Trainer::on_gradient), before clipping.
        grad_norm: f64,
        /// The learning rate of this step.
        learning_rate: f64,
    },
    /// An epoch, with its validation, is complete.
    Epoch(&'a Epoch),
}

type Callback<'a> = Box<dyn FnMut(&Event<'_>) -> ControlFlow<()> + Send + 'a>;

/// An optimiser step: its mean loss, the norm of its gradient and its learning rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) loss: f64,
    pub(super) grad_norm: f64,
    pub(super) learning_rate: f64,
}

/// The state and the control flow of a training, without model and optimiser.
pub(super) struct Course<'a> {
    pub(super) options: Options,
    /// A schedule, and whether its steps are those of the optimiser rather than epochs.
    pub(super) schedule: Option<(Box<dyn Schedule + Send + 'a>, bool)>,
    pub(super) callbacks: Vec<Callback<'a>>,
    pub(super) run: Run,
    /// The time at which this process began the epoch or resumed it.
    begun: Option<Instant>,
}

impl Course<'_> {
    pub(super) fn new(options: Options) -> Self {
        let run = Run::default();
        Self { options, schedule: None, callbacks: Vec::new(), run, begun: None }
    }

    /// Returns the settings that a checkpoint compares. Fails if an option is out of range.
    pub(super) fn settings(
        &self,
        (optimizer, model): (&String, &String),
        (samples, valid): (usize, Option<usize>),
        every: Option<usize>,
    ) -> Result<Settings> {
        self.options.check(samples, valid, every)?;
        let schedule = self.schedule.as_ref();
        let schedule = schedule.map(|(schedule, by_step)| (schedule.options(), by_step));
        let described = [("optimizer", optimizer as _), ("schedule", &schedule as _)];
        let mut settings = self.options.settings(samples, &described);
        settings.push(("model".to_owned(), model.clone()));
        Ok(settings)
    }

    /// Returns whether all epochs are complete or early stopping ends the training.
    pub(super) fn is_over(&self) -> bool {
        self.ends(&self.run)
    }

    /// Returns the same of the run of a checkpoint.
    pub(super) fn ends(&self, run: &Run) -> bool {
        let patience = self.options.patience;
        run.epoch >= self.options.epochs || patience.is_some_and(|patience| run.stale >= patience)
    }

    /// Restores the state from a checkpoint, and calls the callbacks.
    pub(super) fn resume(&mut self, run: Run) -> Result<ControlFlow<()>> {
        if let Some((schedule, _)) = &mut self.schedule {
            schedule.restore(&numbers(&run.schedule))?;
        }
        self.run = run;
        let (epoch, step, epochs) = (self.run.epoch, self.run.step, self.options.epochs);
        let resumed = Resumed { epoch, step, epochs, complete: self.is_over() };
        let history = &mut self.run.history.0;
        history.resumed = Some(resumed);
        history.seconds = vec![None; history.epochs.len()];
        Ok(self.call(&Event::Resumed(&resumed)))
    }

    /// Returns all batches of the epoch, and the number of them that are complete.
    pub(super) fn batches(&mut self, lengths: &[usize]) -> Result<(Vec<Vec<usize>>, usize)> {
        self.begun = Some(Instant::now());
        let Options { batch_size, seed, bucketed, .. } = self.options;
        // There are no more batches than samples, and no larger ones.
        let [batch_size, bucketed] = [batch_size, bucketed].map(|size| size.min(lengths.len()));
        let order = Batches::new(batch_size)?.shuffled(seed).bucketed(bucketed)?;
        let batches = order.epoch(lengths, self.run.epoch as u64);
        let done = self.run.batch.min(batches.len());
        Ok((batches, done))
    }

    /// Returns the learning rate of the next step, if there is a schedule.
    pub(super) fn rate(&self) -> Option<f64> {
        let (schedule, by_step) = self.schedule.as_ref()?;
        let factor = schedule.factor(if *by_step { self.run.step } else { self.run.epoch });
        Some(self.options.first_rate * factor)
    }

    /// Counts `batches` with their mean loss. They are an optimiser step if anything in them counts.
    pub(super) fn count(&mut self, batches: usize, mean: MeanOfBatches) {
        let run = &mut self.run;
        run.loss = Exact(run.loss.0 + mean.sum);
        run.weight = Exact(run.weight.0 + mean.weight);
        (run.batch, run.batches) = (run.batch + batches, run.batches + batches as u64);
        run.step += usize::from(mean.weight > 0.0);
    }

    /// Returns the mean training loss of this epoch so far.
    fn loss(&self) -> f64 {
        MeanOfBatches { sum: self.run.loss.0, weight: self.run.weight.0 }.get()
    }

    pub(super) fn call_step(&mut self, batches: usize, step: Step) -> ControlFlow<()> {
        let run = &self.run;
        self.call(&Event::Step {
            step: run.step,
            epoch: run.epoch,
            epochs: self.options.epochs,
            batch: run.batch,
            batches,
            loss: self.loss(),
            step_loss: step.loss,
            grad_norm: step.grad_norm,
            learning_rate: step.learning_rate,
        })
    }

    /// Fails if nothing has counted in this epoch.
    pub(super) fn check_counted(&self) -> Result<()> {
        if self.run.weight.0 > 0.0 {
            return Ok(());
        }
        let expected = "a target that counts: all are ignored or have the weight 0";
        Err(Error::argument("train: samples", expected, "none"))
    }

    /// Records an epoch with the loss and the metrics of its validation. Returns whether it is the best
    /// so far.
    pub(super) fn record(
        &mut self,
        learning_rate: f64,
        score: Option<(f64, Vec<(&'static str, f64)>)>,
    ) -> bool {
        let loss = self.loss();
        let run = &mut self.run;
        let (watched, metrics) = score.unwrap_or((loss, Vec::new()));
        let (epoch, step) = (run.epoch, run.step);
        let validation = numbered(metrics);
        // NaN is no improvement, not even on nothing.
        let is_best = !watched.is_nan() && run.best.is_none_or(|best| watched < best.0);
        if is_best {
            (run.best, run.stale) = (Some(Exact(watched)), 0);
            run.history.0.best_epoch = Some(epoch);
        } else {
            run.stale += 1;
        }
        run.history.0.epochs.push(Epoch { epoch, step, learning_rate, loss, validation });
        let seconds = self.begun.map(|begun| begun.elapsed().as_secs_f64());
        run.history.0.seconds.push(seconds);
        (run.epoch, run.batch, run.loss, run.weight) = (epoch + 1, 0, Exact(0.0), Exact(0.0));
        if let Some((schedule, _)) = &mut self.schedule {
            schedule.observe(watched);
        }
        is_best
    }

    /// Calls the callbacks for the epoch that was recorded last.
    pub(super) fn call_epoch(&mut self) -> ControlFlow<()> {
        match self.run.history.0.epochs.last().cloned() {
            Some(epoch) => self.call(&Event::Epoch(&epoch)),
            None => ControlFlow::Continue(()),
        }
    }

    /// Calls every callback, even if one of them ends the training.
    fn call(&mut self, event: &Event<'_>) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        for callback in &mut self.callbacks {
            if callback(event).is_break() {
                flow = ControlFlow::Break(());
            }
        }
        flow
    }

    /// Stores the state of the schedule, the scalars of the optimiser and the number of its `moments` in
    /// the run, which a checkpoint saves.
    pub(super) fn prepare_save(&mut self, optimizer: Vec<f64>, moments: usize) {
        let schedule = self.schedule.as_ref().map_or(Vec::new(), |(schedule, _)| schedule.state());
        self.run.optimizer = optimizer.into_iter().map(Exact).collect();
        self.run.schedule = schedule.into_iter().map(Exact).collect();
        self.run.moments = moments;
    }

    pub(super) fn into_history(self) -> History {
        self.run.history.0
    }
}

/// Returns numbers from a file as `f64`.
pub(super) fn numbers(exact: &[Exact]) -> Vec<f64> {
    exact.iter().map(|value| value.0).collect()
}

/// Returns the metrics with unique names: a repeated name gets a number, as in `accuracy_2`.
fn numbered(metrics: Vec<(&'static str, f64)>) -> Vec<(String, f64)> {
    let mut named: Vec<(String, f64)> = Vec::new();
    for (name, value) in metrics {
        let taken = |name: &str, named: &[(String, f64)]| named.iter().any(|(n, _)| n == name);
        let mut unique = name.to_owned();
        let mut k = 2;
        while taken(&unique, &named) {
            unique = format!("{name}_{k}");
            k += 1;
        }
        named.push((unique, value));
    }
    named
}
