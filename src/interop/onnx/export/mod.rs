//! Models of this crate as ONNX files.

mod attention;
mod builder;
mod cells;
mod frames;
mod layers;
mod pooling;
mod seq2seq;
mod stack;

use std::path::Path;

use ndarray::Array2;
use prost::Message;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::float::{Float, per_float};
use crate::interop::onnx::arrays::PRODUCER;
use crate::interop::onnx::proto::{Model, Opset};
use crate::interop::onnx::value::{Element, Sealed};
use crate::io::atomic;
use crate::layer::stack_frames::Frames;
use crate::layer::{Linear, NonCrossing, TimePooling};
use crate::model::parts::{Kind, Parts};
use crate::model::{
    Forecaster, Scored, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
    SequenceTranscriber,
};
use crate::sequences::Sequences;
use builder::{Builder, Size, int};
use layers::{Features, Hidden, hidden, linear, scaled};
use stack::{Stack, refuse};

/// The versions of the operators and of the format of a file that is written.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

const INT32: i32 = <i32 as Sealed>::NUMBER;
const INT64: i32 = <i64 as Sealed>::NUMBER;

/// A model that can be written as an ONNX file, for onnxruntime and other programs.
///
/// It is implemented by [`SequenceClassifier`], [`SequenceRegressor`], [`SequenceTagger`], [`Forecaster`],
/// [`SequenceGenerator`] and [`SequenceTranscriber`], of the cells [`RnnCell`](crate::RnnCell),
/// [`LstmCell`](crate::LstmCell), [`GruCell`](crate::GruCell), [`PeepholeLstmCell`](crate::PeepholeLstmCell),
/// [`CoupledLstmCell`](crate::CoupledLstmCell) and [`BuiltInCell`](crate::model::BuiltInCell) with one of
/// these. The file has version 17 of the operators, and the model's element type.
/// [`Seq2Seq::to_onnx_encoder`](crate::model::Seq2Seq::to_onnx_encoder) and
/// [`Seq2Seq::to_onnx_decoder`](crate::model::Seq2Seq::to_onnx_decoder) write an encoder-decoder as two files.
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
/// | `log_probabilities` | [windows, batch, classes] | of a transcriber, zero in the padding |
/// | `output_lengths` | \[batch\], `int32` | of a transcriber: the number of windows of each sequence |
///
/// A window of a transcriber is a step of its recurrent layers, and a frame unless it has
/// [`frames`](crate::model::ModelBuilder::frames). A sequence that is shorter than a window has none. Decoding is
/// outside of the graph: [`decode::ctc`](crate::decode::ctc) takes logarithms of probabilities as logits.
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
    /// | `recent` | [recent, batch, features] | no frames, [0, batch, features]; of a transcriber with [`frames`](crate::model::ModelBuilder::frames) |
    /// | `skip` | \[1\], `int64` | 0; of a transcriber whose windows have gaps between them |
    ///
    /// `recent` are the frames that a later window may need, after scaling or embedding, and `skip` is the number of
    /// frames before the next window. A call that completes no window has no step in its output.
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
    [] SequenceTranscriber<C>;
}

/// The parts of a model without the type of its cell.
struct Erased<'m, T> {
    features: Features<'m, T>,
    frames: Option<Frames>,
    condition: Option<&'m Linear<T>>,
    stack: Stack<T>,
    pooling: Option<&'m TimePooling<T>>,
    head: &'m Linear<T>,
    order: Option<NonCrossing<T>>,
    of_outputs: Option<&'m Scaler>,
    kind: Kind,
}

impl<'m, T: Float> Erased<'m, T> {
    fn new<C: Cell<Elem = T> + 'static>(parts: Parts<'m, C>) -> Result<Self> {
        refuse("head, CRF", parts.crf)?;
        refuse("characters", parts.characters)?;
        let features = Features {
            tokens: parts.tokens,
            size: parts.recurrent.input_size() / parts.frames.unwrap_or_default().frames,
            embedding: parts.embedding,
            scaler: parts.scaler,
        };
        Ok(Self {
            features,
            frames: parts.frames,
            condition: parts.condition,
            stack: Stack::new(parts.recurrent)?,
            pooling: parts.pooling,
            head: parts.head,
            order: parts.order,
            of_outputs: parts.of_outputs,
            kind: parts.kind,
        })
    }
}

per_float! {
    // A program that exports a model compiles none of this.
    fn write<'a, T>(model: &'a Erased<'a, T>, path: &'a Path, stream: bool) -> Result<()> = write_file;
}

fn write_file<T: Float + Element>(model: &Erased<'_, T>, path: &Path, stream: bool) -> Result<()> {
    if stream && model.stack.directions() == 2 {
        let expected = "false: a stream has no direction backward in time";
        return Err(Error::argument("bidirectional", expected, true));
    }
    if stream && model.condition.is_some() {
        let expected = "none: a stream has the initial states themselves as inputs";
        return Err(Error::argument("condition", expected, "some"));
    }
    let mut builder = Builder::default();
    body(&mut builder, model, stream);
    save(builder, path)
}

/// Writes a graph to a file.
fn save(mut builder: Builder, path: &Path) -> Result<()> {
    builder.graph.name = "recurrent".to_owned();
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
    let directions = model.stack.directions();
    let mut sizes = vec![Size::Free("batch"), Size::Fixed(model.head.output_size())];
    let (pooled, axis) = match model.pooling {
        Some(pooling) if stream => {
            (pooling::running(builder, pooling, &hidden, model.head.input_size()), 1)
        }
        Some(pooling) => (pooling::whole(builder, pooling, &hidden, directions), 1),
        None => {
            sizes.insert(0, Size::Free(if model.frames.is_some() { "windows" } else { "time" }));
            (hidden.outputs.h.clone(), 2)
        }
    };
    let mut outputs = linear(builder, "head", model.head, &pooled);
    if let Some(order) = model.order {
        outputs = ordered(builder, &outputs, order.levels, model.head.output_size());
    }
    if let Some(scaler) = model.of_outputs {
        outputs = in_units::<T>(builder, &outputs, scaler, model.head.output_size());
    }
    let softmax =
        |builder: &mut Builder, op: &str| builder.node(op, &[&outputs], vec![int("axis", axis)]);
    let named = match model.kind {
        Kind::Values => {
            builder.output(&outputs, "outputs", T::NUMBER, &sizes);
            return;
        }
        Kind::Classes => {
            let p = softmax(builder, "Softmax");
            vec![("logits", outputs), ("probabilities", p)]
        }
        Kind::Alignments => vec![("log_probabilities", softmax(builder, "LogSoftmax"))],
    };
    for (name, values) in named {
        let values = match &hidden {
            Hidden { lengths: Some(lengths), outputs, .. } if axis == 2 => {
                padded::<T>(builder, &values, &outputs.h, lengths)
            }
            Hidden { windows: Some(windows), .. } => first(builder, &values, windows),
            _ => values,
        };
        builder.output(&values, name, T::NUMBER, &sizes);
    }
    if let (Kind::Alignments, Some(lengths)) = (model.kind, &hidden.lengths) {
        builder.output(lengths, "output_lengths", INT32, &[Size::Free("batch")]);
    }
}

/// Writes the first `count` steps of `values` [time, batch, width].
fn first(builder: &mut Builder, values: &str, count: &str) -> String {
    let zero = builder.ints(&[0]);
    builder.node("Slice", &[values, &zero, count, &zero], Vec::new())
}

/// Writes zeros in place of the padding of `values` [time, batch, width]. The steps are those of `h`.
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
