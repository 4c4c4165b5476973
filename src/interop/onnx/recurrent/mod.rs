//! The recurrent operators: LSTM, GRU and RNN.
//!
//! A node whose settings are those of one of this crate's cells runs on the engine (`cells`), any other on a
//! plain loop over the steps (`steps`). The weights are read once, with the file, if they are constants.

mod activation;
mod arrays;
mod cells;
mod steps;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use ndarray::{
    Array, Array1, Array2, Array3, ArrayD, ArrayView3, Axis, Dimension, Ix2, Ix3, RemoveAxis,
};

use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::interop::onnx::attributes::Attributes;
use crate::interop::onnx::operator::Inputs;
use crate::interop::onnx::value::{Element, Value};

pub(super) use activation::Activation;
use cells::{Cells, Runner};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Rnn,
    Gru,
    Lstm,
}

impl Kind {
    /// Returns the number of gates.
    fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// Returns the names of the default activations.
    fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru => &["Sigmoid", "Tanh"],
            Self::Lstm => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// The settings of one direction.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    activations: Vec<Activation>,
    clip: Option<f64>,
    linear_before_reset: bool,
    input_forget: bool,
}

/// The weights of one direction, with the gates in the order of ONNX.
#[derive(Debug)]
struct Direction<T> {
    /// W [gates·hidden, input].
    w: Array2<T>,
    /// R [gates·hidden, hidden].
    r: Array2<T>,
    w_bias: Array1<T>,
    r_bias: Array1<T>,
    /// The peepholes of the input, output and forget gate.
    peepholes: Option<Array1<T>>,
}

/// The output [time, batch, hidden] and the last states [batch, hidden] of one direction.
struct Results<T> {
    output: Array3<T>,
    h: Array2<T>,
    c: Option<Array2<T>>,
}

/// The networks of both directions.
#[derive(Debug)]
enum Networks {
    F32(Vec<Cells<f32>>),
    F64(Vec<Cells<f64>>),
}

/// The packed weights of a node, by its directions.
#[derive(Debug)]
enum Packed<'g> {
    F32(Vec<Runner<'g, f32>>),
    F64(Vec<Runner<'g, f64>>),
}

impl<'g> Packed<'g> {
    fn new(networks: &'g Networks) -> Self {
        match networks {
            Networks::F32(cells) => Self::F32(cells.iter().map(Runner::new).collect()),
            Networks::F64(cells) => Self::F64(cells.iter().map(Runner::new).collect()),
        }
    }
}

/// The packed weights of the recurrent nodes of a graph, by the index of the node.
#[derive(Debug, Default)]
pub(super) struct Memory<'g>(HashMap<usize, Packed<'g>>);

impl<'g> Memory<'g> {
    /// Returns the packed weights of the networks of node `index`.
    fn of(&mut self, index: usize, networks: &'g Networks) -> &mut Packed<'g> {
        self.0.entry(index).or_insert_with(|| Packed::new(networks))
    }
}

/// A recurrent node.
#[derive(Debug)]
pub(super) struct Node {
    kind: Kind,
    /// For each direction its settings, and whether it is backward in time.
    directions: Vec<(Settings, bool)>,
    hidden_size: Option<usize>,
    batch_first: bool,
    networks: Option<Networks>,
}

impl Node {
    /// Reads a node, if `op` is a recurrent operator.
    pub(super) fn new(op: &str, attributes: &mut Attributes) -> Result<Option<Self>> {
        let kind = match op {
            "RNN" => Kind::Rnn,
            "GRU" => Kind::Gru,
            "LSTM" => Kind::Lstm,
            _ => return Ok(None),
        };
        let directions = attributes.string("direction")?;
        let reverse: &[bool] = match directions.as_deref().unwrap_or("forward") {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => {
                return Err(Error::argument(
                    "direction",
                    "forward, reverse or bidirectional",
                    other,
                ));
            }
        };
        let settings = Settings {
            activations: Vec::new(),
            clip: attributes.float("clip")?.filter(|&clip| clip != 0.0),
            linear_before_reset: kind == Kind::Gru && attributes.flag("linear_before_reset")?,
            input_forget: kind == Kind::Lstm && attributes.flag("input_forget")?,
        };
        if settings.clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
            return Err(Error::argument("clip", "a positive number", settings.clip.unwrap_or(0.0)));
        }
        let activations = activations(kind, reverse.len(), attributes)?;
        let of = |(activations, &reverse): (&[Activation], &bool)| {
            (Settings { activations: activations.to_vec(), ..settings.clone() }, reverse)
        };
        let of_directions = activations.chunks(kind.activations().len()).zip(reverse);
        let hidden_size =
            attributes.int("hidden_size")?.map(|size| usize::try_from(size).unwrap_or(0));
        let batch_first = attributes.opset >= 14 && attributes.flag("layout")?;
        let directions = of_directions.map(of).collect();
        Ok(Some(Self { kind, directions, hidden_size, batch_first, networks: None }))
    }

