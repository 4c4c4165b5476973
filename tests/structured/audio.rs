//! Tests of sound features against librosa and torchaudio, of streams, and of bad input.

use ndarray::{Array1, Array2, Axis, concatenate, s};
use proptest::prelude::*;
use recurrent::Error;
use recurrent::audio::{
    Deltas, Features, Log, Mel, MelScale, Normalisation, Padding, Spectrum, Stft, Window,
};

use crate::common::fixture::Fixture;

mod errors;
mod wav;

/// Returns the sound of the fixture.
fn sound(fixture: &Fixture) -> Vec<f32> {
    fixture.get::<ndarray::Ix1>("x").iter().map(|&x| x as f32).collect()
}

/// Fails unless each value of `got` is that of the fixture `name` up to 1e-4, relative to values greater
/// than 1.
fn assert_near(got: &Array2<f32>, fixture: &Fixture, name: &str) {
    let expected: Array2<f64> = fixture.get(name);
    assert_eq!(got.dim(), expected.dim(), "{name}");
    for ((place, &got), &expected) in got.indexed_iter().zip(&expected) {
        let near = (f64::from(got) - expected).abs() <= 1e-4 * expected.abs().max(1.0);
        assert!(near, "{name} {place:?}: expected {expected}, got {got}");
    }
}

#[test]
fn spectrograms_are_those_of_librosa_and_torchaudio() {
    let fixture = Fixture::open("audio");
    let x = sound(&fixture);
    let stft = |n_fft, hop, win| {
        Stft::new(n_fft).and_then(|s| s.hop_length(hop)?.win_length(win)).unwrap()
    };
    let check = |stft, spectrum, name: &str| {
        let features = Features::spectrogram(stft, spectrum);
        assert_near(&features.apply(&x[..800]).unwrap(), &fixture, name);
    };
    let (power, magnitude) = (Spectrum::Power, Spectrum::Magnitude);
    check(stft(128, 50, 100).padding(Padding::Zeros), power, "zeros.power");
    check(stft(64, 100, 64).padding(Padding::None), magnitude, "none.magnitude");
    check(stft(64, 90, 64), magnitude, "reflect.magnitude");
    check(stft(101, 40, 80).window(Window::HannSymmetric), power, "odd.power");
    check(stft(128, 200, 99), magnitude, "torch.magnitude");
}

#[test]
fn filters_are_those_of_librosa_and_torchaudio() {
    let fixture = Fixture::open("audio");
    let librosa = Mel::new(8000, 9).f_min(50.0).f_max(3500.0).slaney_norm(true);
    let torch = Mel::new(8000, 10);
    for (mel, name) in [
        (librosa.scale(MelScale::Slaney), "filters.slaney"),
        (librosa, "filters.htk_slaney_norm"),
        (librosa.scale(MelScale::Slaney).slaney_norm(false), "filters.slaney_no_norm"),
        (torch, "filters.torch_htk"),
        (torch.scale(MelScale::Slaney).slaney_norm(true), "filters.torch_slaney"),
    ] {
        let weights = mel.weights(128).unwrap();
        let expected: Array2<f64> = fixture.get(name);
        assert_eq!(weights.dim(), expected.dim(), "{name}");
        // torchaudio computes its frequencies in f32.
        let tolerance = if name.contains("torch") { 1e-4 } else { 1e-9 };
        let most = expected.iter().copied().fold(0.0, f64::max);
        let difference = (&weights - &expected).mapv(f64::abs).into_iter().fold(0.0, f64::max);
        assert!(difference <= tolerance * most, "{name}: {difference}");
    }
}

/// Returns the mel spectrogram with librosa's settings.
fn librosa_mel(spectrum: Spectrum) -> Features {
    let stft = Stft::new(256).unwrap().hop_length(80).unwrap().padding(Padding::Zeros);
    let mel = Mel::new(8000, 20).f_min(60.0).f_max(3800.0);
    let mel = mel.scale(MelScale::Slaney).slaney_norm(true);
    Features::spectrogram(stft, spectrum).mel(&mel).unwrap()
}

fn decibel(amin: f64, reference: f64, top_db: Option<f64>) -> Log {
    Log::Decibel { amin, reference, top_db }
}

