//! All uses: runs the examples one after another and writes the README's table and docs/gallery.md.
//!
//! Every number in the table and in the gallery is from the last line that an example prints. The lines
//! are kept in docs/uses.txt, so that one example can be run again without the others.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lexopt::{Arg, Parser, ValueExt};

use common::options::Failure;

#[path = "common"]
mod common {
    pub(crate) mod options;
}

const ABOUT: &str = "\
uses: runs the examples of all uses, and writes README.md's table and docs/gallery.md with their pictures.

Usage: uses [OPTIONS] [EXAMPLE …]

Options:
  --all       run all examples, not only the named ones
  --data DIR  the directory of the data sets (default: the environment variable RECURRENT_DATA)
  --seeds N   the number of models of each example (default 3)
  --quick     train briefly and write no document
  --from DIR  read the output of each example from DIR/<example>.txt, and run none
  --help      print this text";

/// An example, its shape, its task, and its pictures with their captions.
struct Use {
    name: &'static str,
    shape: &'static str,
    task: &'static str,
    pictures: &'static [(&'static str, &'static str)],
    data: Data,
}

/// The data of an example and of its pictures.
#[derive(PartialEq)]
enum Data {
    /// A data set.
    Set,
    /// A data set of pictures or sound, which are not part of the repository: the pictures of the gallery are those
    /// of a second, quick run on generated data.
    Media,
    /// The example generates its data, and has a network for each cell in place of seeds.
    Generated,
}

const USES: &[Use] = &[
    Use {
        name: "captioning",
        shape: "one to many",
        task: "the name of an emoji from its picture",
        pictures: &[(
            "captioning_generated",
            "Generated scenes, and the regions that the decoder attends to before each word",
        )],
        data: Data::Media,
    },
    Use {
        name: "spam",
        shape: "many to one",
        task: "spam among text messages",
        pictures: &[
            ("spam_precision", "Precision against recall"),
            ("spam_confusion", "Confusion matrix of the test messages"),
        ],
        data: Data::Set,
    },
    Use {
        name: "sentiment",
        shape: "many to one",
        task: "the sentiment of English and Korean sentences",
        pictures: &[(
            "sentiment_attention",
            "The weights of attention over the words of four sentences",
        )],
        data: Data::Set,
    },
    Use {
        name: "ner",
        shape: "many to many",
        task: "named entities, and the slots of requests",
        pictures: &[
            ("ner_sentence", "Sentences with their entities"),
            ("ner_transitions", "The transition scores of the CRF"),
        ],
        data: Data::Set,
    },
    Use {
        name: "translation",
        shape: "many to many, unaligned",
        task: "short English sentences into German",
        pictures: &[(
            "translation_attention",
            "The attention of three sentences, a row for each German word",
        )],
        data: Data::Set,
    },
    Use {
        name: "speech",
        shape: "many to one, CTC",
        task: "spoken digits, and strings of them",
        pictures: &[(
            "speech_generated",
            "Generated sound: energies by frequency and step, and the steps of the digits",
        )],
        data: Data::Media,
    },
    Use {
        name: "names",
        shape: "many to one, one to many",
        task: "the language of a family name, and new names",
        pictures: &[("names_confusion", "Confusion matrix of the languages")],
        data: Data::Set,
    },
    Use {
        name: "char_lm",
        shape: "language model",
        task: "the characters of plays",
        pictures: &[("char_lm_bits", "Bits a character along the test text")],
        data: Data::Set,
    },
    Use {
        name: "weather",
        shape: "forecast",
        task: "temperatures days and hours ahead, with intervals",
        pictures: &[
            ("weather_seattle", "Seattle's daily maximum, forecast the day before"),
            ("weather_beijing", "Beijing's temperature, forecast an hour before"),
        ],
        data: Data::Set,
    },
    Use {
        name: "stocks",
        shape: "forecast",
        task: "the next close of a stock index, walk-forward",
        pictures: &[("stocks_forecast", "Each day's close, and its forecast from the day before")],
        data: Data::Set,
    },
    Use {
        name: "music",
        shape: "many to many",
        task: "the next event of a chorale, and the chord of each",
        pictures: &[("music_piece", "A new piece, event by event")],
        data: Data::Set,
    },
    Use {
        name: "vanishing_gradient",
        shape: "many to one",
        task: "a word that is many words before the blank",
        pictures: &[
            ("vanishing_gradient_flow", "The norm of the gradient that reaches each word"),
            ("vanishing_gradient_accuracy", "Accuracy against the distance of the answer"),
            ("vanishing_gradient_cell", "The cell state of an LSTM under fixed gates"),
            ("vanishing_gradient_gates", "The gates of a trained LSTM"),
        ],
        data: Data::Generated,
    },
];

