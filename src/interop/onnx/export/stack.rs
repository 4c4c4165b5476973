//! [`Stack`]: recurrent layers as nodes.
#![expect(clippy::indexing_slicing, reason = "a stack has a layer, and a layer a direction")]

use std::any::Any;

use ndarray::{Array1, Array2, Array3, Axis};

use super::builder::{Builder, Size, int, ints, text, texts};
use super::cells::Operator;
use crate::cell::Cell;
use crate::error::{Error, Result, shaped};
use crate::float::Float;
use crate::interop::onnx::value::{Element, Value};
use crate::sequence::Recurrent;

/// Recurrent layers without the type of their cell.
pub(super) struct Stack<T> {
    /// The layers, each with its directions.
    pub(super) layers: Vec<Vec<Operator<T>>>,
    pub(super) residual: bool,
    /// The learned initial states by their names, [directions, 1, hidden].
    initial: Vec<(String, Array3<T>)>,
}

/// The values that all layers compute.
pub(super) struct Outputs {
    /// The output of the last layer, [time, batch, features].
    pub(super) h: String,
    /// The last output of the last layer of each direction, [directions, batch, hidden], unless the input
    /// of the layer was added to its output.
    pub(super) last: Option<String>,
}

/// A function that returns the initial states of a layer, [directions, batch, hidden]. Empty names stand for
/// zeros.
type Begin<'f> = dyn FnMut(&mut Builder, usize) -> Vec<String> + 'f;
/// A function that is called with the last states of a layer, [directions, batch, hidden].
type End<'f> = dyn FnMut(&mut Builder, usize, &[String]) + 'f;

impl<T: Float> Stack<T> {
    /// Reads the layers of a network. Fails if ONNX has no operator for them.
    pub(super) fn new<C: Cell<Elem = T> + 'static>(network: &Recurrent<C>) -> Result<Self> {
        refuse("zoneout", network.zoneout.is_some())?;
        let operator = |cell: &C| {
            let expected = "a cell that ONNX has: rnn, lstm, gru, peephole_lstm or coupled_lstm";
            Operator::of(cell as &dyn Any).ok_or_else(|| Error::argument("cell", expected, C::NAME))
        };
        let cells = network.cells().iter().map(operator).collect::<Result<Vec<_>>>()?;
        let directions = 1 + usize::from(network.bidirectional());
        let mut cells = cells.into_iter();
        let layer = |_| cells.by_ref().take(directions).collect();
        let layers: Vec<Vec<Operator<T>>> = (0..network.num_layers()).map(layer).collect();
        let mut initial = Vec::new();
        if let Some(state) = &network.initial {
            for l in 0..network.num_layers() {
                for name in layers[l][0].states {
                    let part = |reverse| Ok(state.part(name, l, reverse)?.insert_axis(Axis(0)));
                    let parts = [false, true].into_iter().take(directions).map(part);
                    let parts = parts.collect::<Result<Vec<_>>>()?;
                    let stacked = ndarray::concatenate(Axis(0), &parts);
                    let stacked = shaped(format!("{name}_l{l}"), stacked)?;
                    initial.push((format!("{name}_l{l}"), stacked));
                }
            }
        }
        Ok(Self { layers, residual: network.residual, initial })
    }

    /// Returns the number of directions of each layer.
    pub(super) fn directions(&self) -> usize {
        self.layers[0].len()
    }

    /// Returns the name and the width of each state of layer `l`, such as `h_l0`.
    pub(super) fn states_of(&self, l: usize) -> impl Iterator<Item = (String, usize)> + use<'_, T> {
        let operator = &self.layers[l][0];
        operator.states.iter().map(move |state| (format!("{state}_l{l}"), operator.r.ncols()))
    }

    /// Returns the names and widths of the states of all layers, in the order of the layers.
    pub(super) fn states(&self) -> Vec<(String, usize)> {
        (0..self.layers.len()).flat_map(|l| self.states_of(l)).collect()
    }

    /// Returns whether the input of layer `l` is added to its output.
    pub(super) fn adds_input(&self, l: usize) -> bool {
        self.residual && l > 0
    }
}

