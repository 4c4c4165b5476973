//! [`Features`]: from samples to frames of features, and [`FeatureStream`].
#![expect(clippy::indexing_slicing, reason = "stages call the stages after them")]

use std::fmt;
use std::sync::Arc;

use ndarray::Array2;
use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

use super::frames::Framer;
use super::stack::Stack;
use super::stage::{Each, Log, OfFrame, Stage, TopDb, check_width, dct};
use super::{Deltas, Mel, Normalisation, Spectrum, Stft};
use crate::error::{Error, Result};

/// The way from samples to frames of features: a spectrogram, and stages that are applied in the order in which
/// they are added.
///
/// ```
/// use recurrent::audio::{Deltas, Features, Log, Mel, MelScale, Normalisation, Padding, Spectrum, Stft};
///
/// // 13 MFCCs as librosa computes them, with slopes, over frames of 32 ms.
/// let stft = Stft::new(256)?.hop_length(80)?.padding(Padding::Zeros);
/// let features = Features::spectrogram(stft, Spectrum::Power)
///     .mel(&Mel::new(8_000, 40).scale(MelScale::Slaney).slaney_norm(true))?
///     .log(Log::Decibel { amin: 1e-10, reference: 1.0, top_db: Some(80.0) })?
///     .mfcc(13, 0.0)?
///     .deltas(Deltas::savitzky_golay(9)?)?
///     .normalise(Normalisation::recording());
///
/// let samples: Vec<f32> = (0..8_000).map(|i| (i as f32 * 0.3).sin()).collect();
/// assert_eq!(features.apply(&samples)?.dim(), (101, 26)); // [frames, features]
/// assert!(features.stream().is_err()); // the mean of the recording is known at its end only
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone)]
pub struct Features {
    stft: Stft,
    spectrum: Spectrum,
    window: Arc<[f64]>,
    fft: Arc<dyn RealToComplex<f64>>,
    stages: Stages,
    width: usize,
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stft, spectrum, stages) = (&self.stft, &self.spectrum, &self.stages.0);
        let mut text = f.debug_struct("Features");
        text.field("stft", stft)
            .field("spectrum", spectrum)
            .field("stages", stages)
            .finish_non_exhaustive()
    }
}

impl Features {
    /// Creates the features |X| or |X|² of each frame, of which there are `n_fft / 2 + 1`.
    pub fn spectrogram(stft: Stft, spectrum: Spectrum) -> Self {
        Self {
            stft,
            spectrum,
            window: stft.weights().into(),
            fft: RealFftPlanner::new().plan_fft_forward(stft.n_fft),
            stages: Stages(Vec::new()),
            width: stft.bins(),
        }
    }

    /// Sums the spectrum under filters on a mel scale.
    ///
    /// # Errors
    /// If an option of the filters is out of range, a filter contains no frequency of the spectrum, or
    /// another stage was added before.
    pub fn mel(self, mel: &Mel) -> Result<Self> {
        if !self.stages.0.is_empty() {
            return Err(Error::argument("mel", "the first stage", "a later one"));
        }
        let filters: Arc<[_]> = mel.filters(self.stft.n_fft)?.into();
        let width = filters.len();
        Ok(self.with(Each::boxed(OfFrame::Mel(filters)), width))
    }

    /// Takes a logarithm of each value. It is meant for a spectrum, whose values are not negative; after other
    /// stages, values that are not positive give the floor or NaN.
    ///
    /// # Errors
    /// If a number of `log` is out of range.
    pub fn log(self, log: Log) -> Result<Self> {
        log.check()?;
        let (stage, width) = (log.boxed(self.spectrum), self.width);
        let features = self.with(stage, width);
        match log {
            Log::Decibel { top_db: Some(top_db), .. } => {
                Ok(features.with(Box::new(TopDb { top_db, width, frames: Vec::new() }), width))
            }
            _ => Ok(features),
        }
    }

