//! [`Checkpoint`]: a training in one file, at the boundary of an optimiser step. The file is
//! written whole or not at all, so that a training killed at any moment finds the last one.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::io::{Reader, Writer};
use crate::train::run::{Run, Settings};

/// What is not an array in a checkpoint, as JSON.
#[derive(Serialize, Deserialize)]
struct About {
    settings: Settings,
    run: Run,
}

/// The bundles of a checkpoint, on their way to the file.
pub(super) struct Bundles<'m, M> {
    pub(super) model: &'m M,
    pub(super) best: Option<&'m M>,
    pub(super) average: Option<&'m M>,
    pub(super) moments: &'m [M],
}

/// The same, back from the file.
pub(super) struct Read<M> {
    pub(super) model: M,
    pub(super) best: Option<M>,
    pub(super) average: Option<M>,
    pub(super) moments: Vec<M>,
}

/// Where, and how often, a training is written.
pub(super) struct Checkpoint {
    pub(super) path: PathBuf,
    /// Optimiser steps from one to the next, beside the ends of epochs.
    pub(super) every: Option<usize>,
}

impl Checkpoint {
    pub(super) fn write<T: Float, M: Arrays<Elem = T>>(
        &self,
        settings: &Settings,
        run: &Run,
        bundles: &Bundles<'_, M>,
    ) -> Result<()> {
        let about = About { settings: settings.clone(), run: run.clone() };
        let about = serde_json::to_string(&about).map_err(|error| self.refuse(&error))?;
        let mut writer = Writer::default().about(about).arrays("model.", bundles.model);
        for (prefix, bundle) in [("best.", bundles.best), ("average.", bundles.average)] {
            writer = bundle.into_iter().fold(writer, |writer, m| writer.arrays(prefix, m));
        }
        for (i, moment) in bundles.moments.iter().enumerate() {
            writer = writer.arrays(&format!("moment{i}."), moment);
        }
        writer.write(&self.path)
    }

    /// Where the training stood and its bundles, which are to be like `zeros`.
    pub(super) fn read<T: Float, M: Arrays<Elem = T>>(
        &self,
        settings: &Settings,
        zeros: &M,
    ) -> Result<(Run, Read<M>)> {
        let file = Reader::open(&self.path)?;
        let about = file.about().ok_or_else(|| self.refuse(&"no state of a training"))?;
        let about: About = serde_json::from_str(about)
            .map_err(|error| self.refuse(&format!("says of no training ({error})")))?;
        if about.settings.len() != settings.len() {
            return Err(self.refuse(&"settings of another version"));
        }
        let mut pairs = about.settings.iter().zip(settings);
        if let Some(((_, then), (name, now))) = pairs.find(|(then, now)| then != now) {
            let expected = format!("{then} as in the checkpoint {}", self.path.display());
            return Err(Error::argument(name.clone(), expected, now));
        }
        let read = |prefix: &str| {
            let mut bundle = zeros.clone();
            file.arrays(prefix, &mut bundle).map(|()| bundle)
        };
        let optional = |prefix: &str| match file.names(prefix)?.is_empty() {
            true => Ok(None),
            false => read(prefix).map(Some),
        };
        let (model, best, average) = (read("model.")?, optional("best.")?, optional("average.")?);
        let moments = (0..about.run.moments).map(|i| read(&format!("moment{i}.")));
        let moments = moments.collect::<Result<_>>()?;
        Ok((about.run, Read { model, best, average, moments }))
    }

    fn refuse(&self, problem: &dyn std::fmt::Display) -> Error {
        Error::Format {
            path: self.path.clone(),
            format: "checkpoint",
            problem: problem.to_string(),
        }
    }
}
