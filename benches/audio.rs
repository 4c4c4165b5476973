//! Features of sound: the time for a second of sound, whole and in pieces of 20 ms, on one thread.
//!
//!     cargo bench --bench audio
//!
//! `benches/audio.py` measures librosa and torchaudio with the same settings.
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;

use std::hint::black_box;
use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::audio::{Deltas, Features, Log, Mel, MelScale, Spectrum, Stft};
use table::print_table;

const SECONDS: usize = 2;
const ROUNDS: usize = 300;

/// Returns the names of settings with the sample rate and the features.
fn cases() -> recurrent::Result<Vec<(&'static str, u32, Features)>> {
    let log_mel = |rate, n_fft, hop, n_mels| {
        let mel = Mel::new(rate, n_mels).scale(MelScale::Slaney).slaney_norm(true);
        let stft = Stft::new(n_fft)?.hop_length(hop)?;
        let features = Features::spectrogram(stft, Spectrum::Power).mel(&mel)?;
        features.log(Log::Decibel { amin: 1e-10, reference: 1.0, top_db: None })
    };
    let speech = log_mel(16_000, 512, 160, 80)?;
    Ok(vec![
        ("log-mel 80, n_fft 512, hop 160, 16 kHz", 16_000, speech.clone()),
        ("log-mel 80, n_fft 400, hop 160, 16 kHz", 16_000, log_mel(16_000, 400, 160, 80)?),
        ("log-mel 128, n_fft 2048, hop 512, 22.05 kHz", 22_050, log_mel(22_050, 2048, 512, 128)?),
        (
            "13 MFCCs with two slopes, n_fft 512, hop 160, 16 kHz",
            16_000,
            speech.mfcc(13, 0.0)?.deltas(Deltas::regression(9)?.order(2)?)?,
        ),
    ])
}

/// Returns the least of the times of some calls, in seconds.
fn least(mut call: impl FnMut() -> recurrent::Result<()>) -> recurrent::Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        call()?;
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok(least)
}

fn main() -> recurrent::Result<()> {
    println!("milliseconds for a second of sound, least of {ROUNDS}, and real-time factor\n");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut rows = Vec::new();
    for (name, rate, features) in cases()? {
        let samples: Vec<f32> =
            (0..rate as usize * SECONDS).map(|_| rng.random_range(-0.5..0.5)).collect();
        let whole = least(|| {
            black_box(features.apply(black_box(&samples))?);
            Ok(())
        })?;
        let streamed = least(|| {
            let mut stream = features.stream()?;
            for piece in samples.chunks(rate as usize / 50) {
                black_box(stream.push(black_box(piece))?);
            }
            black_box(stream.finish()?);
            Ok(())
        })?;
        let [whole, streamed] = [whole, streamed].map(|seconds| seconds / SECONDS as f64);
        rows.push(vec![
            name.to_owned(),
            format!("{:.3}", whole * 1e3),
            format!("{:.3}", streamed * 1e3),
            format!("{whole:.6}"),
        ]);
    }
    print_table(&["features", "whole", "in pieces", "real-time factor"], &rows);
    Ok(())
}
