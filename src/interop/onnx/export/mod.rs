//! Models of this crate as ONNX files.

mod builder;
mod cells;
mod layers;
mod pooling;

use std::any::Any;
use std::path::Path;

use ndarray::{Array2, Axis};
use prost::Message;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::interop::onnx::arrays::PRODUCER;
use crate::interop::onnx::proto::{Model, Opset};
use crate::interop::onnx::value::{Element, Sealed};
use crate::io::atomic;
use crate::layer::{Embedding, Linear, NonCrossing, TimePooling};
use crate::model::parts::Parts;
use crate::model::{
    Forecaster, Scored, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
};
use crate::sequences::Sequences;
use builder::{Builder, Size, int};
use cells::Operator;
use layers::{Hidden, Initial, hidden, linear, scaled};

/// The versions of the operators and of the format of a file that is written.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

const INT32: i32 = <i32 as Sealed>::NUMBER;
const INT64: i32 = <i64 as Sealed>::NUMBER;

/// A model that can be written as an ONNX file, for onnxruntime and other programs.
///
/// It is implemented by [`SequenceClassifier`], [`SequenceRegressor`], [`SequenceTagger`], [`Forecaster`] and
/// [`SequenceGenerator`], of the cells [`RnnCell`](crate::RnnCell), [`LstmCell`](crate::LstmCell),
/// [`GruCell`](crate::GruCell), [`PeepholeLstmCell`](crate::PeepholeLstmCell),
/// [`CoupledLstmCell`](crate::CoupledLstmCell) and [`BuiltInCell`](crate::model::BuiltInCell) with one of
/// these. The file has version 17 of the operators, and the model's element type.
///
/// | input | shape | |
/// |---|---|---|
/// | `x` | [time, batch, features] | values, if the model reads values |
/// | `tokens` | [time, batch], `int64` | tokens, if it has an embedding or a vocabulary, or is a generator |
/// | `lengths` | \[batch\], `int32` | the number of steps of each sequence, at least 1 |
/// | `condition` | [batch, condition] | of a generator with a condition |
///
/// | output | shape | |
/// |---|---|---|
/// | `logits`, `probabilities` | [batch, classes] | of a classifier |
/// | `logits`, `probabilities` | [time, batch, classes] | of a tagger, zero in the padding |
/// | `logits`, `probabilities` | [time, batch, tokens] | of a generator: of the token after each one |
/// | `outputs` | [batch, outputs] | of a regressor or forecaster, in the units of its data |
///
/// `time` and `batch` are free. Scaling is part of the graph; vocabularies and labels are not.
pub trait Export {
    /// Writes the model, which reads whole sequences.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-export-{}.onnx", std::process::id()));
    /// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    /// use recurrent::interop::onnx::{Export, Graph};
    /// use recurrent::{GruCell, model::SequenceClassifier};
    ///
    /// let builder = SequenceClassifier::<GruCell<f32>>::builder(12, 9).bidirectional(true);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// model.to_onnx(&path)?;
    ///
    /// let graph = Graph::load(&path)?; // or onnxruntime.InferenceSession(path)
    /// assert!(graph.inputs().eq(["x", "lengths"]));
    /// assert!(graph.outputs().eq(["logits", "probabilities"]));
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If ONNX has no operator for the cell, the model has zoneout, a CRF, characters or layers of a user's
    /// cell, or the file cannot be written. The error names what it is.
    fn to_onnx(&self, path: impl AsRef<Path>) -> Result<()>;

    /// Writes the model as a stream: a graph of one or more steps of each sequence, without `lengths` and
    /// `condition`. The states are inputs, and the outputs of the same names after `next_` are their values
    /// for the next call.
    ///
    /// | state | shape | first value |
    /// |---|---|---|
    /// | `h_l0`, `c_l0`, `h_l1`, … | [batch, hidden] | 0, or what the model's initial states are |
    /// | `sum`, `count` | [batch, features], [batch, 1] | 0; of [`Pooling::Mean`](crate::layer::Pooling::Mean) |
    /// | `most` | [batch, features] | −∞; of [`Pooling::Max`](crate::layer::Pooling::Max) |
    /// | `sum`, `weight`, `score` | [batch, features], [batch, 1], [batch, 1] | 0, 0, −∞; of [`Pooling::Attention`](crate::layer::Pooling::Attention) |
    ///
    /// [`Graph::stream`](super::Graph::stream) has an example.
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx); also if the model is bidirectional or has a condition.
    fn to_onnx_stream(&self, path: impl AsRef<Path>) -> Result<()>;
}

