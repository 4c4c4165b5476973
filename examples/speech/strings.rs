//! Strings of digits by CTC, while they are spoken.

use std::path::Path;
use std::time::Instant;

use ndarray::{Array2, Axis, s};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Sequences;
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Labels, Scaler};
use recurrent::model::SequenceTranscriber;
use recurrent::optim::AdamW;
use recurrent::optim::schedule::Cosine;
use recurrent::train::Trainer;

use crate::common::options::{Failure, Options};
use crate::common::pictures::{HeatMap, heat_maps};
use crate::common::training::fit;
use crate::log_mel;
use crate::recordings::{Recording, Spoken, strings};

/// The blank, and the digit d as class d + 1.
const CLASSES: [&str; 11] = ["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
/// A step of the transcriber reads 5 frames, and begins 3 frames after the last. With a step for each frame, CTC is
/// slow to output anything but blanks.
const FRAMES: usize = 5;
const STRIDE: usize = 3;
pub(crate) type Transcriber = SequenceTranscriber<LstmCell<f32>>;

/// Returns strings of digits as frames and classes.
pub(crate) fn transcripts(strings: &[Spoken]) -> Result<Dataset<f32, Labels>, Failure> {
    let features = log_mel()?;
    let frames = strings.iter().map(|string| features.apply(&string.samples));
    let classes = |string: &Spoken| Labels(string.digits.iter().map(|digit| digit + 1).collect());
    Ok(Dataset::new(frames.collect::<Result<_, _>>()?, strings.iter().map(classes).collect())?)
}

/// Trains a transcriber, first on one or two digits: on long strings alone it finds blanks first, and is slow to
/// leave them. Returns `None` if Ctrl-C ended the training.
pub(crate) fn train_strings(
    options: &Options,
    recordings: &[Recording],
    seed: u64,
) -> Result<Option<Transcriber>, Failure> {
    let counts = if options.quick { [300, 600] } else { [1200, 2400] };
    let short = transcripts(&strings(recordings, counts[0], [1, 2], true, seed))?;
    let long = transcripts(&strings(recordings, counts[1], [1, 6], true, seed + 1000))?;
    let mut model = Transcriber::builder(long.values()[0].ncols(), CLASSES.len())
        .frames(FRAMES, STRIDE)
        .hidden_size(192)
        .input_dropout(0.2)
        .recurrent(|layers| layers.recurrent_dropout(0.2))
        .dropout(0.5)
        .scaler(Scaler::standard(&long.views())?)
        .labels(&CLASSES)
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs.unwrap_or(12);
    for (name, data, rate, epochs) in
        [("short", &short, 2e-3, epochs.div_ceil(3)), ("long", &long, 3e-3, epochs)]
    {
        let trainer = Trainer::new(AdamW::new(rate, 0.02)?)
            .epochs(epochs)
            .schedule(Cosine::new(epochs)?.min_factor(0.02)?)
            .batch_size(32)
            .bucketed(10)
            .ema(if options.quick { 0.9 } else { 0.98 })
            .clip_norm(1.0)
            .seed(seed);
        if !fit(options, &format!("speech_{name}_{seed}"), trainer, &mut model, data, None)? {
            return Ok(None);
        }
    }
    Ok(Some(model))
}

/// The digits of a recording, each with the second in which it was found, and the microseconds of work for 10 ms.
pub(crate) struct Heard {
    pub(crate) digits: Vec<(&'static str, f64)>,
    micros: f64,
}

/// Transcribes `samples` as they arrive, 10 ms at a time.
pub(crate) fn listen(model: &Transcriber, samples: &[f32]) -> Result<Heard, Failure> {
    let (mut features, mut transcriber) = (log_mel()?.stream()?, model.stream(1)?);
    let (mut found, mut frames, start) = (Vec::new(), 0, Instant::now());
    let mut read = |new: Array2<f32>| -> Result<(), Failure> {
        for frame in new.rows() {
            frames += 1;
            if let Some(class) = transcriber.step(frame.insert_axis(Axis(0)))?[0] {
                let digit = CLASSES.get(class).copied().ok_or_else(|| {
                    Failure::new("--load: expected a model that this example has saved")
                })?;
                found.push((digit, f64::from(frames) * 0.01));
            }
        }
        Ok(())
    };
    let pieces = samples.chunks(80);
    let count = pieces.len() as f64;
    for piece in pieces {
        read(features.push(piece)?)?;
    }
    read(features.finish()?)?;
    Ok(Heard { digits: found, micros: start.elapsed().as_secs_f64() * 1e6 / count })
}

/// Transcribes each string as a stream, and fails if the result is not that of the whole string.
pub(crate) fn check_streams(
    model: &Transcriber,
    strings: &[Spoken],
    data: &Dataset<f32, Labels>,
) -> Result<(), Failure> {
    let mut micros = 0.0;
    for (string, frames) in strings.iter().zip(data.values()) {
        let whole =
            model.transcribe_labels(&Sequences::from_list(std::slice::from_ref(frames))?)?;
        let heard = listen(model, &string.samples)?;
        if !heard.digits.iter().map(|(digit, _)| *digit).eq(whole[0].iter().copied()) {
            return Err(Failure::new("the stream's transcript is not that of the whole recording"));
        }
        micros += heard.micros / strings.len() as f64;
    }
    println!("As streams: the same transcripts, {micros:.0} µs of work for 10 ms of sound.");
    Ok(())
}

/// Draws the frames of a string, a column for each step, with the digits where CTC aligns them.
pub(crate) fn draw(
    file: &Path,
    model: &Transcriber,
    string: &Spoken,
    frames: &Array2<f32>,
) -> Result<(), Failure> {
    let labels: Vec<usize> = string.digits.iter().map(|digit| digit + 1).collect();
    let x = Sequences::from_list(std::slice::from_ref(frames))?;
    let alignment = model.align(&x, &[labels])?.remove(0);
    let columns = alignment.path.iter().map(|&class| CLASSES[class].to_owned()).collect();
    // Two bands a row, high frequencies first.
    let bands = frames.ncols() / 2;
    let values = Array2::from_shape_fn((bands, alignment.path.len()), |(row, step)| {
        let band = 2 * (bands - 1 - row);
        let parts = frames.slice(s![step * STRIDE..(step + 1) * STRIDE, band..band + 2]);
        parts.mean().unwrap_or_default()
    });
    let title = "Energy, low to high frequencies; above, the digits and their steps".to_owned();
    let rows = vec![String::new(); bands];
    heat_maps(file, &[HeatMap { title, rows, columns, values: values.view(), numbers: false }])
}
