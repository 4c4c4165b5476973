//! [`Mel`]: triangular filters that are equally wide on a mel scale.
//!
//! ```text
//! HTK      m = 2595·log₁₀(1 + f / 700)
//! Slaney   m = 3f / 200 below 1000 Hz, else 15 + 27·ln(f / 1000) / ln 6.4
//! wᵢ(f) = max(0, min((f − fᵢ₋₁) / (fᵢ − fᵢ₋₁), (fᵢ₊₁ − f) / (fᵢ₊₁ − fᵢ)))
//! ```
//!
//! f₀ … f of index n_mels + 1 are equally far apart on the scale, from f_min to f_max. Slaney's norm divides
//! filter i by (fᵢ₊₁ − fᵢ₋₁) / 2, so that all have about the same area.
//!
//! Source: Young et al., *The HTK Book*, 2006; Slaney, *Auditory Toolbox*, 1998; `librosa.filters.mel` and
//! `torchaudio.functional.melscale_fbanks`.
#![expect(
    clippy::indexing_slicing,
    reason = "a filter lies within the spectrum for which it is made"
)]

use ndarray::Array2;

use super::stft::check_n_fft;
use crate::error::{Error, Result, check_count};

/// The relation between frequencies and mels; the [module](self) states the equations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MelScale {
    /// That of HTK, the default of torchaudio.
    #[default]
    Htk,
    /// That of Slaney's toolbox, the default of librosa.
    Slaney,
}

impl MelScale {
    fn mels(self, hertz: f64) -> f64 {
        match self {
            Self::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
            Self::Slaney if hertz < 1000.0 => 3.0 * hertz / 200.0,
            Self::Slaney => 15.0 + 27.0 * (hertz / 1000.0).ln() / 6.4_f64.ln(),
        }
    }

    fn hertz(self, mels: f64) -> f64 {
        match self {
            Self::Htk => 700.0 * (10_f64.powf(mels / 2595.0) - 1.0),
            Self::Slaney if mels < 15.0 => 200.0 * mels / 3.0,
            Self::Slaney => 1000.0 * ((mels - 15.0) * 6.4_f64.ln() / 27.0).exp(),
        }
    }
}

/// The options of filters on a mel scale. The [module](self) states the equations.
///
/// | option | default | range |
/// |---|---|---|
/// | `sample_rate` | | at least 1 Hz |
/// | `n_mels` | | at least 1; each filter must contain a frequency of the spectrum |
/// | [`f_min`](Self::f_min), [`f_max`](Self::f_max) | 0, `sample_rate / 2` | 0 ≤ f_min < f_max ≤ `sample_rate / 2` |
/// | [`scale`](Self::scale) | `Htk` | |
/// | [`slaney_norm`](Self::slaney_norm) | false | |
///
/// The options are checked where they are used, by [`weights`](Self::weights) and
/// [`Features::mel`](super::Features::mel).
///
/// ```
/// use recurrent::audio::{Mel, MelScale};
///
/// let mel = Mel::new(16_000, 40).f_min(50.0).scale(MelScale::Slaney).slaney_norm(true);
/// assert_eq!(mel.weights(512)?.dim(), (40, 257)); // [n_mels, frequencies]
/// assert!(mel.weights(64).is_err()); // 33 frequencies are too few for 40 filters
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mel {
    sample_rate: u32,
    n_mels: usize,
    f_min: f64,
    f_max: f64,
    scale: MelScale,
    slaney_norm: bool,
}

impl Mel {
    /// Creates the options of `n_mels` filters for recordings with a sample rate in Hz.
    pub fn new(sample_rate: u32, n_mels: usize) -> Self {
        let f_max = f64::from(sample_rate) / 2.0;
        let (scale, slaney_norm) = (MelScale::default(), false);
        Self { sample_rate, n_mels, f_min: 0.0, f_max, scale, slaney_norm }
    }

    /// Sets the lower end of the first filter, in Hz.
    pub fn f_min(self, f_min: f64) -> Self {
        Self { f_min, ..self }
    }