    /// Takes the first `n_mfcc` coefficients of the orthonormal cosine transform of each frame, with librosa's
    /// `lifter`, 0 for none.
    ///
    /// ```text
    /// cₖ = s·√(2/n)·Σⱼ xⱼ·cos(π·k·(j + ½) / n)     s = √½ for k = 0, else 1;  times 1 + L/2·sin(π·(k + 1) / L)
    /// ```
    ///
    /// # Errors
    /// If `n_mfcc` is 0 or greater than the number of values of a frame, or `lifter` is negative or not finite.
    pub fn mfcc(self, n_mfcc: usize, lifter: f64) -> Result<Self> {
        let stage = dct(n_mfcc, self.width, lifter)?;
        Ok(self.with(stage, n_mfcc))
    }

    /// Appends slopes over time to each frame.
    ///
    /// # Errors
    /// If frames would become too wide.
    pub fn deltas(self, deltas: Deltas) -> Result<Self> {
        let (width, factor) = (self.width, deltas.factor());
        check_width("order", factor, width)?;
        Ok(self.with(deltas.stage(width), width * factor))
    }

    /// Joins `size` successive frames to one, every `stride` frames. A last group that is not complete is left
    /// out.
    ///
    /// # Errors
    /// If `size` or `stride` is 0, or a frame would be too wide.
    pub fn stack(self, size: usize, stride: usize) -> Result<Self> {
        let stack = Stack::new(size, stride, self.width)?;
        let width = size * self.width;
        Ok(self.with(Box::new(stack), width))
    }

    /// Normalises each feature.
    pub fn normalise(self, normalisation: Normalisation) -> Self {
        let width = self.width;
        self.with(normalisation.stage(width), width)
    }

    fn with(mut self, stage: Box<dyn Stage>, width: usize) -> Self {
        self.stages.0.push(stage);
        Self { width, ..self }
    }

    /// Returns the number of features of a frame.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Computes the frames [frames, features] of a recording. Samples are usually between −1 and 1.
    ///
    /// # Errors
    /// If a sample is NaN or its magnitude is greater than 10¹², or the recording is too short for its
    /// padding, for one frame or for the slopes.
    pub fn apply(&self, samples: &[f32]) -> Result<Array2<f32>> {
        let mut stream = self.start();
        let mut frames = Vec::new();
        stream.run(samples, &mut frames)?;
        stream.end(&mut frames)?;
        Ok(self.array(frames))
    }

    /// Starts a stream, whose frames are those of [`apply`](Self::apply), bit for bit.
    ///
    /// # Errors
    /// If a stage needs the whole recording before its first frame: `top_db`, or a normalisation over the
    /// recording.
    pub fn stream(&self) -> Result<FeatureStream> {
        match self.stages.0.iter().find_map(|stage| stage.needs_recording()) {
            None => Ok(self.start()),
            Some(stage) => {
                let got = "one that needs the whole recording";
                Err(Error::argument(stage, "a stage that can be streamed", got))
            }
        }
    }

    fn start(&self) -> FeatureStream {
        FeatureStream {
            framer: Framer::new(self.stft),
            transform: Transform {
                spectrum: self.spectrum,
                window: self.window.clone(),
                input: self.fft.make_input_vec(),
                output: self.fft.make_output_vec(),
                scratch: self.fft.make_scratch_vec(),
                values: Vec::new(),
                fft: self.fft.clone(),
            },
            stages: self.stages.clone(),
            features: self.clone(),
        }
    }

    #[expect(clippy::expect_used, reason = "frames are appended whole")]
    fn array(&self, frames: Vec<f32>) -> Array2<f32> {
        let shape = (frames.len() / self.width, self.width);
        Array2::from_shape_vec(shape, frames).expect("complete frames")
    }
}

/// The features of a recording whose samples arrive in pieces.
///
/// A frame is returned when the samples that it depends on have arrived. That is when its last sample has, or
/// later: with reflected padding the first frames need `n_fft / 2 + 1` samples, slopes need frames that
/// follow, and stacks all their frames.
///
/// ```
/// use recurrent::audio::{Features, Spectrum, Stft};
///
/// let features = Features::spectrogram(Stft::new(4)?.hop_length(2)?, Spectrum::Power);
/// let mut stream = features.stream()?;
/// let counts = [&[0.1; 2][..], &[0.2; 5], &[]].map(|piece| stream.push(piece).map(|f| f.nrows()));
/// let counts: Vec<usize> = counts.into_iter().collect::<Result<_, _>>()?;
/// assert_eq!((counts, stream.finish()?.nrows()), (vec![0, 3, 0], 1));
/// # Ok::<(), recurrent::Error>(())
/// ```
pub struct FeatureStream {
    features: Features,
    framer: Framer,
    transform: Transform,
    stages: Stages,
}

