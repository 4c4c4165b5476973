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
use crate::train::communicator::failed;
use crate::train::course::Step;
use crate::train::locate::locate;
use crate::train::ranks::{Division, Part, no_numbers};
use crate::train::resume::State;
use crate::train::run::Settings;
use crate::train::weighting::MeanOfBatches;
use crate::train::{History, Model, Score, Trainer};

/// The first random-number stream for batches. Lower streams shuffle the samples of epochs.
const BATCHES: u64 = 1 << 63;

/// The number of words of such a stream for each sample of a batch. A rank begins at its first sample.
const WORDS: u128 = 1 << 40;

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
    ///
    /// In [distributed](Self::distributed) training, every rank fails if one does. The others return
    /// [`Error::Rank`], or [`Error::Communication`] if they cannot reach it.
    pub fn fit(
        self,
        model: &mut M,
        train: &dyn Source<M::Batch>,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<History> {
        self.ranks.check()?;
        let scaled = self.ranks.agree(scaled_once(model, train, valid))?;
        let Some(Scaled { mut plain, train, valid }) = scaled else {
            return self.run(model, train, valid);
        };
        let history = self.run(&mut plain, &*train, valid.as_deref());
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
        let ranks = self.ranks;
        let settings = ranks.agree(self.settings(model, train, valid))?;
        self.check_same(&settings, model, valid)?;
        let (train, valid) = self.divided(model, train, valid)?;
        ranks.agree(valid.map_or(Ok(()), |valid| check_finite(model, valid)))?;
        let lengths = ranks.lengths(train.source, train.division)?;
        let most = self.course.options.accumulate;
        let mut state = State::new(model.zeros_like(), most, self.course.options.ema)?;
        let mut flow = self.resume(&settings, model, &mut state)?;
        ranks.broadcast(model)?;
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

    /// Returns the settings that a checkpoint compares. Fails if an option is out of range.
    fn settings(
        &self,
        model: &M,
        train: &dyn Source<M::Batch>,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<Settings> {
        let every = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.every);
        let described = (&self.optimizer.options(), &model.options());
        let samples = (train.len(), valid.map(|valid| valid.len()));
        self.course.settings(described, samples, every)
    }

    /// Divides the sources among the ranks. Fails if the loss or the score cannot be.
    fn divided<'s>(
        &self,
        model: &M,
        train: &'s dyn Source<M::Batch>,
        valid: Option<&'s dyn Source<M::Batch>>,
    ) -> Result<(Divided<'s, M>, Option<Divided<'s, M>>)> {
        let accumulate = self.course.options.accumulate;
        let division = self.ranks.division("train", train, accumulate)?;
        if self.ranks.size() > 1 && division != Division::Batches && !model.has_mean_loss() {
            let size = self.ranks.size();
            let expected =
                format!("a loss that is a mean, or accumulate of at least {size} (ranks)");
            return Err(Error::argument("distributed", expected, "a sum"));
        }
        let train = Divided { source: train, division };
        let Some(source) = valid else { return Ok((train, None)) };
        let division = self.ranks.division("valid", source, accumulate)?;
        if division == Division::Held && M::Score::default().to_numbers().is_none() {
            return Err(no_numbers());
        }
        Ok((train, Some(Divided { source, division })))
    }

    /// Fails unless all ranks have the same settings, and models and sources of the same size.
    fn check_same(
        &self,
        settings: &Settings,
        model: &M,
        valid: Option<&dyn Source<M::Batch>>,
    ) -> Result<()> {
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| checkpoint.every);
        let others = [
            ("valid: samples", format!("{:?}", valid.map(|valid| valid.len()))),
            ("epochs", self.course.options.epochs.to_string()),
            ("checkpoint", format!("{checkpoint:?}")),
            ("on_gradient", self.on_gradient.is_some().to_string()),
            ("model: values", format!("{} of {}", model.count(), T::NAME)),
        ];
        let others = others.map(|(name, value)| (name.to_owned(), value));
        self.ranks.check_same(&settings.iter().cloned().chain(others).collect())
    }

    /// Trains on the remaining batches of the epoch.
    fn epoch(
        &mut self,
        model: &mut M,
        (train, lengths): (Divided<'_, M>, &[usize]),
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
            let flow = self.ranks.flow(self.course.call_step(batches.len(), step))?;
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
        train: Divided<'_, M>,
        group: &[Vec<usize>],
        state: &mut State<M>,
    ) -> Result<Option<Step>> {
        let (mut mean, ranks) = (MeanOfBatches::default(), self.ranks);
        state.grad.begin();
        model.begin_step(self.course.run.step);
        for part in ranks.parts(train.division, train.source, group) {
            let own = self.part(model, train.source, &part, state);
            let all = ranks.exchange(own.map(|(loss, weight)| vec![loss, weight]))?;
            let mut weights = Vec::with_capacity(all.len());
            for of_rank in all {
                let [loss, weight] = of_rank[..] else { return Err(failed("no loss of a rank")) };
                mean.add(loss, weight)?;
                weights.push(weight);
            }
            state.grad.add(&weights, ranks)?;
        }
        if mean.weight == 0.0 {
            self.course.count(group.len(), mean);
            return Ok(None);
        }
        let grad_norm = self.prepare(state.grad.finish(mean.weight));
        // Only a hook makes a difference between the ranks.
        let has_hook = self.on_gradient.is_some();
        let grad_norm = if has_hook { ranks.agree(grad_norm) } else { grad_norm }?;
        self.optimizer.step(model, state.grad.get())?;
        if let Some(average) = &mut state.average {
            average.update(model)?;
        }
        self.course.count(group.len(), mean);
        let learning_rate = self.optimizer.learning_rate();
        Ok(Some(Step { loss: mean.get(), grad_norm, learning_rate }))
    }

    /// Computes the gradient of the part of a batch of this rank, and returns its mean loss and its weight.
    fn part(
        &self,
        model: &M,
        train: &dyn Source<M::Batch>,
        Part { batch, first, samples }: &Part,
        state: &mut State<M>,
    ) -> Result<(f64, f64)> {
        if samples.is_empty() {
            return Ok((0.0, 0.0));
        }
        let mut rng = ChaCha8Rng::seed_from_u64(self.course.options.seed);
        rng.set_stream(BATCHES | (self.course.run.batches + *batch as u64));
        rng.set_word_pos(*first as u128 * WORDS);
        let data = train.draw(samples, &mut rng)?;
        let learned = model.weighted_loss_and_grad(&data, state.grad.next_batch(), &mut rng);
        let checked = learned.and_then(|(loss, weight)| {
            let weight = weight.unwrap_or(samples.len() as f64);
            MeanOfBatches::default().add(loss, weight)?;
            Ok((loss, weight))
        });
        checked.map_err(|error| locate(error, model, train, samples))
    }

    /// Calls the hook with a gradient and clips it. Returns its norm before, if a callback reads it.
    fn prepare(&mut self, grad: &mut M) -> Result<f64> {
        if let Some(hook) = &mut self.on_gradient {
            hook(grad)?;
        }
        let options = &self.course.options;
        let grad_norm = if self.course.callbacks.is_empty() { 0.0 } else { norm(grad)? };
        if let Some(limit) = options.clip_value {
            clip_value(grad, limit)?;
        }
        if let Some((max_norm, norm_type)) = options.clip_norm {
            clip_global_norm_of_type(grad, max_norm, norm_type)?;
        }
        Ok(grad_norm)
    }

    /// Evaluates and records the epoch.
    fn close_epoch(
        &mut self,
        model: &M,
        valid: Option<Divided<'_, M>>,
        state: &mut State<M>,
    ) -> Result<ControlFlow<()>> {
        let evaluated = state.average.as_ref().and_then(Ema::average).unwrap_or(model);
        let batch_size = self.course.options.batch_size;
        let evaluate = |Divided { source, division }: Divided<'_, M>| {
            self.ranks.evaluate(evaluated, (source, division), batch_size)
        };
        let score = valid.map(evaluate).transpose();
        let score = score.map_err(|error| error.prefixed("valid: "))?;
        let score = score.map(|score| (score.loss(), score.metrics()));
        if self.course.record(self.optimizer.learning_rate(), score)
            && self.course.options.patience.is_some()
        {
            state.best = Some(evaluated.clone());
        }
        self.ranks.flow(self.course.call_epoch())
    }
}

