//! The training, in a process of its own.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::Arrays;
use recurrent::cell::LstmCell;
use recurrent::data::Dataset;
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::train::{Event, Trainer};

/// The number of optimiser steps between two checkpoints.
pub(crate) const EVERY: usize = 3;
const EPOCHS: usize = 6;
const SAMPLES: usize = 400;
const BATCH: usize = 16;
/// The number of steps of a training.
const STEPS: usize = EPOCHS * SAMPLES.div_ceil(BATCH);

/// The name of the checkpoint in the folder of a training.
pub(crate) const CHECKPOINT: &str = "run.checkpoint";

/// Trains with checkpoints in `folder`, and prints each step and a number of all bits of the weights.
pub(crate) fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let sequence = |rng: &mut ChaCha8Rng| {
        let length = rng.random_range(5..60);
        Array2::from_shape_simple_fn((length, 4), || rng.random_range(-1.0..1.0))
    };
    let x: Vec<Array2<f32>> = (0..SAMPLES).map(|_| sequence(rng)).collect();
    let classes = x.iter().map(|x| usize::from(x.column(0).sum() > 0.0)).collect::<Vec<_>>();
    let data = Dataset::new(x, classes)?;
    let builder = SequenceClassifier::<LstmCell<f32>>::builder(4, 2).hidden_size(32).dropout(0.2);
    let mut model = builder.build(rng)?;
    let trainer = Trainer::new(Adam::new(2e-3)?).epochs(EPOCHS).batch_size(BATCH).clip_norm(1.0);
    let trainer = trainer.early_stopping(EPOCHS).ema(0.99).seed(3);
    let trainer = trainer.checkpoint_every(EVERY, folder.join(CHECKPOINT));
    let trainer = trainer.keep_previous_checkpoint(true).callback(|event| {
        match event {
            Event::Resumed(at) => println!("resumed {}", at.step),
            Event::Step { step, .. } => println!("step {step}"),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    trainer.fit(&mut model, &data, Some(&data))?;
    let mut bits = 0xcbf2_9ce4_8422_2325_u64;
    model.for_each(&mut |_, array| {
        for value in array {
            bits = (bits ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
        }
    });
    println!("end {bits:016x}");
    Ok(())
}

/// A training process.
pub(crate) struct Training {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    errors: ChildStderr,
    /// The step from which it resumed, and the last step that it printed.
    pub(crate) resumed: Option<usize>,
    pub(crate) step: usize,
}

/// Starts a training with checkpoints in `folder`.
pub(crate) fn start(folder: &Path) -> Result<Training, Box<dyn Error>> {
    std::fs::create_dir_all(folder)?;
    let program: PathBuf = std::env::current_exe()?;
    let mut child = Command::new(program)
        .args(["--train".as_ref(), folder.as_os_str()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err("the output of the process is not piped".into());
    };
    Ok(Training { child, lines: BufReader::new(output).lines(), errors, resumed: None, step: 0 })
}

impl Training {
    /// Reads the lines of the process up to `steps` further steps, or its end. Returns its result at the end.
    pub(crate) fn wait(&mut self, steps: usize) -> Result<Option<String>, Box<dyn Error>> {
        let mut left = steps;
        while left > 0 {
            let Some(line) = self.lines.next().transpose()? else { return Ok(None) };
            match line.split_once(' ') {
                Some(("resumed", step)) => self.resumed = Some(step.parse()?),
                Some(("step", step)) => {
                    self.step = step.parse()?;
                    left -= 1;
                }
                Some(("end", bits)) => return Ok(Some(bits.to_owned())),
                _ => return Err(format!("unknown line {line:?}").into()),
            }
        }
        Ok(None)
    }

    /// Kills the process. Returns the last step that it printed, or `None` if the training was complete.
    pub(crate) fn kill(mut self) -> Result<Option<usize>, Box<dyn Error>> {
        self.child.kill()?;
        let end = self.wait(usize::MAX)?;
        self.child.wait()?;
        Ok(end.map_or(Some(self.step), |_| None).filter(|&step| step < STEPS))
    }

    /// Waits for the end of the process, which succeeds, and returns its result.
    pub(crate) fn finish(mut self) -> Result<String, Box<dyn Error>> {
        let end = self.wait(usize::MAX)?;
        let mut message = String::new();
        self.errors.read_to_string(&mut message)?;
        let status = self.child.wait()?;
        end.ok_or_else(|| format!("the training ended with {status}: {message}").into())
    }

    /// Waits for the end of the process, which fails, and returns its error.
    pub(crate) fn error(mut self) -> Result<String, Box<dyn Error>> {
        let end = self.wait(usize::MAX)?;
        let mut message = String::new();
        self.errors.read_to_string(&mut message)?;
        match (end, self.child.wait()?.success()) {
            (None, false) => Ok(message),
            _ => Err("the training did not fail".into()),
        }
    }
}
