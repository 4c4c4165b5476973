//! Checkpoints: the state of a training between two optimiser steps, in one file. The file is replaced
//! atomically, so the last checkpoint survives if the process is killed at any moment.

use std::ops::ControlFlow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::io::{Reader, Writer, about, prepare};
use crate::optim::{Ema, OptimizerState};
use crate::train::course::numbers;
use crate::train::run::{Run, Settings};
use crate::train::weighting::MeanGradient;
use crate::train::{Model, Trainer};

/// The part of a checkpoint beside arrays, as JSON.
#[derive(Serialize, Deserialize)]
struct About {
    settings: Settings,
    run: Run,
}

/// The path of a checkpoint, and the interval at which it is written.
pub(super) struct Checkpoint {
    pub(super) path: PathBuf,
    /// The number of optimiser steps between two checkpoints, beside those at the ends of epochs.
    pub(super) every: Option<usize>,
}

impl Checkpoint {
    /// Returns a writer of the file that holds all but the arrays.
    fn writer(&self, settings: &Settings, run: &Run) -> Result<Writer> {
        let about = About { settings: settings.clone(), run: run.clone() };
        let about = about::write(&about).map_err(|problem| self.refuse(&problem))?;
        Ok(Writer::default().about(about))
    }

    /// Opens the file, if it exists.
    fn open(&self) -> Result<Option<Reader>> {
        let exists = self.path.try_exists();
        let exists = exists.map_err(|source| Error::Io { path: self.path.clone(), source })?;
        exists.then(|| Reader::open(&self.path)).transpose()
    }

    /// Returns the run of `file`. Fails if its settings differ.
    fn run(&self, file: &Reader, settings: &Settings) -> Result<Run> {
        let about = file.about().ok_or_else(|| self.refuse(&"no state of a training"))?;
        let about: About = about::read(about)
            .map_err(|error| self.refuse(&format!("not the state of a training ({error})")))?;
        about.run.check().map_err(|problem| self.refuse(&problem))?;
        let names = |settings: &Settings| -> Vec<String> {
            settings.iter().map(|(name, _)| name.clone()).collect()
        };
        if names(&about.settings) != names(settings) {
            return Err(self.refuse(&"settings of another version"));
        }
        let mut pairs = about.settings.iter().zip(settings);
        // An empty description disables the comparison.
        let differ = |(then, now): &(&(String, String), &(String, String))| {
            then != now && !(now.0 == "model" && (then.1.is_empty() || now.1.is_empty()))
        };
        if let Some(((_, then), (name, now))) = pairs.find(differ) {
            let expected = format!("{then} as in the checkpoint {}", self.path.display());
            return Err(Error::argument(name.clone(), expected, now));
        }
        Ok(about.run)
    }

    fn refuse(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::Format {
            path: self.path.clone(),
            format: "checkpoint",
            problem: problem.to_string(),
        }
    }
}

/// The bundles of a training beside the model and the moments.
pub(super) struct State<M: Arrays> {
    pub(super) grad: MeanGradient<M>,
    /// The weights of the best epoch, if early stopping needs them.
    pub(super) best: Option<M>,
    pub(super) average: Option<Ema<M>>,
}

impl<T: Float, M: Arrays<Elem = T>> State<M> {
    /// Takes zeros for the gradients of steps of up to `batches` batches.
    pub(super) fn new(zeros: M, batches: usize, ema: Option<f64>) -> Result<Self> {
        let average = ema.map(Ema::new).transpose()?;
        Ok(Self { grad: MeanGradient::new(zeros, batches), best: None, average })
    }

    /// Sets `model` to the weights of the best epoch or the average, if there are any.
    pub(super) fn finish(self, model: &mut M) {
        let average = self.average.and_then(Ema::into_average);
        if let Some(weights) = self.best.or(average) {
            *model = weights;
        }
    }
}

/// Reads the bundle under `prefix`, which must have the names and shapes of `like`.
fn read<T: Float, M: Arrays<Elem = T>>(file: &Reader, prefix: &str, like: &M) -> Result<M> {
    let mut bundle = like.clone();
    file.arrays(prefix, &mut bundle)?;
    Ok(bundle)
}

