//! One digit of a recording: many to one.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::audio::Normalisation;
use recurrent::cell::GruCell;
use recurrent::data::{Dataset, Scaler};
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;
use recurrent::optim::AdamW;
use recurrent::optim::schedule::Cosine;
use recurrent::train::{Model, Trainer};

use crate::common::options::{Failure, Options};
use crate::common::training::fit;
use crate::log_mel;
use crate::recordings::{Recording, faster};

/// The rates at which training recordings are played.
const RATES: [f32; 3] = [1.0, 0.9, 1.1];

type Digit = SequenceClassifier<GruCell<f32>>;

/// Returns recordings at each of `rates`. Each feature has mean zero over a recording, so that neither loudness
/// nor the microphone counts.
pub(crate) fn digits(
    recordings: &[Recording],
    rates: &[f32],
) -> Result<Dataset<f32, usize>, Failure> {
    let features = log_mel()?.normalise(Normalisation::recording().mean_only());
    let (mut frames, mut classes) = (Vec::new(), Vec::new());
    for recording in recordings {
        for &rate in rates {
            frames.push(features.apply(&faster(&recording.samples, rate))?);
            classes.push(recording.digit);
        }
    }
    Ok(Dataset::new(frames, classes)?)
}

/// Trains a classifier. Returns `None` if Ctrl-C ended the training.
pub(crate) fn train_digits(
    options: &Options,
    name: &str,
    recordings: &[Recording],
    seed: u64,
) -> Result<Option<Digit>, Failure> {
    let data = digits(recordings, &RATES)?;
    let mut model = Digit::builder(data.values()[0].ncols(), 10)
        .hidden_size(96)
        .bidirectional(true)
        .pooling(Pooling::Mean)
        .input_dropout(0.1)
        .dropout(0.5)
        .scaler(Scaler::standard(&data.views())?)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs_or(6, 20);
    let trainer = Trainer::new(AdamW::new(3e-3, 0.05)?)
        .epochs(epochs)
        .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
        .batch_size(32)
        .bucketed(10)
        .clip_norm(1.0)
        .seed(seed);
    Ok(fit(options, name, trainer, &mut model, &data, None)?.then_some(model))
}

/// Trains a classifier for each speaker, on the recordings of all others, and returns its mean accuracy on those of
/// that speaker. Returns `None` if Ctrl-C ended a training.
pub(crate) fn new_speakers(
    options: &Options,
    train: &[Recording],
    test: &[Recording],
    seed: u64,
) -> Result<Option<f64>, Failure> {
    let mut speakers: Vec<&String> = train.iter().map(|recording| &recording.speaker).collect();
    speakers.sort();
    speakers.dedup();
    let mut sum = 0.0;
    for &speaker in &speakers {
        let of = |all: &[Recording], own: bool| -> Vec<Recording> {
            all.iter().filter(|one| (one.speaker == *speaker) == own).cloned().collect()
        };
        let name = format!("speech_without_{speaker}_{seed}");
        let Some(model) = train_digits(options, &name, &of(train, false), seed)? else {
            return Ok(None);
        };
        sum += model.evaluate(&digits(&of(test, true), &[1.0])?, 100)?.accuracy();
    }
    Ok(Some(sum / speakers.len() as f64))
}
