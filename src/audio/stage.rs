//! [`Stage`]: one step of the way from spectra to features. Here are those that look at one frame at a time.
//!
//! ```text
//! DCT-II, orthonormal   cₖ = s·√(2/n)·Σⱼ xⱼ·cos(π·k·(j + ½) / n)     s = √½ for k = 0, else 1
//! lifter L > 0          cₖ·(1 + L/2·sin(π·(k + 1) / L))
//! ```
//!
//! Source: Davis and Mermelstein, *Comparison of parametric representations for monosyllabic word recognition*,
//! 1980; `librosa.feature.mfcc`.

use std::f64::consts::PI;
use std::fmt::Debug;
use std::sync::Arc;

use super::mel::Filter;
use super::stft::Spectrum;
use crate::error::{Error, Result};

/// The frames that a stage passes on.
pub(super) type Next<'a> = &'a mut dyn FnMut(&[f64]);

/// One step of the way from spectra to features. It takes frames one by one.
pub(super) trait Stage: Debug + Send + Sync {
    /// Returns a stage with the same options that has taken no frame.
    fn fresh(&self) -> Box<dyn Stage>;

    /// Returns what must know the whole recording before it passes a frame on, if anything.
    fn needs_recording(&self) -> Option<&'static str> {
        None
    }

    /// Takes the next frame, and passes on the frames that are ready.
    fn push(&mut self, frame: &[f64], next: Next<'_>);

    /// Passes on the remaining frames at the end of the recording.
    fn finish(&mut self, next: Next<'_>) -> Result<()> {
        let _ = next;
        Ok(())
    }
}

/// Fails unless frames that are `factor` times wider have at most 2²⁴ values.
pub(super) fn check_width(argument: &'static str, factor: usize, width: usize) -> Result<()> {
    const MAX: usize = 1 << 24;
    if factor <= MAX / width {
        return Ok(());
    }
    let expected = format!("frames of at most {MAX} values");
    Err(Error::argument(argument, expected, format!("{factor} times {width}")))
}

/// A stage that computes each frame from one frame.
#[derive(Clone, Debug)]
pub(super) struct Each {
    of: OfFrame,
    frame: Vec<f64>,
}

/// The function that [`Each`] computes of a frame.
#[derive(Clone, Debug)]
pub(super) enum OfFrame {
    /// The sums of a spectrum under filters.
    Mel(Arc<[Filter]>),
    /// The logarithms of the values of a spectrum. Decibels are `factor`·(log₁₀ x − `zero`).
    Log { log: Log, factor: f64, zero: f64 },
    /// The products with the columns of a matrix [width, n_mfcc].
    Dct { n_mfcc: usize, matrix: Arc<[f64]> },
}

impl Each {
    pub(super) fn boxed(of: OfFrame) -> Box<dyn Stage> {
        Box::new(Self { of, frame: Vec::new() })
    }
}

impl Stage for Each {
    fn fresh(&self) -> Box<dyn Stage> {
        Self::boxed(self.of.clone())
    }

    fn push(&mut self, frame: &[f64], next: Next<'_>) {
        let out = &mut self.frame;
        out.clear();
        match &self.of {
            OfFrame::Mel(filters) => out.extend(filters.iter().map(|filter| filter.sum(frame))),
            OfFrame::Log { log, factor, zero } => {
                out.extend(frame.iter().map(|&x| log.of(x, *factor, *zero)));
            }
            OfFrame::Dct { n_mfcc, matrix } => {
                out.resize(*n_mfcc, 0.0);
                for (&x, row) in frame.iter().zip(matrix.chunks_exact(*n_mfcc)) {
                    add(out, x, row);
                }
            }
        }
        next(out);
    }
}

/// A logarithm of the values of a spectrum, which may be 0.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Log {
    /// ln(max(x, floor))
    Ln {
        /// A value greater than 0.
        floor: f64,
    },
    /// ln(x + offset)
    LnOffset {
        /// A value greater than 0.
        offset: f64,
    },
    /// log₁₀(max(x, floor))
    Log10 {
        /// A value greater than 0.
        floor: f64,
    },
    /// Decibels: d·log₁₀(max(x, amin) / max(reference, amin)), where d is 10 for powers and 20 for magnitudes.
    Decibel {
        /// A value greater than 0.
        amin: f64,
        /// The value of 0 dB, greater than 0.
        reference: f64,
        /// The least value below the greatest of the recording, at least 0. Lower values are raised to it. It
        /// cannot be streamed.
        top_db: Option<f64>,
    },
}

