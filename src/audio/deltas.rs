//! [`Deltas`]: slopes over time, which are appended to each frame.
//!
//! ```text
//! regression       Δx(t) = Σₙ n·x(t + n) / Σₙ n²        ΔΔx = Δ(Δx)          n = −N … N,  width = 2N + 1
//! Savitzky–Golay   Δx(t) as above                       ΔΔx(t) = Σₙ 2qₙ·x(t + n) / Σₙ qₙ²,   qₙ = n² − mean of n²
//! ```
//!
//! Where the window leaves the recording, the regression repeats the first or last frame, as
//! `torchaudio.functional.compute_deltas` does. Savitzky–Golay takes the value of the nearest frame whose window
//! does not leave it. That value is the slope, or the second derivative, of the polynomial of first or second
//! degree that is fitted to the window, as in `librosa.feature.delta` with `mode="interp"`.
//!
//! Source: Furui, *Speaker-independent isolated word recognition using dynamic features of speech spectrum*, 1986;
//! Savitzky and Golay, *Smoothing and differentiation of data by simplified least squares procedures*, 1964.
#![expect(
    clippy::indexing_slicing,
    reason = "frames are kept from `first` on, as the windows of the orders need them"
)]

use super::stage::{Next, Stage, add};
use crate::error::{Error, Result};

/// The slopes of each feature over time, appended to the features. The [module](self) states the equations.
///
/// | option | default | range |
/// |---|---|---|
/// | `width` | | an odd number from 3 to 1001 |
/// | [`order`](Self::order) | 1 | 1, or 2 for slopes of slopes as well |
///
/// torchaudio's width is 5 by default, and librosa's 9.
///
/// ```
/// use recurrent::audio::{Deltas, Features, Padding, Spectrum, Stft};
///
/// let stft = Stft::new(1)?.padding(Padding::None); // each frame is one sample
/// let frames = Features::spectrogram(stft, Spectrum::Magnitude);
/// let slopes = frames.deltas(Deltas::regression(3)?)?.apply(&[1.0, 3.0, 5.0, 7.0])?;
/// assert_eq!(slopes.column(1).to_vec(), [1.0, 2.0, 2.0, 1.0]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deltas {
    /// N.
    half: usize,
    order: usize,
    is_fitted: bool,
}

impl Deltas {
    /// Creates slopes by regression.
    ///
    /// # Errors
    /// If the width is out of range.
    pub fn regression(width: usize) -> Result<Self> {
        if !(3..=1001).contains(&width) || width.is_multiple_of(2) {
            return Err(Error::argument("width", "an odd number from 3 to 1001", width));
        }
        Ok(Self { half: width / 2, order: 1, is_fitted: false })
    }

    /// Creates slopes of fitted polynomials. A recording must have at least `width` frames.
    ///
    /// # Errors
    /// If the width is out of range.
    pub fn savitzky_golay(width: usize) -> Result<Self> {
        Ok(Self { is_fitted: true, ..Self::regression(width)? })
    }

    /// Sets how many slopes are appended.
    ///
    /// # Errors
    /// If it is out of range.
    pub fn order(self, order: usize) -> Result<Self> {
        if !(1..=2).contains(&order) {
            return Err(Error::argument("order", "1 or 2", order));
        }
        Ok(Self { order, ..self })
    }

    /// Returns how many times wider frames become.
    pub(super) fn factor(&self) -> usize {
        self.order + 1
    }

    /// Returns the weights of a window for slopes of the first or second order.
    fn weights(&self, order: usize) -> Vec<f64> {
        let half = self.half as i64;
        let squares = 2.0 * (1..=half).map(|n| (n * n) as f64).sum::<f64>();
        if order == 1 || !self.is_fitted {
            return (-half..=half).map(|n| n as f64 / squares).collect();
        }
        let mean = squares / (2 * half + 1) as f64;
        let curve: Vec<f64> = (-half..=half).map(|n| (n * n) as f64 - mean).collect();
        let sum: f64 = curve.iter().map(|q| q * q).sum();
        curve.into_iter().map(|q| 2.0 * q / sum).collect()
    }

    /// Returns the number of frames after frame `t` that its slopes depend on.
    fn ahead(&self, t: usize) -> usize {
        if self.is_fitted {
            self.half.saturating_sub(t) + self.half
        } else {
            self.half * self.order
        }
    }

