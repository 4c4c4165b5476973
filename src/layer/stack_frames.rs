//! Frames joined to windows: fewer, wider steps.
//!
//! ```text
//! y_t = [x_{t·stride}, x_{t·stride + 1}, …, x_{t·stride + frames − 1}]        one after another
//! ```
//!
//! A sequence of n steps has ⌊(n − frames) / stride⌋ + 1 windows, none if n < frames. So each window
//! depends on its own frames alone, and none changes when the sequence goes on. Steps after the last whole
//! window are not read. Joined frames with a stride are those of Sak et al., *Fast and Accurate
//! Recurrent Neural Network Acoustic Models for Speech Recognition*, 2015.

use std::marker::PhantomData;

use ndarray::{Array3, Axis};
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::arrays::{Arrays, Visit, VisitMut};
use crate::error::{Result, check_count, check_size};
use crate::float::{Float, per_float};
use crate::layer::Layer;
use crate::sequences::Sequences;

/// The number of frames of a window, and the number of frames between the starts of two windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Frames {
    pub(crate) frames: usize,
    pub(crate) stride: usize,
}

/// Every step is a window.
impl Default for Frames {
    fn default() -> Self {
        Self { frames: 1, stride: 1 }
    }
}

impl Frames {
    pub(crate) fn check(self) -> Result<()> {
        check_count("frames", self.frames)?;
        check_count("stride", self.stride)
    }

    /// Returns the number of windows of a sequence of `length` steps.
    pub(crate) fn windows(self, length: usize) -> usize {
        length.checked_sub(self.frames).map_or(0, |rest| rest / self.stride + 1)
    }

    /// Returns the number of windows of each sequence.
    fn lengths<T: Float>(self, x: &Sequences<T>) -> Vec<usize> {
        x.lengths().iter().map(|&length| self.windows(length)).collect()
    }

    /// Returns the windows of `x`, at least one step long as an array.
    pub(crate) fn stack<T: Float>(self, x: &Sequences<T>) -> Result<Sequences<T>> {
        stacked(self, x)
    }

    /// Returns the gradient with respect to sequences of the lengths of `x` and the given width, from that
    /// with respect to their windows.
    pub(crate) fn unstack<T: Float>(
        self,
        x: &Sequences<T>,
        features: usize,
        d_windows: &Sequences<T>,
    ) -> Result<Sequences<T>> {
        unstacked(self, x, features, d_windows)
    }
}

per_float! {
    fn stacked<'a, T>(frames: Frames, x: &'a Sequences<T>) -> Result<Sequences<T>> = stack;
    fn unstacked<'a, T>(
        frames: Frames,
        x: &'a Sequences<T>,
        features: usize,
        d_windows: &'a Sequences<T>,
    ) -> Result<Sequences<T>> = unstack;
}

fn stack<T: Float>(frames: Frames, x: &Sequences<T>) -> Result<Sequences<T>> {
    let (time, batch, features) = x.dim();
    let width = check_size("frames × features", &[frames.frames, features])?;
    let lengths = frames.lengths(x);
    let mut windows = Array3::zeros((frames.windows(time).max(1), batch, width));
    for (t, mut window) in windows.outer_iter_mut().enumerate() {
        for (b, mut row) in window.rows_mut().into_iter().enumerate() {
            if t < lengths[b] {
                for (j, mut part) in row.axis_chunks_iter_mut(Axis(0), features).enumerate() {
                    let frame = x.values().index_axis(Axis(0), t * frames.stride + j);
                    part.assign(&frame.index_axis(Axis(0), b));
                }
            }
        }
    }
    Sequences::new(windows, lengths)
}

fn unstack<T: Float>(
    frames: Frames,
    x: &Sequences<T>,
    features: usize,
    d_windows: &Sequences<T>,
) -> Result<Sequences<T>> {
    let (time, batch, _) = x.dim();
    let lengths = frames.lengths(x);
    let sizes = [frames.windows(time).max(1), batch, frames.frames * features];
    d_windows.check("d_y", ("time, batch, frames × features", sizes), &lengths)?;
    let mut d = Array3::zeros((time, batch, features));
    for (t, window) in d_windows.values().outer_iter().enumerate() {
        for (b, row) in window.rows().into_iter().enumerate().filter(|row| t < lengths[row.0]) {
            for (j, part) in row.axis_chunks_iter(Axis(0), features).enumerate() {
                let mut frame = d.index_axis_mut(Axis(0), t * frames.stride + j);
                let mut frame = frame.index_axis_mut(Axis(0), b);
                frame += &part;
            }
        }
    }
    x.with_values(d)
}

/// Joins the features of several steps to one step, and keeps every `stride`-th window; see the
/// [module](self). It has no parameters.
///
/// A sequence that is shorter than a window has no step in the output, which has length 0.
///
/// ```
/// use ndarray::{Array3, array};
/// use recurrent::Sequences;
/// use recurrent::layer::{Layer, StackFrames};
///
/// let frames = Array3::from_shape_fn((7, 1, 2), |(t, _, j)| (10 * t + j) as f64);
/// let stack = StackFrames::new(2, 3)?; // 2 frames, every third window
/// let y = stack.forward(&Sequences::full(frames)?)?;
/// assert_eq!(y.values(), array![[[0.0, 1.0, 10.0, 11.0]], [[30.0, 31.0, 40.0, 41.0]]]);
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackFrames<T> {
    frames: Frames,
    element: PhantomData<T>,
}

impl<T: Float> StackFrames<T> {
    /// Creates a layer that joins `frames` successive steps, beginning at every `stride`-th step.
    ///
    /// # Errors
    /// If one of them is zero.
    pub fn new(frames: usize, stride: usize) -> Result<Self> {
        let frames = Frames { frames, stride };
        frames.check()?;
        Ok(Self { frames, element: PhantomData })
    }
}

impl<T: Float> Arrays for StackFrames<T> {
    type Elem = T;

    fn for_each<'a>(&'a self, _: &mut Visit<'_, 'a, T>) {}

    fn for_each_mut<'a>(&'a mut self, _: &mut VisitMut<'_, 'a, T>) {}
}

impl<T: Float> Layer<Sequences<T>> for StackFrames<T> {
    type Output = Sequences<T>;
    type Tape = Sequences<T>;

    fn forward(&self, x: &Sequences<T>) -> Result<Sequences<T>> {
        self.frames.stack(x)
    }

    fn forward_train(
        &self,
        x: &Sequences<T>,
        _: &mut dyn Rng,
    ) -> Result<(Sequences<T>, Sequences<T>)> {
        Ok((self.forward(x)?, x.clone()))
    }

    fn backward(&self, x: Sequences<T>, d_y: &Sequences<T>, _: &mut Self) -> Result<Sequences<T>> {
        self.frames.unstack(&x, x.features(), d_y)
    }
}