impl fmt::Debug for FeatureStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let received = self.framer.received();
        let mut text = f.debug_struct("FeatureStream");
        text.field("features", &self.features).field("received", &received).finish_non_exhaustive()
    }
}

impl FeatureStream {
    /// Takes the next samples. Returns the frames [frames, features] that are ready, perhaps none.
    ///
    /// # Errors
    /// If a sample is NaN or its magnitude is greater than 10¹². The error has its index in the recording. The
    /// stream is unchanged.
    pub fn push(&mut self, samples: &[f32]) -> Result<Array2<f32>> {
        let mut frames = Vec::new();
        self.run(samples, &mut frames)?;
        Ok(self.features.array(frames))
    }

    /// Returns the remaining frames [frames, features] at the end of the recording.
    ///
    /// # Errors
    /// If the recording is too short for its padding, for one frame or for the slopes.
    pub fn finish(self) -> Result<Array2<f32>> {
        let (features, mut frames) = (self.features.clone(), Vec::new());
        self.end(&mut frames)?;
        Ok(features.array(frames))
    }

    fn run(&mut self, samples: &[f32], frames: &mut Vec<f32>) -> Result<()> {
        let allowed = |x: &f32| x.abs() <= 1e12;
        if let Some(place) = samples.iter().position(|x| !allowed(x)) {
            let argument = format!("samples[{}]", self.framer.received() + place);
            let expected = "a finite value of magnitude up to 1e12";
            return Err(Error::argument(argument, expected, samples[place]));
        }
        let Self { framer, transform, stages, .. } = self;
        framer.push(samples, |frame| feed(&mut stages.0, transform.of(frame), frames));
        Ok(())
    }

    fn end(self, frames: &mut Vec<f32>) -> Result<()> {
        let Self { framer, mut transform, mut stages, .. } = self;
        framer.finish(|frame| feed(&mut stages.0, transform.of(frame), frames))?;
        for k in 0..stages.0.len() {
            let (stages, rest) = stages.0.split_at_mut(k + 1);
            stages[k].finish(&mut |frame| feed(rest, frame, frames))?;
        }
        Ok(())
    }
}

/// Passes a frame through `stages`, and appends what comes out.
fn feed(stages: &mut [Box<dyn Stage>], frame: &[f64], out: &mut Vec<f32>) {
    match stages.split_first_mut() {
        None => out.extend(frame.iter().map(|&x| x as f32)),
        Some((first, rest)) => first.push(frame, &mut |frame| feed(rest, frame, out)),
    }
}

/// Stages in their order. A clone has the same options, and has taken no frame.
struct Stages(Vec<Box<dyn Stage>>);

impl Clone for Stages {
    fn clone(&self) -> Self {
        Self(self.0.iter().map(|stage| stage.fresh()).collect())
    }
}

/// The spectrum of a frame, with the memory that it needs.
struct Transform {
    spectrum: Spectrum,
    window: Arc<[f64]>,
    fft: Arc<dyn RealToComplex<f64>>,
    input: Vec<f64>,
    output: Vec<Complex<f64>>,
    scratch: Vec<Complex<f64>>,
    values: Vec<f64>,
}

impl Transform {
    #[expect(clippy::expect_used, reason = "the buffers are made of the lengths of the transform")]
    fn of(&mut self, frame: &[f32]) -> &[f64] {
        for ((input, &sample), &weight) in self.input.iter_mut().zip(frame).zip(&*self.window) {
            *input = f64::from(sample) * weight;
        }
        self.fft
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("buffers of this transform");
        self.values.clear();
        let powers = self.output.iter().map(|x| x.norm_sqr());
        match self.spectrum {
            Spectrum::Power => self.values.extend(powers),
            Spectrum::Magnitude => self.values.extend(powers.map(f64::sqrt)),
        }
        &self.values
    }
}
