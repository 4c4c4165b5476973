//! [`Trainer`]: the loop over epochs and batches.

use std::fmt::Debug;
use std::path::PathBuf;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::data::{Batches, Source};
use crate::error::{Error, Result, check_size};
use crate::float::Float;
use crate::optim::schedule::Schedule;
use crate::optim::{Ema, Optimizer, OptimizerState, clip_global_norm, clip_value};
use crate::train::checkpoint::{Bundles, Checkpoint, Read};
use crate::train::history::Epoch;
use crate::train::run::{Exact, Run, Settings};
use crate::train::{History, Model, Score};

/// The streams of the random numbers of batches; those below order the samples of epochs.
const BATCHES: u64 = 1 << 63;

/// What a callback hears.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An optimiser step was made.
    #[non_exhaustive]
    Step {
        /// The epoch, from 0.
        epoch: usize,
        /// How many epochs there are to be.
        epochs: usize,
        /// Batches of the epoch that are done.
        batch: usize,
        /// Batches of the epoch.
        batches: usize,
        /// Mean training loss over the samples of the epoch so far.
        loss: f64,
    },
    /// An epoch, with its validation, is complete.
    Epoch(&'a Epoch),
}

/// What a callback wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End here: write the checkpoint, if there is one, and return.
    Stop,
}

type Callback<'a> = Box<dyn FnMut(&Event<'_>) -> Flow + 'a>;

/// Trains a [`Model`]; see the [module](super).
pub struct Trainer<'a, M: Model> {
    optimizer: Box<dyn Optimizer<M> + 'a>,
    /// What a schedule's factors multiply.
    first_rate: f64,
    epochs: usize,
    batch_size: usize,
    bucketed: usize,
    seed: u64,
    accumulate: usize,
    clip_norm: Option<f64>,
    clip_value: Option<f64>,
    patience: Option<usize>,
    ema: Option<f64>,
    schedule: Option<(Box<dyn Schedule + 'a>, bool)>,
    checkpoint: Option<Checkpoint>,
    callbacks: Vec<Callback<'a>>,
}

impl<'a, T: Float, M: Model<Elem = T>> Trainer<'a, M> {
    /// Training by `optimizer`: ten epochs, batches of 32 in an order drawn with seed 0.
    pub fn new(optimizer: impl Optimizer<M> + 'a) -> Self {
        Self {
            first_rate: optimizer.learning_rate(),
            optimizer: Box::new(optimizer),
            epochs: 10,
            batch_size: 32,
            bucketed: 1,
            seed: 0,
            accumulate: 1,
            clip_norm: None,
            clip_value: None,
            patience: None,
            ema: None,
            schedule: None,
            checkpoint: None,
            callbacks: Vec::new(),
        }
    }

