//! Tests of options and samples that are refused.

use recurrent::Error;
use recurrent::audio::{Deltas, Features, Log, Mel, Normalisation, Padding, Spectrum, Stft};

use super::{decibel, librosa_mel, librosa_mfcc};

/// Fails unless `result` is an error about `argument`.
fn assert_names<T>(argument: &str, result: Result<T, Error>) {
    let message = result.err().expect("an error").to_string();
    assert!(message.starts_with(&format!("{argument}: expected ")), "{argument}: {message}");
}

#[test]
fn errors_name_the_option_of_the_transform() {
    let stft = Stft::new(64).unwrap();
    for n_fft in [0, (1 << 20) + 1, usize::MAX] {
        assert_names("n_fft", Stft::new(n_fft));
        assert_names("n_fft", Mel::new(8000, 4).weights(n_fft));
    }
    assert_names("hop_length", stft.hop_length(0));
    assert_names("win_length", stft.win_length(0));
    assert_names("win_length", stft.win_length(65));
}

#[test]
fn errors_name_the_option_of_the_filters() {
    let mel = Mel::new(8000, 20);
    let check = |argument, mel: Mel| assert_names(argument, mel.weights(256));
    for f_max in [4000.1, 0.0, -1.0, f64::NAN, f64::INFINITY] {
        check("f_max", mel.f_max(f_max));
    }
    for f_min in [-0.1, 4000.0, f64::NAN, f64::INFINITY] {
        check("f_min", mel.f_min(f_min));
    }
    check("f_min", mel.f_min(300.0).f_max(300.0));
    check("sample_rate", Mel::new(0, 20));
    for n_mels in [0, 100, 1000, usize::MAX] {
        check("n_mels", Mel::new(8000, n_mels));
    }
    let message = Mel::new(8000, 100).weights(256).unwrap_err().to_string();
    assert!(message.contains("31.25 Hz apart; filter "), "{message}");
    let later = librosa_mel(Spectrum::Power).mel(&mel);
    assert_names("mel", later);
}

#[test]
fn errors_name_the_option_of_later_stages() {
    let features = librosa_mel(Spectrum::Power);
    let log = |log| features.clone().log(log);
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_names("floor", log(Log::Ln { floor: value }));
        assert_names("floor", log(Log::Log10 { floor: value }));
        assert_names("offset", log(Log::LnOffset { offset: value }));
        assert_names("amin", log(decibel(value, 1.0, None)));
        assert_names("reference", log(decibel(1e-10, value, None)));
        assert_names("eps", Normalisation::recording().eps(value));
    }
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert_names("top_db", log(decibel(1e-10, 1.0, Some(value))));
        assert_names("lifter", features.clone().mfcc(13, value));
    }
    for n_mfcc in [0, 21, usize::MAX] {
        assert_names("n_mfcc", features.clone().mfcc(n_mfcc, 0.0));
    }
    for width in [0, 1, 4, 1003, usize::MAX] {
        assert_names("width", Deltas::regression(width));
        assert_names("width", Deltas::savitzky_golay(width));
    }
    for order in [0, 3] {
        assert_names("order", Deltas::regression(5).unwrap().order(order));
    }
    for decay in [0.0, -0.5, 1.1, f64::NAN] {
        assert_names("decay", Normalisation::running(decay));
    }
    for size in [0, 1 << 20, usize::MAX] {
        assert_names("size", features.clone().stack(size, 1));
    }
    assert_names("stride", features.clone().stack(2, 0));
    let wide = features.stack((1 << 24) / 20, 1).unwrap();
    assert_names("order", wide.deltas(Deltas::regression(3).unwrap()));
}

#[test]
fn recordings_that_are_too_short_are_refused() {
    let stft = Stft::new(64).unwrap();
    for (padding, least) in [(Padding::Reflect, 33), (Padding::Zeros, 1), (Padding::None, 64)] {
        let features = Features::spectrogram(stft.padding(padding), Spectrum::Power);
        assert!(features.apply(&vec![0.0; least]).is_ok());
        for count in [0, least - 1] {
            let message = features.apply(&vec![0.0; count]).unwrap_err().to_string();
            let expected = format!("samples: expected at least {least} samples, got {count}");
            assert_eq!(message, expected);
        }
    }
    let features = Features::spectrogram(stft.padding(Padding::None), Spectrum::Power);
    let slopes = features.deltas(Deltas::savitzky_golay(9).unwrap()).unwrap();
    assert!(slopes.apply(&[0.0; 64 + 8 * 16]).is_ok());
    let message = slopes.apply(&[0.0; 64 + 7 * 16]).unwrap_err().to_string();
    assert_eq!(message, "width: expected at most the number of frames, 8, got 9");
}

#[test]
fn samples_that_are_not_finite_are_refused_and_leave_the_stream_unchanged() {
    let stft = Stft::new(16).unwrap();
    let features = Features::spectrogram(stft, Spectrum::Power);
    let mut samples = [0.5; 40];
    let whole = features.apply(&samples).unwrap();
    let mut stream = features.stream().unwrap();
    let mut rows = stream.push(&samples[..30]).unwrap().into_raw_vec_and_offset().0;
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.1e12] {
        samples[33] = value;
        assert_names("samples[33]", stream.push(&samples[30..]));
        assert_names("samples[33]", features.apply(&samples));
    }
    samples[33] = 0.5;
    rows.extend(stream.push(&samples[30..]).unwrap());
    rows.extend(stream.finish().unwrap());
    assert!(rows.iter().eq(&whole));
    assert!(features.apply(&[1e12; 40]).unwrap().iter().all(|x| x.is_finite()));
}

#[test]
fn what_needs_the_whole_recording_cannot_be_streamed() {
    assert_names("top_db", librosa_mfcc(0.0).stream());
    let features = librosa_mel(Spectrum::Power);
    assert_names("normalise", features.clone().normalise(Normalisation::recording()).stream());
    assert!(features.normalise(Normalisation::running(0.99).unwrap()).stream().is_ok());
}
