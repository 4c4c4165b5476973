//! [`Wav`]: the samples of a WAV file.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use hound::{SampleFormat, WavReader};

use crate::error::{Error, Result};

/// The samples of a WAV file of integers of 8, 16, 24 or 32 bits or of floats of 32 bits.
///
/// An integer of b bits is divided by 2ᵇ⁻¹, which gives values from −1 to 1. Floats are taken as they are.
///
/// ```
/// use recurrent::audio::Wav;
///
/// # let path = std::env::temp_dir().join(format!("recurrent-wav-{}.wav", std::process::id()));
/// # let header = b"RIFF\x28\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data\x04\0\0\0";
/// # std::fs::write(&path, [&header[..], &[0, 64, 0, 0]].concat()).unwrap();
/// let wav = Wav::read(&path)?.expect_sample_rate(16_000)?;
/// assert_eq!((wav.channels(), wav.mix_down()), (1, vec![0.5, 0.0]));
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    path: PathBuf,
    sample_rate: u32,
    channels: usize,
    /// The samples of all channels at one time, and then those at the next.
    samples: Vec<f32>,
}

impl Wav {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read. [`Error::Format`] if it is not a WAV file of these kinds,
    /// is shorter than its header says, or holds NaN or an infinity.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let not_wav = |problem| Error::Format { path: path.clone(), format: "WAV", problem };
        let parsed = File::open(&path).map_err(hound::Error::IoError);
        let parsed = parsed.and_then(|file| parse(BufReader::new(file)));
        let (spec, samples) = parsed.map_err(|error| match error {
            // hound reports the end of the file as `Other`.
            hound::Error::IoError(source)
                if !matches!(source.kind(), ErrorKind::Other | ErrorKind::UnexpectedEof) =>
            {
                Error::Io { path: path.clone(), source }
            }
            hound::Error::IoError(_) => not_wav("it ends before its last sample".to_owned()),
            other => not_wav(other.to_string()),
        })?;
        let mut numbered = samples.iter().enumerate();
        if let Some((place, sample)) = numbered.find(|(_, sample)| !sample.is_finite()) {
            return Err(not_wav(format!("sample {place} is {sample}")));
        }
        let (sample_rate, channels) = (spec.sample_rate, usize::from(spec.channels));
        Ok(Self { path, sample_rate, channels, samples })
    }

    /// Returns the number of samples a second of each channel, in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Returns the number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Returns the number of samples of each channel.
    pub fn len(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// Returns whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Returns the file unchanged if it has this sample rate. Nothing is resampled.
    ///
    /// # Errors
    /// If it has another sample rate.
    pub fn expect_sample_rate(self, sample_rate: u32) -> Result<Self> {
        if self.sample_rate == sample_rate {
            return Ok(self);
        }
        let argument = format!("{}: sample_rate", self.path.display());
        Err(Error::argument(
            argument,
            format!("{sample_rate} Hz"),
            format!("{} Hz", self.sample_rate),
        ))
    }

    /// Returns the mean of the channels.
    pub fn mix_down(&self) -> Vec<f32> {
        let mean = |at_once: &[f32]| {
            let sum: f64 = at_once.iter().copied().map(f64::from).sum();
            (sum / at_once.len() as f64) as f32
        };
        self.samples.chunks_exact(self.channels).map(mean).collect()
    }

    /// Returns the samples of one channel, from 0.
    ///
    /// # Errors
    /// If there is no such channel.
    pub fn channel(&self, channel: usize) -> Result<Vec<f32>> {
        if channel >= self.channels {
            let argument = format!("{}: channel", self.path.display());
            let expected = format!("less than {} (channels)", self.channels);
            return Err(Error::argument(argument, expected, channel));
        }
        Ok(self.samples.iter().copied().skip(channel).step_by(self.channels).collect())
    }
}

fn parse(reader: impl Read) -> Result<(hound::WavSpec, Vec<f32>), hound::Error> {
    let reader = WavReader::new(reader)?;
    let spec = reader.spec();
    let samples = match spec.sample_format {
        SampleFormat::Float => reader.into_samples::<f32>().collect::<Result<_, _>>()?,
        SampleFormat::Int => {
            let scale = 0.5_f64.powi(i32::from(spec.bits_per_sample) - 1);
            let samples = reader.into_samples::<i32>();
            samples
                .map(|x| Ok((f64::from(x?) * scale) as f32))
                .collect::<Result<_, hound::Error>>()?
        }
    };
    Ok((spec, samples))
}
