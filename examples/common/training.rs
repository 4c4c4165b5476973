//! Training with progress output, which Ctrl-C stops and the same command resumes.
#![allow(dead_code, reason = "an example uses a part of it")]

use std::ops::ControlFlow;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use recurrent::Arrays;
use recurrent::data::Source;
use recurrent::tensor::Precision;
use recurrent::train::{Event, Model, Trainer, progress};

use super::options::{Failure, Options};

static STOP: AtomicBool = AtomicBool::new(false);
static HANDLER: Once = Once::new();

fn on_ctrl_c(_: &Event<'_>) -> ControlFlow<()> {
    if STOP.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Returns a copy of the loaded model, or else a trained one: `None` if Ctrl-C ended the training.
pub(crate) fn loaded_or<M: Clone>(
    loaded: Option<&M>,
    train: impl FnOnce() -> Result<Option<M>, Failure>,
) -> Result<Option<M>, Failure> {
    loaded.map_or_else(train, |model| Ok(Some(model.clone())))
}

/// Returns copies of `model` with weights of 16 and of 8 bits, each after its name.
pub(crate) fn reduced<M: Arrays>(model: &M) -> Result<[(&'static str, M); 2], Failure> {
    let mut copies = [("bf16", model.clone()), ("int8", model.clone())];
    Precision::Bf16.round(&mut copies[0].1)?;
    Precision::Int8.round(&mut copies[1].1)?;
    Ok(copies)
}

/// Trains `model` and writes the learning curves as `name`.csv to the output directory. Returns false if
/// Ctrl-C ended the training. The same command then resumes it from its checkpoint.
pub(crate) fn fit<M: Model<Elem = f32>>(
    options: &Options,
    name: &str,
    trainer: Trainer<'_, M>,
    model: &mut M,
    train: &dyn Source<M::Batch>,
    valid: Option<&dyn Source<M::Batch>>,
) -> Result<bool, Failure> {
    let mut handled = Ok(());
    HANDLER.call_once(|| handled = ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)));
    handled?;
    let checkpoint = options.out.join(format!("{name}.checkpoint"));
    if checkpoint.exists() {
        println!("resuming from {}", checkpoint.display());
    }
    let trainer = trainer.checkpoint(&checkpoint).callback(progress()).callback(on_ctrl_c);
    let history = trainer.fit(model, train, valid)?;
    if history.stopped {
        println!("stopped; the same command resumes from {}", checkpoint.display());
        return Ok(false);
    }
    std::fs::write(options.out.join(format!("{name}.csv")), history.to_csv())?;
    #[cfg(feature = "plot")]
    history.to_svg(options.out.join(format!("{name}.svg")))?;
    std::fs::remove_file(&checkpoint)?;
    Ok(true)
}
