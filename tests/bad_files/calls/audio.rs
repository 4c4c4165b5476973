//! Sound: spectrograms, features and their streams.

use recurrent::Result;
use recurrent::audio::{
    Deltas, Features, Log, Mel, MelScale, Normalisation, Padding, Spectrum, Stft, Wav, Window,
};

use super::calls;
use super::given::Given;

fn stft(given: &mut Given) -> Result<Stft> {
    Ok(Stft::new(16)?.hop_length(given.like(8))?.padding(given.one(&[
        Padding::None,
        Padding::Zeros,
        Padding::Reflect,
    ])))
}

fn features(given: &mut Given) -> Result<Features> {
    Ok(Features::spectrogram(stft(given)?, Spectrum::Power))
}

fn samples(given: &mut Given) -> Vec<f32> {
    let length = given.one(&[0, 1, 15, 16, 40]);
    given.array1(length).iter().cycle().take(length).copied().collect()
}

/// Computes features of a recording, whole and in pieces.
fn applied(given: &mut Given, features: &Features) -> Result<()> {
    features.apply(&samples(given))?;
    let mut stream = features.stream()?;
    stream.push(&samples(given))?;
    stream.push(&samples(given))?;
    stream.finish()?;
    Ok(())
}

fn mel(given: &mut Given, mel: Mel) -> Result<()> {
    mel.weights(16)?;
    let features = features(given)?.mel(&mel)?;
    applied(given, &features)
}

fn log(given: &mut Given) -> Log {
    let [a, b, c] = [given.number(1e-6), given.number(1.0), given.number(80.0)];
    let top_db = given.flag().then_some(c);
    given.one(&[
        Log::Decibel { amin: a, reference: b, top_db },
        Log::Ln { floor: a },
        Log::LnOffset { offset: a },
        Log::Log10 { floor: a },
    ])
}

fn wav(given: &mut Given) -> Result<Wav> {
    let folder = crate::common::temporary::Folder::new("calls-wav");
    let path = folder.path("a.wav");
    let mut bytes = b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x10\0data\x10\0\0\0".to_vec();
    bytes.extend((0..16).map(|_| given.below(256) as u8));
    std::fs::write(&path, bytes).unwrap();
    Wav::read(&path)
}

calls! {
"audio::Deltas::", g:
    order = { let d = Deltas::regression(5)?.order(g.size())?; let f = features(g)?.deltas(d)?; applied(g, &f)? };
    regression = { let d = Deltas::regression(g.like(5))?; let f = features(g)?.deltas(d)?; applied(g, &f)? };
    savitzky_golay = { let d = Deltas::savitzky_golay(g.like(5))?; let f = features(g)?.deltas(d)?; applied(g, &f)? };
"audio::FeatureStream::", g:
    push = { let f = features(g)?; applied(g, &f)? };
"audio::Features::", g:
    apply = { let f = features(g)?; applied(g, &f)? };
    deltas = { let f = features(g)?.deltas(Deltas::regression(3)?)?; applied(g, &f)? };
    log = { let f = features(g)?.log(log(g))?; applied(g, &f)? };
    mel = { let f = features(g)?.mel(&Mel::new(8000, g.size()))?; applied(g, &f)? };
    mfcc = { let f = features(g)?.mel(&Mel::new(8000, 4))?.log(Log::Ln { floor: 1e-6 })?.mfcc(g.size(), g.number(22.0))?; applied(g, &f)? };
    normalise = { let n = Normalisation::running(g.number(0.9))?; let f = features(g)?.normalise(n); applied(g, &f)? };
    spectrogram = { let f = Features::spectrogram(stft(g)?, g.one(&[Spectrum::Power, Spectrum::Magnitude])); applied(g, &f)? };
    stack = { let f = features(g)?.stack(g.size(), g.size())?; applied(g, &f)? };
"audio::Mel::", g:
    new = { let m = Mel::new(g.one(&[8000, 0, 1, u32::MAX]), g.size()); mel(g, m)? };
    f_max = { let m = Mel::new(8000, 4).f_max(g.number(4000.0)); mel(g, m)? };
    f_min = { let m = Mel::new(8000, 4).f_min(g.number(20.0)); mel(g, m)? };
    scale = { let m = Mel::new(8000, 4).scale(g.one(&[MelScale::Htk, MelScale::Slaney])); mel(g, m)? };
    slaney_norm = { let m = Mel::new(8000, 4).slaney_norm(g.flag()); mel(g, m)? };
    weights = Mel::new(8000, g.size()).weights(g.like(16))?;
"audio::Normalisation::", g:
    eps = { let n = Normalisation::running(0.9)?.eps(g.number(1e-5))?; let f = features(g)?.normalise(n); applied(g, &f)? };
    running = { let n = Normalisation::running(g.number(0.9))?; let f = features(g)?.normalise(n); applied(g, &f)? };
"audio::Stft::", g:
    hop_length = { let s = Stft::new(16)?.hop_length(g.size())?; applied(g, &Features::spectrogram(s, Spectrum::Power))? };
    new = { let s = Stft::new(g.like(16))?; applied(g, &Features::spectrogram(s, Spectrum::Power))? };
    padding = { let s = stft(g)?; applied(g, &Features::spectrogram(s, Spectrum::Power))? };
    win_length = { let s = stft(g)?.win_length(g.like(12))?; applied(g, &Features::spectrogram(s, Spectrum::Power))? };
    window = { let s = stft(g)?.window(g.one(&[Window::Hann, Window::HannSymmetric])); applied(g, &Features::spectrogram(s, Spectrum::Power))? };
"audio::Wav::", g:
    channel = wav(g)?.channel(g.index(2))?;
    expect_sample_rate = wav(g)?.expect_sample_rate(g.one(&[8000, 0, u32::MAX]))?.mix_down();
    read = wav(g)?.mix_down();
}
