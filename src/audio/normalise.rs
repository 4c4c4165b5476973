//! [`Normalisation`]: each feature with mean 0 and variance 1.
//!
//! ```text
//! y(t) = (x(t) − μ) / √(σ² + ε)
//! recording   μ and σ² of x over all frames
//! running     μ(t) = Σₛ d^(t−s)·x(s) / Σₛ d^(t−s)     σ²(t) = Σₛ d^(t−s)·(x(s) − μ(t))² / Σₛ d^(t−s)     s = 0 … t
//! ```
//!
//! The running sums are updated as by Welford, *Note on a method for calculating corrected sums of squares and
//! products*, 1962, and West, *Updating mean and variance estimates: an improved method*, 1979.
#![expect(clippy::indexing_slicing, reason = "each frame has the width of the means")]

use super::stage::{Next, Stage};
use crate::error::{Error, Result};

/// A normalisation of each feature to mean 0 and variance 1. The [module](self) states the equations.
///
/// | option | default | range |
/// |---|---|---|
/// | [`mean_only`](Self::mean_only) | false | |
/// | ε [`eps`](Self::eps) | 1e-5 | finite, greater than 0; not read with `mean_only` |
/// | d `decay` of [`running`](Self::running) | | 0 < d ≤ 1 |
///
/// ```
/// use recurrent::audio::{Features, Normalisation, Padding, Spectrum, Stft};
///
/// let stft = Stft::new(1)?.padding(Padding::None); // each frame is one sample
/// let frames = Features::spectrogram(stft, Spectrum::Magnitude);
/// let over_all = frames.clone().normalise(Normalisation::recording().mean_only());
/// assert_eq!(over_all.apply(&[1.0, 3.0, 5.0])?.column(0).to_vec(), [-2.0, 0.0, 2.0]);
/// let so_far = frames.normalise(Normalisation::running(1.0)?.mean_only());
/// assert_eq!(so_far.apply(&[1.0, 3.0, 5.0])?.column(0).to_vec(), [0.0, 1.0, 2.0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// `None` means over the recording.
    decay: Option<f64>,
    mean_only: bool,
    eps: f64,
}

impl Normalisation {
    /// Creates a normalisation over all frames of a recording. It cannot be streamed.
    pub fn recording() -> Self {
        Self { decay: None, mean_only: false, eps: 1e-5 }
    }

    /// Creates a normalisation over the frames so far. The weight of a frame falls by the factor `decay` with each later
    /// frame; 1 weighs all alike.
    ///
    /// # Errors
    /// If `decay` is out of range.
    pub fn running(decay: f64) -> Result<Self> {
        if !(decay > 0.0 && decay <= 1.0) {
            return Err(Error::argument("decay", "greater than 0, at most 1", decay));
        }
        Ok(Self { decay: Some(decay), ..Self::recording() })
    }

    /// Subtracts the mean, and leaves the variance as it is.
    pub fn mean_only(self) -> Self {
        Self { mean_only: true, ..self }
    }

    /// Sets ε.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn eps(self, eps: f64) -> Result<Self> {
        if !(eps.is_finite() && eps > 0.0) {
            return Err(Error::argument("eps", "a finite value greater than 0", eps));
        }
        Ok(Self { eps, ..self })
    }

    fn scaled(&self, difference: f64, variance: f64) -> f64 {
        if self.mean_only { difference } else { difference / (variance + self.eps).sqrt() }
    }

    pub(super) fn stage(self, width: usize) -> Box<dyn Stage> {
        match self.decay {
            None => Box::new(OverRecording { options: self, width, frames: Vec::new() }),
            Some(decay) => {
                let (mean, squares, out) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
                Box::new(SoFar { options: self, decay, weight: 0.0, mean, squares, out })
            }
        }
    }
}

#[derive(Debug)]
struct OverRecording {
    options: Normalisation,
    width: usize,
    frames: Vec<f64>,
}

impl Stage for OverRecording {
    fn fresh(&self) -> Box<dyn Stage> {
        self.options.stage(self.width)
    }

    fn needs_recording(&self) -> Option<&'static str> {
        Some("normalise")
    }

    fn push(&mut self, frame: &[f64], _: Next<'_>) {
        self.frames.extend_from_slice(frame);
    }

    fn finish(&mut self, next: Next<'_>) -> Result<()> {
        let count = (self.frames.len() / self.width) as f64;
        for j in 0..self.width {
            let values = || self.frames.iter().skip(j).step_by(self.width);
            let mean = values().sum::<f64>() / count;
            let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / count;
            for x in self.frames.iter_mut().skip(j).step_by(self.width) {
                *x = self.options.scaled(*x - mean, variance);
            }
        }
        self.frames.chunks_exact(self.width).for_each(next);
        Ok(())
    }
}

#[derive(Debug)]
struct SoFar {
    options: Normalisation,
    decay: f64,
    /// The sum of the weights.
    weight: f64,
    mean: Vec<f64>,
    /// The weighted sums of squared differences from the mean.
    squares: Vec<f64>,
    out: Vec<f64>,
}

impl Stage for SoFar {
    fn fresh(&self) -> Box<dyn Stage> {
        self.options.stage(self.mean.len())
    }

    fn push(&mut self, frame: &[f64], next: Next<'_>) {
        self.weight = self.decay * self.weight + 1.0;
        for (j, &x) in frame.iter().enumerate() {
            let before = x - self.mean[j];
            self.mean[j] += before / self.weight;
            let after = x - self.mean[j];
            self.squares[j] = self.decay * self.squares[j] + before * after;
            self.out[j] = self.options.scaled(after, self.squares[j] / self.weight);
        }
        next(&self.out);
    }
}
