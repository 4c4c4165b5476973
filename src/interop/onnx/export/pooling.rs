//! Pooling over time as nodes: of whole sequences, and of the steps of a stream so far.

use super::builder::{Builder, Size, int, ints};
use super::layers::Hidden;
use crate::float::Float;
use crate::interop::onnx::value::{Element, Sealed};
use crate::layer::{Pooling, TimePooling};

/// Writes the pooling of the steps `hidden` of whole sequences. Returns [batch, features].
pub(super) fn whole<T: Float + Element>(
    builder: &mut Builder,
    pooling: &TimePooling<T>,
    hidden: &Hidden,
    directions: usize,
) -> String {
    let (h, lengths) = (hidden.outputs.h.as_str(), hidden.lengths.as_deref().unwrap_or_default());
    match (pooling.kind(), &pooling.query) {
        (Pooling::Mean, _) => mean::<T>(builder, h, lengths),
        (Pooling::Max, _) => {
            let (mask, axes) = (alive(builder, h, lengths), builder.ints(&[2]));
            let mask = builder.node("Unsqueeze", &[&mask, &axes], Vec::new());
            let least = least::<T>(builder);
            let values = builder.node("Where", &[&mask, h, &least], Vec::new());
            max_over_time(builder, &values)
        }
        (Pooling::Attention, Some(query)) => {
            let query = builder.constant("query", T::value(query.clone().into_dyn()));
            let scores = builder.node("MatMul", &[h, &query], Vec::new());
            let (mask, least) = (alive(builder, h, lengths), least::<T>(builder));
            let scores = builder.node("Where", &[&mask, &scores, &least], Vec::new());
            let weights = builder.node("Softmax", &[&scores], vec![int("axis", 0)]);
            let axes = builder.ints(&[2]);
            let weights = builder.node("Unsqueeze", &[&weights, &axes], Vec::new());
            let weighted = builder.node("Mul", &[h, &weights], Vec::new());
            sum_over_time(builder, &weighted)
        }
        _ => match &hidden.outputs.last {
            Some(last) => beside(builder, last),
            None => last_of_sums::<T>(builder, h, lengths, directions),
        },
    }
}

/// Writes the directions of `states` [directions, batch, hidden] side by side, [batch, directions · hidden].
pub(super) fn beside(builder: &mut Builder, states: &str) -> String {
    let states = builder.node("Transpose", &[states], vec![ints("perm", &[1, 0, 2])]);
    let shape = builder.ints(&[0, -1]);
    builder.node("Reshape", &[&states, &shape], Vec::new())
}

/// Writes the mean of the steps `h` [time, batch, features] of each sequence, which are zero in the padding.
pub(super) fn mean<T: Float + Element>(builder: &mut Builder, h: &str, lengths: &str) -> String {
    let sum = sum_over_time(builder, h);
    let counts = builder.node("Cast", &[lengths], vec![int("to", i64::from(T::NUMBER))]);
    let axes = builder.ints(&[1]);
    let counts = builder.node("Unsqueeze", &[&counts, &axes], Vec::new());
    builder.node("Div", &[&sum, &counts], Vec::new())
}

/// Writes the choice of the last step of the forward direction, and of the first of the other.
fn last_of_sums<T: Float + Element>(
    builder: &mut Builder,
    h: &str,
    lengths: &str,
    directions: usize,
) -> String {
    let axes = builder.ints(&[0, 2]);
    let lengths = builder.node("Unsqueeze", &[lengths, &axes], Vec::new());
    let one = builder.constant("one", ndarray::arr0(1_i32));
    let places = builder.node("Sub", &[&lengths, &one], Vec::new());
    let zeros = builder.node("Sub", &[&places, &places], Vec::new());
    let mut halves = vec![h.to_owned()];
    if directions == 2 {
        halves = vec!["forward_steps".to_owned(), "backward_steps".to_owned()];
        builder.nodes("Split", &[h], &halves, vec![int("axis", 2)]);
    }
    let mut chosen = Vec::new();
    for (half, place) in halves.iter().zip([&places, &zeros]) {
        let times = times(builder, h, 0);
        let axes = builder.ints(&[1, 2]);
        let times = builder.node("Unsqueeze", &[&times, &axes], Vec::new());
        let here = builder.node("Equal", &[&times, place], Vec::new());
        let zero = builder.constant("zero", T::value(ndarray::arr0(T::zero()).into_dyn()));
        let values = builder.node("Where", &[&here, half, &zero], Vec::new());
        chosen.push(sum_over_time(builder, &values));
    }
    let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    builder.node("Concat", &chosen, vec![int("axis", 1)])
}

