//! The layers of a model that are not recurrent as nodes: input and linear layers.

use ndarray::Array1;

use super::builder::{Builder, Size, int};
use super::stack::Outputs;
use super::{Erased, INT32, INT64, frames};
use crate::data::Scaler;
use crate::float::Float;
use crate::interop::onnx::value::{Element, Sealed};
use crate::layer::{Embedding, Linear};

/// The number of double precision.
const DOUBLE: i32 = <f64 as Sealed>::NUMBER;

/// The input of a model: values, which may be scaled, or tokens, which may be embedded.
pub(super) struct Features<'m, T> {
    pub(super) tokens: bool,
    /// The number of features or tokens.
    pub(super) size: usize,
    pub(super) embedding: Option<&'m Embedding<T>>,
    pub(super) scaler: Option<&'m Scaler>,
}

/// The values of a graph that later layers read.
pub(super) struct Hidden {
    /// The outputs of the recurrent layers.
    pub(super) outputs: Outputs,
    /// The lengths [batch], unless the graph is a stream.
    pub(super) lengths: Option<String>,
    /// The number of windows that a stream of joined frames completes, \[1\].
    pub(super) windows: Option<String>,
}

/// Writes the input and the recurrent layers. A stream has the states as inputs and outputs.
pub(super) fn hidden<T: Float + Element>(
    builder: &mut Builder,
    model: &Erased<'_, T>,
    stream: bool,
) -> Hidden {
    let name = if model.features.tokens { "tokens" } else { "x" };
    let mut x = model.features.write(builder, name);
    let (mut lengths, mut windows, mut any) = (None, None, None);
    if !stream {
        builder.input("lengths", INT32, &[Size::Free("batch")]);
        lengths = Some("lengths".to_owned());
    }
    if let Some(joined) = model.frames {
        if stream {
            let width = model.features.width();
            let made = frames::running::<T>(builder, joined, &x, width);
            (x, any, windows) = (made.windows, Some(made.any), Some(made.count));
        } else {
            let made = frames::whole(builder, joined, &x);
            (x, lengths) = (made.0, Some(made.1));
        }
    }
    let stack = &model.stack;
    let mut condition = match model.condition {
        Some(linear) => {
            let sizes = [Size::Free("batch"), Size::Fixed(linear.input_size())];
            builder.input("condition", T::NUMBER, &sizes);
            let states = self::linear(builder, "condition_layer", linear, "condition");
            let parts = stack.divided(builder, "condition", &states);
            let axes = builder.ints(&[0]);
            let unsqueeze = |name: &String| builder.node("Unsqueeze", &[name, &axes], Vec::new());
            parts.iter().map(unsqueeze).collect()
        }
        None => Vec::new(),
    };
    let mut begin = |builder: &mut Builder, l: usize| match (stream, condition.is_empty()) {
        (true, _) => stack.state_inputs(builder, l),
        (false, true) => stack.learned(builder, l),
        (false, false) => condition.drain(..stack.states_of(l).count()).collect(),
    };
    let mut end = |builder: &mut Builder, l: usize, states: &[String]| {
        if stream {
            stack.state_outputs(builder, l, states, any.as_deref());
        }
    };
    let outputs = stack.write(builder, (&x, lengths.as_deref()), &mut begin, &mut end);
    Hidden { outputs, lengths, windows }
}

impl<T: Float + Element> Features<'_, T> {
    /// Returns the width of a step.
    pub(super) fn width(&self) -> usize {
        self.embedding.map_or(self.size, Embedding::embedding_dim)
    }

    /// Writes the input `name`. Returns [time, batch, features].
    pub(super) fn write(&self, builder: &mut Builder, name: &str) -> String {
        let free = [Size::Free("time"), Size::Free("batch")];
        if !self.tokens {
            builder.input(name, T::NUMBER, &[free[0], free[1], Size::Fixed(self.size)]);
            return match self.scaler {
                Some(scaler) => scaled::<T>(builder, name, scaler, ["Sub", "Div"]),
                None => name.to_owned(),
            };
        }
        builder.input(name, INT64, &free);
        if let Some(embedding) = self.embedding {
            let weight = T::value(embedding.weight().to_owned().into_dyn());
            let weight = builder.constant("embedding", weight);
            return builder.node("Gather", &[&weight, name], Vec::new());
        }
        let depth = builder.constant("tokens_count", ndarray::arr1(&[self.size as i64]));
        let values = T::value(ndarray::arr1(&[T::zero(), T::one()]).into_dyn());
        let values = builder.constant("off_and_on", values);
        builder.node("OneHot", &[name, &depth, &values], Vec::new())
    }
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
