//! [`Framer`]: the division of samples into frames, in pieces of any size.
#![expect(clippy::indexing_slicing, reason = "the buffer holds a frame before one is cut")]

use super::stft::{Padding, Stft};
use crate::error::{Error, Result};

/// The frames of a recording whose samples arrive in pieces. Places count from the start of the padding.
#[derive(Clone, Debug)]
pub(super) struct Framer {
    stft: Stft,
    /// The number of samples so far.
    received: usize,
    /// The place of the next frame.
    next: usize,
    /// The padded samples from the place `start` on.
    buffer: Vec<f32>,
    start: usize,
    /// Whether the padding before the recording is in the buffer.
    is_padded: bool,
}

impl Framer {
    pub(super) fn new(stft: Stft) -> Self {
        Self { stft, received: 0, next: 0, buffer: Vec::new(), start: 0, is_padded: false }
    }

    /// Returns the number of samples so far.
    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Returns the number of values that are added at each end.
    fn pad(&self) -> usize {
        if self.stft.padding == Padding::None { 0 } else { self.stft.n_fft / 2 }
    }

    /// Takes the next samples, and calls `frame` with each frame of `n_fft` samples that is complete.
    pub(super) fn push(&mut self, samples: &[f32], mut frame: impl FnMut(&[f32])) {
        self.buffer.extend_from_slice(samples);
        self.received += samples.len();
        if !self.is_padded {
            let pad = self.pad();
            let before: Vec<f32> = match self.stft.padding {
                Padding::Reflect if self.received <= pad => return,
                Padding::Reflect => self.buffer[1..=pad].iter().rev().copied().collect(),
                Padding::Zeros | Padding::None => vec![0.0; pad],
            };
            self.buffer.splice(..0, before);
            self.is_padded = true;
        }
        self.cut(&mut frame);
        // The padding at the end reflects the last samples.
        let end = self.start + self.buffer.len();
        let keep = self.next.min(end.saturating_sub(self.pad() + 1));
        if keep > self.start {
            self.buffer.drain(..keep - self.start);
            self.start = keep;
        }
    }

    /// Pads the end of the recording, and calls `frame` with the remaining frames.
    ///
    /// # Errors
    /// If the recording is too short for its padding or for a frame.
    pub(super) fn finish(mut self, mut frame: impl FnMut(&[f32])) -> Result<()> {
        let pad = self.pad();
        let least = match self.stft.padding {
            Padding::Reflect => pad + 1,
            Padding::Zeros => 1,
            Padding::None => self.stft.n_fft,
        };
        if self.received < least {
            let expected = format!("at least {least} samples");
            return Err(Error::argument("samples", expected, self.received));
        }
        let after: Vec<f32> = match self.stft.padding {
            Padding::Reflect => self.buffer.iter().rev().skip(1).take(pad).copied().collect(),
            Padding::Zeros | Padding::None => vec![0.0; pad],
        };
        self.buffer.extend(after);
        self.cut(&mut frame);
        Ok(())
    }

    /// Calls `frame` with each frame that is complete.
    fn cut(&mut self, frame: &mut impl FnMut(&[f32])) {
        while self.next.saturating_add(self.stft.n_fft) <= self.start + self.buffer.len() {
            let from = self.next - self.start;
            frame(&self.buffer[from..from + self.stft.n_fft]);
            self.next = self.next.saturating_add(self.stft.hop_length);
        }
    }
}
