//! The command line that all examples share, and their error.

use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

const OPTIONS: &str = "\
Options:
  --quick        a short run that shows the way rather than the best figure
  --seed N       where all random numbers start from (default 1)
  --epochs N     how long to train, in place of the example's own number
  --save FILE    write the trained model
  --load FILE    read a model instead of training one
  --input FILE   data of your own for the model of --load
  --out DIR      where plots, curves and checkpoints go (default target/examples-out)
  --help         this text";

/// What was asked for on the command line.
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) epochs: Option<usize>,
    pub(crate) save: Option<PathBuf>,
    pub(crate) load: Option<PathBuf>,
    pub(crate) input: Option<PathBuf>,
    pub(crate) out: PathBuf,
}

impl Options {
    /// Reads the command line of `example`; none where it asked for help, which is then printed
    /// with what the example is `about`.
    pub(crate) fn parse(example: &str, about: &str) -> Result<Option<Self>, Failure> {
        let mut options = Self {
            quick: false,
            seed: 1,
            epochs: None,
            save: None,
            load: None,
            input: None,
            out: PathBuf::from("target/examples-out"),
        };
        let mut parser = Parser::from_env();
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("quick") => options.quick = true,
                Arg::Long("seed") => options.seed = parser.value()?.parse()?,
                Arg::Long("epochs") => {
                    let epochs = parser.value()?.parse()?;
                    if epochs == 0 {
                        return Err(Failure::new("--epochs: expected at least 1, got 0"));
                    }
                    options.epochs = Some(epochs);
                }
                Arg::Long("save") => options.save = Some(parser.value()?.into()),
                Arg::Long("load") => options.load = Some(parser.value()?.into()),
                Arg::Long("input") => options.input = Some(parser.value()?.into()),
                Arg::Long("out") => options.out = parser.value()?.into(),
                Arg::Long("help") | Arg::Short('h') => {
                    println!("{about}\n\nUsage: {example} [OPTIONS]\n\n{OPTIONS}");
                    return Ok(None);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if options.input.is_some() && options.load.is_none() {
            return Err(Failure::new("--input: expected --load FILE with it, got none"));
        }
        println!("{about}\n");
        Ok(Some(options))
    }

    /// How many epochs: as asked for, else `quick` or `full`.
    pub(crate) fn epochs_or(&self, quick: usize, full: usize) -> usize {
        self.epochs.unwrap_or(if self.quick { quick } else { full })
    }
}

/// Why an example ended: any error, shown to the user in its own words.
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl std::fmt::Debug for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}