/// The last line of the last run of each example.
type Outcomes = BTreeMap<String, String>;

struct Plan {
    names: Vec<String>,
    data: Option<PathBuf>,
    seeds: u64,
    quick: bool,
    /// The directory of the outputs of earlier runs.
    from: Option<PathBuf>,
}

fn parse() -> Result<Option<Plan>, Failure> {
    let mut plan = Plan { names: Vec::new(), data: None, seeds: 3, quick: false, from: None };
    let (mut all, mut parser) = (false, Parser::from_env());
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Long("all") => all = true,
            Arg::Long("data") => plan.data = Some(parser.value()?.into()),
            Arg::Long("seeds") => plan.seeds = parser.value()?.parse()?,
            Arg::Long("quick") => plan.quick = true,
            Arg::Long("from") => plan.from = Some(parser.value()?.into()),
            Arg::Value(name) => plan.names.push(name.string()?),
            Arg::Long("help") | Arg::Short('h') => {
                println!("{ABOUT}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    if all {
        plan.names = USES.iter().map(|example| example.name.to_owned()).collect();
    }
    if plan.names.is_empty() {
        let known: Vec<&str> = USES.iter().map(|example| example.name).collect();
        return Err(Failure::new(format!("expected --all or names of {known:?}, got none")));
    }
    Ok(Some(plan))
}

fn known(name: &str) -> Result<&'static Use, Failure> {
    let found = USES.iter().find(|example| example.name == name);
    found.ok_or_else(|| Failure::new(format!("{name}: no such example")))
}

/// Runs an example and returns its output. With `generated`, the run is a quick one without data.
fn run(example: &Use, plan: &Plan, generated: bool) -> Result<String, Failure> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    command.args(["run", "--quiet", "--release", "--example", example.name, "--"]);
    if generated {
        command.env_remove("RECURRENT_DATA");
    } else if example.data != Data::Generated {
        command.args(["--seeds", &plan.seeds.to_string()]);
        if let Some(data) = &plan.data {
            command.arg("--data").arg(fs::canonicalize(data)?);
        }
    }
    if plan.quick || generated {
        command.arg("--quick");
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    print!("{text}");
    if !output.status.success() {
        return Err(Failure::new(format!("{}: {}", example.name, output.status)));
    }
    Ok(text)
}

fn read(file: &Path) -> Result<Outcomes, Failure> {
    let mut outcomes = Outcomes::new();
    for line in fs::read_to_string(file).unwrap_or_default().lines() {
        let name = line.split_whitespace().nth(1).ok_or_else(|| {
            Failure::new(format!("{}: expected a result, got {line}", file.display()))
        })?;
        outcomes.insert(name.to_owned(), line.to_owned());
    }
    Ok(outcomes)
}