    /// How many times each sample is seen.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Samples of a batch.
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = batch_size;
        self
    }

    /// Sorts the samples of every `batches` batches by length, so that a batch has little padding; of 1,
    /// the default, a batch has whatever lengths come together.
    pub fn bucketed(mut self, batches: usize) -> Self {
        self.bucketed = batches;
        self
    }

    /// Decides the order of samples and what the model draws.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Batches whose mean gradient makes one optimiser step.
    pub fn accumulate(mut self, batches: usize) -> Self {
        self.accumulate = batches;
        self
    }

    /// The largest norm that a gradient may have ([`clip_global_norm`]).
    pub fn clip_norm(mut self, max_norm: f64) -> Self {
        self.clip_norm = Some(max_norm);
        self
    }

    /// The largest size that a value of a gradient may have ([`clip_value`]); before
    /// [`clip_norm`](Self::clip_norm), if both are set.
    pub fn clip_value(mut self, limit: f64) -> Self {
        self.clip_value = Some(limit);
        self
    }

    /// Ends the training when the validation loss, or without validation the training loss, has not
    /// fallen for `patience` epochs. In the end, also where all epochs were trained, the model has the
    /// weights of the best one.
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Judges, and returns, the moving average of the weights in place of the last ones.
    pub fn ema(mut self, decay: f64) -> Self {
        self.ema = Some(decay);
        self
    }

    /// Multiplies the learning rate by the schedule's factor of the epoch; a schedule that observes
    /// is told the validation loss, or the training loss where there is no validation.
    pub fn schedule(mut self, schedule: impl Schedule + 'a) -> Self {
        self.schedule = Some((Box::new(schedule), false));
        self
    }

    /// The same with the factor of the optimiser step, as for one cycle.
    pub fn schedule_by_step(mut self, schedule: impl Schedule + 'a) -> Self {
        self.schedule = Some((Box::new(schedule), true));
        self
    }

    /// Writes all that the training needs to `path`, at the end of each epoch and where a callback
    /// stops it, and goes on from there where the file exists. The end is then the same, bit for bit,
    /// as without the interruption.
    ///
    /// The file of a training that is complete gives back its model and history at once: to train anew,
    /// delete it. It is compared with this trainer's settings and the number of samples, but not with
    /// the samples themselves or with what the model is made with beside the sizes of its weights.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = Some(Checkpoint { path: path.into(), every: None });
        self
    }

    /// The same, and also after every `steps` optimiser steps.
    pub fn checkpoint_every(mut self, steps: usize, path: impl Into<PathBuf>) -> Self {
        self.checkpoint = Some(Checkpoint { path: path.into(), every: Some(steps) });
        self
    }

    /// Calls `callback` after each optimiser step and each epoch, beside those given before.
    pub fn callback(mut self, callback: impl FnMut(&Event<'_>) -> Flow + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Trains `model` on `train`, and judges it by `valid`, if there is any, after each epoch.
    ///
    /// # Errors
    /// [`Error::Training`], with epoch, step and reason, where a step fails: a loss or gradient that is
    /// not finite, a batch that cannot be made. The model then has the weights from before that step,
    /// and the last checkpoint stays. Otherwise where a setting makes no sense or the checkpoint
    /// belongs to another training.
    pub fn fit(
        mut self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<History> {
        let settings = self.settings(train)?;
        let mut state = State::new(model.zeros_like(), self.ema)?;
        if let Some(checkpoint) = &self.checkpoint
            && checkpoint.path.exists()
        {
            let weights = state.take(checkpoint.read(&settings, &state.grad)?);
            self.resume(&mut state)?;
            *model = weights;
        }
        while state.run.epoch < self.epochs && !self.is_over(&state.run) {
            let mut flow = self.batches(model, train, &settings, &mut state)?;
            if flow == Flow::Continue {
                flow = self.close_epoch(model, valid, &mut state)?;
                self.save(&settings, model, &mut state)?;
            }
            if flow == Flow::Stop {
                state.run.history.0.stopped = true;
                self.save(&settings, model, &mut state)?;
                break;
            }
        }
        Ok(state.finish(model))
    }

    /// The settings, if they make sense.
    fn settings(&self, train: &dyn Source<M::Batch>) -> Result<Settings> {
        check_size("train: samples", &[train.len()])?;
        for (argument, size) in [
            ("batch_size", self.batch_size),
            ("bucketed", self.bucketed),
            ("accumulate", self.accumulate),
            ("early_stopping", self.patience.unwrap_or(1)),
            ("checkpoint_every", self.checkpoint.as_ref().and_then(|c| c.every).unwrap_or(1)),
        ] {
            check_size(argument, &[size])?;
        }
        let schedule = self.schedule.as_ref();
        let schedule = schedule.map(|(schedule, by_step)| (schedule.options(), by_step));
        let settings: [(&str, &dyn Debug); 12] = [
            ("seed", &self.seed),
            ("batch_size", &self.batch_size),
            ("bucketed", &self.bucketed),
            ("accumulate", &self.accumulate),
            ("clip_norm", &self.clip_norm),
            ("clip_value", &self.clip_value),
            ("early_stopping", &self.patience),
            ("ema", &self.ema),
            ("optimizer", &self.optimizer.options()),
            ("learning_rate", &self.first_rate),
            ("schedule", &schedule),
            ("train: samples", &train.len()),
        ];
        Ok(settings.map(|(name, value)| (name.to_owned(), format!("{value:?}"))).to_vec())
    }

    /// The batches of the epoch from where it stands.
    fn batches(
        &mut self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        settings: &Settings,
        state: &mut State<M>,
    ) -> Result<Flow> {
        let lengths: Vec<usize> = (0..train.len()).map(|i| train.length(i)).collect();
        let order = Batches::new(self.batch_size)?.shuffled(self.seed).bucketed(self.bucketed)?;
        let batches = order.epoch(&lengths, state.run.epoch as u64);
        let done = state.run.batch.min(batches.len());
        for group in batches[done..].chunks(self.accumulate) {
            self.set_rate(&state.run)?;
            self.step(model, train, group, state).map_err(|source| Error::Training {
                epoch: state.run.epoch,
                step: state.run.step,
                source: Box::new(source),
            })?;
            let (run, every) = (&state.run, self.checkpoint.as_ref().and_then(|c| c.every));
            let flow = self.tell(&Event::Step {
                epoch: run.epoch,
                epochs: self.epochs,
                batch: run.batch,
                batches: batches.len(),
                loss: run.loss.0 / run.samples as f64,
            });
            if flow == Flow::Stop {
                return Ok(flow);
            }
            if every.is_some_and(|every| state.run.step.is_multiple_of(every)) {
                self.save(settings, model, state)?;
            }
        }
        Ok(Flow::Continue)
    }

    /// One optimiser step, by the mean gradient of a group of batches.
    fn step(
        &mut self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        group: &[Vec<usize>],
        state: &mut State<M>,
    ) -> Result<()> {
        let (mut sum, mut samples, mut batches) = (0.0, 0, state.run.batches);
        state.grad.fill(T::zero());
        for indices in group {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(BATCHES | batches);
            let batch = train.draw(indices, &mut rng)?;
            let loss = model.loss_and_grad(&batch, &mut state.grad, &mut rng)?;
            if !loss.is_finite() {
                return Err(Error::NonFinite { name: "loss".to_owned(), index: 0, value: loss });
            }
            sum += loss * indices.len() as f64;
            samples += indices.len();
            batches += 1;
        }
        if group.len() > 1 {
            let scale = T::from_f64(1.0 / group.len() as f64);
            state.grad.for_each_mut(&mut |_, mut array| array.mapv_inplace(|g| g * scale));
        }
        if let Some(limit) = self.clip_value {
            clip_value(&mut state.grad, limit)?;
        }
        if let Some(max_norm) = self.clip_norm {
            clip_global_norm(&mut state.grad, max_norm)?;
        }
        self.optimizer.step(model, &state.grad)?;
        if let Some(average) = &mut state.average {
            average.update(model)?;
        }
        let run = &mut state.run;
        (run.loss, run.samples) = (Exact(run.loss.0 + sum), run.samples + samples);
        (run.batch, run.batches, run.step) = (run.batch + group.len(), batches, run.step + 1);
        Ok(())
    }

    /// Judges the epoch and begins the next.
    fn close_epoch(
        &mut self,
        model: &M,
        valid: Option<&dyn Source<M::Batch>>,
        state: &mut State<M>,
    ) -> Result<Flow> {
        let judged = state.average.as_ref().and_then(Ema::average).unwrap_or(model);
        let score = valid.map(|valid| judged.evaluate(valid, self.batch_size)).transpose()?;
        let run = &mut state.run;
        let loss = run.loss.0 / run.samples.max(1) as f64;
        let watched = score.as_ref().map_or(loss, Score::loss);
        let figures = score.iter().flat_map(Score::metrics);
        let epoch = Epoch {
            epoch: run.epoch,
            step: run.step,
            learning_rate: self.optimizer.learning_rate(),
            loss,
            validation: figures.map(|(name, figure)| (name.to_owned(), figure)).collect(),
        };
        if run.best.is_none_or(|best| watched < best.0) {
            (run.best, run.stale) = (Some(Exact(watched)), 0);
            run.history.0.best_epoch = Some(run.epoch);
            if self.patience.is_some() {
                state.best = Some(judged.clone());
            }
        } else {
            run.stale += 1;
        }
        run.history.0.epochs.push(epoch.clone());
        (run.epoch, run.batch, run.loss, run.samples) = (run.epoch + 1, 0, Exact(0.0), 0);
        if let Some((schedule, _)) = &mut self.schedule {
            schedule.observe(watched);
        }
        Ok(self.tell(&Event::Epoch(&epoch)))
    }

    /// Whether early stopping has nothing left to wait for.
    fn is_over(&self, run: &Run) -> bool {
        self.patience.is_some_and(|patience| run.stale >= patience)
    }

    /// Sets the learning rate of the next step.
    fn set_rate(&mut self, run: &Run) -> Result<()> {
        let Some((schedule, by_step)) = &self.schedule else { return Ok(()) };
        let factor = schedule.factor(if *by_step { run.step } else { run.epoch });
        self.optimizer.set_learning_rate(self.first_rate * factor)
    }

    /// Calls every callback; one that wants to stop is enough.
    fn tell(&mut self, event: &Event<'_>) -> Flow {
        let stops = self
            .callbacks
            .iter_mut()
            .filter_map(|callback| (callback(event) == Flow::Stop).then_some(Flow::Stop));
        // All of them are to hear of it.
        stops.last().unwrap_or(Flow::Continue)
    }

    fn save(&self, settings: &Settings, model: &M, state: &mut State<M>) -> Result<()> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let OptimizerState { scalars, moments } = self.optimizer.state();
        state.run.optimizer = scalars.into_iter().map(Exact).collect();
        let schedule = self.schedule.as_ref().map(|(schedule, _)| schedule.state());
        state.run.schedule = schedule.unwrap_or_default().into_iter().map(Exact).collect();
        state.run.moments = moments.len();
        state.moments = moments;
        checkpoint.write(settings, &state.run, &state.bundles(model))
    }

    /// Gives optimiser and schedule the state that was read.
    fn resume(&mut self, state: &mut State<M>) -> Result<()> {
        let numbers = |exact: &[Exact]| exact.iter().map(|value| value.0).collect::<Vec<f64>>();
        let (scalars, moments) =
            (numbers(&state.run.optimizer), std::mem::take(&mut state.moments));
        self.optimizer.restore(OptimizerState { scalars, moments })?;
        match &mut self.schedule {
            Some((schedule, _)) => schedule.restore(&numbers(&state.run.schedule)),
            None => Ok(()),
        }
    }
}

/// What changes while a model trains, beside model, optimiser and schedule.
struct State<M> {
    run: Run,
    grad: M,
    /// The weights of the best epoch, where early stopping wants them.
    best: Option<M>,
    average: Option<Ema<M>>,
    /// The optimiser's, on their way to or from a file.
    moments: Vec<M>,
}

impl<M> State<M> {
    fn new(grad: M, ema: Option<f64>) -> Result<Self> {
        let average = ema.map(Ema::new).transpose()?;
        Ok(Self { run: Run::default(), grad, best: None, average, moments: Vec::new() })
    }

    fn bundles<'m>(&'m self, model: &'m M) -> Bundles<'m, M> {
        let average = self.average.as_ref().and_then(Ema::average);
        Bundles { model, best: self.best.as_ref(), average, moments: &self.moments }
    }

    /// Takes what a checkpoint holds; returns the model's weights.
    fn take(&mut self, (run, read): (Run, Read<M>)) -> M {
        self.run = run;
        self.best = read.best;
        self.moments = read.moments;
        if let Some(ema) = &mut self.average {
            ema.restore(read.average);
        }
        read.model
    }

    /// Gives `model` the weights that it is to end with.
    fn finish(self, model: &mut M) -> History {
        let average = self.average.and_then(Ema::into_average);
        let best = self.best.filter(|_| !self.run.history.0.stopped);
        if let Some(weights) = best.or(average) {
            *model = weights;
        }
        self.run.history.0
    }
}
