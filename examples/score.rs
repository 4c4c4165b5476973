//! Scores sequences with a saved classifier: rows in, predictions out, in order and in constant memory.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use common::data::data;
use common::options::{Failure, Options};
use common::training::fit;
use common::vowels::{COEFFICIENTS, SPEAKERS, utterances};
use csv::StringRecord;
use ndarray::{Array2, aview1};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::Scaler;
use recurrent::layer::Pooling;
use recurrent::model::{BuiltInCell, SequenceClassifier};
use recurrent::optim::Adam;
use recurrent::train::Trainer;
use recurrent::{Sequences, decode};

mod common {
    pub(crate) mod data;
    pub(crate) mod options;
    pub(crate) mod training;
    pub(crate) mod vowels;
}

const ABOUT: &str = "\
score: predictions for input of any size. The classifier of --load reads sequences from files, or from
standard input, and writes a line for each, in their order: id, label, probability. A model with a
vocabulary reads a text from each line, and its id is the number of the line. Other models read CSV:
consecutive rows with the same id are a sequence, and its features are the columns of the model. Memory is
that of --batch sequences. With --output, lines are appended to a file. If the program was killed, the same
command continues after the last whole line. A scheduler divides the work by files, one process for each.

Without --load, a classifier of JapaneseVowels is trained and scores its test file. The output is then cut
in the middle of a line, and scored again from there.";

const OWN: [[&str; 3]; 3] = [
    ["column", "NAME", "the column of the ids in CSV (default: the first)"],
    ["batch", "N", "the number of sequences that are scored at once (default 64)"],
    ["output", "FILE", "append to FILE, and continue an earlier run (default: standard output)"],
];

/// The first line of the output.
const HEADER: &str = "id,label,probability\n";

type Classifier = SequenceClassifier<BuiltInCell<f32>>;

/// The content of a sequence.
enum Content {
    Text(String),
    /// [time, features].
    Frames(Array2<f32>),
}

/// A sequence with its id.
type Item = (String, Content);
type Items<'a> = Box<dyn Iterator<Item = Result<Item, Failure>> + 'a>;

/// The rows of a CSV file, of which consecutive ones with the same id are a sequence.
struct Grouped<'a> {
    rows: csv::StringRecordsIntoIter<Box<dyn Read + 'a>>,
    id: usize,
    columns: Vec<usize>,
    /// The first row of the next sequence.
    next: Option<StringRecord>,
}

impl<'a> Grouped<'a> {
    fn new(input: Box<dyn Read + 'a>, id: Option<&str>, of: &[String]) -> Result<Self, Failure> {
        let mut reader = csv::Reader::from_reader(input);
        let header = reader.headers()?.clone();
        let place = |name: &str| {
            let place = header.iter().position(|column| column == name);
            place.ok_or_else(|| {
                Failure::new(format!(
                    "expected a column {name}, got {:?}",
                    header.iter().collect::<Vec<_>>()
                ))
            })
        };
        let columns = of.iter().map(|name| place(name)).collect::<Result<Vec<_>, _>>()?;
        let id = id.map_or(Ok(0), place)?;
        let mut rows = reader.into_records();
        Ok(Self { next: rows.next().transpose()?, rows, id, columns })
    }

    /// Reads the sequence that begins with the row `first`.
    fn sequence(&mut self, first: StringRecord) -> Result<Item, Failure> {
        let id = first.get(self.id).unwrap_or_default().to_owned();
        let (mut frames, mut next) = (Array2::zeros((0, self.columns.len())), Some(first));
        while let Some(row) = next.take_if(|row| row.get(self.id) == Some(&id)) {
            let value = |&column: &usize| {
                let text = row.get(column).unwrap_or_default().trim();
                let line = row.position().map_or(0, csv::Position::line);
                let refused = || format!("line {line}: expected a number, got {text:?}");
                text.parse::<f32>().map_err(|_| Failure::new(refused()))
            };
            let values = self.columns.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            frames.push_row(aview1(&values))?;
            next = self.rows.next().transpose()?;
        }
        self.next = next;
        Ok((id, Content::Frames(frames)))
    }
}