    pub(super) fn input_counts(&self) -> RangeInclusive<usize> {
        3..=if self.kind == Kind::Lstm { 8 } else { 6 }
    }

    pub(super) fn output_count(&self) -> usize {
        if self.kind == Kind::Lstm { 3 } else { 2 }
    }

    /// Returns whether input `index` is one of the weights.
    pub(super) fn is_weight(&self, index: usize) -> bool {
        [1, 2, 3, 7].contains(&index)
    }

    /// Builds the networks, if all weights that the node has are among `constants` and have no more than `budget`
    /// bytes, which is reduced by them. Returns whether it did.
    #[expect(clippy::indexing_slicing, reason = "the index is below the number of inputs")]
    pub(super) fn build(
        &mut self,
        constants: &[Option<&Value>],
        given: &[bool],
        budget: &mut usize,
    ) -> Result<bool> {
        let inputs = Inputs { values: constants, limit: usize::MAX };
        let weights = (0..given.len()).filter(|&index| self.is_weight(index) && given[index]);
        let mut bytes = 0_usize;
        for index in weights {
            let Some(value) = inputs.get(index) else { return Ok(false) };
            bytes = bytes.saturating_add(value.bytes());
        }
        // Many nodes may share the weights of a small file.
        let Some(left) = budget.checked_sub(bytes) else { return Ok(false) };
        *budget = left;
        self.networks = Some(self.networks_of(&inputs)?);
        Ok(true)
    }

    fn networks_of(&self, inputs: &Inputs<'_>) -> Result<Networks> {
        match inputs.need(1)? {
            Value::F32(_) => self.cells(inputs).map(Networks::F32),
            Value::F64(_) => self.cells(inputs).map(Networks::F64),
            value => Err(Error::argument("W, element type", "f32 or f64", value.kind())),
        }
    }

    /// Returns the networks of the weights among the inputs.
    fn cells<T: Float + Element>(&self, inputs: &Inputs<'_>) -> Result<Vec<Cells<T>>> {
        let array = |index: usize| inputs.get(index).map(Value::array::<T>).transpose();
        let (w, r) = (inputs.need(1)?.array::<T>()?, inputs.need(2)?.array::<T>()?);
        let hidden = r.shape().last().copied().unwrap_or(0);
        let (count, rows) = (self.directions.len(), self.kind.gates().saturating_mul(hidden));
        check_shape("R", "directions, gates·hidden, hidden", &[count, rows, hidden], r.shape())?;
        let input = w.shape().last().copied().unwrap_or(0);
        check_shape("W", "directions, gates·hidden, input", &[count, rows, input], w.shape())?;
        if let Some(declared) = self.hidden_size
            && declared != hidden
        {
            return Err(Error::argument("hidden_size", format!("{hidden}, that of R"), declared));
        }
        let (bias, peepholes) = (array(3)?, array(7)?);
        if let Some(bias) = bias {
            check_shape("B", "directions, 2·gates·hidden", &[count, 2 * rows], bias.shape())?;
        }
        if let Some(peepholes) = peepholes {
            check_shape("P", "directions, 3·hidden", &[count, 3 * hidden], peepholes.shape())?;
        }
        let of = |(d, (settings, _)): (usize, &(Settings, bool))| {
            let matrix = |array: &ArrayD<T>| part::<T, Ix2>(array, d);
            let vector = |array: &ArrayD<T>| part::<T, ndarray::Ix1>(array, d);
            let biases = match bias {
                Some(bias) => vector(bias)?,
                None => Array1::zeros(2 * rows),
            };
            let (w_bias, r_bias) = biases.view().split_at(Axis(0), rows);
            let direction = Direction {
                w: matrix(w)?,
                r: matrix(r)?,
                w_bias: w_bias.to_owned(),
                r_bias: r_bias.to_owned(),
                peepholes: peepholes.map(vector).transpose()?,
            };
            Cells::new(self.kind, settings, direction)
        };
        self.directions.iter().enumerate().map(of).collect()
    }