/// Implements [`Export`] for a model, with the bounds of its loss.
macro_rules! export {
    ($([$($loss:tt)*] $model:ty;)+) => {$(
        impl<T: Float, C: Cell<Elem = T> + 'static, $($loss)*> Export for $model {
            fn to_onnx(&self, path: impl AsRef<Path>) -> Result<()> {
                write(&Erased::new(self.parts())?, path.as_ref(), false)
            }

            fn to_onnx_stream(&self, path: impl AsRef<Path>) -> Result<()> {
                write(&Erased::new(self.parts())?, path.as_ref(), true)
            }
        }
    )+};
}

export! {
    [L: Scored<Array2<T>, Target = Vec<usize>>] SequenceClassifier<C, L>;
    [L: Scored<Array2<T>, Target = Array2<T>>] SequenceRegressor<C, L>;
    [L: Scored<Array2<T>, Target = Array2<T>>] Forecaster<C, L>;
    [L: Scored<Sequences<T>, Target = Array2<usize>>] SequenceTagger<C, L>;
    [] SequenceGenerator<C>;
}

/// The parts of a model without the type of its cell.
struct Erased<'m, T> {
    input_size: usize,
    tokens: bool,
    embedding: Option<&'m Embedding<T>>,
    scaler: Option<&'m Scaler>,
    condition: Option<&'m Linear<T>>,
    /// The layers, each with its directions.
    layers: Vec<Vec<Operator<T>>>,
    residual: bool,
    initial: Initial<T>,
    pooling: Option<&'m TimePooling<T>>,
    head: &'m Linear<T>,
    order: Option<NonCrossing<T>>,
    of_outputs: Option<&'m Scaler>,
    classes: bool,
}

impl<'m, T: Float> Erased<'m, T> {
    fn new<C: Cell<Elem = T> + 'static>(parts: Parts<'m, C>) -> Result<Self> {
        let network = parts.recurrent;
        let refuse = |what: &'static str, is: bool| match is {
            true => Err(Error::argument(what, "none: ONNX has no operator for it", "some")),
            false => Ok(()),
        };
        refuse("head, CRF", parts.crf)?;
        refuse("characters", parts.characters)?;
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
        let mut initial = Initial::new();
        if let Some(state) = &network.initial {
            for l in 0..network.num_layers() {
                for name in layers[l][0].states {
                    let part = |reverse| Ok(state.part(name, l, reverse)?.insert_axis(Axis(0)));
                    let parts = [false, true].into_iter().take(directions).map(part);
                    let parts = parts.collect::<Result<Vec<_>>>()?;
                    let stacked = ndarray::concatenate(Axis(0), &parts);
                    let stacked = stacked.expect("directions of one shape");
                    initial.push((format!("{name}_l{l}"), stacked));
                }
            }
        }
        Ok(Self {
            input_size: network.input_size(),
            tokens: parts.tokens,
            embedding: parts.embedding,
            scaler: parts.scaler,
            condition: parts.condition,
            layers,
            residual: network.residual,
            initial,
            pooling: parts.pooling,
            head: parts.head,
            order: parts.order,
            of_outputs: parts.of_outputs,
            classes: parts.classes,
        })
    }
}

per_float! {
    // A program that exports a model compiles none of this.
    fn write<'a, T>(model: &'a Erased<'a, T>, path: &'a Path, stream: bool) -> Result<()> = write_file;
}

fn write_file<T: Float + Element>(model: &Erased<'_, T>, path: &Path, stream: bool) -> Result<()> {
    if stream && model.layers[0].len() == 2 {
        let expected = "false: a stream has no direction backward in time";
        return Err(Error::argument("bidirectional", expected, true));
    }
    if stream && model.condition.is_some() {
        let expected = "none: a stream has the initial states themselves as inputs";
        return Err(Error::argument("condition", expected, "some"));
    }
    let mut builder = Builder::default();
    builder.graph.name = "recurrent".to_owned();
    body(&mut builder, model, stream);
    let file = Model {
        ir_version: IR_VERSION,
        producer_name: PRODUCER.to_owned(),
        graph: Some(builder.graph),
        opset_import: vec![Opset { domain: String::new(), version: OPSET }],
        ..Model::default()
    };
    atomic::write(path, &file.encode_to_vec())
}