impl<T: Float + Element> Stack<T> {
    /// Writes all layers on the input `x` [time, batch, features].
    pub(super) fn write(
        &self,
        builder: &mut Builder,
        (x, lengths): (&str, Option<&str>),
        begin: &mut Begin<'_>,
        end: &mut End<'_>,
    ) -> Outputs {
        let mut outputs = Outputs { h: x.to_owned(), last: None };
        for (l, layer) in self.layers.iter().enumerate() {
            let initial = begin(builder, l);
            let (y, states) = recurrent(builder, l, layer, (&outputs.h, lengths, &initial));
            end(builder, l, &states);
            let adds = self.adds_input(l);
            outputs.last = states.into_iter().next().filter(|_| !adds);
            let h = &outputs.h;
            outputs.h = if adds { builder.node("Add", &[&y, h], Vec::new()) } else { y };
        }
        outputs
    }

    /// Writes the learned initial states of layer `l`, repeated for each sequence. Their names are empty if there
    /// are none.
    pub(super) fn learned(&self, builder: &mut Builder, l: usize) -> Vec<String> {
        let write = |(name, _): (String, usize)| {
            let Some((_, state)) = self.initial.iter().find(|(state, _)| *state == name) else {
                return String::new();
            };
            let value = T::value(state.clone().into_dyn());
            let state = builder.constant(&format!("initial.{name}"), value);
            let batch = builder.node("Shape", &["lengths"], Vec::new());
            let one = builder.ints(&[1]);
            let shape = builder.node("Concat", &[&one, &batch, &one], vec![int("axis", 0)]);
            builder.node("Expand", &[&state, &shape], Vec::new())
        };
        self.states_of(l).map(write).collect()
    }

    /// Adds inputs [batch, hidden] for the states of layer `l`, and returns them as [1, batch, hidden].
    pub(super) fn state_inputs(&self, builder: &mut Builder, l: usize) -> Vec<String> {
        let add = |(name, width): (String, usize)| {
            builder.input(&name, T::NUMBER, &[Size::Free("batch"), Size::Fixed(width)]);
            let axes = builder.ints(&[0]);
            builder.node("Unsqueeze", &[&name, &axes], Vec::new())
        };
        self.states_of(l).map(add).collect()
    }

    /// Adds outputs for the `states` of layer `l`, [1, batch, hidden]. They are the inputs where `any` is false:
    /// then there was no step.
    pub(super) fn state_outputs(
        &self,
        builder: &mut Builder,
        l: usize,
        states: &[String],
        any: Option<&str>,
    ) {
        for ((name, width), value) in self.states_of(l).zip(states) {
            let axes = builder.ints(&[0]);
            let mut value = builder.node("Squeeze", &[value, &axes], Vec::new());
            if let Some(any) = any {
                value = builder.node("Where", &[any, &value, &name], Vec::new());
            }
            let sizes = [Size::Free("batch"), Size::Fixed(width)];
            builder.output(&value, &format!("next_{name}"), T::NUMBER, &sizes);
        }
    }

    /// Divides states [batch, …] of all layers, which are side by side, into those of each layer, [batch, hidden].
    pub(super) fn divided(&self, builder: &mut Builder, name: &str, states: &str) -> Vec<String> {
        let widths: Vec<i64> = self.states().iter().map(|&(_, width)| width as i64).collect();
        let names: Vec<String> = (0..widths.len()).map(|k| format!("{name}_part_{k}")).collect();
        let widths = builder.ints(&widths);
        builder.nodes("Split", &[states, &widths], &names, vec![int("axis", 1)]);
        names
    }
}

/// Fails if a model has what ONNX has not.
pub(super) fn refuse(what: &'static str, is: bool) -> Result<()> {
    match is {
        true => Err(Error::argument(what, "none: ONNX has no operator for it", "some")),
        false => Ok(()),
    }
}

/// Writes one layer. Returns its output [time, batch, features] and its last states
/// [directions, batch, hidden].
#[expect(clippy::expect_used, reason = "the directions of a layer have one shape")]
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
    inputs.extend(initial.iter().map(String::as_str));
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
