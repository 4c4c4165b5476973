//! [`Run`]: the part of a checkpoint beside arrays.

use serde::{Deserialize, Serialize};

use crate::train::{Epoch, History};

/// A number that a file stores by its bits, infinities included.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(super) struct Exact(pub(super) f64);

impl From<u64> for Exact {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Exact> for u64 {
    fn from(value: Exact) -> Self {
        value.0.to_bits()
    }
}

/// A history whose numbers a file stores by their bits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "SavedHistory", into = "SavedHistory")]
pub(super) struct Past(pub(super) History);

#[derive(Serialize, Deserialize)]
struct SavedHistory {
    epochs: Vec<SavedEpoch>,
    best_epoch: Option<usize>,
}

#[derive(Serialize, Deserialize)]
struct SavedEpoch {
    epoch: usize,
    step: usize,
    learning_rate: Exact,
    loss: Exact,
    validation: Vec<(String, Exact)>,
}

impl From<SavedHistory> for Past {
    fn from(saved: SavedHistory) -> Self {
        let epochs = saved.epochs.into_iter().map(|saved| Epoch {
            epoch: saved.epoch,
            step: saved.step,
            learning_rate: saved.learning_rate.0,
            loss: saved.loss.0,
            validation: saved.validation.into_iter().map(|(name, Exact(f))| (name, f)).collect(),
        });
        let (epochs, best_epoch) = (epochs.collect(), saved.best_epoch);
        Self(History { epochs, best_epoch, ..History::default() })
    }
}

impl From<Past> for SavedHistory {
    fn from(Past(history): Past) -> Self {
        let epochs = history.epochs.into_iter().map(|epoch| SavedEpoch {
            epoch: epoch.epoch,
            step: epoch.step,
            learning_rate: Exact(epoch.learning_rate),
            loss: Exact(epoch.loss),
            validation: epoch.validation.into_iter().map(|(name, f)| (name, Exact(f))).collect(),
        });
        Self { epochs: epochs.collect(), best_epoch: history.best_epoch }
    }
}

/// The options of a training by name, each with a description. A training resumes only under the
/// settings of its start. The number of epochs is not among them and may change.
pub(super) type Settings = Vec<(String, String)>;

/// The state of a training at the boundary of an optimiser step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    /// The current epoch, and the number of its batches that are complete.
    pub(super) epoch: usize,
    pub(super) batch: usize,
    /// The numbers of batches and of optimiser steps since the start.
    pub(super) batches: u64,
    pub(super) step: usize,
    /// The sum of the losses, each times its weight, and the sum of the weights of this epoch so far.
    pub(super) loss: Exact,
    pub(super) weight: Exact,
    /// The best validation loss, which is never NaN, and the number of epochs since.
    pub(super) best: Option<Exact>,
    pub(super) stale: usize,
    pub(super) history: Past,
    /// The state of the optimiser and of the schedule.
    pub(super) optimizer: Vec<Exact>,
    pub(super) schedule: Vec<Exact>,
    pub(super) moments: usize,
}

/// The largest count of a run that is read, which no training reaches.
const MOST: u64 = 1 << 53;

impl Run {
    /// Fails, with the problem in words, unless each count is one that a training may continue.
    pub(super) fn check(&self) -> Result<(), String> {
        let sizes = [self.epoch, self.batch, self.step, self.stale].map(|count| count as u64);
        match sizes.into_iter().chain([self.batches]).find(|&count| count > MOST) {
            Some(count) => Err(format!("expected counts of at most {MOST}, got {count}")),
            None => Ok(()),
        }
    }
}

impl Default for Run {
    fn default() -> Self {
        Self {
            epoch: 0,
            batch: 0,
            batches: 0,
            step: 0,
            loss: Exact(0.0),
            weight: Exact(0.0),
            best: None,
            stale: 0,
            history: Past::default(),
            optimizer: Vec::new(),
            schedule: Vec::new(),
            moments: 0,
        }
    }
}
