//! [`progress`]: a callback that shows the progress of a training. Needs the feature `progress`.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use crate::train::history::Epoch;
use crate::train::{Event, Resumed};

/// The largest number of lines if standard error is not a terminal.
const LINES: u128 = 20;

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
pub fn progress() -> impl FnMut(&Event<'_>) -> ControlFlow<()> + Send {
    let mut progress =
        Progress { bar: None, begun: None, last: String::new(), pending: String::new() };
    move |event| {
        progress.show(event);
        ControlFlow::Continue(())
    }
}

struct Progress {
    /// Absent before the first step, and if standard error is not a terminal.
    bar: Option<ProgressBar>,
    /// Absent before the first event that holds it, which need not be a step.
    begun: Option<Begun>,
    /// The metrics of the last validation.
    last: String,
    /// A line about the last epoch that is not printed yet.
    pending: String,
}

/// The start of the training, or of its resumption.
#[derive(Clone, Copy)]
struct Begun {
    at: Instant,
    /// The epoch at which it started.
    first: usize,
    /// The number of epochs of the training.
    epochs: usize,
}

impl Begun {
    fn now(first: usize, epochs: usize) -> Self {
        Self { at: Instant::now(), first, epochs }
    }

    /// Returns whether a line is due after `done` epochs.
    fn has_line(&self, done: usize) -> bool {
        let part = |done: usize| done as u128 * LINES / (self.epochs as u128).max(1);
        part(done) != part(done.saturating_sub(1))
    }

    /// Returns the time that remains after `done` epochs, if it can be represented.
    fn remains(&self, done: usize) -> Option<Duration> {
        let share =
            self.epochs.saturating_sub(done) as f64 / done.saturating_sub(self.first).max(1) as f64;
        Duration::try_from_secs_f64(self.at.elapsed().as_secs_f64() * share).ok()
    }
}

impl Progress {
    fn show(&mut self, event: &Event<'_>) {
        match *event {
            Event::Step { epoch, epochs, batch, batches, loss, .. } => {
                self.begun.get_or_insert_with(|| Begun::now(epoch, epochs));
                let done = epoch.saturating_mul(batches).saturating_add(batch);
                if self.bar.is_none() && std::io::stderr().is_terminal() {
                    self.bar = Some(bar(epochs.checked_mul(batches)));
                }
                if let Some(bar) = &self.bar {
                    bar.set_position(done as u64);
                    bar.set_message(format!("loss {loss:.4}{}", self.last));
                }
            }
            Event::Resumed(Resumed { complete: true, epoch, .. }) => {
                eprintln!("already complete: the checkpoint holds {epoch} epochs");
            }
            Event::Resumed(&Resumed { epoch, step, epochs, .. }) => {
                self.begun = Some(Begun::now(epoch, epochs));
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
        let Self { bar, begun, last, pending } = self;
        let Some(begun) = begun else {
            *pending = format!("epoch {done}: loss {loss:.4}{last}");
            return;
        };
        *pending = format!("epoch {done} of {}: loss {loss:.4}{last}", begun.epochs);
        if bar.is_none() && begun.has_line(done) {
            let left = |time| format!(" ({} left)", HumanDuration(time));
            eprintln!("{pending}{}", begun.remains(done).map_or(String::new(), left));
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

/// Returns a bar of `total` batches. Without a total, which is too large for a number, it only counts.
fn bar(total: Option<usize>) -> ProgressBar {
    let (template, bar) = match total {
        Some(total) => {
            let template = "{wide_bar} {pos}/{len} batches, {per_sec}, {msg} ({eta} left)";
            (template, ProgressBar::new(total as u64))
        }
        None => ("{pos} batches, {per_sec}, {msg}", ProgressBar::no_length()),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
