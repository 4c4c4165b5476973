//! The layers of a model as nodes: input, recurrent layers and head.

use ndarray::{Array1, Array2, Array3, Axis};

use super::builder::{Builder, Size, int, ints, text, texts};
use super::cells::Operator;
use super::{Erased, INT32, INT64};
use crate::data::Scaler;
use crate::float::Float;
use crate::interop::onnx::value::{Element, Sealed, Value};
use crate::layer::Linear;

/// The number of double precision.
const DOUBLE: i32 = <f64 as Sealed>::NUMBER;

/// The values of a graph that later layers read.
pub(super) struct Hidden {
    /// The output of the last layer, [time, batch, features].
    pub(super) h: String,
    /// The last output of the last layer of each direction, [directions, batch, hidden], unless the input
    /// of the layer was added to its output.
    pub(super) last: Option<String>,
    /// The lengths [batch], unless the graph is a stream.
    pub(super) lengths: Option<String>,
}

/// Writes the input and the recurrent layers. A stream has the states as inputs and outputs.
pub(super) fn hidden<T: Float + Element>(
    builder: &mut Builder,
    model: &Erased<'_, T>,
    stream: bool,
) -> Hidden {
    let mut h = input(builder, model);
    let lengths = (!stream).then(|| {
        builder.input("lengths", INT32, &[Size::Free("batch")]);
        "lengths".to_owned()
    });
    let mut condition = match model.condition {
        Some(linear) => {
            let sizes = [Size::Free("batch"), Size::Fixed(linear.input_size())];
            builder.input("condition", T::NUMBER, &sizes);
            let states = self::linear(builder, "condition_layer", linear, "condition");
            parts(builder, &states, model)
        }
        _ => Vec::new(),
    }
    .into_iter();
    let mut last = None;
    for (l, layer) in model.layers.iter().enumerate() {
        let states = layer[0].states;
        let initial: Vec<String> = states
            .iter()
            .map(|state| match (stream, model.initial.is_empty()) {
                (true, _) => state_input::<T>(builder, &format!("{state}_l{l}"), layer),
                (false, true) => condition.next().unwrap_or_default(),
                (false, false) => learned(builder, &format!("{state}_l{l}"), model),
            })
            .collect();
        let (y, states_after) = recurrent(builder, l, layer, (&h, lengths.as_deref(), &initial));
        if stream {
            for (state, value) in states.iter().zip(&states_after) {
                let axes = builder.ints(&[0]);
                let value = builder.node("Squeeze", &[value, &axes], Vec::new());
                let sizes = [Size::Free("batch"), Size::Fixed(layer[0].r.ncols())];
                builder.output(&value, &format!("next_{state}_l{l}"), T::NUMBER, &sizes);
            }
        }
        let adds = model.residual && l > 0;
        last = states_after.into_iter().next().filter(|_| !adds);
        h = if adds { builder.node("Add", &[&y, &h], Vec::new()) } else { y };
    }
    Hidden { h, last, lengths }
}

/// Writes the input: values, which may be scaled, or tokens, which may be embedded.
fn input<T: Float + Element>(builder: &mut Builder, model: &Erased<'_, T>) -> String {
    let free = [Size::Free("time"), Size::Free("batch")];
    if !model.tokens {
        builder.input("x", T::NUMBER, &[free[0], free[1], Size::Fixed(model.input_size)]);
        return match model.scaler {
            Some(scaler) => scaled::<T>(builder, "x", scaler, ["Sub", "Div"]),
            None => "x".to_owned(),
        };
    }
    builder.input("tokens", INT64, &free);
    if let Some(embedding) = model.embedding {
        let weight = T::value(embedding.weight().to_owned().into_dyn());
        let weight = builder.constant("embedding", weight);
        return builder.node("Gather", &[&weight, "tokens"], Vec::new());
    }
    let depth = builder.constant("tokens_count", ndarray::arr1(&[model.input_size as i64]));
    let values = T::value(ndarray::arr1(&[T::zero(), T::one()]).into_dyn());
    let values = builder.constant("off_and_on", values);
    builder.node("OneHot", &["tokens", &depth, &values], Vec::new())
}

/// Writes a scaling of the last axis in double precision, by two operators with the offset and the scale. Those
/// of the inverse are in the opposite order.
pub(super) fn scaled<T: Float + Element>(
    builder: &mut Builder,
    x: &str,
    scaler: &Scaler,
    operators: [&str; 2],
) -> String {
    let mut values = [("offset", scaler.offset()), ("scale", scaler.scale())];
    if operators[0] != "Sub" {
        values.reverse();
    }
    let mut x = builder.node("Cast", &[x], vec![int("to", i64::from(DOUBLE))]);
    for (operator, (name, values)) in operators.into_iter().zip(values) {
        let constant = builder.constant(name, Array1::from(values.to_vec()));
        x = builder.node(operator, &[&x, &constant], Vec::new());
    }
    builder.node("Cast", &[&x], vec![int("to", i64::from(T::NUMBER))])
}

