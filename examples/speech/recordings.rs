//! Recordings of digits: read, generated, played faster, joined to strings.

use std::path::Path;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::audio::Wav;
use recurrent::data::Table;

use crate::common::options::Failure;

/// Samples a second.
pub(crate) const RATE: u32 = 8000;

/// A spoken digit.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) samples: Vec<f32>,
    pub(crate) digit: usize,
    pub(crate) speaker: String,
}

/// Several digits of one speaker, one after another.
pub(crate) struct Spoken {
    pub(crate) samples: Vec<f32>,
    pub(crate) digits: Vec<usize>,
}

/// Reads the samples of a WAV file of `RATE`.
pub(crate) fn read_wav(file: &Path) -> Result<Vec<f32>, Failure> {
    Ok(Wav::read(file)?.expect_sample_rate(RATE)?.mix_down())
}

/// Reads the recordings that a table names; their files are relative to its folder.
pub(crate) fn read(table: &Path) -> Result<Vec<Recording>, Failure> {
    let folder = table.parent().unwrap_or(Path::new("."));
    let rows = Table::reader().delimiter(b'\t').read(table)?;
    let (files, digits) = (rows.column::<String>("file")?, rows.column::<usize>("digit")?);
    let mut recordings = Vec::new();
    for ((file, digit), speaker) in files.iter().zip(digits).zip(rows.column("speaker")?) {
        if digit > 9 {
            return Err(Failure::new(format!(
                "{}: expected a digit, got {digit}",
                table.display()
            )));
        }
        recordings.push(Recording { samples: read_wav(&folder.join(file))?, digit, speaker });
    }
    Ok(recordings)
}

/// Returns recordings by invented speakers. A digit is two vowels, each a sum of the harmonics of a voice,
/// the strongest of which are near two formants.
pub(crate) fn generated(of_each: usize, seed: u64) -> Vec<Recording> {
    const FORMANTS: [[f32; 2]; 5] =
        [[300.0, 2300.0], [500.0, 1900.0], [750.0, 1200.0], [450.0, 900.0], [320.0, 800.0]];
    const SPEAKERS: [(&str, f32, f32); 3] =
        [("low", 105.0, 0.95), ("middle", 150.0, 1.0), ("high", 210.0, 1.08)];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut recordings = Vec::new();
    for (speaker, pitch, throat) in SPEAKERS {
        for i in 0..10 * of_each {
            let digit = i % 10;
            let pitch = pitch * rng.random_range(0.95..1.05);
            let mut samples = Vec::new();
            for vowel in [digit % 5, (3 * digit + digit / 5 + 1) % 5] {
                let length = rng.random_range(900..1600);
                let loudness = |frequency: f32| -> f32 {
                    let near = |formant: &f32| -((frequency / throat - formant) / 120.0).powi(2);
                    FORMANTS[vowel].iter().map(|formant| near(formant).exp()).sum()
                };
                samples.extend((0..length).map(|n| {
                    let (t, noise) = (n as f32 / RATE as f32, rng.random_range(-0.01..0.01));
                    let fade = (n.min(length - n) as f32 / 200.0).min(1.0);
                    let harmonic = |k: u8| {
                        let frequency = pitch * f32::from(k);
                        loudness(frequency) * (std::f32::consts::TAU * frequency * t).sin()
                    };
                    0.1 * fade * (1..24).map(harmonic).sum::<f32>() + noise
                }));
            }
            recordings.push(Recording { samples, digit, speaker: speaker.to_owned() });
        }
    }
    recordings.shuffle(&mut rng);
    recordings
}

/// Returns samples as if they were played `rate` times as fast, by linear interpolation.
pub(crate) fn faster(samples: &[f32], rate: f32) -> Vec<f32> {
    let length = (samples.len() as f32 / rate) as usize;
    let at = |n: usize| {
        let place = n as f32 * rate;
        let (before, part) = (place as usize, place.fract());
        let next = samples.get(before + 1).unwrap_or(&samples[before]);
        samples[before] * (1.0 - part) + next * part
    };
    (0..length).map(at).collect()
}

/// Returns `count` strings of digits of one speaker each, with pauses. The number of digits is within `digits`.
/// With `varied`, each digit is played at 0.9 to 1.1 of its speed, and at half to twice its loudness.
pub(crate) fn strings(
    recordings: &[Recording],
    count: usize,
    digits: [usize; 2],
    varied: bool,
    seed: u64,
) -> Vec<Spoken> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let string = |_| {
        let speaker = recordings.choose(&mut rng).map(|recording| &recording.speaker);
        let of_speaker = |recording: &&Recording| Some(&recording.speaker) == speaker;
        let own: Vec<&Recording> = recordings.iter().filter(of_speaker).collect();
        let mut spoken = Spoken { samples: Vec::new(), digits: Vec::new() };
        let wanted = rng.random_range(digits[0]..=digits[1]);
        for place in 0..=wanted {
            let pause = rng.random_range(400..1600);
            spoken.samples.extend((0..pause).map(|_| rng.random_range(-5e-4..5e-4_f32)));
            let Some(recording) = own.choose(&mut rng).filter(|_| place < wanted) else { break };
            let (rate, octaves) = if varied {
                (rng.random_range(0.9..1.1), rng.random_range(-1.0..1.0_f32))
            } else {
                (1.0, 0.0)
            };
            let played = faster(&recording.samples, rate);
            spoken.samples.extend(played.iter().map(|sample| sample * octaves.exp2()));
            spoken.digits.push(recording.digit);
        }
        spoken
    };
    (0..count).map(string).collect()
}
