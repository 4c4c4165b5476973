//! The command-line options that the examples share, and their error type.
#![allow(dead_code, reason = "an example uses a part of it")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use lexopt::{Arg, Parser, ValueExt};

const OPTIONS: &str = "\
Options:
  --quick        train briefly, to a lower accuracy
  --seed N       the seed of all random numbers (default 1)
  --epochs N     the number of training epochs, instead of the default
  --save FILE    write the trained model to FILE
  --load FILE    read a model from FILE instead of training one
  --input FILE   apply the model of --load to the data in FILE
  --out DIR      the directory of plots, curves and checkpoints (default target/examples-out)
  --help         print this text";
const DATA_OPTIONS: &str = "
  --data DIR     the directory of the data sets (default: the environment variable RECURRENT_DATA).
                 Without it, a small corpus is generated
  --seeds N      train N models, from N successive seeds, and report means (default 1)";

/// The parsed command line.
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) epochs: Option<usize>,
    pub(crate) save: Option<PathBuf>,
    pub(crate) load: Option<PathBuf>,
    pub(crate) input: Option<PathBuf>,
    /// A directory that exists.
    pub(crate) out: PathBuf,
    /// The directory of the data sets.
    pub(crate) data: Option<PathBuf>,
    /// The number of models to train.
    pub(crate) seeds: u64,
    /// Whether the flag of the example is set.
    pub(crate) flag: bool,
    /// The values of the options that the example alone has, by name.
    values: BTreeMap<&'static str, String>,
    /// The arguments that are not options.
    pub(crate) files: Vec<PathBuf>,
}

impl Options {
    /// Parses the command line of `example` and prints `about`. Returns `None` after `--help`, which
    /// prints the options too.
    pub(crate) fn parse(example: &str, about: &str) -> Result<Option<Self>, Failure> {
        Self::parse_options(example, about, false, None, &[])
    }

    /// Like `parse`, for an example that reads its data from a directory of the user.
    pub(crate) fn parse_with_data(example: &str, about: &str) -> Result<Option<Self>, Failure> {
        Self::parse_options(example, about, true, None, &[])
    }

    /// Like `parse`, for an example with a flag of its own: its name and its description.
    pub(crate) fn parse_with_flag(
        example: &str,
        about: &str,
        flag: [&str; 2],
    ) -> Result<Option<Self>, Failure> {
        Self::parse_options(example, about, false, Some(flag), &[])
    }

    /// Like `parse`, for an example that reads files and has options with values of its own: the name, the kind
    /// of the value and the description of each.
    pub(crate) fn parse_with_files(
        example: &str,
        about: &str,
        own: &[[&'static str; 3]],
    ) -> Result<Option<Self>, Failure> {
        Self::parse_options(example, about, false, None, own)
    }

    fn parse_options(
        example: &str,
        about: &str,
        data: bool,
        flag: Option<[&str; 2]>,
        own: &[[&'static str; 3]],
    ) -> Result<Option<Self>, Failure> {
        let mut options = Self {
            quick: false,
            seed: 1,
            epochs: None,
            save: None,
            load: None,
            input: None,
            out: PathBuf::from("target/examples-out"),
            data: std::env::var_os("RECURRENT_DATA").filter(|_| data).map(PathBuf::from),
            seeds: 1,
            flag: false,
            values: BTreeMap::new(),
            files: Vec::new(),
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
                Arg::Long("data") if data => options.data = Some(parser.value()?.into()),
                Arg::Long("seeds") if data => {
                    options.seeds = parser.value()?.parse()?;
                    if options.seeds == 0 {
                        return Err(Failure::new("--seeds: expected at least 1, got 0"));
                    }
                }
                Arg::Long(name) if flag.is_some_and(|[flag, _]| flag == name) => {
                    options.flag = true;
                }
                Arg::Value(file) if !own.is_empty() => options.files.push(file.into()),
                Arg::Long("help") | Arg::Short('h') => {
                    let more = if data { DATA_OPTIONS } else { "" };
                    let files = if own.is_empty() { "" } else { " [FILES]" };
                    println!("{about}\n\nUsage: {example} [OPTIONS]{files}\n\n{OPTIONS}{more}");
                    for [name, kind, description] in own {
                        println!("  --{:<12} {description}", format!("{name} {kind}"));
                    }
                    if let Some([name, description]) = flag {
                        println!("  --{name:<12} {description}");
                    }
                    return Ok(None);
                }
                other => {
                    let name = own.iter().map(|own| own[0]).find(|name| other == Arg::Long(name));
                    let Some(name) = name else { return Err(other.unexpected().into()) };
                    options.values.insert(name, parser.value()?.string()?);
                }
            }
        }
        if options.input.is_some() && options.load.is_none() {
            return Err(Failure::new("--input: expected --load FILE with it, got none"));
        }
        // A program that reads files may write its results to standard output, and nothing else anywhere.
        if own.is_empty() {
            println!("{about}\n");
        }
        if own.is_empty() || options.load.is_none() {
            std::fs::create_dir_all(&options.out)?;
        }
        Ok(Some(options))
    }

    /// Returns the value of an option that the example alone has, if it is given.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Returns the number of epochs from the command line, else `quick` or `full`.
    pub(crate) fn epochs_or(&self, quick: usize, full: usize) -> usize {
        self.epochs.unwrap_or(if self.quick { quick } else { full })
    }
}

/// The message of any error. It is printed without quotes when `main` returns it.
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
