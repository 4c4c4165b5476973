//! Joined frames as nodes: of whole sequences, and of the frames of a stream so far.
//!
//! ```text
//! windows(n) = max(n − frames + stride, 0) / stride      rounded down
//! y_t        = [x_{t·stride}, …, x_{t·stride + frames − 1}]
//! ```
//!
//! The recurrent layers compute at least one window, since onnxruntime does not accept none. If there is none,
//! its length is 0, or its results are not returned.

use super::builder::{Builder, Size, int, ints};
use super::{INT32, INT64};
use crate::float::Float;
use crate::interop::onnx::value::Element;
use crate::layer::stack_frames::Frames;

/// Writes the windows of the sequences `x` [time, batch, features]. Returns them, [time, batch, features], and
/// their `lengths`.
pub(super) fn whole(builder: &mut Builder, frames: Frames, x: &str) -> (String, String) {
    let time = time_of(builder, x);
    let count = count(builder, frames, &time);
    let windows = gather(builder, frames, (x, &time), &count, None);
    let lengths = builder.node("Cast", &["lengths"], vec![int("to", i64::from(INT64))]);
    let lengths = self::count(builder, frames, &lengths);
    let lengths = builder.node("Cast", &[&lengths], vec![int("to", i64::from(INT32))]);
    (windows, lengths)
}

/// The windows that a step of a stream completes.
pub(super) struct Running {
    /// [time, batch, features], at least one.
    pub(super) windows: String,
    /// The number of windows, \[1\].
    pub(super) count: String,
    /// Whether there is one, \[1\].
    pub(super) any: String,
}

/// Writes the windows that the frames `x` [time, batch, `width`] complete. The input `recent` has the frames before
/// them that a later window may need. If windows have gaps between them, `skip` is the number of frames that come
/// before the next window.
pub(super) fn running<T: Float + Element>(
    builder: &mut Builder,
    frames: Frames,
    x: &str,
    width: usize,
) -> Running {
    let skips = frames.stride > frames.frames;
    let sizes = |time| [Size::Free(time), Size::Free("batch"), Size::Fixed(width)];
    builder.input("recent", T::NUMBER, &sizes("recent"));
    if skips {
        builder.input("skip", INT64, &[Size::Fixed(1)]);
    }
    let skip = skips.then_some("skip");
    let all = builder.node("Concat", &["recent", x], vec![int("axis", 0)]);
    let time = time_of(builder, &all);
    let left = match skip {
        Some(skip) => builder.node("Sub", &[&time, skip], Vec::new()),
        None => time.clone(),
    };
    let count = count(builder, frames, &left);
    let windows = gather(builder, frames, (&all, &time), &count, skip);
    let stride = builder.ints(&[frames.stride as i64]);
    let mut next = builder.node("Mul", &[&count, &stride], Vec::new());
    if let Some(skip) = skip {
        let place = builder.node("Add", &[&next, skip], Vec::new());
        next = builder.node("Min", &[&place, &time], Vec::new());
        let skip = builder.node("Sub", &[&place, &next], Vec::new());
        builder.output(&skip, "next_skip", INT64, &[Size::Fixed(1)]);
    }
    let axes = builder.ints(&[0]);
    let recent = builder.node("Slice", &[&all, &next, &time, &axes], Vec::new());
    builder.output(&recent, "next_recent", T::NUMBER, &sizes("next_recent"));
    let zero = builder.ints(&[0]);
    let any = builder.node("Greater", &[&count, &zero], Vec::new());
    Running { windows, count, any }
}

/// Writes the number of steps of `x`, \[1\].
fn time_of(builder: &mut Builder, x: &str) -> String {
    builder.node("Shape", &[x], vec![int("start", 0), int("end", 1)])
}

/// Writes the number of windows of each number of frames.
fn count(builder: &mut Builder, frames: Frames, total: &str) -> String {
    let Frames { frames, stride } = frames;
    let [offset, zero, stride] =
        [frames as i64 - stride as i64, 0, stride as i64].map(|number| builder.ints(&[number]));
    let rest = builder.node("Sub", &[total, &offset], Vec::new());
    let rest = builder.node("Max", &[&rest, &zero], Vec::new());
    builder.node("Div", &[&rest, &stride], Vec::new())
}

/// Writes `count` windows, or one if there is none, of the `time` frames `x`. The first begins at `start`.
fn gather(
    builder: &mut Builder,
    frames: Frames,
    (x, time): (&str, &str),
    count: &str,
    start: Option<&str>,
) -> String {
    let one = builder.ints(&[1]);
    let count = builder.node("Max", &[count, &one], Vec::new());
    let axes = builder.ints(&[0]);
    let count = builder.node("Squeeze", &[&count, &axes], Vec::new());
    let [zero, step] = [("start", 0), ("step", 1)]
        .map(|(name, value)| builder.constant(name, ndarray::arr0(value as i64)));
    let numbers = builder.node("Range", &[&zero, &count, &step], Vec::new());
    let stride = builder.ints(&[frames.stride as i64]);
    let mut starts = builder.node("Mul", &[&numbers, &stride], Vec::new());
    if let Some(start) = start {
        starts = builder.node("Add", &[&starts, start], Vec::new());
    }
    let starts = builder.node("Unsqueeze", &[&starts, &one], Vec::new());
    let offsets: Vec<i64> = (0..frames.frames as i64).collect();
    let offsets = builder.ints(&offsets);
    let places = builder.node("Add", &[&starts, &offsets], Vec::new());
    // Places beyond the end are those of windows that are not read.
    let last = builder.node("Sub", &[time, &one], Vec::new());
    let places = builder.node("Min", &[&places, &last], Vec::new());
    let windows = builder.node("Gather", &[x, &places], vec![int("axis", 0)]);
    let windows = builder.node("Transpose", &[&windows], vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = builder.ints(&[0, 0, -1]);
    builder.node("Reshape", &[&windows, &shape], Vec::new())
}