    /// Sets the upper end of the last filter, in Hz.
    pub fn f_max(self, f_max: f64) -> Self {
        Self { f_max, ..self }
    }

    /// Sets the scale.
    pub fn scale(self, scale: MelScale) -> Self {
        Self { scale, ..self }
    }

    /// Sets whether each filter is divided by half of its width in Hz.
    pub fn slaney_norm(self, slaney_norm: bool) -> Self {
        Self { slaney_norm, ..self }
    }

    /// Returns the weights [n_mels, n_fft / 2 + 1] of the filters.
    ///
    /// # Errors
    /// If an option is out of range, or a filter contains no frequency of the spectrum.
    pub fn weights(&self, n_fft: usize) -> Result<Array2<f64>> {
        let filters = self.filters(n_fft)?;
        let mut weights = Array2::zeros((self.n_mels, n_fft / 2 + 1));
        for (i, filter) in filters.into_iter().enumerate() {
            for (k, weight) in filter.weights.into_iter().enumerate() {
                weights[[i, filter.first + k]] = weight;
            }
        }
        Ok(weights)
    }

    fn check(&self, n_fft: usize) -> Result<()> {
        check_n_fft(n_fft)?;
        check_count("sample_rate", self.sample_rate as usize)?;
        check_count("n_mels", self.n_mels)?;
        let nyquist = f64::from(self.sample_rate) / 2.0;
        if !(self.f_max > 0.0 && self.f_max <= nyquist) {
            let expected = format!("greater than 0, at most {nyquist} Hz (half of sample_rate)");
            return Err(Error::argument("f_max", expected, self.f_max));
        }
        if !(self.f_min >= 0.0 && self.f_min < self.f_max) {
            let expected = format!("at least 0, less than {} Hz (f_max)", self.f_max);
            return Err(Error::argument("f_min", expected, self.f_min));
        }
        // Each frequency is in two filters at most.
        let bins = n_fft / 2 + 1;
        if self.n_mels > 2 * bins {
            let expected = format!("at most {} with {bins} frequencies", 2 * bins);
            return Err(Error::argument("n_mels", expected, self.n_mels));
        }
        Ok(())
    }

    /// Returns the filters for a spectrum of `n_fft / 2 + 1` frequencies.
    pub(super) fn filters(&self, n_fft: usize) -> Result<Vec<Filter>> {
        self.check(n_fft)?;
        let (low, high) = (self.scale.mels(self.f_min), self.scale.mels(self.f_max));
        let step = (high - low) / (self.n_mels + 1) as f64;
        let edge = |i: usize| self.scale.hertz(low + i as f64 * step);
        let spacing = f64::from(self.sample_rate) / n_fft as f64;
        let filter = |i: usize| {
            let (from, middle, to) = (edge(i), edge(i + 1), edge(i + 2));
            let norm = if self.slaney_norm { 2.0 / (to - from) } else { 1.0 };
            let weight = |k: usize| {
                let f = k as f64 * spacing;
                norm * ((f - from) / (middle - from)).min((to - f) / (to - middle))
            };
            let bins = (0..=n_fft / 2).map(weight);
            let first = bins.clone().take_while(|&w| w <= 0.0).count();
            let weights: Vec<f64> = bins.skip(first).take_while(|&w| w > 0.0).collect();
            if weights.is_empty() {
                let expected = format!(
                    "so few that each filter contains a frequency of the spectrum, which are {spacing} Hz \
                     apart; filter {i} is from {from:.1} to {to:.1} Hz"
                );
                return Err(Error::argument("n_mels", expected, self.n_mels));
            }
            Ok(Filter { first, weights })
        };
        (0..self.n_mels).map(filter).collect()
    }
}

/// The weights of a filter for the frequencies from index `first` on. The others are zero.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub(super) first: usize,
    pub(super) weights: Vec<f64>,
}

impl Filter {
    /// Returns the sum of a spectrum under the filter.
    pub(super) fn sum(&self, spectrum: &[f64]) -> f64 {
        let terms = spectrum[self.first..].iter().zip(&self.weights);
        terms.map(|(x, weight)| x * weight).sum()
    }
}
