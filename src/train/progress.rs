//! [`progress`]: a callback that shows the progress of a training. Needs the feature `progress`.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::Instant;

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::train::history::Epoch;
use crate::train::{Event, Resumed};

/// The largest number of lines if standard error is not a terminal.
const LINES: usize = 20;

/// Returns a callback that shows the training on standard error: a bar with the rate, the loss, the
/// metrics of the last validation and the remaining time. If standard error is not a terminal, it prints
/// up to twenty lines instead, and one for the last epoch. A resumed checkpoint adds a line.
///
/// ```
/// use recurrent::cell::LstmCell;
/// # use recurrent::train::{progress, Trainer};
/// # use recurrent::{model::SequenceClassifier, optim::Adam};
/// let trainer: Trainer<'_, SequenceClassifier<LstmCell<f32>>> = Trainer::new(Adam::new(1e-3)?).callback(progress());
/// # Ok::<(), recurrent::Error>(())
/// ```
pub fn progress() -> impl FnMut(&Event<'_>) -> ControlFlow<()> {
    let mut progress = Progress {
        bar: None,
        begun: Instant::now(),
        epochs: 0,
        first: 0,
        last: String::new(),
        pending: String::new(),
    };
    move |event| {
        progress.show(event);
        ControlFlow::Continue(())
    }
}

struct Progress {
    /// Absent before the first step, and if standard error is not a terminal.
    bar: Option<ProgressBar>,
    begun: Instant,
    epochs: usize,
    /// The epoch in which the training started or resumed.
    first: usize,
    /// The metrics of the last validation.
    last: String,
    /// A line about the last epoch that is not printed yet.
    pending: String,
}

impl Progress {
    fn show(&mut self, event: &Event<'_>) {
        match *event {
            Event::Step { epoch, epochs, batch, batches, loss } => {
                let done = epoch * batches + batch;
                if self.epochs == 0 {
                    (self.epochs, self.first, self.begun) = (epochs, epoch, Instant::now());
                    self.bar = std::io::stderr().is_terminal().then(|| bar(epochs * batches));
                }
                if let Some(bar) = &self.bar {
                    bar.set_position(done as u64);
                    bar.set_message(format!("loss {loss:.4}{}", self.last));
                }
            }
            Event::Resumed(Resumed { complete: true, epoch, .. }) => {
                eprintln!("already complete: the checkpoint holds {epoch} epochs");
            }
            Event::Resumed(Resumed { epoch, step, .. }) => {
                eprintln!("resumed in epoch {} after {step} steps", epoch + 1);
            }
            Event::Epoch(Epoch { epoch, loss, validation, .. }) => {
                self.last.clear();
                for (k, (name, figure)) in validation.iter().enumerate() {
                    let before = if k == 0 { "; validation" } else { "," };
                    // Writing to a string cannot fail.
                    let _ = write!(self.last, "{before} {name} {figure:.4}");
                }
                self.line(epoch + 1, *loss);
            }
        }
    }

    /// Prints a line about epoch `done`, counted from 1, if there is no bar and the limit of lines allows.
    fn line(&mut self, done: usize, loss: f64) {
        let Self { bar, begun, epochs, first, last, pending } = self;
        *pending = format!("epoch {done} of {epochs}: loss {loss:.4}{last}");
        if bar.is_none() && done * LINES / *epochs != (done - 1) * LINES / *epochs {
            let share = (*epochs - done) as f64 / (done - *first).max(1) as f64;
            let remains = HumanDuration(begun.elapsed().mul_f64(share));
            eprintln!("{pending} ({remains} left)");
            pending.clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.pending.is_empty() {
            eprintln!("{}", self.pending);
        }
    }
}

fn bar(total: usize) -> ProgressBar {
    let template = "{wide_bar} {pos}/{len} batches, {per_sec}, {msg} ({eta} left)";
    let bar = ProgressBar::new(total as u64);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
