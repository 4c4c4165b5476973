//! [`Stft`]: the options of a short-time Fourier transform.
//!
//! ```text
//! X(t, k) = Σₙ w(n)·x(t·hop_length + n)·e^(−2πi·k·n / n_fft)     n = 0 … n_fft − 1,  k = 0 … n_fft / 2
//! ```
//!
//! x is the padded recording. A window w that is shorter than n_fft has zeros on both sides, where the left has
//! (n_fft − win_length) / 2 of them. Divisions are rounded down. This is the convention of `torch.stft` and
//! `librosa.stft`.
//!
//! With padding, n_fft / 2 values are added at both ends, so that frame t is centred at the sample
//! t·hop_length. The number of frames is 1 + (p − n_fft) / hop_length, where p is the number of samples with
//! those of the padding.
#![expect(clippy::indexing_slicing, reason = "a window is at most as long as its frame")]

use std::f64::consts::TAU;

use crate::error::{Error, Result, check_count};

/// The window of each frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// The periodic Hann window, ½ − ½·cos(2πn / win_length).
    #[default]
    Hann,
    /// The symmetric Hann window, ½ − ½·cos(2πn / (win_length − 1)).
    HannSymmetric,
}

/// The samples before and after the recording.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Padding {
    /// The recording in reverse, without its first or last sample, as by default in PyTorch. The recording
    /// must have more than n_fft / 2 samples.
    #[default]
    Reflect,
    /// Zeros, as by default in librosa. The recording must have a sample.
    Zeros,
    /// Nothing. Frame t begins at the sample t·hop_length. The recording must have n_fft samples.
    None,
}

/// The function of X that is computed; the [module](self) states its equation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Spectrum {
    /// |X|²
    Power,
    /// |X|
    Magnitude,
}

/// The options of a short-time Fourier transform. The [module](self) states the equation.
///
/// | option | default | range |
/// |---|---|---|
/// | `n_fft` | | 1 to 2²⁰ |
/// | [`win_length`](Self::win_length) | `n_fft` | 1 to `n_fft` |
/// | [`hop_length`](Self::hop_length) | `n_fft / 4`, at least 1 | at least 1 |
/// | [`window`](Self::window) | `Hann` | |
/// | [`padding`](Self::padding) | `Reflect` | |
///
/// ```
/// use recurrent::audio::{Features, Padding, Spectrum, Stft};
///
/// let stft = Stft::new(8)?.hop_length(4)?.padding(Padding::None);
/// let spectra = Features::spectrogram(stft, Spectrum::Magnitude).apply(&[1.0; 12])?;
/// assert_eq!(spectra.dim(), (2, 5)); // [frames, frequencies]
/// assert!((spectra[[0, 0]] - 4.0).abs() < 1e-6); // the sum of the window
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stft {
    pub(super) n_fft: usize,
    win_length: usize,
    pub(super) hop_length: usize,
    window: Window,
    pub(super) padding: Padding,
}

impl Stft {
    /// Creates the options for frames of `n_fft` samples.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn new(n_fft: usize) -> Result<Self> {
        check_n_fft(n_fft)?;
        let (win_length, hop_length) = (n_fft, (n_fft / 4).max(1));
        let (window, padding) = (Window::default(), Padding::default());
        Ok(Self { n_fft, win_length, hop_length, window, padding })
    }

    /// Sets the number of samples under the window.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn win_length(self, win_length: usize) -> Result<Self> {
        if !(1..=self.n_fft).contains(&win_length) {
            let expected = format!("from 1 to {} (n_fft)", self.n_fft);
            return Err(Error::argument("win_length", expected, win_length));
        }
        Ok(Self { win_length, ..self })
    }

    /// Sets the number of samples from a frame to the next.
    ///
    /// # Errors
    /// If it is 0.
    pub fn hop_length(self, hop_length: usize) -> Result<Self> {
        check_count("hop_length", hop_length)?;
        Ok(Self { hop_length, ..self })
    }

    /// Sets the window.
    pub fn window(self, window: Window) -> Self {
        Self { window, ..self }
    }

    /// Sets what stands before and after the recording.
    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    /// Returns the number of frequencies, `n_fft / 2 + 1`. That of index k is k·sample_rate / n_fft.
    pub fn bins(&self) -> usize {
        self.n_fft / 2 + 1
    }

    /// Returns the window with the zeros on its sides.
    pub(super) fn weights(&self) -> Vec<f64> {
        let period = match self.window {
            Window::Hann => self.win_length,
            Window::HannSymmetric => self.win_length - 1,
        };
        let left = (self.n_fft - self.win_length) / 2;
        let mut weights = vec![0.0; self.n_fft];
        for (n, weight) in weights[left..left + self.win_length].iter_mut().enumerate() {
            let one = self.win_length == 1;
            *weight = if one { 1.0 } else { 0.5 - 0.5 * (TAU * n as f64 / period as f64).cos() };
        }
        weights
    }
}

/// Fails unless the length of a Fourier transform is in its range.
pub(super) fn check_n_fft(n_fft: usize) -> Result<()> {
    const MAX: usize = 1 << 20;
    if (1..=MAX).contains(&n_fft) {
        return Ok(());
    }
    Err(Error::argument("n_fft", format!("from 1 to {MAX}"), n_fft))
}