/// Writes a linear layer of rows [batch, features].
pub(super) fn linear<T: Float + Element>(
    builder: &mut Builder,
    name: &str,
    layer: &Linear<T>,
    x: &str,
) -> String {
    let weight = T::value(layer.weight().t().to_owned().into_dyn());
    let weight = builder.constant(&format!("{name}.weight"), weight);
    let y = builder.node("MatMul", &[x, &weight], Vec::new());
    match layer.bias() {
        None => y,
        Some(bias) => {
            let bias = builder.constant(&format!("{name}.bias"), T::value(bias.clone().into_dyn()));
            builder.node("Add", &[&y, &bias], Vec::new())
        }
    }
}

/// Divides states that are side by side into those of each layer, [1, batch, hidden].
fn parts<T: Float>(builder: &mut Builder, states: &str, model: &Erased<'_, T>) -> Vec<String> {
    let of_layer =
        |layer: &Vec<Operator<T>>| vec![layer[0].r.ncols() as i64; layer[0].states.len()];
    let widths: Vec<i64> = model.layers.iter().flat_map(of_layer).collect();
    let names: Vec<String> = (0..widths.len()).map(|k| format!("condition_part_{k}")).collect();
    let widths = builder.ints(&widths);
    builder.nodes("Split", &[states, &widths], &names, vec![int("axis", 1)]);
    let axes = builder.ints(&[0]);
    names.iter().map(|name| builder.node("Unsqueeze", &[name, &axes], Vec::new())).collect()
}

/// Adds the input of a state [batch, hidden], and returns it as [1, batch, hidden].
fn state_input<T: Float + Element>(
    builder: &mut Builder,
    name: &str,
    layer: &[Operator<T>],
) -> String {
    let sizes = [Size::Free("batch"), Size::Fixed(layer[0].r.ncols())];
    builder.input(name, T::NUMBER, &sizes);
    let axes = builder.ints(&[0]);
    builder.node("Unsqueeze", &[name, &axes], Vec::new())
}

/// Writes a learned initial state, repeated for each sequence.
fn learned<T: Float + Element>(builder: &mut Builder, name: &str, model: &Erased<'_, T>) -> String {
    let Some((_, state)) = model.initial.iter().find(|(state, _)| state == name) else {
        return String::new();
    };
    let state = builder.constant(&format!("initial.{name}"), T::value(state.clone().into_dyn()));
    let batch = builder.node("Shape", &["lengths"], Vec::new());
    let one = builder.ints(&[1]);
    let shape = builder.node("Concat", &[&one, &batch, &one], vec![int("axis", 0)]);
    builder.node("Expand", &[&state, &shape], Vec::new())
}

/// Writes one layer. Returns its output [time, batch, features] and its last states
/// [directions, batch, hidden].
fn recurrent<T: Float + Element>(
    builder: &mut Builder,
    l: usize,
    layer: &[Operator<T>],
    (x, lengths, initial): (&str, Option<&str>, &[String]),
) -> (String, Vec<String>) {
    let Operator { name, activation, flag, states, .. } = layer[0];
    let matrices = |of: fn(&Operator<T>) -> &Array2<T>| -> Value {
        let parts: Vec<_> = layer.iter().map(|operator| of(operator).view()).collect();
        T::value(ndarray::stack(Axis(0), &parts).expect("directions of one shape").into_dyn())
    };
    let w = builder.constant(&format!("W_l{l}"), matrices(|operator| &operator.w));
    let r = builder.constant(&format!("R_l{l}"), matrices(|operator| &operator.r));
    let rows = |values: Vec<&Array1<T>>| -> Value {
        let parts: Vec<_> = values.into_iter().map(|row| row.view()).collect();
        T::value(ndarray::stack(Axis(0), &parts).expect("directions of one shape").into_dyn())
    };
    let b = rows(layer.iter().map(|operator| &operator.b).collect());
    let b = builder.constant(&format!("B_l{l}"), b);
    let mut inputs = vec![x, &w, &r, &b, lengths.unwrap_or_default()];
    inputs.extend(initial.iter().map(|name| &name[..]));
    let peepholes: Vec<&Array1<T>> =
        layer.iter().filter_map(|operator| operator.p.as_ref()).collect();
    let p = match peepholes.is_empty() {
        true => String::new(),
        false => builder.constant(&format!("P_l{l}"), rows(peepholes)),
    };
    if !p.is_empty() {
        inputs.push(&p);
    }
    let direction = if layer.len() == 2 { "bidirectional" } else { "forward" };
    let hidden = layer[0].r.ncols() as i64;
    let mut attributes = vec![text("direction", direction), int("hidden_size", hidden)];
    attributes.extend(activation.map(|name| texts("activations", &vec![name; layer.len()])));
    attributes.extend(flag.map(|name| int(name, 1)));
    let outputs: Vec<String> =
        ["y", "h", "c"][..=states.len()].iter().map(|name| format!("{name}_of_l{l}")).collect();
    builder.nodes(name, &inputs, &outputs, attributes);
    let y = builder.node("Transpose", &[&outputs[0]], vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = builder.ints(&[0, 0, -1]);
    let y = builder.node("Reshape", &[&y, &shape], Vec::new());
    (y, outputs[1..].to_vec())
}

/// The states of a learned initial state by their names, [1, 1, hidden].
pub(super) type Initial<T> = Vec<(String, Array3<T>)>;
