//! Sound: WAV files, spectrograms, mel filters, MFCCs and what is computed from them, for whole recordings
//! and for streams (feature `audio`).
//!
//! ```
//! use recurrent::Sequences;
//! use recurrent::audio::{Features, Log, Mel, Spectrum, Stft};
//!
//! // Frames of 25 ms every 10 ms at 16 kHz, each 80 logarithms of energies.
//! let stft = Stft::new(512)?.win_length(400)?.hop_length(160)?;
//! let features = Features::spectrogram(stft, Spectrum::Power)
//!     .mel(&Mel::new(16_000, 80).f_min(20.0))?
//!     .log(Log::Ln { floor: 1e-10 })?;
//!
//! let samples: Vec<f32> = (0..16_000).map(|i| (i as f32 * 0.1).sin()).collect();
//! let frames = features.apply(&samples)?; // [frames, features]
//! assert_eq!(frames.dim(), (101, 80));
//! let batch = Sequences::from_list(&[frames.clone()])?; // [time, batch, features]
//! assert_eq!((batch.time(), batch.features()), (101, 80));
//!
//! // In pieces of any size, the frames are the same, bit for bit.
//! let (mut stream, mut rows) = (features.stream()?, Vec::new());
//! for piece in samples.chunks(1234) {
//!     rows.extend(stream.push(piece)?);
//! }
//! rows.extend(stream.finish()?);
//! assert!(rows.iter().eq(&frames));
//! # Ok::<(), recurrent::Error>(())
//! ```
//!
//! Samples are `f32`, and frames are returned as `f32`. Between them all is computed in `f64`.
//!
//! # Settings of other libraries
//!
//! | | [`Stft`] | [`Mel`] | [`Log`] |
//! |---|---|---|---|
//! | defaults here | [`Padding::Reflect`], hop `n_fft / 4` | [`MelScale::Htk`], no norm | |
//! | `librosa.feature.melspectrogram` | [`Padding::Zeros`], hop 512, `n_fft` 2048 | [`MelScale::Slaney`], [`slaney_norm`](Mel::slaney_norm) | |
//! | `librosa.power_to_db` | | | [`Log::Decibel`] with `amin` 1e-10, `reference` 1, `top_db` 80 |
//! | `torchaudio.transforms.MelSpectrogram` | hop `n_fft / 2`, `n_fft` 400 | as here, 128 mels | |
//! | `torchaudio.transforms.AmplitudeToDB` | | | [`Log::Decibel`] with `amin` 1e-10, `reference` 1 |
//! | `torchaudio.transforms.MFCC(log_mels=True)` | | | [`Log::LnOffset`] with 1e-6 |
//!
//! | file | contents |
//! |---|---|
//! | `wav` | [`Wav`]: the samples of a WAV file |
//! | `stft` | [`Stft`]: the options of a short-time Fourier transform |
//! | `frames` | the division of samples into frames |
//! | `mel` | [`Mel`]: filters on a mel scale |
//! | `features` | [`Features`], and [`FeatureStream`] |
//! | `stage` | what is done frame by frame: filters, logarithms, the cosine transform |
//! | `deltas` | [`Deltas`]: slopes over time |
//! | `stack` | frames joined to longer ones |
//! | `normalise` | [`Normalisation`]: over the recording, or over the frames so far |

pub mod deltas;
mod features;
mod frames;
pub mod mel;
pub mod normalise;
mod stack;
mod stage;
pub mod stft;
mod wav;

pub use deltas::Deltas;
pub use features::{FeatureStream, Features};
pub use mel::{Mel, MelScale};
pub use normalise::Normalisation;
pub use stage::Log;
pub use stft::{Padding, Spectrum, Stft, Window};
pub use wav::Wav;