/// Writes the pooling of the steps of a stream so far, with inputs and outputs for what it keeps.
pub(super) fn running<T: Float + Element>(
    builder: &mut Builder,
    pooling: &TimePooling<T>,
    hidden: &Hidden,
    features: usize,
) -> String {
    let h = hidden.outputs.h.as_str();
    let sizes = |width: usize| [Size::Free("batch"), Size::Fixed(width)];
    let keep = |builder: &mut Builder, name: &str, width: usize| {
        builder.input(name, T::NUMBER, &sizes(width));
        name.to_owned()
    };
    let next = |builder: &mut Builder, name: &str, value: &str, width: usize| {
        builder.output(value, &format!("next_{name}"), T::NUMBER, &sizes(width));
    };
    match (pooling.kind(), &pooling.query) {
        (Pooling::Mean, _) => {
            let (sum, count) = (keep(builder, "sum", features), keep(builder, "count", 1));
            let steps = sum_over_time(builder, h);
            let sum = builder.node("Add", &[&sum, &steps], Vec::new());
            let time = builder.node("Shape", &[h], vec![int("start", 0), int("end", 1)]);
            let time = builder.node("Cast", &[&time], vec![int("to", i64::from(T::NUMBER))]);
            let count = builder.node("Add", &[&count, &time], Vec::new());
            next(builder, "sum", &sum, features);
            next(builder, "count", &count, 1);
            builder.node("Div", &[&sum, &count], Vec::new())
        }
        (Pooling::Max, _) => {
            let most = keep(builder, "most", features);
            let steps = max_over_time(builder, h);
            let most = builder.node("Max", &[&most, &steps], Vec::new());
            next(builder, "most", &most, features);
            most
        }
        (Pooling::Attention, Some(query)) => {
            let (sum, weight) = (keep(builder, "sum", features), keep(builder, "weight", 1));
            let score = keep(builder, "score", 1);
            let query = T::value(query.clone().insert_axis(ndarray::Axis(1)).into_dyn());
            let query = builder.constant("query", query);
            let scores = builder.node("MatMul", &[h, &query], Vec::new());
            let most = max_over_time(builder, &scores);
            let most = builder.node("Max", &[&score, &most], Vec::new());
            let shrink = builder.node("Sub", &[&score, &most], Vec::new());
            let shrink = builder.node("Exp", &[&shrink], Vec::new());
            let shares = builder.node("Sub", &[&scores, &most], Vec::new());
            let shares = builder.node("Exp", &[&shares], Vec::new());
            let weighted = builder.node("Mul", &[h, &shares], Vec::new());
            let mut grown = |old: &str, steps: &str| {
                let (old, steps) = (
                    builder.node("Mul", &[old, &shrink], Vec::new()),
                    sum_over_time(builder, steps),
                );
                builder.node("Add", &[&old, &steps], Vec::new())
            };
            let (sum, weight) = (grown(&sum, &weighted), grown(&weight, &shares));
            next(builder, "sum", &sum, features);
            next(builder, "weight", &weight, 1);
            next(builder, "score", &most, 1);
            builder.node("Div", &[&sum, &weight], Vec::new())
        }
        _ => {
            let place = builder.constant("last", ndarray::arr0(-1_i64));
            builder.node("Gather", &[h, &place], Vec::new())
        }
    }
}

fn sum_over_time(builder: &mut Builder, x: &str) -> String {
    let axes = builder.ints(&[0]);
    builder.node("ReduceSum", &[x, &axes], vec![int("keepdims", 0)])
}

fn max_over_time(builder: &mut Builder, x: &str) -> String {
    builder.node("ReduceMax", &[x], vec![ints("axes", &[0]), int("keepdims", 0)])
}

/// Adds −∞, the maximum of nothing.
pub(super) fn least<T: Float + Element>(builder: &mut Builder) -> String {
    builder.constant("least", T::value(ndarray::arr0(T::neg_infinity()).into_dyn()))
}

/// Writes the numbers of the steps of `h`, whose axis `axis` is time, as `int32` \[time\].
pub(super) fn times(builder: &mut Builder, h: &str, axis: i64) -> String {
    let time = builder.node("Shape", &[h], vec![int("start", axis), int("end", axis + 1)]);
    let axes = builder.ints(&[0]);
    let time = builder.node("Squeeze", &[&time, &axes], Vec::new());
    let (zero, one) = (
        builder.constant("start", ndarray::arr0(0_i64)),
        builder.constant("step", ndarray::arr0(1_i64)),
    );
    let times = builder.node("Range", &[&zero, &time, &one], Vec::new());
    builder.node("Cast", &[&times], vec![int("to", i64::from(<i32 as Sealed>::NUMBER))])
}

/// Writes whether each step of each sequence is one of its own, [time, batch].
pub(super) fn alive(builder: &mut Builder, h: &str, lengths: &str) -> String {
    let times = times(builder, h, 0);
    let axes = builder.ints(&[1]);
    let times = builder.node("Unsqueeze", &[&times, &axes], Vec::new());
    builder.node("Less", &[&times, lengths], Vec::new())
}
