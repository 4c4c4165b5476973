//! [`Trainer::fit`]: the loop over epochs and batches.
#![expect(clippy::indexing_slicing, reason = "at most all batches are done")]

use std::ops::ControlFlow;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::arrays::Arrays;
use crate::data::Source;
use crate::data::columns::check_same;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::memory::Reserve;
use crate::optim::{Ema, clip_global_norm, clip_global_norm_of_type, clip_value};
use crate::train::course::Step;
use crate::train::locate::locate;
use crate::train::resume::State;
use crate::train::run::Settings;
use crate::train::weighting::MeanOfBatches;
use crate::train::{History, Model, Score, Trainer};

/// The first random-number stream for batches. Lower streams shuffle the samples of epochs.
const BATCHES: u64 = 1 << 63;

impl<T: Float, M: Model<Elem = T>> Trainer<'_, M> {
    /// Trains `model` on `train`, and evaluates it on `valid`, if given, after each epoch.
    ///
    /// # Errors
    /// [`Error::Training`], with epoch, step and cause, if a step fails: a loss or gradient is not
    /// finite, a batch cannot be made, [`on_gradient`](Self::on_gradient) fails, or no target of an epoch
    /// counts. The model then has the weights from before that step, and the last checkpoint is kept. If
    /// the cause is a value that is not finite, the error names its sample, step and feature, as far as
    /// the [source](Source::check_finite) can tell them.
    ///
    /// Other errors if an option is out of range, options exclude each other, a source is empty, the
    /// features of a source have other names than the model's, a value of `valid` is not finite (before the
    /// first step), the validation fails, or the checkpoint cannot be written or belongs to
    /// another training. If the validation or the writing fails, the model has the weights of the last step.
    pub fn fit(
        self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<History> {
        for source in [Some(train), valid].into_iter().flatten() {
            check_same(model.columns(), source.columns())?;
        }
        let Some((scaler, mut plain)) = model.without_scaler() else {
            return self.run(model, train, valid);
        };
        let scaled_train = train.scaled_once(scaler)?;
        let scaled_valid = valid.map(|valid| valid.scaled_once(scaler)).transpose()?;
        let history = match (scaled_train, scaled_valid) {
            (Some(train), None) => self.run(&mut plain, &*train, None),
            (Some(train), Some(Some(valid))) => self.run(&mut plain, &*train, Some(&*valid)),
            _ => return self.run(model, train, valid),
        };
        model.zip_mut("model", &plain, &mut |_, mut to, from| to.assign(&from))?;
        history
    }

    /// Trains `model` on batches as they are.
    fn run(
        mut self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<History> {
        // Keeps the memory of one batch for the next.
        let _reserve = Reserve::default();
        let every = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.every);
        let described = (&self.optimizer.options(), &model.options());
        let samples = (train.len(), valid.map(|valid| valid.len()));
        let settings = self.course.settings(described, samples, every)?;
        valid.map_or(Ok(()), |valid| check_finite(model, valid))?;
        let lengths: Vec<usize> = (0..train.len()).map(|i| train.length(i)).collect();
        let most = self.course.options.accumulate;
        let mut state = State::new(model.zeros_like(), most, self.course.options.ema)?;
        let mut flow = self.resume(&settings, model, &mut state)?;
        while flow.is_continue() && !self.course.is_over() {
            flow = self.epoch(model, (train, &lengths), &settings, &mut state)?;
            if flow.is_continue() {
                flow = self.close_epoch(model, valid, &mut state)?;
                self.save(&settings, model, &state)?;
            }
        }
        if flow.is_break() {
            self.course.run.history.0.stopped = true;
            self.save(&settings, model, &state)?;
        }
        let history = self.course.into_history();
        state.finish(model);
        Ok(history)
    }

    /// Trains on the remaining batches of the epoch.
    fn epoch(
        &mut self,
        model: &mut M,
        (train, lengths): (&dyn Source<M::Batch>, &[usize]),
        settings: &Settings,
        state: &mut State<M>,
    ) -> Result<ControlFlow<()>> {
        let (batches, done) = self.course.batches(lengths)?;
        let every = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.every);
        for group in batches[done..].chunks(self.course.options.accumulate) {
            if let Some(rate) = self.course.rate() {
                self.optimizer.set_learning_rate(rate)?;
            }
            let step = self.step(model, train, group, state);
            let Some(step) = step.map_err(|source| self.failed(source))? else { continue };
            let flow = self.course.call_step(batches.len(), step);
            if flow.is_break() {
                return Ok(flow);
            }
            if every.is_some_and(|every| self.course.run.step.is_multiple_of(every)) {
                self.save(settings, model, state)?;
            }
        }
        self.course.check_counted().map_err(|source| self.failed(source))?;
        Ok(ControlFlow::Continue(()))
    }

    /// Returns the error of a step.
    fn failed(&self, source: Error) -> Error {
        let (epoch, step) = (self.course.run.epoch, self.course.run.step);
        Error::Training { epoch, step, source: Box::new(source) }
    }

    /// Makes one optimiser step with the mean gradient of a group of batches. Makes none, and returns
    /// `None`, if nothing in them counts.
    fn step(
        &mut self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        group: &[Vec<usize>],
        state: &mut State<M>,
    ) -> Result<Option<Step>> {
        let (mut mean, mut batch) = (MeanOfBatches::default(), self.course.run.batches);
        let options = &self.course.options;
        state.grad.begin();
        model.begin_step(self.course.run.step);
        for indices in group {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(BATCHES | batch);
            let data = train.draw(indices, &mut rng)?;
            let grad = state.grad.next_batch();
            let learned = model.weighted_loss_and_grad(&data, grad, &mut rng);
            let added = learned.and_then(|(loss, weight)| {
                let weight = weight.unwrap_or(indices.len() as f64);
                mean.add(loss, weight)?;
                state.grad.add(weight);
                Ok(())
            });
            added.map_err(|error| locate(error, model, train, indices))?;
            batch += 1;
        }
        if mean.weight == 0.0 {
            self.course.count(group.len(), mean);
            return Ok(None);
        }
        let grad = state.grad.finish(mean.weight);
        if let Some(hook) = &mut self.on_gradient {
            hook(grad)?;
        }
        let grad_norm = if self.course.callbacks.is_empty() { 0.0 } else { norm(grad)? };
        if let Some(limit) = options.clip_value {
            clip_value(grad, limit)?;
        }
        if let Some((max_norm, norm_type)) = options.clip_norm {
            clip_global_norm_of_type(grad, max_norm, norm_type)?;
        }
        self.optimizer.step(model, grad)?;
        if let Some(average) = &mut state.average {
            average.update(model)?;
        }
        self.course.count(group.len(), mean);
        let learning_rate = self.optimizer.learning_rate();
        Ok(Some(Step { loss: mean.get(), grad_norm, learning_rate }))
    }

    /// Evaluates and records the epoch.
    fn close_epoch(
        &mut self,
        model: &M,
        valid: Option<&dyn Source<M::Batch>>,
        state: &mut State<M>,
    ) -> Result<ControlFlow<()>> {
        let evaluated = state.average.as_ref().and_then(Ema::average).unwrap_or(model);
        let batch_size = self.course.options.batch_size;
        let score = valid.map(|valid| evaluated.evaluate(valid, batch_size)).transpose();
        let score = score.map_err(|error| error.prefixed("valid: "))?;
        let score = score.map(|score| (score.loss(), score.metrics()));
        if self.course.record(self.optimizer.learning_rate(), score)
            && self.course.options.patience.is_some()
        {
            state.best = Some(evaluated.clone());
        }
        Ok(self.course.call_epoch())
    }
}

