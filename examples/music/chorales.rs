//! Chorales: reading, generating, transposing, and batches for training.

use std::path::Path;

use ndarray::{Array2, s};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::Sequences;
use recurrent::data::{Source, Table};

use crate::common::options::Failure;

pub(crate) const PITCHES: [&str; 12] =
    ["C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"];
/// The sharps and flats that are spelt differently above.
const OTHER_SPELLINGS: [(&str, usize); 5] =
    [("Db", 1), ("D#", 3), ("Gb", 6), ("G#", 8), ("A#", 10)];
/// The features of an event: pitch classes, bass and meter, each one-hot.
pub(crate) const FEATURES: usize = 12 + 12 + 5;
/// A chorale.
#[derive(Clone)]
pub(crate) struct Chorale {
    /// [events, 12], each 0 or 1.
    pub(crate) pitches: Array2<f32>,
    pub(crate) bass: Vec<usize>,
    /// From 0 to 4.
    pub(crate) meter: Vec<usize>,
    /// The root and the type of each chord; empty without chords.
    pub(crate) chords: Vec<(usize, String)>,
}

impl Chorale {
    /// Returns the features [events, 29] of the chorale, transposed up by `shift` semitones.
    pub(crate) fn features(&self, shift: usize) -> Array2<f32> {
        let mut features = Array2::zeros((self.bass.len(), FEATURES));
        for (t, mut row) in features.rows_mut().into_iter().enumerate() {
            (0..12).for_each(|k| row[(k + shift) % 12] = self.pitches[[t, k]]);
            row[12 + (self.bass[t] + shift) % 12] = 1.0;
            row[24 + self.meter[t]] = 1.0;
        }
        features
    }
}

/// Returns the pitch class at the start of `text`, and the rest of the text.
fn pitch(text: &str) -> Result<(usize, &str), Failure> {
    let spelt = PITCHES.iter().enumerate().map(|(k, &name)| (name, k)).chain(OTHER_SPELLINGS);
    let found = spelt.filter(|(name, _)| text.starts_with(name)).max_by_key(|(name, _)| name.len());
    let (name, k) =
        found.ok_or_else(|| Failure::new(format!("expected a note name, got {text}")))?;
    Ok((k, &text[name.len()..]))
}

pub(crate) fn read(file: &Path) -> Result<Vec<Chorale>, Failure> {
    let table = Table::read(file)?;
    let has_chords = table.names().iter().any(|name| name == "chord");
    let meter: Vec<usize> = table.column("meter")?;
    let mut chorales = Vec::new();
    for rows in table.groups("chorale")? {
        let mut chorale = Chorale {
            pitches: Array2::zeros((rows.len(), 12)),
            bass: Vec::new(),
            meter: Vec::new(),
            chords: Vec::new(),
        };
        for (t, row) in rows.enumerate() {
            let bits = table.text("pitch_classes", row)?;
            if bits.len() != 12 || !(1..=5).contains(&meter[row]) {
                let message = "expected 12 pitch classes and a meter of 1 to 5, got";
                return Err(Failure::new(format!(
                    "row {row}: {message} {bits} and {}",
                    meter[row]
                )));
            }
            for (k, bit) in bits.bytes().enumerate() {
                chorale.pitches[[t, k]] = f32::from(u8::from(bit == b'1'));
            }
            chorale.bass.push(pitch(table.text("bass", row)?)?.0);
            chorale.meter.push(meter[row] - 1);
            if has_chords {
                let (root, kind) = pitch(table.text("chord", row)?)?;
                chorale.chords.push((root, kind.trim_start_matches('_').to_owned()));
            }
        }
        chorales.push(chorale);
    }
    Ok(chorales)
}