impl Log {
    pub(super) fn check(&self) -> Result<()> {
        let positive = |name: &'static str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::argument(name, "a finite value greater than 0", value)),
        };
        match *self {
            Self::Ln { floor } | Self::Log10 { floor } => positive("floor", floor),
            Self::LnOffset { offset } => positive("offset", offset),
            Self::Decibel { amin, reference, top_db } => {
                positive("amin", amin)?;
                positive("reference", reference)?;
                match top_db {
                    Some(top_db) if !(top_db.is_finite() && top_db >= 0.0) => {
                        Err(Error::argument("top_db", "a finite value, at least 0", top_db))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    pub(super) fn boxed(self, spectrum: Spectrum) -> Box<dyn Stage> {
        let factor = match spectrum {
            Spectrum::Power => 10.0,
            Spectrum::Magnitude => 20.0,
        };
        let zero = match self {
            Self::Decibel { amin, reference, .. } => reference.max(amin).log10(),
            _ => 0.0,
        };
        Each::boxed(OfFrame::Log { log: self, factor, zero })
    }

    fn of(self, x: f64, factor: f64, zero: f64) -> f64 {
        match self {
            Self::Ln { floor } => x.max(floor).ln(),
            Self::LnOffset { offset } => (x + offset).ln(),
            Self::Log10 { floor } => x.max(floor).log10(),
            Self::Decibel { amin, .. } => factor * (x.max(amin).log10() - zero),
        }
    }
}

/// Returns the cosine transform with the lifter, 0 for none.
pub(super) fn dct(n_mfcc: usize, width: usize, lifter: f64) -> Result<Box<dyn Stage>> {
    if !(1..=width).contains(&n_mfcc) {
        let expected = format!("from 1 to {width} (values of a frame)");
        return Err(Error::argument("n_mfcc", expected, n_mfcc));
    }
    if !(lifter.is_finite() && lifter >= 0.0) {
        return Err(Error::argument("lifter", "a finite value, at least 0", lifter));
    }
    let n = width as f64;
    // The factor of coefficient k.
    let scale = |k: usize| {
        let orthonormal = if k == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
        if lifter == 0.0 {
            return orthonormal;
        }
        orthonormal * (1.0 + lifter / 2.0 * (PI * (k + 1) as f64 / lifter).sin())
    };
    let scales: Vec<f64> = (0..n_mfcc).map(scale).collect();
    let row = |j: usize| {
        let cosine = move |k: usize| (PI * k as f64 * (j as f64 + 0.5) / n).cos();
        scales.iter().enumerate().map(move |(k, scale)| scale * cosine(k))
    };
    Ok(Each::boxed(OfFrame::Dct { n_mfcc, matrix: (0..width).flat_map(row).collect() }))
}

/// Adds `factor` times `row` to `sum`.
pub(super) fn add(sum: &mut [f64], factor: f64, row: &[f64]) {
    for (sum, &x) in sum.iter_mut().zip(row) {
        *sum += factor * x;
    }
}

/// A stage that raises all values to at least `top_db` below the greatest of the recording.
#[derive(Debug)]
pub(super) struct TopDb {
    pub(super) top_db: f64,
    pub(super) width: usize,
    pub(super) frames: Vec<f64>,
}

impl Stage for TopDb {
    fn fresh(&self) -> Box<dyn Stage> {
        Box::new(Self { frames: Vec::new(), ..*self })
    }

    fn needs_recording(&self) -> Option<&'static str> {
        Some("top_db")
    }

    fn push(&mut self, frame: &[f64], _: Next<'_>) {
        self.frames.extend_from_slice(frame);
    }

    fn finish(&mut self, next: Next<'_>) -> Result<()> {
        let most = self.frames.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for value in &mut self.frames {
            *value = value.max(most - self.top_db);
        }
        self.frames.chunks_exact(self.width).for_each(next);
        Ok(())
    }
}
