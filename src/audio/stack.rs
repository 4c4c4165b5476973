//! [`Stack`]: successive frames joined to one.

use super::stage::{Next, Stage, check_width};
use crate::error::{Result, check_count};

/// A stage whose frame i holds the frames i·stride to i·stride + size − 1. A last group that is not complete is
/// left out, as in `torch.Tensor.unfold`.
#[derive(Clone, Debug)]
pub(super) struct Stack {
    size: usize,
    stride: usize,
    width: usize,
    frames: Vec<f64>,
    /// The number of frames to leave out before the next group.
    skip: usize,
}

impl Stack {
    pub(super) fn new(size: usize, stride: usize, width: usize) -> Result<Self> {
        check_count("size", size)?;
        check_count("stride", stride)?;
        check_width("size", size, width)?;
        Ok(Self { size, stride, width, frames: Vec::new(), skip: 0 })
    }
}

impl Stage for Stack {
    fn fresh(&self) -> Box<dyn Stage> {
        Box::new(Self { frames: Vec::new(), skip: 0, ..*self })
    }

    fn push(&mut self, frame: &[f64], next: Next<'_>) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.frames.extend_from_slice(frame);
        if self.frames.len() == self.size * self.width {
            next(&self.frames);
            self.frames.drain(..self.stride.min(self.size) * self.width);
            self.skip = self.stride.saturating_sub(self.size);
        }
    }
}