/// Fails at the first value of `valid` that is not finite, unless nothing of its sample counts, or it is the
/// NaN of a step that does not count. Gates make a finite loss of an infinity.
fn check_finite<M: Model>(model: &M, valid: &dyn Source<M::Batch>) -> Result<()> {
    for sample in 0..valid.len() {
        let Err(found) = valid.check_finite(sample) else { continue };
        let mut score = M::Score::default();
        let scored = model.score_batch(&valid.batch(&[sample])?, &mut score);
        if scored.is_err() || (is_infinite(&found) && !score.loss().is_nan()) {
            return Err(found.prefixed(&format!("valid: sample {sample}, ")));
        }
    }
    Ok(())
}

/// Returns whether the error is about a value that is infinite.
fn is_infinite(error: &Error) -> bool {
    match error {
        Error::Argument { got, .. } => got.parse::<f64>().is_ok_and(f64::is_infinite),
        _ => false,
    }
}

/// Returns the norm of a gradient, NaN or infinite if the gradient is.
fn norm<T: Float, M: Arrays<Elem = T>>(grad: &mut M) -> Result<f64> {
    // No norm exceeds this limit, so the gradient stays as it is.
    match clip_global_norm(grad, f64::MAX) {
        Err(Error::NonFinite { value, .. }) => Ok(value),
        norm => norm,
    }
}
