//! The data set JapaneseVowels: utterances of nine speakers.

use recurrent::data::{Dataset, Table};

use super::data::data;
use super::options::Failure;

pub(crate) const SPEAKERS: usize = 9;
pub(crate) const COEFFICIENTS: [&str; 12] =
    ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12"];

/// Reads the frames of each utterance, and its speaker.
pub(crate) fn utterances(file: &str) -> Result<Dataset<f32, usize>, Failure> {
    let table = Table::read(data(file))?;
    let speakers: Vec<usize> = table.column("speaker")?;
    let first = table.groups("utterance")?.into_iter().map(|frames| speakers[frames.start] - 1);
    Ok(Dataset::new(table.sequences("utterance", &COEFFICIENTS)?, first.collect())?)
}