    /// Computes Y, Y_h and, of an LSTM, Y_c. The memory of the packed weights is that of node `index`.
    pub(super) fn run<'g>(
        &'g self,
        inputs: &Inputs<'_>,
        memory: &mut Memory<'g>,
        index: usize,
    ) -> Result<Vec<Value>> {
        match &self.networks {
            Some(networks) => self.run_packed(inputs, memory.of(index, networks)),
            None => self.run_packed(inputs, &mut Packed::new(&self.networks_of(inputs)?)),
        }
    }

    fn run_packed(&self, inputs: &Inputs<'_>, packed: &mut Packed<'_>) -> Result<Vec<Value>> {
        match packed {
            Packed::F32(runners) => self.forward(inputs, runners),
            Packed::F64(runners) => self.forward(inputs, runners),
        }
    }

    fn forward<T: Float + Element>(
        &self,
        inputs: &Inputs<'_>,
        runners: &mut [Runner<'_, T>],
    ) -> Result<Vec<Value>> {
        let x = inputs.need(0)?.array::<T>()?;
        let x = x
            .view()
            .into_dimensionality::<Ix3>()
            .map_err(|_| Error::argument("X", "three axes", format!("shape {:?}", x.shape())))?;
        let x = if self.batch_first { x.permuted_axes([1, 0, 2]) } else { x };
        let x = x.as_standard_layout();
        let (time, batch, _) = x.dim();
        let (count, hidden) = (runners.len(), runners.first().map_or(0, Runner::hidden_size));
        let input = runners.first().map_or(0, Runner::input_size);
        check_shape("X", "time, batch, input", &[time, batch, input], x.shape())?;
        inputs.check(&[time, count, batch, hidden])?;
        let lengths = lengths(inputs.get(4), time, batch)?;
        let initial = [(5, "initial_h"), (6, "initial_c")].map(|(index, name)| {
            inputs.get(index).map(|value| self.states(name, value, [count, batch, hidden]))
        });
        let [h_0, c_0] = initial.map(Option::transpose);
        let (h_0, c_0) = (h_0?, c_0?);
        let mut of_directions = Vec::with_capacity(count);
        for (d, (runner, (_, reverse))) in runners.iter_mut().zip(&self.directions).enumerate() {
            let states = [h_0, c_0].map(|s| s.map(|s| s.index_axis_move(Axis(0), d)));
            of_directions.push(if *reverse {
                let x = reversed(x.view(), &lengths);
                let mut results = runner.forward(x.view(), &lengths, states)?;
                results.output = reversed(results.output.view(), &lengths);
                results
            } else {
                runner.forward(x.view(), &lengths, states)?
            });
        }
        Ok(self.outputs(of_directions))
    }

    /// Returns the values of the outputs from the results of all directions.
    fn outputs<T: Float + Element>(&self, of_directions: Vec<Results<T>>) -> Vec<Value> {
        let (mut y, mut h, mut c) = (Vec::new(), Vec::new(), Vec::new());
        for results in of_directions {
            y.push(results.output.insert_axis(Axis(1)));
            h.push(results.h.insert_axis(Axis(0)));
            c.extend(results.c.map(|c| c.insert_axis(Axis(0))));
        }
        let mut output = joined(y, Axis(1));
        let mut last = [joined(h, Axis(0)), joined(c, Axis(0))];
        if self.batch_first {
            output = output.permuted_axes([2, 0, 1, 3]).as_standard_layout().into_owned();
            last = last.map(|s| s.permuted_axes([1, 0, 2]).as_standard_layout().into_owned());
        }
        let values = [T::value(output.into_dyn())].into_iter();
        let states = last.into_iter().map(|state| T::value(state.into_dyn()));
        values.chain(states).take(self.output_count()).collect()
    }

    /// Returns initial states as [directions, batch, hidden].
    fn states<'v, T: Element>(
        &self,
        name: &'static str,
        value: &'v Value,
        [count, batch, hidden]: [usize; 3],
    ) -> Result<ArrayView3<'v, T>> {
        let array = value.array::<T>()?;
        let (expected, axes) = match self.batch_first {
            true => ([batch, count, hidden], "batch, directions, hidden"),
            false => ([count, batch, hidden], "directions, batch, hidden"),
        };
        check_shape(name, axes, &expected, array.shape())?;
        let states = array.view().into_dimensionality::<Ix3>();
        let states = states.map_err(|error| Error::argument(name, "three axes", error))?;
        Ok(if self.batch_first { states.permuted_axes([1, 0, 2]) } else { states })
    }
}