#[test]
fn logarithms_of_mel_spectrograms_are_those_of_librosa_and_torchaudio() {
    let fixture = Fixture::open("audio");
    let x = sound(&fixture);
    for (spectrum, log, name) in [
        (Spectrum::Power, None, "mel.power"),
        (Spectrum::Magnitude, None, "mel.magnitude"),
        (Spectrum::Power, Some(Log::Ln { floor: 1e-10 }), "log.ln"),
        (Spectrum::Power, Some(Log::Log10 { floor: 1e-5 }), "log.log10"),
        (Spectrum::Power, Some(decibel(1e-10, 1.0, None)), "log.db"),
        (Spectrum::Power, Some(decibel(1e-10, 0.5, Some(30.0))), "log.top_db"),
        (Spectrum::Magnitude, Some(decibel(1e-5, 1.0, None)), "log.magnitude_db"),
        (Spectrum::Magnitude, Some(decibel(1e-10, 1.0, None)), "log.torch_magnitude_db"),
    ] {
        let mel = librosa_mel(spectrum);
        let features = log.map_or(mel.clone(), |log| mel.log(log).unwrap());
        assert_near(&features.apply(&x).unwrap(), &fixture, name);
    }
}

/// Returns 13 MFCCs with librosa's settings.
fn librosa_mfcc(lifter: f64) -> Features {
    let mel = librosa_mel(Spectrum::Power);
    mel.log(decibel(1e-10, 1.0, Some(80.0))).unwrap().mfcc(13, lifter).unwrap()
}

#[test]
fn mfccs_are_those_of_librosa_and_torchaudio() {
    let fixture = Fixture::open("audio");
    let x = sound(&fixture);
    assert_near(&librosa_mfcc(0.0).apply(&x).unwrap(), &fixture, "mfcc.librosa");
    assert_near(&librosa_mfcc(22.0).apply(&x).unwrap(), &fixture, "mfcc.lifter");

    let stft = Stft::new(256).and_then(|s| s.hop_length(80)?.win_length(200)).unwrap();
    let mel =
        Features::spectrogram(stft, Spectrum::Power).mel(&Mel::new(8000, 20).f_min(60.0)).unwrap();
    for (log, name) in [
        (decibel(1e-10, 1.0, Some(80.0)), "mfcc.torch"),
        (Log::LnOffset { offset: 1e-6 }, "mfcc.torch_log"),
    ] {
        let features = mel.clone().log(log).unwrap().mfcc(12, 0.0).unwrap();
        assert_near(&features.apply(&x).unwrap(), &fixture, name);
    }
}

#[test]
fn deltas_are_those_of_librosa_and_torchaudio() {
    let fixture = Fixture::open("audio");
    let x = sound(&fixture);
    let deltas = |deltas: Deltas| {
        let features = librosa_mfcc(0.0).deltas(deltas.order(2).unwrap()).unwrap();
        assert_eq!(features.width(), 39);
        features.apply(&x).unwrap()
    };
    let part =
        |frames: &Array2<f32>, k: usize| frames.slice(s![.., 13 * k..13 * (k + 1)]).to_owned();
    let nine = deltas(Deltas::savitzky_golay(9).unwrap());
    assert_near(&part(&nine, 0), &fixture, "mfcc.librosa");
    assert_near(&part(&nine, 1), &fixture, "deltas.librosa");
    assert_near(&part(&nine, 2), &fixture, "deltas.librosa_2");
    let seven = deltas(Deltas::savitzky_golay(7).unwrap());
    assert_near(&part(&seven, 2), &fixture, "deltas.librosa_7");
    let five = deltas(Deltas::regression(5).unwrap());
    assert_near(&part(&five, 1), &fixture, "deltas.torch");
    assert_near(&part(&five, 2), &fixture, "deltas.torch_2");
}

/// Returns a sound of 80 samples.
fn small_samples() -> Vec<f32> {
    (0..80).map(|i| ((i * i) as f32 * 0.05).sin() + i as f32 * 0.02).collect()
}

/// Returns a spectrogram of 5 values per frame, and its frames for [`small_samples`].
fn small() -> (Features, Array2<f32>) {
    let features = Features::spectrogram(Stft::new(8).unwrap(), Spectrum::Magnitude);
    let frames = features.apply(&small_samples()).unwrap();
    assert_eq!(frames.dim(), (41, 5));
    (features, frames)
}

