//! Trains a classifier of the nine speakers of the data set JapaneseVowels on any number of ranks.
//!
//! ```text
//! cargo build --release --example japanese_vowels
//! RAYON_NUM_THREADS=1 mpirun -n 2 target/release/examples/japanese_vowels
//! ```
//!
//! Each rank computes its part of every batch of 32 utterances, in f64. With `--dropout 0`, any number of ranks
//! prints the same figures up to rounding. With `--exact`, each computes whole batches of eight, four of which
//! make a step: up to four ranks print the same figures to the last digit.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};
use recurrent::model::SequenceClassifier;
use recurrent::prelude::*;
use recurrent::train::{Communicator, Event, agree};
use recurrent_mpi::MpiCommunicator;

const SPEAKERS: usize = 9;
const COEFFICIENTS: [&str; 12] =
    ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12"];

const HELP: &str = "\
Options:
  --epochs N         the number of epochs (default 15)
  --dropout P        the probability of dropout (default 0.2)
  --exact            compute whole batches of 8 in place of parts of 32
  --checkpoint FILE  write a checkpoint to FILE every ten steps, and resume from it
  --help             print this text";

struct Options {
    epochs: usize,
    dropout: f64,
    exact: bool,
    checkpoint: Option<PathBuf>,
}

fn main() -> ExitCode {
    recurrent_mpi::run(train)
}

fn options() -> Result<Option<Options>, Box<dyn Error>> {
    let mut options = Options { epochs: 15, dropout: 0.2, exact: false, checkpoint: None };
    let mut parser = Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("epochs") => options.epochs = parser.value()?.parse()?,
            Arg::Long("dropout") => options.dropout = parser.value()?.parse()?,
            Arg::Long("exact") => options.exact = true,
            Arg::Long("checkpoint") => options.checkpoint = Some(parser.value()?.into()),
            Arg::Long("help") => return Ok(None),
            _ => return Err(argument.unexpected().into()),
        }
    }
    Ok(Some(options))
}

/// Reads the frames of each utterance, and its speaker.
fn utterances(file: &str) -> Result<Dataset<f64, usize>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/data/japanese_vowels");
    let table = Table::read(folder.join(file))?;
    let speakers: Vec<usize> = table.column("speaker")?;
    let first = table.groups("utterance")?.into_iter().map(|frames| speakers[frames.start] - 1);
    Dataset::new(table.sequences("utterance", &COEFFICIENTS)?, first.collect())
}

fn train(communicator: &MpiCommunicator) -> Result<(), Box<dyn Error>> {
    let is_first = communicator.rank() == 0;
    let Some(Options { epochs, dropout, exact, checkpoint }) = options()? else {
        if is_first {
            println!("{HELP}");
        }
        return Ok(());
    };
    let data = utterances("train.csv").and_then(|train| Ok((train, utterances("test.csv")?)));
    let (train, test) = agree(communicator, data)?;

    let mut model = SequenceClassifier::<LstmCell<f64>>::builder(COEFFICIENTS.len(), SPEAKERS)
        .hidden_size(32)
        .bidirectional(true)
        .pooling(Pooling::Mean)
        .dropout(dropout)
        .scaler(Scaler::standard(&train.views())?)
        .build(&mut ChaCha8Rng::seed_from_u64(1))?;
    let (batch_size, batches) = if exact { (8, 4) } else { (32, 1) };
    let mut trainer = Trainer::new(Adam::new(5e-3)?)
        .epochs(epochs)
        .batch_size(batch_size)
        .accumulate(batches)
        .clip_norm(1.0)
        .distributed(communicator);
    if let Some(path) = checkpoint {
        trainer = trainer.checkpoint_every(10, path);
    }
    if is_first {
        trainer = trainer.callback(|event| {
            match event {
                Event::Resumed(resumed) => println!("resumed at step {}", resumed.step),
                Event::Epoch(epoch) => println!("epoch {}: loss {}", epoch.epoch, epoch.loss),
                _ => {}
            }
            ControlFlow::Continue(())
        });
    }
    trainer.fit(&mut model, &train, Some(&test))?;
    if is_first {
        println!("test: {}", model.evaluate(&test, 64)?);
    }
    Ok(())
}
