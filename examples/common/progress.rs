//! A progress bar; plain lines where the output is not a terminal.

use std::fmt::Display;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows how far a training is.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    done: usize,
    total: usize,
}

impl Progress {
    /// For `total` steps of `what`.
    pub(crate) fn new(what: &'static str, total: usize) -> Result<Self, super::options::Failure> {
        let template = "{prefix} {wide_bar} {pos}/{len} {msg} ({eta} left)";
        let bar = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(total as u64).with_prefix(what);
            Some(bar.with_style(ProgressStyle::with_template(template)?))
        } else {
            None
        };
        Ok(Self { what, bar, done: 0, total })
    }

    /// One more step is done; `message` says how it stands.
    pub(crate) fn step(&mut self, message: impl Display) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.set_message(message.to_string());
                bar.inc(1);
            }
            None if self.done * 5 / self.total != (self.done - 1) * 5 / self.total => {
                eprintln!("{} {} of {}: {message}", self.what, self.done, self.total);
            }
            None => {}
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