#[test]
fn stacks_hold_successive_frames_and_leave_out_an_incomplete_last_one() {
    let (features, frames) = small();
    for (size, stride, count) in
        [(1, 1, 41), (3, 3, 13), (4, 1, 38), (2, 5, 8), (41, 7, 1), (42, 1, 0)]
    {
        let stacked = features.clone().stack(size, stride).unwrap();
        let stacked = stacked.apply(&small_samples()).unwrap();
        assert_eq!(stacked.dim(), (count, 5 * size));
        for (i, row) in stacked.rows().into_iter().enumerate() {
            let joined = frames.slice(s![i * stride..i * stride + size, ..]);
            assert!(row.iter().eq(joined.iter()), "frame {i} of {size}, {stride}");
        }
    }
}

/// Returns (x − μ)/√(σ² + ε) of `frame`, with weights of the frames that μ and σ² are over.
fn normalised(
    frames: &Array2<f64>,
    frame: usize,
    weights: &[f64],
    eps: Option<f64>,
) -> Array1<f64> {
    let over = frames.slice(s![..weights.len(), ..]);
    let weights = Array1::from(weights.to_vec()).insert_axis(Axis(1));
    let mean = (&over * &weights).sum_axis(Axis(0)) / weights.sum();
    let squares = (&over - &mean).mapv(|x| x * x);
    let variance = (squares * &weights).sum_axis(Axis(0)) / weights.sum();
    let scale = eps.map_or(Array1::ones(mean.len()), |eps| (variance + eps).mapv(f64::sqrt));
    (&frames.row(frame) - &mean) / scale
}

#[test]
fn normalisation_is_over_the_recording_or_over_the_frames_so_far() {
    let (features, frames) = small();
    let frames = frames.mapv(f64::from);
    let recording = Normalisation::recording();
    for (normalisation, decay, eps) in [
        (recording, None, Some(1e-5)),
        (recording.mean_only(), None, None),
        (recording.eps(0.25).unwrap(), None, Some(0.25)),
        (Normalisation::running(1.0).unwrap(), Some(1.0), Some(1e-5)),
        (Normalisation::running(0.9).unwrap(), Some(0.9), Some(1e-5)),
        (Normalisation::running(0.5).unwrap().mean_only(), Some(0.5), None),
    ] {
        let got = features.clone().normalise(normalisation).apply(&small_samples()).unwrap();
        for (t, row) in got.rows().into_iter().enumerate() {
            let weights = match decay {
                None => vec![1.0; frames.nrows()],
                Some(decay) => (0..=t).map(|s| f64::powi(decay, (t - s) as i32)).collect(),
            };
            let expected = normalised(&frames, t, &weights, eps);
            for (&got, &expected) in row.iter().zip(&expected) {
                assert!((f64::from(got) - expected).abs() <= 1e-4, "{normalisation:?}, frame {t}");
            }
        }
    }
}

#[test]
fn silence_has_defined_features() {
    let features = librosa_mel(Spectrum::Power).log(Log::Ln { floor: 1e-10 }).unwrap();
    let features = features.deltas(Deltas::regression(3).unwrap()).unwrap();
    let features = features.normalise(Normalisation::running(1.0).unwrap());
    let frames = features.apply(&[0.0; 900]).unwrap();
    assert!(frames.iter().all(|&x| x == 0.0));
    let top = librosa_mfcc(22.0).normalise(Normalisation::recording());
    assert!(top.apply(&[0.0; 900]).unwrap().iter().all(|&x| x.is_finite()));
}

/// Returns the frames of a stream that takes `samples` in pieces of the given sizes, and the rest at once.
fn streamed(features: &Features, samples: &[f32], sizes: &[usize]) -> Result<Array2<f32>, Error> {
    let (mut stream, mut rest) = (features.stream()?, samples);
    let mut frames = Vec::new();
    for &size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        frames.push(stream.push(piece)?);
        rest = after;
    }
    frames.push(stream.push(rest)?);
    frames.push(stream.finish()?);
    let views: Vec<_> = frames.iter().map(|frames| frames.view()).collect();
    Ok(concatenate(Axis(0), &views).unwrap())
}