/// Writes all nodes of a model.
fn body<T: Float + Element>(builder: &mut Builder, model: &Erased<'_, T>, stream: bool) {
    let hidden = hidden(builder, model, stream);
    let directions = model.layers[0].len();
    let mut sizes = vec![Size::Free("batch"), Size::Fixed(model.head.output_size())];
    let (pooled, axis) = match model.pooling {
        Some(pooling) if stream => {
            (pooling::running(builder, pooling, &hidden, model.head.input_size()), 1)
        }
        Some(pooling) => (pooling::whole(builder, pooling, &hidden, directions), 1),
        None => {
            sizes.insert(0, Size::Free("time"));
            (hidden.h.clone(), 2)
        }
    };
    let mut outputs = linear(builder, "head", model.head, &pooled);
    if let Some(order) = model.order {
        outputs = ordered(builder, &outputs, order.levels, model.head.output_size());
    }
    if let Some(scaler) = model.of_outputs {
        outputs = in_units::<T>(builder, &outputs, scaler, model.head.output_size());
    }
    if !model.classes {
        builder.output(&outputs, "outputs", T::NUMBER, &sizes);
        return;
    }
    let p = builder.node("Softmax", &[&outputs], vec![int("axis", axis)]);
    for (name, values) in [("logits", outputs), ("probabilities", p)] {
        let values = match &hidden {
            Hidden { lengths: Some(lengths), h, .. } if axis == 2 => {
                padded::<T>(builder, &values, h, lengths)
            }
            _ => values,
        };
        builder.output(&values, name, T::NUMBER, &sizes);
    }
}

/// Writes zeros in place of the padding of `values` [time, batch, width].
fn padded<T: Float + Element>(
    builder: &mut Builder,
    values: &str,
    h: &str,
    lengths: &str,
) -> String {
    let mask = pooling::alive(builder, h, lengths);
    let axes = builder.ints(&[2]);
    let mask = builder.node("Unsqueeze", &[&mask, &axes], Vec::new());
    let zero = builder.constant("zero", T::value(ndarray::arr0(T::zero()).into_dyn()));
    builder.node("Where", &[&mask, values, &zero], Vec::new())
}

/// Writes quantiles that do not cross: the first of `levels`, and the sums of steps that are not negative.
fn ordered(builder: &mut Builder, x: &str, levels: usize, width: usize) -> String {
    if levels == 1 {
        return x.to_owned();
    }
    let shape = builder.ints(&[0, -1, levels as i64]);
    let x = builder.node("Reshape", &[x, &shape], Vec::new());
    let parts = ["lowest".to_owned(), "steps".to_owned()];
    let sizes = builder.ints(&[1, levels as i64 - 1]);
    builder.nodes("Split", &[&x, &sizes], &parts, vec![int("axis", 2)]);
    let steps = builder.node("Softplus", &["steps"], Vec::new());
    let all = builder.node("Concat", &["lowest", &steps], vec![int("axis", 2)]);
    let axis = builder.constant("axis", ndarray::arr0(2_i64));
    let sums = builder.node("CumSum", &[&all, &axis], Vec::new());
    let shape = builder.ints(&[0, width as i64]);
    builder.node("Reshape", &[&sums, &shape], Vec::new())
}

/// Writes outputs in the units of the data. The scaler has the features of each step.
fn in_units<T: Float + Element>(
    builder: &mut Builder,
    x: &str,
    scaler: &Scaler,
    width: usize,
) -> String {
    let shape = builder.ints(&[0, -1, scaler.features() as i64]);
    let x = builder.node("Reshape", &[x, &shape], Vec::new());
    let x = scaled::<T>(builder, &x, scaler, ["Mul", "Add"]);
    let shape = builder.ints(&[0, width as i64]);
    builder.node("Reshape", &[&x, &shape], Vec::new())
}