impl Iterator for Grouped<'_> {
    type Item = Result<Item, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = self.next.take()?;
        Some(self.sequence(first))
    }
}

/// Returns the sequences of `file`, or of standard input if it is `-`.
fn sequences<'a>(
    model: &Classifier,
    file: &'a Path,
    column: Option<&str>,
) -> Result<Items<'a>, Failure> {
    let named = move |error: Failure| Failure::new(format!("{}: {error:?}", file.display()));
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(|error| named(error.into()))?),
    };
    let items: Items<'_> = match model.vocabulary() {
        Some(_) => {
            let lines = (1..).zip(BufReader::new(input).lines());
            Box::new(lines.map(|(i, line)| Ok((format!("{i}"), Content::Text(line?)))))
        }
        None => Box::new(Grouped::new(input, column, model.columns()).map_err(named)?),
    };
    Ok(Box::new(items.map(move |item| item.map_err(named))))
}

/// Returns a line for each sequence of a batch.
fn lines(model: &Classifier, batch: &[Item]) -> Result<String, Failure> {
    let (mut texts, mut frames) = (Vec::new(), Vec::new());
    for (_, content) in batch {
        match content {
            Content::Text(text) => texts.push(text),
            Content::Frames(rows) => frames.push(rows.view()),
        }
    }
    let x = match model.vocabulary() {
        Some(_) => model.encode_texts(&texts)?,
        None => Sequences::from_views(&frames)?,
    };
    let mut lines = csv::Writer::from_writer(Vec::new());
    for ((id, _), p) in batch.iter().zip(model.probabilities(&x)?.rows()) {
        if id.contains(['\n', '\r']) {
            return Err(Failure::new(format!("id: expected no line break, got {id:?}")));
        }
        let best = decode::argmax(p);
        let best = best.ok_or_else(|| Failure::new(format!("sequence {id}: NaN")))?;
        let label = model.labels().get(best).cloned().unwrap_or_else(|| best.to_string());
        lines.write_record([id.clone(), label.replace('\n', " "), format!("{:.6}", p[best])])?;
    }
    Ok(String::from_utf8(lines.into_inner()?)?)
}

/// Removes a line that is not whole from the end of `file`. Returns the number of predictions in it, and the
/// last line.
fn whole_lines(file: &Path) -> Result<(usize, String), Failure> {
    let (mut reader, mut line) = (BufReader::new(File::open(file)?), Vec::new());
    let (mut count, mut length, mut last) = (0, 0, String::new());
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        length += line.len() as u64;
        count += 1;
        last = String::from_utf8(std::mem::take(&mut line))?;
        if count == 1 && last != HEADER {
            let message = format!("{}: expected the output of an earlier run", file.display());
            return Err(Failure::new(message));
        }
    }
    OpenOptions::new().write(true).open(file)?.set_len(length)?;
    Ok((count, last))
}

/// Scores all sequences of `files`. Returns the number of new lines in the output.
fn score(
    model: &Classifier,
    files: &[impl AsRef<Path>],
    output: Option<&Path>,
    options: &Options,
) -> Result<usize, Failure> {
    let batch: usize = options.value("batch").map_or(Ok(64), |text| {
        let count = text.parse().ok().filter(|&count| count > 0);
        count.ok_or_else(|| Failure::new(format!("--batch: expected a number > 0, got {text:?}")))
    })?;
    let (done, last) = match output {
        Some(file) if file.exists() => whole_lines(file)?,
        _ => (0, String::new()),
    };
    let mut to: Box<dyn Write> = match output {
        Some(file) => Box::new(OpenOptions::new().append(true).create(true).open(file)?),
        None => Box::new(io::stdout().lock()),
    };
    if done == 0 {
        to.write_all(HEADER.as_bytes())?;
    }
    let (mut items, mut skip, mut written) = (Vec::new(), done.saturating_sub(1), 0);
    let mut flush = |items: &mut Vec<Item>| -> Result<(), Failure> {
        if !items.is_empty() {
            // In one piece, so that a kill leaves at most one line that is not whole.
            to.write_all(lines(model, items)?.as_bytes())?;
            to.flush()?;
            written += items.len();
            items.clear();
        }
        Ok(())
    };
    for file in files {
        for item in sequences(model, file.as_ref(), options.value("column"))? {
            let item = item?;
            if skip == 1 && lines(model, std::slice::from_ref(&item))? != last {
                let expected = format!("--output: expected a line for {}", item.0);
                return Err(Failure::new(format!("{expected}, got {:?}", last.trim_end())));
            }
            if skip > 0 {
                skip -= 1;
                continue;
            }
            items.push(item);
            if items.len() == batch {
                flush(&mut items)?;
            }
        }
    }
    flush(&mut items)?;
    if skip > 0 {
        let expected = "--output: expected no more lines than sequences";
        return Err(Failure::new(format!("{expected}, got {skip} more")));
    }
    Ok(written)
}