/// Returns `metric value` and `baseline value` of a result line, in pairs, and the origin of the data.
fn figures(result: &str) -> (Vec<(String, Option<String>)>, &str) {
    let (mut figures, mut data) = (Vec::<(String, Option<String>)>::new(), "");
    for (metric, value) in result.split_whitespace().filter_map(|field| field.split_once('=')) {
        match metric {
            "data" => data = value,
            "baseline" => {
                if let Some((_, baseline)) = figures.last_mut() {
                    *baseline = Some(value.to_owned());
                }
            }
            _ => figures.push((format!("{} {value}", metric.replace('_', " ")), None)),
        }
    }
    (figures, data)
}

/// Returns the README's table.
fn table(outcomes: &Outcomes) -> String {
    let mut table =
        "| example | shape | task | result (baseline) | data |\n|---|---|---|---|---|\n".to_owned();
    for example in USES {
        let Some(result) = outcomes.get(example.name) else { continue };
        let (figures, data) = figures(result);
        let cell = |(figure, baseline): (String, Option<String>)| {
            figure + &baseline.map_or(String::new(), |baseline| format!(" ({baseline})"))
        };
        let figures: Vec<String> = figures.into_iter().map(cell).collect();
        let Use { name, shape, task, .. } = example;
        table += &format!("| `{name}` | {shape} | {task} | {} | {data} |\n", figures.join(", "));
    }
    table
}

/// Copies the pictures and returns the gallery.
fn gallery(outcomes: &Outcomes, docs: &Path, out: &Path) -> Result<String, Failure> {
    let mut gallery = "# Gallery\n\nPictures and results of the examples. Each line of results is the last line that the \
                       example printed; `cargo run --release --example uses -- --all` makes this page.\n"
        .to_owned();
    fs::create_dir_all(docs.join("pictures"))?;
    for example in USES {
        let Some(result) = outcomes.get(example.name) else { continue };
        let Use { name, shape, task, pictures, .. } = example;
        gallery += &format!("\n## {name}\n\n{shape}: {task}.\n\n```text\n{result}\n```\n");
        for (picture, caption) in *pictures {
            let picture = format!("{picture}.svg");
            if out.join(&picture).is_file() {
                fs::copy(out.join(&picture), docs.join("pictures").join(&picture))?;
            }
            gallery += &format!("\n{caption}:\n\n![{caption}](pictures/{picture})\n");
        }
    }
    Ok(gallery)
}

/// Replaces the text between the two marks of `name` in `file`.
fn replace(file: &Path, name: &str, text: &str) -> Result<(), Failure> {
    let (begin, end) = (format!("<!-- {name}:begin -->\n"), format!("<!-- {name}:end -->"));
    let old = fs::read_to_string(file)?;
    let Some((before, (_, after))) =
        old.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)))
    else {
        return Err(Failure::new(format!("{}: expected {begin}", file.display())));
    };
    fs::write(file, format!("{before}{begin}{text}{end}{after}"))?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(plan) = parse()? else { return Ok(()) };
    let examples = plan.names.iter().map(|name| known(name)).collect::<Result<Vec<_>, _>>()?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (docs, record) = (root.join("docs"), root.join("docs/uses.txt"));
    let mut outcomes = read(&record)?;
    for example in examples {
        let output = match &plan.from {
            Some(folder) => fs::read_to_string(folder.join(format!("{}.txt", example.name)))?,
            None => {
                let output = run(example, &plan, false)?;
                if example.data == Data::Media && !plan.quick {
                    run(example, &plan, true)?;
                }
                output
            }
        };
        let last = output.lines().rfind(|line| line.starts_with("result "));
        let last = last.ok_or_else(|| Failure::new(format!("{}: no result", example.name)))?;
        outcomes.insert(example.name.to_owned(), last.to_owned());
    }
    if plan.quick {
        return Ok(());
    }
    fs::write(&record, outcomes.values().map(|line| format!("{line}\n")).collect::<String>())?;
    replace(&root.join("README.md"), "uses", &table(&outcomes))?;
    let gallery = gallery(&outcomes, &docs, &root.join("target/examples-out"))?;
    fs::write(docs.join("gallery.md"), gallery)?;
    Ok(())
}
