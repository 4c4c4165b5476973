//! Names with their languages: read from files, or generated; and the baselines.

use std::collections::HashMap;
use std::path::Path;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::common::options::Failure;

/// A language and a name.
pub(crate) type Row = (String, String);

pub(crate) fn read(file: &Path) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (i, line) in std::fs::read_to_string(file)?.lines().enumerate().skip(1) {
        let Some((language, name)) = line.split_once('\t').filter(|row| !row.1.is_empty()) else {
            let (file, line) = (file.display(), i + 1);
            return Err(Failure::new(format!(
                "{file}:{line}: expected a language, a tab and a name"
            )));
        };
        rows.push((language.to_owned(), name.to_owned()));
    }
    Ok(rows)
}

/// Returns names of three invented languages, each with its own syllables and endings.
pub(crate) fn generated(count: usize, seed: u64) -> Vec<Row> {
    const LANGUAGES: [(&str, [&str; 6], [&str; 2]); 3] = [
        ("lowland", ["van ", "de ", "brug", "hof", "mole", "wij"], ["sma", "stra"]),
        ("island", ["mako", "lani", "kea", "hoa", "nalu", "pule"], ["la", "na"]),
        ("mountain", ["grüm", "tschu", "bärg", "hol", "zwin", "stei"], ["li", "egger"]),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut row = |i: usize| {
        let (language, syllables, endings) = &LANGUAGES[i % LANGUAGES.len()];
        let count = rng.random_range(1..4);
        let mut name: String =
            (0..count).filter_map(|_| syllables.choose(&mut rng).copied()).collect();
        name += endings[rng.random_range(0..2)];
        (language.to_string(), name)
    };
    (0..count).map(&mut row).collect()
}

/// Returns the share of the most frequent language.
pub(crate) fn largest(test: &[Row]) -> f64 {
    let count = |language: &String| test.iter().filter(|row| row.0 == *language).count();
    test.iter().map(|row| count(&row.0)).max().unwrap_or(0) as f64 / test.len() as f64
}

/// Returns the bits per character of `test`, ends included, if each has its frequency in `rows` as probability.
pub(crate) fn single_bits(rows: &[Row], test: &[Row]) -> f64 {
    let characters = |rows: &[Row]| -> Vec<Option<char>> {
        rows.iter().flat_map(|row| row.1.chars().map(Some).chain([None])).collect()
    };
    let mut counts = HashMap::new();
    let (known, tested) = (characters(rows), characters(test));
    known.iter().for_each(|character| *counts.entry(character).or_insert(0.0) += 1.0);
    // A character that was never seen counts as half a time.
    let p = |character| counts.get(character).unwrap_or(&0.5) / known.len() as f64;
    -tested.iter().map(|character| p(character).log2()).sum::<f64>() / tested.len() as f64
}
