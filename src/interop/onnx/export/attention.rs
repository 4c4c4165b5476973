//! The attention of a decoder as nodes: of one query of each sequence.

use super::builder::{Builder, Size, int};
use super::layers::linear;
use super::pooling::{least, times};
use super::{INT32, seq2seq::SOURCE};
use crate::float::Float;
use crate::interop::onnx::value::Element;
use crate::layer::Attention;

/// Adds the inputs that attention reads.
pub(super) fn inputs<T: Float + Element>(builder: &mut Builder, attention: &Attention<T>) {
    let sizes = |width| [Size::Free("batch"), SOURCE, Size::Fixed(width)];
    builder.input("memory", T::NUMBER, &sizes(attention.memory_size()));
    if let Some(key) = attention.parts().key {
        builder.input("keys", T::NUMBER, &sizes(key.output_size()));
    }
    builder.input("lengths", INT32, &[Size::Free("batch")]);
    if attention.parts().location.is_some() {
        builder.input("weights", T::NUMBER, &[Size::Free("batch"), SOURCE]);
    }
}

/// Writes the contexts [batch, memory] of the queries `q` [batch, query], and the output of their weights.
pub(super) fn context<T: Float + Element>(
    builder: &mut Builder,
    attention: &Attention<T>,
    q: &str,
) -> String {
    let scores = scores(builder, attention, q);
    let times = times(builder, "memory", 1);
    let [first, second] = [1, 1].map(|axis| builder.ints(&[axis]));
    let lengths = builder.node("Unsqueeze", &["lengths", &first], Vec::new());
    let alive = builder.node("Less", &[&times, &lengths], Vec::new());
    let least = least::<T>(builder);
    let scores = builder.node("Where", &[&alive, &scores, &least], Vec::new());
    let weights = builder.node("Softmax", &[&scores], vec![int("axis", 1)]);
    let name = if attention.parts().location.is_some() { "next_weights" } else { "weights" };
    builder.output(&weights, name, T::NUMBER, &[Size::Free("batch"), SOURCE]);
    let weights = builder.node("Unsqueeze", &[&weights, &second], Vec::new());
    let context = builder.node("MatMul", &[&weights, "memory"], Vec::new());
    builder.node("Squeeze", &[&context, &second], Vec::new())
}

/// Writes the scores [batch, time] of the queries `q` [batch, query].
fn scores<T: Float + Element>(builder: &mut Builder, attention: &Attention<T>, q: &str) -> String {
    let parts = attention.parts();
    let mut q = q.to_owned();
    if let Some(query) = parts.query {
        q = linear(builder, "query", query, &q);
    }
    if let Some(scale) = attention.scale() {
        let scale = builder.constant("scale", T::value(ndarray::arr0(scale).into_dyn()));
        q = builder.node("Mul", &[&q, &scale], Vec::new());
    }
    let keys = if parts.key.is_some() { "keys" } else { "memory" };
    let last = builder.ints(&[2]);
    let Some(score) = parts.score else {
        let q = builder.node("Unsqueeze", &[&q, &last], Vec::new());
        let scores = builder.node("MatMul", &[keys, &q], Vec::new());
        return builder.node("Squeeze", &[&scores, &last], Vec::new());
    };
    let axes = builder.ints(&[1]);
    let q = builder.node("Unsqueeze", &[&q, &axes], Vec::new());
    let mut sums = builder.node("Add", &[&q, keys], Vec::new());
    if let Some(location) = location(builder, attention) {
        sums = builder.node("Add", &[&sums, &location], Vec::new());
    }
    let hidden = builder.node("Tanh", &[&sums], Vec::new());
    let scores = linear(builder, "score", score, &hidden);
    builder.node("Squeeze", &[&scores, &last], Vec::new())
}

/// Writes the part of the scores that depends on the weights before, [batch, time, size].
fn location<T: Float + Element>(builder: &mut Builder, attention: &Attention<T>) -> Option<String> {
    let (convolution, projection) = attention.parts().location?;
    let kernel = convolution.ncols();
    let mut weights = "weights".to_owned();
    if kernel > 1 {
        let batch = builder.node("Shape", &["weights"], vec![int("start", 0), int("end", 1)]);
        let width = builder.ints(&[(kernel / 2) as i64]);
        let beyond = zeros::<T>(builder, &[&batch, &width]);
        weights = builder.node("Concat", &[&beyond, "weights", &beyond], vec![int("axis", 1)]);
    }
    let times = times(builder, "memory", 1);
    let axes = builder.ints(&[1]);
    let times = builder.node("Unsqueeze", &[&times, &axes], Vec::new());
    let offsets: Vec<i32> = (0..kernel as i32).collect();
    let offsets = builder.constant("offsets", ndarray::Array1::from(offsets));
    let places = builder.node("Add", &[&times, &offsets], Vec::new());
    let windows = builder.node("Gather", &[&weights, &places], vec![int("axis", 1)]);
    let filters = T::value(convolution.t().to_owned().into_dyn());
    let filters = builder.constant("location.convolution", filters);
    let features = builder.node("MatMul", &[&windows, &filters], Vec::new());
    Some(linear(builder, "location.projection", projection, &features))
}

/// Writes zeros of the sizes in `shape`, which are arrays of sizes.
pub(super) fn zeros<T: Float + Element>(builder: &mut Builder, shape: &[&str]) -> String {
    let shape = builder.node("Concat", shape, vec![int("axis", 0)]);
    let zero = builder.constant("zero", T::value(ndarray::arr0(T::zero()).into_dyn()));
    builder.node("Expand", &[&zero, &shape], Vec::new())
}