/// Trains a classifier of JapaneseVowels and writes it to `file`. Returns false if Ctrl-C ended the training.
fn train(options: &Options, file: &Path) -> Result<bool, Failure> {
    let lesson = utterances("japanese_vowels/train.csv")?;
    let mut model = SequenceClassifier::<LstmCell<f32>>::builder(COEFFICIENTS.len(), SPEAKERS)
        .pooling(Pooling::Mean)
        .dropout(0.5)
        .scaler(Scaler::standard(&lesson.views())?)
        .columns(&COEFFICIENTS)
        .labels(&["1", "2", "3", "4", "5", "6", "7", "8", "9"])
        .build(&mut ChaCha8Rng::seed_from_u64(options.seed))?;
    let trainer = Trainer::new(Adam::new(5e-3)?).epochs(options.epochs_or(15, 60)).batch_size(30);
    let trainer = trainer.clip_norm(1.0).seed(options.seed);
    let whole = fit(options, "score", trainer, &mut model, &lesson, None)?;
    model.save(file)?;
    Ok(whole)
}

/// Trains a model, scores the test file, cuts the output and continues it.
fn demonstrate(options: &Options) -> Result<(), Failure> {
    println!("{ABOUT}\n");
    let (file, output) =
        (options.out.join("score.safetensors"), options.out.join("score_predictions.csv"));
    if !train(options, &file)? {
        return Ok(());
    }
    if let Some(save) = &options.save {
        std::fs::copy(&file, save)?;
    }
    let model = Classifier::load(file)?;
    let files = [data("japanese_vowels/test.csv")];
    if output.exists() {
        std::fs::remove_file(&output)?;
    }
    let count = score(&model, &files, Some(&output), options)?;
    let whole = std::fs::read_to_string(&output)?;
    let test = utterances("japanese_vowels/test.csv")?;
    let labels = whole.lines().skip(1).map(|line| line.split(',').nth(1));
    let right = labels.zip(test.targets()).filter(|(label, speaker)| {
        label.and_then(|label| label.parse().ok()) == Some(**speaker + 1)
    });
    let accuracy = right.count() as f64 / count as f64;

    OpenOptions::new().write(true).open(&output)?.set_len(whole.len() as u64 / 2)?;
    let rest = score(&model, &files, Some(&output), options)?;
    if rest == count || std::fs::read_to_string(&output)? != whole {
        return Err(Failure::new("the continued output is not that of one run"));
    }
    println!("{count} sequences; the last {rest} again after the output was cut: the same bytes");
    println!("result score accuracy={accuracy:.4}");
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_files("score", ABOUT, &OWN)? else { return Ok(()) };
    let Some(file) = &options.load else { return demonstrate(&options) };
    let model = Classifier::load(file)?;
    if model.vocabulary().is_none() && model.columns().is_empty() {
        return Err(Failure::new("--load: expected a model with a vocabulary or names of columns"));
    }
    let standard = [Path::new("-").to_owned()];
    let files = if options.files.is_empty() { &standard[..] } else { &options.files };
    let count = score(&model, files, options.value("output").map(Path::new), &options)?;
    eprintln!("{count} sequences");
    Ok(())
}
