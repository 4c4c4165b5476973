//! Chorales: the next event of a piece, the chord of every event, and a new piece as a MIDI file.
//!
//! An event is the set of the pitch classes that sound (twelve bits), its bass and its accent. An LSTM
//! reads a chorale and predicts at every event the bits of the next. A bidirectional LSTM names the chord
//! of every event. In training each chorale is transposed to a random key at each epoch.

use std::path::Path;

use midly::num::{u4, u7, u15, u24, u28};
use midly::{Format, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind};
use ndarray::{Array1, Array2, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::layer::{Dropout, Layer, Linear};
use recurrent::loss::BceWithLogits;
use recurrent::model::{Composed, SequenceTagger};
use recurrent::optim::AdamW;
use recurrent::train::{Model, Trainer};
use recurrent::{Lstm, Sequences};

use chorales::{Chorale, FEATURES, Kinds, PITCHES, Pieces, chords, generated, next_events, read};
use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{HeatMap, heat_maps};
use common::report::Report;
use common::training::fit;

mod chorales;
#[path = "../common"]
mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
music: chorales as sequences of chords. One LSTM predicts the pitch classes of the next event, and writes
a piece of its own as music.mid; a second one, which reads in both directions, names the chord of every
event. --save FILE writes the second. --load FILE --input CSV names the chords of a file with the columns
chorale, event, pitch_classes, bass and meter.";
const PUBLISHED: &str = "\
Published as data set 298 of the UCI repository (Bach choral harmony): CSV with the columns chorale, event,
pitch_classes (12 digits from C), bass, meter (1 to 5) and chord (root_type, as D_M or F#m7).";

/// The number of events of a new piece.
const NEW_EVENTS: usize = 64;

type Next = Composed<Sequences<f32>, (Lstm<f32>, Dropout<f32>, Linear<f32>), BceWithLogits>;
type Chords = SequenceTagger<LstmCell<f32>>;

fn next_model(seed: u64) -> recurrent::Result<Next> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let lstm = Lstm::builder(FEATURES, 160).build(&mut rng)?;
    let layers = (lstm, Dropout::new(0.5)?, Linear::new(160, 12, &mut rng)?);
    Ok(Composed::new(layers, BceWithLogits::default()))
}

/// Trains `model` on chorales in random keys. The last tenth of them is for validation.
fn train<M, F>(
    options: &Options,
    name: &str,
    model: &mut M,
    chorales: &[Chorale],
    batch: F,
    seed: u64,
) -> Result<bool, Failure>
where
    M: Model<Elem = f32>,
    F: Fn(&[(&Chorale, usize)]) -> recurrent::Result<M::Batch> + Copy,
{
    let (lesson, check) = chorales.split_at(chorales.len() * 9 / 10);
    let trainer = Trainer::new(AdamW::new(3e-3, 0.01)?)
        .epochs(options.epochs_or(20, 200))
        .batch_size(8)
        .clip_norm(1.0)
        .early_stopping(40)
        .seed(seed);
    let (lesson, check) = (Pieces { chorales: lesson, batch }, Pieces { chorales: check, batch });
    fit(options, &format!("music_{name}_{seed}"), trainer, model, &lesson, Some(&check))
}

/// Returns the share of correct chords. A chord is right if its name is, with any spelling of the root.
fn chord_accuracy(model: &Chords, chorales: &[Chorale], kinds: &Kinds) -> Result<f64, Failure> {
    let (mut right, mut count) = (0, 0);
    for chorale in chorales {
        let x = Sequences::from_list(&[chorale.features(0)])?;
        for (class, chord) in model.predict(&x)?[0].iter().zip(&chorale.chords) {
            right += usize::from(*class == kinds.class(chord));
            count += 1;
        }
    }
    Ok(right as f64 / count as f64)
}

/// Writes a piece: each event is drawn from the probabilities after those before it. Its bass is its
/// likeliest pitch class, and its meter that of bars of four.
fn compose(model: &Next, first: &Chorale, seed: u64) -> Result<Vec<Array1<f32>>, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (lstm, _, linear) = &model.layer;
    let mut stream = lstm.stream(1)?;
    let (mut piece, mut event) = (Vec::new(), first.features(0).row(0).to_owned());
    for t in 1..=NEW_EVENTS {
        piece.push(event.clone());
        let h = stream.step(event.view().insert_axis(Axis(0)))?.to_owned();
        let p = linear.forward(&h)?.row(0).mapv(|a| 1.0 / (1.0 + (-a).exp()));
        let best = (0..12).max_by(|&i, &j| p[i].total_cmp(&p[j])).unwrap_or(0);
        event.fill(0.0);
        (0..12)
            .for_each(|k| event[k] = f32::from(u8::from(k == best || rng.random::<f32>() < p[k])));
        event[12 + best] = 1.0;
        event[24 + [4, 1, 2, 1][t % 4]] = 1.0;
    }
    Ok(piece)
}