/// A source, and how it is divided among the ranks.
struct Divided<'s, M: Model> {
    source: &'s dyn Source<M::Batch>,
    division: Division,
}

impl<M: Model> Clone for Divided<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Model> Copy for Divided<'_, M> {}

/// A model without its scaler, and sources that are scaled already.
struct Scaled<'s, M: Model> {
    plain: M,
    train: Box<dyn Source<M::Batch> + 's>,
    valid: Option<Box<dyn Source<M::Batch> + 's>>,
}

/// Returns the sources scaled by the scaler of `model`, if it has one and they can be. Fails if the features
/// of a source have other names than the model's.
fn scaled_once<'s, M: Model>(
    model: &M,
    train: &'s dyn Source<M::Batch>,
    valid: Option<&'s dyn Source<M::Batch>>,
) -> Result<Option<Scaled<'s, M>>> {
    for source in [Some(train), valid].into_iter().flatten() {
        check_same(model.columns(), source.columns())?;
    }
    let Some((scaler, plain)) = model.without_scaler() else { return Ok(None) };
    let scaled_train = train.scaled_once(scaler)?;
    let scaled_valid = valid.map(|valid| valid.scaled_once(scaler)).transpose()?;
    Ok(match (scaled_train, scaled_valid) {
        (Some(train), None) => Some(Scaled { plain, train, valid: None }),
        (Some(train), Some(Some(valid))) => Some(Scaled { plain, train, valid: Some(valid) }),
        _ => None,
    })
}

/// Fails at the first value of `valid` that is not finite, unless nothing of its sample counts, or it is the
/// NaN of a step that does not count. Gates make a finite loss of an infinity.
fn check_finite<M: Model>(model: &M, valid: Divided<'_, M>) -> Result<()> {
    let Divided { source: valid, division } = valid;
    let here = |&sample: &usize| division != Division::Held || valid.holds(sample);
    for sample in (0..valid.len()).filter(here) {
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