    /// Returns whether slopes of slopes are slopes of the rows of slopes.
    fn is_repeated(&self) -> bool {
        self.order == 2 && !self.is_fitted
    }

    pub(super) fn stage(self, width: usize) -> Box<dyn Stage> {
        Box::new(DeltaStage {
            deltas: self,
            width,
            weights: [self.weights(1), self.weights(2)],
            first: 0,
            frames: Vec::new(),
            slopes: Vec::new(),
            next: 0,
            out: Vec::new(),
        })
    }
}

#[derive(Debug)]
struct DeltaStage {
    deltas: Deltas,
    width: usize,
    weights: [Vec<f64>; 2],
    /// The index of the first frame that is kept.
    first: usize,
    frames: Vec<f64>,
    /// The slopes from that frame on, if those of second order come from them.
    slopes: Vec<f64>,
    /// The index of the next frame that is passed on.
    next: usize,
    out: Vec<f64>,
}

impl DeltaStage {
    /// Returns the number of frames so far.
    fn received(&self) -> usize {
        self.first + self.frames.len() / self.width
    }

    /// Appends the slopes of first or second order of frame `t`, which come from `rows`.
    fn append(&self, out: &mut Vec<f64>, order: usize, t: usize, rows: &[f64]) {
        let (half, last) = (self.deltas.half, self.received() - 1);
        let start = out.len();
        out.resize(start + self.width, 0.0);
        for (n, &weight) in self.weights[order - 1].iter().enumerate() {
            let place = match self.deltas.is_fitted {
                true => t.clamp(half, last - half) + n - half,
                false => (t + n).saturating_sub(half).min(last),
            };
            let row = &rows[(place - self.first) * self.width..][..self.width];
            add(&mut out[start..], weight, row);
        }
    }

    /// Computes the slopes that those of second order come from, up to frame `end`.
    fn compute_slopes(&mut self, end: usize) {
        let mut slopes = std::mem::take(&mut self.slopes);
        for t in self.first + slopes.len() / self.width..end {
            self.append(&mut slopes, 1, t, &self.frames);
        }
        self.slopes = slopes;
    }

    /// Passes on the frames up to frame `end`.
    fn pass(&mut self, end: usize, next: Next<'_>) {
        let mut out = std::mem::take(&mut self.out);
        for t in self.next..end {
            out.clear();
            out.extend_from_slice(&self.frames[(t - self.first) * self.width..][..self.width]);
            self.append(&mut out, 1, t, &self.frames);
            if self.deltas.order == 2 {
                let is_repeated = self.deltas.is_repeated();
                let rows = if is_repeated { &self.slopes } else { &self.frames };
                self.append(&mut out, 2, t, rows);
            }
            next(&out);
        }
        self.out = out;
        self.next = self.next.max(end);
    }
}

impl Stage for DeltaStage {
    fn fresh(&self) -> Box<dyn Stage> {
        self.deltas.stage(self.width)
    }

    fn push(&mut self, frame: &[f64], next: Next<'_>) {
        self.frames.extend_from_slice(frame);
        let received = self.received();
        if self.deltas.is_repeated() {
            self.compute_slopes(received.saturating_sub(self.deltas.half));
        }
        let mut end = self.next;
        while end + self.deltas.ahead(end) < received {
            end += 1;
        }
        self.pass(end, next);
        // A window at the end of the recording may begin before that of the next frame.
        let keep = self.next.saturating_sub(2 * self.deltas.half * self.deltas.order + 1);
        let passed = (keep - self.first) * self.width;
        self.frames.drain(..passed);
        self.slopes.drain(..passed.min(self.slopes.len()));
        self.first = keep;
    }

    fn finish(&mut self, next: Next<'_>) -> Result<()> {
        let received = self.received();
        let least = if self.deltas.is_fitted { 2 * self.deltas.half + 1 } else { 1 };
        if received < least {
            let expected = format!("at most the number of frames, {received}");
            return Err(Error::argument("width", expected, least));
        }
        if self.deltas.is_repeated() {
            self.compute_slopes(received);
        }
        self.pass(received, next);
        Ok(())
    }
}
