//! [`History`]: what each epoch of a training came to, as data, as CSV and as a plot.

use std::fmt::Write as _;

/// What an epoch came to.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// Which, from 0.
    pub epoch: usize,
    /// Optimiser steps since the beginning.
    pub step: usize,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// Mean training loss over its samples.
    pub loss: f64,
    /// The figures of validation by name, if there is validation.
    pub validation: Vec<(String, f64)>,
}

/// The epochs of a training, in order.
///
/// ```
/// use recurrent::train::History;
///
/// let history = History::default();
/// assert_eq!(history.to_csv(), "epoch,step,learning_rate,loss\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct History {
    /// What each epoch came to.
    pub epochs: Vec<Epoch>,
    /// The epoch, from 0, with the lowest validation loss, or without validation the lowest training
    /// loss. With early stopping the model has its weights.
    pub best_epoch: Option<usize>,
    /// Whether a callback ended the training before its time; early stopping is no such end.
    pub stopped: bool,
}

impl History {
    /// A line per epoch under a header; figures of validation stand under `validation_` and their
    /// names. Numbers are written so that they read back as they were.
    pub fn to_csv(&self) -> String {
        let mut csv = "epoch,step,learning_rate,loss".to_owned();
        let names = self.epochs.first().map_or(&[][..], |epoch| &epoch.validation);
        for (name, _) in names {
            csv.push_str(",validation_");
            csv.push_str(name);
        }
        csv.push('\n');
        for Epoch { epoch, step, learning_rate, loss, validation } in &self.epochs {
            // Writing to a string cannot fail.
            let _ = write!(csv, "{epoch},{step},{learning_rate},{loss}");
            for (_, figure) in validation {
                let _ = write!(csv, ",{figure}");
            }
            csv.push('\n');
        }
        csv
    }

    /// The curves of training loss and of each figure of validation against the epochs, as an SVG file
    /// at `path`: losses above, the other figures below. Needs the feature `plot`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) where there is nothing to draw, or the file cannot be
    /// written.
    #[cfg(feature = "plot")]
    pub fn to_svg(&self, path: impl AsRef<std::path::Path>) -> crate::Result<()> {
        crate::train::curves::draw(self, path.as_ref())
    }
}
