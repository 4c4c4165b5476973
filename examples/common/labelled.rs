//! Labelled texts, as words with their characters, and the lines that a user wants classified.

use std::fs::File;
use std::io::{BufRead, BufReader, Error, stdin};
use std::path::Path;

use recurrent::data::{Dataset, Table, Vocabulary};

use super::options::Failure;

/// Texts, each with its class.
#[derive(Default)]
pub(crate) struct Labelled {
    pub(crate) texts: Vec<String>,
    pub(crate) classes: Vec<usize>,
}

impl Labelled {
    /// Reads a file with the columns label and text, separated by tabs. The class of a text is the position
    /// of its label in `labels`.
    pub(crate) fn read(file: &Path, labels: &[&str]) -> Result<Self, Failure> {
        let table = Table::reader().delimiter(b'\t').read(file)?;
        let class = |label: String| {
            labels.iter().position(|&known| known == label).ok_or_else(|| {
                let (file, labels) = (file.display(), labels.join(" or "));
                Failure::new(format!("{file}: expected the label {labels}, got {label:?}"))
            })
        };
        let classes = table.column::<String>("label")?.into_iter().map(class);
        Ok(Self { texts: table.column("text")?, classes: classes.collect::<Result<_, _>>()? })
    }

    pub(crate) fn push(&mut self, text: String, class: usize) {
        self.texts.push(text);
        self.classes.push(class);
    }

    /// Returns the texts as words with their characters.
    pub(crate) fn encode(
        &self,
        words: &Vocabulary,
        letters: &Vocabulary,
    ) -> Result<Dataset<f32, usize>, Failure> {
        let tokens = words.encode_all(&self.texts)?;
        let of = |text: &String| letters.characters(&words.unit().tokens(text));
        let characters = self.texts.iter().map(of).collect::<recurrent::Result<_>>()?;
        let data = Dataset::from_tokens(tokens, words.len(), self.classes.clone())?;
        Ok(data.with_characters(characters, letters.len())?)
    }
}

/// Calls `answer` for each line of the file `input`, or for each line that is typed if it is `-`, except blank
/// ones.
pub(crate) fn each_line(
    input: &Path,
    mut answer: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let named = |error: Error| Failure::new(format!("{}: {error}", input.display()));
    let lines: Box<dyn BufRead> = if input == Path::new("-") {
        Box::new(stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(input).map_err(named)?))
    };
    for line in lines.lines() {
        let line = line.map_err(named)?;
        if !line.trim().is_empty() {
            answer(&line)?;
        }
    }
    Ok(())
}