/// Writes events as a MIDI file: the bass below, the other pitches above, a quarter note each.
fn write_midi(file: &Path, piece: &[Array1<f32>]) -> Result<(), Failure> {
    let tempo = TrackEventKind::Meta(MetaMessage::Tempo(u24::new(600_000))); // microseconds a quarter
    let mut track = vec![TrackEvent { delta: u28::new(0), kind: tempo }];
    for event in piece {
        let bass = (12..24).find(|&k| event[k] > 0.0).map(|k| 48 + k - 12);
        let keys: Vec<usize> =
            bass.into_iter().chain((0..12).filter(|&k| event[k] > 0.0).map(|k| 60 + k)).collect();
        for (velocity, length) in [(80, 0), (0, 480)] {
            for (i, &key) in keys.iter().enumerate() {
                let message =
                    MidiMessage::NoteOn { key: u7::new(key as u8), vel: u7::new(velocity) };
                let kind = TrackEventKind::Midi { channel: u4::new(0), message };
                track.push(TrackEvent { delta: u28::new(if i == 0 { length } else { 0 }), kind });
            }
        }
    }
    track.push(TrackEvent {
        delta: u28::new(0),
        kind: TrackEventKind::Meta(MetaMessage::EndOfTrack),
    });
    let mut midi = Smf::new(Header::new(Format::SingleTrack, Timing::Metrical(u15::new(480))));
    midi.tracks.push(track);
    midi.save(file)?;
    Ok(())
}

fn draw(file: &Path, piece: &[Array1<f32>]) -> Result<(), Failure> {
    let values = Array2::from_shape_fn((12, piece.len()), |(k, t)| {
        // The bass is darker.
        piece[t][11 - k] * (0.6 + 0.4 * piece[t][12 + 11 - k])
    });
    let map = HeatMap {
        title: "A new piece: pitch classes by event, the bass darker".to_owned(),
        rows: PITCHES.iter().rev().map(|name| (*name).to_owned()).collect(),
        columns: (1..=piece.len())
            .map(|t| if t % 4 == 1 { t.to_string() } else { String::new() })
            .collect(),
        values: values.view(),
        numbers: false,
    };
    heat_maps(file, &[map])
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("music", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Chords::load).transpose()?;
    if let (Some(model), Some(input)) = (&loaded, &options.input) {
        for chorale in read(input)? {
            let x = Sequences::from_list(&[chorale.features(0)])?;
            println!("{}", model.predict_labels(&x)?[0].join(", "));
        }
        return Ok(());
    }
    let files = find(&options, "music", ["train.csv", "test.csv"], PUBLISHED);
    let mut report = Report::new("music", files.is_none());
    let (lesson, test) = match files {
        Some([train, test]) => (read(&train)?, read(&test)?),
        None => (generated(60, 1), generated(15, 2)),
    };
    let kinds = Kinds::new(&lesson);
    let chord_batch = |pieces: &[(&Chorale, usize)]| chords(pieces, &kinds);
    for seed in options.seed..options.seed + options.seeds {
        let mut next = next_model(seed)?;
        if !train(&options, "next", &mut next, &lesson, next_events, seed)? {
            return Ok(());
        }
        let source = Pieces { chorales: &test, batch: next_events };
        report.add("nats per event", 12.0 * next.evaluate(&source, 64)?.mean());
        report.published_baseline(
            "nats per event",
            5.7101,
            "logistic regression on the event before",
        );

        let mut names = match &loaded {
            Some(model) => model.clone(),
            None => Chords::builder(FEATURES, kinds.labels().len())
                .hidden_size(96)
                .bidirectional(true)
                .dropout(0.5)
                .labels(&kinds.labels())
                .build(&mut ChaCha8Rng::seed_from_u64(seed))?,
        };
        if loaded.is_none() && !train(&options, "chords", &mut names, &lesson, chord_batch, seed)? {
            return Ok(());
        }
        report.add("chord accuracy", chord_accuracy(&names, &test, &kinds)?);
        report.published_baseline("chord accuracy", 0.7354, "logistic regression on the event");
        if seed == options.seed {
            let piece = compose(&next, &test[0], seed)?;
            write_midi(&options.out.join("music.mid"), &piece)?;
            draw(&options.out.join("music_piece.svg"), &piece)?;
            if let Some(file) = &options.save {
                names.save(file)?;
            }
        }
    }
    report.print();
    // Twelve fair coins have 8.32 nats.
    report.require(&options, "nats per event", 7.5, true)?;
    report.require(&options, "chord accuracy", 0.2, false)
}
