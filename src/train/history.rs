//! [`History`]: the results of each epoch of a training, as data, as CSV and as a plot.

use std::fmt::Write as _;

/// The result of an epoch.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Epoch {
    /// The number of the epoch, from 0.
    pub epoch: usize,
    /// The number of optimiser steps since the beginning.
    pub step: usize,
    /// The learning rate of its last step.
    pub learning_rate: f64,
    /// The mean training loss over its samples.
    pub loss: f64,
    /// The metrics of the validation by name, if there is any.
    pub validation: Vec<(String, f64)>,
}

/// The checkpoint from which a training was resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resumed {
    /// The epoch that was next or under way, from 0.
    pub epoch: usize,
    /// The number of optimiser steps that had been made.
    pub step: usize,
    /// Whether the training was complete already, so that nothing was left to train.
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
    /// The epoch, from 0, with the lowest validation loss, or without validation the lowest training
    /// loss. With early stopping the model has its weights.
    pub best_epoch: Option<usize>,
    /// Whether a callback ended the training. Early stopping does not count.
    pub stopped: bool,
    /// The checkpoint from which the training was resumed, if it was.
    pub resumed: Option<Resumed>,
    /// The wall time of each epoch in seconds, validation included. It is absent for epochs before a
    /// resume, and covers only the part after it for the epoch that was resumed.
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
    /// Returns a header and a line per epoch. The columns of the validation metrics begin with
    /// `validation_`. Numbers read back exactly. Times are left out.
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

    /// Draws the training loss and each validation metric against the epochs, as an SVG file at `path`:
    /// losses above, the other metrics below. Needs the feature `plot`.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) where there is no epoch, or the file cannot be written.
    #[cfg(feature = "plot")]
    pub fn to_svg(&self, path: impl AsRef<std::path::Path>) -> crate::Result<()> {
        crate::train::curves::draw(self, path.as_ref())
    }
}
