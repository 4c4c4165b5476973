//! Training as an example shows it: how far it is, Ctrl-C, and going on where that ended it.

use std::ops::ControlFlow;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use recurrent::data::Source;
use recurrent::train::{Event, Model, Trainer, progress};

use super::options::{Failure, Options};

static STOP: AtomicBool = AtomicBool::new(false);
static HANDLER: Once = Once::new();

fn on_ctrl_c(_: &Event<'_>) -> ControlFlow<()> {
    if STOP.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

/// Trains `model`, and writes the curves beside the plots as `name`.csv. False where Ctrl-C ended the
/// training: its state is then in a file, from which the same command goes on.
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
    std::fs::create_dir_all(&options.out)?;
    let checkpoint = options.out.join(format!("{name}.checkpoint"));
    if checkpoint.exists() {
        println!("going on from {}", checkpoint.display());
    }
    let trainer = trainer.checkpoint(&checkpoint).callback(progress()).callback(on_ctrl_c);
    let history = trainer.fit(model, train, valid)?;
    if history.stopped {
        println!("stopped; the same command goes on from {}", checkpoint.display());
        return Ok(false);
    }
    std::fs::write(options.out.join(format!("{name}.csv")), history.to_csv())?;
    #[cfg(feature = "plot")]
    history.to_svg(options.out.join(format!("{name}.svg")))?;
    std::fs::remove_file(&checkpoint)?;
    Ok(true)
}