/// Returns the parts of all directions joined along an axis.
#[expect(clippy::expect_used, reason = "the shapes of the directions were compared")]
fn joined<T: Float, D: RemoveAxis>(mut parts: Vec<Array<T, D>>, axis: Axis) -> Array<T, D> {
    match parts.len() {
        0 => Array::default(D::zeros(D::NDIM.unwrap_or_default())),
        1 => parts.swap_remove(0),
        _ => {
            let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
            ndarray::concatenate(axis, &views).expect("directions of one shape")
        }
    }
}

/// Returns the part of the weights of direction `d`.
fn part<T: Float, D: Dimension>(array: &ArrayD<T>, d: usize) -> Result<ndarray::Array<T, D>> {
    let part = array.index_axis(Axis(0), d).as_standard_layout().into_owned();
    part.into_dimensionality().map_err(|error| Error::argument("weights", "a shape", error))
}

/// Returns the activations of all directions.
fn activations(
    kind: Kind,
    directions: usize,
    attributes: &mut Attributes,
) -> Result<Vec<Activation>> {
    let default = || kind.activations().iter().map(|&name| name.to_owned());
    let names = attributes.strings("activations")?;
    let names = names
        .unwrap_or_else(|| default().cycle().take(kind.activations().len() * directions).collect());
    if names.len() != kind.activations().len() * directions {
        let expected = kind.activations().len() * directions;
        return Err(Error::argument("activations", expected, names.len()));
    }
    // Each list is read in the order of the functions that have such a number.
    let mut alphas = attributes.floats("activation_alpha")?.unwrap_or_default().into_iter();
    let mut betas = attributes.floats("activation_beta")?.unwrap_or_default().into_iter();
    let mut activations = Vec::new();
    for name in names {
        let alpha = if Activation::has_alpha(&name) { alphas.next() } else { None };
        let beta = if Activation::has_beta(&name) { betas.next() } else { None };
        activations.push(Activation::new(&name, alpha.map(f64::from), beta.map(f64::from))?);
    }
    if let Some(rest) = alphas.chain(betas).next() {
        let expected = "no more numbers than the functions have";
        return Err(Error::argument("activation_alpha and activation_beta", expected, rest));
    }
    Ok(activations)
}

fn lengths(value: Option<&Value>, time: usize, batch: usize) -> Result<Vec<usize>> {
    let Some(value) = value else { return Ok(vec![time; batch]) };
    let lengths = value.integers()?;
    check_shape("sequence_lens", "batch", &[batch], value.shape())?;
    let length = |&length: &i64| usize::try_from(length).ok().filter(|&length| length <= time);
    let all: Option<Vec<usize>> = lengths.iter().map(length).collect();
    all.ok_or_else(|| {
        Error::argument("sequence_lens", format!("0 to {time}"), format!("{lengths:?}"))
    })
}

/// Returns `x` [time, batch, width] with the steps of each sequence in reverse, and zeros in the padding.
fn reversed<T: Float>(x: ArrayView3<'_, T>, lengths: &[usize]) -> Array3<T> {
    let mut reversed = Array3::zeros(x.dim());
    for (t, mut step) in reversed.outer_iter_mut().enumerate() {
        for (b, &length) in lengths.iter().enumerate().filter(|&(_, &length)| t < length) {
            step.row_mut(b).assign(&x.index_axis(Axis(0), length - 1 - t).row(b));
        }
    }
    reversed
}