fn any_features() -> impl Strategy<Value = Features> {
    let padding = prop_oneof![Just(Padding::Reflect), Just(Padding::Zeros), Just(Padding::None)];
    let deltas = prop_oneof![
        Just(None),
        (1_usize..4, 1_usize..3, any::<bool>()).prop_map(|(half, order, is_fitted)| {
            let make = if is_fitted { Deltas::savitzky_golay } else { Deltas::regression };
            Some(make(2 * half + 1).unwrap().order(order).unwrap())
        }),
    ];
    let stft = (1_usize..40, 1_usize..50, padding, any::<bool>());
    (stft, any::<bool>(), deltas, 1_usize..4, 1_usize..5).prop_map(
        |((n_fft, hop, padding, symmetric), log, deltas, size, stride)| {
            let window = if symmetric { Window::HannSymmetric } else { Window::Hann };
            let stft = Stft::new(n_fft).unwrap().hop_length(hop).unwrap();
            let stft = stft.win_length(n_fft.div_ceil(2)).unwrap().padding(padding).window(window);
            let mut features = Features::spectrogram(stft, Spectrum::Power);
            if log {
                features = features.log(Log::Ln { floor: 1e-6 }).unwrap().mfcc(1, 3.0).unwrap();
            }
            if let Some(deltas) = deltas {
                features = features.deltas(deltas).unwrap();
            }
            let features = features.normalise(Normalisation::running(0.9).unwrap());
            features.stack(size, stride).unwrap()
        },
    )
}

fn bits(frames: &Array2<f32>) -> Vec<u32> {
    frames.iter().map(|x| x.to_bits()).collect()
}

proptest! {
    #[test]
    fn a_stream_has_the_frames_of_the_whole_recording_bit_for_bit(
        features in any_features(),
        count in 0_usize..300,
        sizes in prop::collection::vec(0_usize..40, 0..20),
    ) {
        let samples: Vec<f32> = (0..count).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
        match (features.apply(&samples), streamed(&features, &samples, &sizes)) {
            (Ok(whole), Ok(stream)) => {
                prop_assert_eq!(whole.dim(), stream.dim());
                prop_assert_eq!(bits(&whole), bits(&stream));
                prop_assert!(whole.iter().all(|x| x.is_finite()));
            }
            (Err(whole), Err(stream)) => prop_assert_eq!(whole.to_string(), stream.to_string()),
            (whole, stream) => prop_assert!(false, "{whole:?} and {stream:?}"),
        }
    }

    #[test]
    fn the_number_of_frames_follows_from_that_of_the_samples(
        (n_fft, hop) in (1_usize..40, 1_usize..50),
        count in 1_usize..300,
    ) {
        let stft = Stft::new(n_fft).unwrap().hop_length(hop).unwrap();
        for (padding, pad) in [(Padding::Reflect, n_fft / 2), (Padding::Zeros, n_fft / 2), (Padding::None, 0)] {
            let features = Features::spectrogram(stft.padding(padding), Spectrum::Power);
            let result = features.apply(&vec![0.5; count]);
            let is_short = match padding {
                Padding::Reflect => count <= pad,
                _ => count + 2 * pad < n_fft,
            };
            prop_assert_eq!(result.is_err(), is_short);
            if let Ok(frames) = result {
                prop_assert_eq!(frames.dim(), (1 + (count + 2 * pad - n_fft) / hop, n_fft / 2 + 1));
            }
        }
    }
}

/// Without padding at the start, a frame comes with its last sample.
#[test]
fn a_stream_returns_each_frame_as_soon_as_it_can() {
    let stft = Stft::new(16).unwrap().hop_length(4).unwrap();
    let frames_at = |features: &Features, count: usize| {
        let mut stream = features.stream().unwrap();
        (0..count).map(|i| stream.push(&[i as f32]).unwrap().nrows()).collect::<Vec<_>>()
    };
    let first = |padding| {
        let features = Features::spectrogram(stft.padding(padding), Spectrum::Power);
        frames_at(&features, 40).iter().position(|&count| count == 1).unwrap() + 1
    };
    assert_eq!((first(Padding::None), first(Padding::Zeros), first(Padding::Reflect)), (16, 8, 9));
    let features = Features::spectrogram(stft.padding(Padding::None), Spectrum::Power);
    let slopes = features.deltas(Deltas::regression(5).unwrap()).unwrap();
    assert_eq!(frames_at(&slopes, 40).iter().position(|&count| count == 1), Some(15 + 2 * 4));
}
