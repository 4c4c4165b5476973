//! [`History`]: the result of each epoch of a training, as data, CSV and plot.

use std::fmt::Write as _;

/// The result of an epoch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// The number of the epoch, from 0.
    pub epoch: usize,
    /// The number of optimiser steps since the start of the training.
    pub step: usize,
    /// The learning rate of the last step of the epoch.
    pub learning_rate: f64,
    /// The mean training loss of the epoch, in which each batch has its
    /// [weight](crate::train::Model::weighted_loss_and_grad).
    pub loss: f64,
    /// The metrics of the validation by name; empty without validation.
    pub validation: Vec<(String, f64)>,
}

/// The checkpoint from which a training was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// The epoch, from 0, in which the training resumed.
    pub epoch: usize,
    /// The number of optimiser steps before the checkpoint.
    pub step: usize,
    /// The number of epochs of the training.
    pub epochs: usize,
    /// Whether the training was already complete.
    pub complete: bool,
}

/// The epochs of a training, in order.
///
/// Histories are equal if all but their times are equal.
///
/// ```
/// use recurrent::train::History;
///
/// let history = History::default();
/// assert_eq!(history.to_csv(), "epoch,step,learning_rate,loss\n");
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct History {
    /// The result of each epoch.
    pub epochs: Vec<Epoch>,
    /// The epoch, from 0, with the lowest validation loss, or training loss without validation. A loss
    /// that is NaN is never the lowest. With early stopping the model has the weights of this epoch.
    pub best_epoch: Option<usize>,
    /// Whether a callback ended the training; false after early stopping.
    pub stopped: bool,
    /// The checkpoint from which the training was resumed, if any.
    pub resumed: Option<Resumed>,
    /// The wall time of each epoch in seconds, validation included. It is absent for epochs that were
    /// complete when the training resumed. For the epoch in which it resumed, it covers the rest.
    pub seconds: Vec<Option<f64>>,
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        let Self { epochs, best_epoch, stopped, resumed, seconds: _ } = self;
        (epochs, best_epoch, stopped, resumed)
            == (&other.epochs, &other.best_epoch, &other.stopped, &other.resumed)
    }
}

impl History {
    /// Returns a CSV text with a header and a line for each epoch. The names of the validation metrics
    /// begin with `validation_`. Numbers parse back to the same bits. Times are left out.
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

    /// Draws the training loss and each validation metric against the epochs, as an SVG file at `path`.
    /// The losses are in the upper panel, the other metrics in the lower. Needs the feature `plot`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if there is no epoch or the file cannot be written.
    #[cfg(feature = "plot")]
    pub fn to_svg(&self, path: impl AsRef<std::path::Path>) -> crate::Result<()> {
        crate::train::curves::draw(self, path.as_ref())
    }
}