/// Returns chorales of cadences: triads of a key, one of which follows from the one before.
pub(crate) fn generated(count: usize, seed: u64) -> Vec<Chorale> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let chorale = |_| {
        let (key, events) = (rng.random_range(0..12), rng.random_range(30..60));
        let (mut pitches, mut bass, mut chords) = (Array2::zeros((events, 12)), vec![], vec![]);
        let mut degree = 0;
        for t in 0..events {
            // Mostly a fifth down, in a circle through seven degrees of the scale.
            degree = if rng.random_bool(0.85) { (degree + 3) % 7 } else { rng.random_range(0..7) };
            let scale = [0, 2, 4, 5, 7, 9, 11];
            let note = |k: usize| (key + scale[(degree + k) % 7]) % 12;
            [0, 2, 4].map(note).iter().for_each(|&k| pitches[[t, k]] = 1.0);
            bass.push(note(2 * rng.random_range(0..3)));
            chords.push((note(0), ["M", "m", "m", "M", "M", "m", "d"][degree].to_owned()));
        }
        Chorale { pitches, bass, meter: (0..events).map(|t| [4, 1, 2, 1][t % 4]).collect(), chords }
    };
    (0..count).map(chorale).collect()
}

/// The types of chords, as classes together with the root: class = 12 · type + root.
pub(crate) struct Kinds(Vec<String>);

impl Kinds {
    pub(crate) fn new(chorales: &[Chorale]) -> Self {
        let chords = chorales.iter().flat_map(|chorale| &chorale.chords);
        let mut kinds: Vec<String> = chords.map(|(_, kind)| kind.clone()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        Self(kinds)
    }

    /// Returns the class of a chord. A type that is unknown has a class of its own.
    pub(crate) fn class(&self, (root, kind): &(usize, String)) -> usize {
        12 * self.0.iter().position(|known| known == kind).unwrap_or(self.0.len()) + root
    }

    pub(crate) fn labels(&self) -> Vec<String> {
        let kinds = self.0.iter().map(String::as_str).chain(["?"]);
        kinds.flat_map(|kind| PITCHES.map(|root| format!("{root} {kind}"))).collect()
    }
}

/// Chorales as batches; training draws the key of each.
pub(crate) struct Pieces<'a, F> {
    pub(crate) chorales: &'a [Chorale],
    /// Makes the batch of chorales with their transpositions.
    pub(crate) batch: F,
}

impl<B, F: Fn(&[(&Chorale, usize)]) -> recurrent::Result<B>> Source<B> for Pieces<'_, F> {
    fn len(&self) -> usize {
        self.chorales.len()
    }

    fn batch(&self, samples: &[usize]) -> recurrent::Result<B> {
        (self.batch)(&samples.iter().map(|&i| (&self.chorales[i], 0)).collect::<Vec<_>>())
    }

    fn draw(&self, samples: &[usize], rng: &mut dyn Rng) -> recurrent::Result<B> {
        let mut drawn = |&i: &usize| (&self.chorales[i], rng.random_range(0..12));
        (self.batch)(&samples.iter().map(&mut drawn).collect::<Vec<_>>())
    }
}

/// Returns all events but the last, and the pitch classes of all but the first.
pub(crate) fn next_events(
    pieces: &[(&Chorale, usize)],
) -> recurrent::Result<(Sequences<f32>, Sequences<f32>)> {
    let features: Vec<_> = pieces.iter().map(|(chorale, shift)| chorale.features(*shift)).collect();
    let now: Vec<_> = features.iter().map(|events| events.slice(s![..-1, ..])).collect();
    let next: Vec<_> = features.iter().map(|events| events.slice(s![1.., ..12])).collect();
    Ok((Sequences::from_views(&now)?, Sequences::from_views(&next)?))
}

/// Returns all events, and the class of the chord of each, [time, batch].
pub(crate) fn chords(
    pieces: &[(&Chorale, usize)],
    kinds: &Kinds,
) -> recurrent::Result<(Sequences<f32>, Array2<usize>)> {
    let features: Vec<_> = pieces.iter().map(|(chorale, shift)| chorale.features(*shift)).collect();
    let x = Sequences::from_list(&features)?;
    let mut classes = Array2::zeros((x.time(), x.batch()));
    for (b, (chorale, shift)) in pieces.iter().enumerate() {
        for (t, (root, kind)) in chorale.chords.iter().enumerate() {
            classes[[t, b]] = kinds.class(&((root + shift) % 12, kind.clone()));
        }
    }
    Ok((x, classes))
}