impl<T: Float, M: Model<Elem = T>> Trainer<'_, M> {
    /// Writes the checkpoint at rank 0, if one is set.
    pub(super) fn save(&mut self, settings: &Settings, model: &M, state: &State<M>) -> Result<()> {
        let ranks = self.ranks;
        match self.checkpoint {
            Some(_) => ranks.at_root(|| self.write(settings, model, state)),
            None => Ok(()),
        }
    }

    fn write(&mut self, settings: &Settings, model: &M, state: &State<M>) -> Result<()> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(()) };
        let OptimizerState { scalars, moments } = self.optimizer.state();
        self.course.prepare_save(scalars, moments.len());
        let writer = checkpoint.writer(settings, &self.course.run)?;
        let mut writer = writer.arrays("model.", model);
        let average = state.average.as_ref().and_then(Ema::average);
        for (prefix, bundle) in [("best.", state.best.as_ref()), ("average.", average)] {
            if let Some(bundle) = bundle {
                writer = writer.arrays(prefix, bundle);
            }
        }
        for (i, moment) in moments.iter().enumerate() {
            writer = writer.arrays(&format!("moment{i}."), moment);
        }
        writer.keep_previous(self.course.options.keep_previous).write(&checkpoint.path)
    }

    /// Returns the checkpoint at rank 0, if there is one, with its run. Fails unless that of a training that
    /// is not complete can be written.
    fn open(&self, checkpoint: &Checkpoint, settings: &Settings) -> Result<Option<(Reader, Run)>> {
        let found = match checkpoint.open()? {
            Some(file) => Some((checkpoint.run(&file, settings)?, file)),
            None => None,
        };
        if !found.as_ref().is_some_and(|(run, _)| self.course.ends(run)) {
            prepare(&checkpoint.path)?;
        }
        Ok(found.map(|(run, file)| (file, run)))
    }

    /// Returns the checkpoint of rank 0 at every rank.
    fn opened(
        &self,
        checkpoint: &Checkpoint,
        settings: &Settings,
    ) -> Result<Option<(Reader, Run)>> {
        if self.ranks.size() == 1 {
            return self.open(checkpoint, settings);
        }
        let bytes = self.ranks.root_bytes(|| {
            let found = self.open(checkpoint, settings)?;
            Ok(found.map_or(Vec::new(), |(file, _)| file.bytes().to_vec()))
        })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let file = Reader::from_bytes(checkpoint.path.clone(), bytes)?;
        let run = checkpoint.run(&file, settings)?;
        Ok(Some((file, run)))
    }

    /// Resumes from the checkpoint, if there is one. Changes nothing if it fails.
    pub(super) fn resume(
        &mut self,
        settings: &Settings,
        model: &mut M,
        state: &mut State<M>,
    ) -> Result<ControlFlow<()>> {
        let Some(checkpoint) = &self.checkpoint else { return Ok(ControlFlow::Continue(())) };
        let Some((file, run)) = self.opened(checkpoint, settings)? else {
            return Ok(ControlFlow::Continue(()));
        };
        let optional = |prefix: &str| match file.names(prefix).is_empty() {
            true => Ok(None),
            false => read(&file, prefix, &*model).map(Some),
        };
        let weights = read(&file, "model.", &*model)?;
        let (best, average) = (optional("best.")?, optional("average.")?);
        // The squares of large gradients may be infinite.
        let file = file.ensure_all_finite(false);
        let moments = (0..run.moments).map(|i| read(&file, &format!("moment{i}."), &*model));
        let moments = moments.collect::<Result<_>>()?;
        self.optimizer.restore(OptimizerState { scalars: numbers(&run.optimizer), moments })?;
        if let Some(ema) = &mut state.average {
            ema.restore(average)?;
        }
        let flow = self.course.resume(run)?;
        *model = weights;
        state.best = best;
        self.ranks.flow(flow)
    }
}
