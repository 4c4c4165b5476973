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

use super::stage::{Next, Stage};
use crate::error::{Error, Result};

/// The slopes of each feature over time, appended to the features. The [module](self) states the equations.
///
/// | option | default | range |
/// |---|---|---|
/// | `width` | | an odd number from 3 to 1001 |
/// | [`order`](Self::order) | 1 | 1, or 2 for slopes of slopes as well |
///
/// torchaudio's width is 5 by default, and librosa's 9.
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
        if !(3..=1001).contains(&width) || width % 2 == 0 {
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

    pub(super) fn stage(self, width: usize) -> Box<dyn Stage> {
        let weights = [self.weights(1), self.weights(2)];
        Box::new(DeltaStage {
            deltas: self,
            width,
            weights,
            first: 0,
            frames: Vec::new(),
            next: 0,
            out: Vec::new(),
        })
    }
}

#[derive(Clone, Debug)]
struct DeltaStage {
    deltas: Deltas,
    width: usize,
    weights: [Vec<f64>; 2],
    /// The index of the first frame that is kept.
    first: usize,
    frames: Vec<f64>,
    /// The index of the next frame that is passed on.
    next: usize,
    out: Vec<f64>,
}

impl DeltaStage {
    /// Returns the number of frames so far.
    fn received(&self) -> usize {
        self.first + self.frames.len() / self.width
    }

    /// Returns feature `j` of frame `t`, or its slope of first or second order.
    fn value(&self, order: usize, t: usize, j: usize) -> f64 {
        if order == 0 {
            return self.frames[(t - self.first) * self.width + j];
        }
        let (half, last) = (self.deltas.half, self.received() - 1);
        let weights = self.weights[order - 1].iter().enumerate();
        if self.deltas.is_fitted {
            let t = t.clamp(half, last - half);
            return weights.map(|(n, w)| w * self.value(0, t + n - half, j)).sum();
        }
        let within = |n: usize| (t + n).saturating_sub(half).min(last);
        weights.map(|(n, w)| w * self.value(order - 1, within(n), j)).sum()
    }

    fn pass(&mut self, next: Next<'_>) {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        for order in 0..self.deltas.factor() {
            out.extend((0..self.width).map(|j| self.value(order, self.next, j)));
        }
        next(&out);
        self.out = out;
        self.next += 1;
    }
}

impl Stage for DeltaStage {
    fn fresh(&self) -> Box<dyn Stage> {
        self.deltas.stage(self.width)
    }

    fn push(&mut self, frame: &[f64], next: Next<'_>) {
        self.frames.extend_from_slice(frame);
        while self.next + self.deltas.ahead(self.next) < self.received() {
            self.pass(next);
        }
        // A window at the end of the recording may begin before that of the next frame.
        let keep = self.next.saturating_sub(2 * self.deltas.half * self.deltas.order + 1);
        self.frames.drain(..(keep - self.first) * self.width);
        self.first = keep;
    }

    fn finish(&mut self, next: Next<'_>) -> Result<()> {
        let least = if self.deltas.is_fitted { 2 * self.deltas.half + 1 } else { 1 };
        if self.received() < least {
            let expected = format!("at most the number of frames, {}", self.received());
            return Err(Error::argument("width", expected, least));
        }
        while self.next < self.received() {
            self.pass(next);
        }
        Ok(())
    }
}
