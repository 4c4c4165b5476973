//! [`Seq2Seq`] as two files: the encoder, and one step of the decoder.
#![expect(clippy::indexing_slicing, reason = "a stack has a layer, and a layer a direction")]

use std::path::Path;

use ndarray::Array1;

use super::attention::{self, zeros};
use super::builder::{Builder, Size, int, ints};
use super::layers::{Features, linear};
use super::pooling::{beside, least, mean};
use super::stack::Stack;
use super::{INT32, INT64, padded, save};
use crate::cell::Cell;
use crate::error::Result;
use crate::float::{Float, per_float};
use crate::interop::onnx::value::Element;
use crate::layer::{Attention, Embedding, Linear};
use crate::model::seq2seq::parts::Parts;
use crate::model::{Bridge, Seq2Seq};

/// The number of steps of the source.
pub(super) const SOURCE: Size = Size::Free("time");

impl<T: Float, C: Cell<Elem = T> + 'static> Seq2Seq<C> {
    /// Writes the encoder as an ONNX file: the graph from sources to what the decoder reads.
    ///
    /// | input | shape | |
    /// |---|---|---|
    /// | `source` | [time, batch, features] | values; tokens [time, batch], `int64`, if there is an embedding or a vocabulary of the source |
    /// | `lengths` | \[batch\], `int32` | the number of steps of each source, at least 1 |
    ///
    /// | output | shape | |
    /// |---|---|---|
    /// | `memory` | [batch, time, memory] | the outputs of the encoder, zero in the padding; with attention |
    /// | `keys` | [batch, time, size] | W_k m + b of each row; with the scores `General`, `Additive` and `Location` |
    /// | `h_l0`, `c_l0`, `h_l1`, … | [batch, hidden] | the decoder's initial states |
    /// | `readout` | [batch, hidden] | zeros; with input feeding |
    /// | `output` | [batch, hidden] | zeros; with attention before residual layers |
    /// | `weights` | [batch, time] | zeros; with the score `Location` |
    ///
    /// Each output is the input of that name of the [decoder](Self::to_onnx_decoder). Scaling is part of the graph;
    /// vocabularies are not.
    ///
    /// # Errors
    /// If ONNX has no operator for the cell, the encoder has zoneout or layers of a user's cell, or the file cannot
    /// be written. The error names what it is.
    pub fn to_onnx_encoder(&self, path: impl AsRef<Path>) -> Result<()> {
        write(&Erased::new(self.parts())?, path.as_ref(), Side::Encoder)
    }

    /// Writes one step of the decoder as an ONNX file.
    ///
    /// | input | shape | |
    /// |---|---|---|
    /// | `tokens` | \[batch\], `int64` | the token before: first [`start`](Self::start) |
    /// | `memory`, `keys` | as from the [encoder](Self::to_onnx_encoder) | the same at each step |
    /// | `lengths` | \[batch\], `int32` | as of the encoder; with attention |
    /// | `h_l0`, `c_l0`, …, `readout`, `output`, `weights` | as from the encoder | the states |
    ///
    /// | output | shape | |
    /// |---|---|---|
    /// | `logits` | [batch, tokens] | of the token after |
    /// | `log_probabilities` | [batch, tokens] | their log softmax; −∞ of the tokens that are never decoded |
    /// | `next_` and the name of a state | as the state | its value for the next step |
    /// | `weights` | [batch, time] | of the attention, unless they are a state |
    ///
    /// A greedy decoding takes the greatest of `log_probabilities` until it is [`end`](Self::end). A beam search
    /// chooses rows of all inputs; it is outside of the graph.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("recurrent-doc-seq2seq-{}.onnx", std::process::id()));
    /// use ndarray::array;
    /// use recurrent::decode::Sampling;
    /// use recurrent::interop::onnx::{Graph, Value};
    /// use recurrent::layer::AttentionScore;
    /// use recurrent::model::Seq2Seq;
    /// use recurrent::prelude::*;
    ///
    /// let mut rng = ChaCha8Rng::seed_from_u64(1);
    /// let builder = Seq2Seq::<GruCell<f32>>::builder(9, 8, 0, 1).embedding_dim(4).hidden_size(6);
    /// let model = builder.attention(AttentionScore::Dot).build(&mut rng)?;
    /// model.to_onnx_encoder(&path)?;
    /// let encoder = Graph::load(&path)?; // or onnxruntime.InferenceSession(path)
    /// model.to_onnx_decoder(&path)?;
    /// let decoder = Graph::load(&path)?;
    ///
    /// let lengths = || Value::from(array![3_i32]);
    /// let source = array![[4_i64], [2], [7]]; // [time, batch]
    /// let encoded = encoder.run(&[("source", source.into()), ("lengths", lengths())])?;
    /// let mut stream = decoder.stream(&[("h_l0", "next_h_l0")], &[("h_l0", encoded["h_l0"].clone())])?;
    /// let (mut token, mut tokens) = (model.start(), Vec::new());
    /// while tokens.len() < 5 {
    ///     let memory = ("memory", encoded["memory"].clone());
    ///     let outputs = stream.step(&[("tokens", array![token as i64].into()), memory, ("lengths", lengths())])?;
    ///     let scores = outputs["log_probabilities"].array::<f32>()?;
    ///     token = (0..8).reduce(|best, k| if scores[[0, k]] > scores[[0, best]] { k } else { best }).unwrap();
    ///     if token == model.end() {
    ///         break;
    ///     }
    ///     tokens.push(token);
    /// }
    /// let source = Sequences::one_hot_from_list(&[vec![4, 2, 7]], 9)?;
    /// assert_eq!(tokens, model.generate(&source, 5, &Sampling::greedy(), &mut rng)?[0]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`to_onnx_encoder`](Self::to_onnx_encoder), about the decoder.
    pub fn to_onnx_decoder(&self, path: impl AsRef<Path>) -> Result<()> {
        write(&Erased::new(self.parts())?, path.as_ref(), Side::Decoder)
    }
}

/// The parts of an encoder-decoder without the type of its cell.
struct Erased<'m, T> {
    source: Features<'m, T>,
    encoder: Option<Stack<T>>,
    bridge: (Bridge, Option<&'m Linear<T>>),
    embedding: &'m Embedding<T>,
    decoder: Stack<T>,
    attention: Option<&'m Attention<T>>,
    combine: Option<&'m Linear<T>>,
    before: bool,
    input_feeding: bool,
    head: Option<&'m Linear<T>>,
    tied_bias: Option<&'m Array1<T>>,
    suppressed: Vec<usize>,
}

impl<'m, T: Float> Erased<'m, T> {
    fn new<C: Cell<Elem = T> + 'static>(parts: Parts<'m, C>) -> Result<Self> {
        let source = Features {
            tokens: parts.tokens,
            size: parts.source_size,
            embedding: parts.embedding,
            scaler: parts.scaler,
        };
        let stack = |name: &str, layers| Stack::new(layers).map_err(|error| error.prefixed(name));
        Ok(Self {
            source,
            encoder: parts.encoder.map(|layers| stack("encoder, ", layers)).transpose()?,
            bridge: parts.bridge,
            embedding: parts.target_embedding,
            decoder: stack("decoder, ", parts.decoder)?,
            attention: parts.attention,
            combine: parts.combine,
            before: parts.before,
            input_feeding: parts.input_feeding,
            head: parts.head,
            tied_bias: parts.tied_bias,
            suppressed: parts.suppressed,
        })
    }

    /// Returns the width of h̃.
    fn readout_size(&self) -> usize {
        self.combine.map_or_else(|| self.output_size(), Linear::output_size)
    }

    /// Returns the width of the decoder's recurrent layers.
    fn output_size(&self) -> usize {
        self.decoder.layers.last().map_or(0, |layer| layer[0].r.ncols())
    }

    /// Returns the states of the decoder besides those of its recurrent layers, with their widths.
    fn other_states(&self) -> impl Iterator<Item = (&'static str, usize)> {
        let last = self.decoder.layers.len() - 1;
        let output = self.before && self.decoder.adds_input(last);
        let states = [
            (self.input_feeding, "readout", self.readout_size()),
            (output, "output", self.output_size()),
        ];
        states.into_iter().filter(|(is, ..)| *is).map(|(_, name, width)| (name, width))
    }
}

/// One of the two graphs.
#[derive(Clone, Copy)]
enum Side {
    Encoder,
    Decoder,
}

per_float! {
    // A program that exports a model compiles none of this.
    fn write<'a, T>(model: &'a Erased<'a, T>, path: &'a Path, side: Side) -> Result<()> = write_file;
}

fn write_file<T: Float + Element>(model: &Erased<'_, T>, path: &Path, side: Side) -> Result<()> {
    let mut builder = Builder::default();
    match side {
        Side::Encoder => encoder(&mut builder, model),
        Side::Decoder => decoder(&mut builder, model),
    }
    save(builder, path)
}

/// Writes the graph of the encoder.
fn encoder<T: Float + Element>(builder: &mut Builder, model: &Erased<'_, T>) {
    let x = model.source.write(builder, "source");
    builder.input("lengths", INT32, &[Size::Free("batch")]);
    let mut finals = Vec::new();
    let memory = match &model.encoder {
        Some(stack) => {
            let mut begin = |builder: &mut Builder, l: usize| stack.learned(builder, l);
            let mut end = |_: &mut Builder, _: usize, states: &[String]| {
                finals.push(states.to_vec());
            };
            stack.write(builder, (&x, Some("lengths")), &mut begin, &mut end).h
        }
        None => padded::<T>(builder, &x, &x, "lengths"),
    };
    let batch = builder.node("Shape", &["lengths"], Vec::new());
    let sizes = |width| [Size::Free("batch"), Size::Fixed(width)];
    let initial = initial(builder, model, &memory, &finals);
    for (k, (name, width)) in model.decoder.states().into_iter().enumerate() {
        let value = match &initial {
            Some(initial) => initial[k].clone(),
            None => zero_rows::<T>(builder, &batch, width),
        };
        builder.output(&value, &name, T::NUMBER, &sizes(width));
    }
    for (name, width) in model.other_states() {
        let value = zero_rows::<T>(builder, &batch, width);
        builder.output(&value, name, T::NUMBER, &sizes(width));
    }
    let Some(attention) = model.attention else { return };
    let rows = builder.node("Transpose", &[&memory], vec![ints("perm", &[1, 0, 2])]);
    let sizes = |width| [Size::Free("batch"), SOURCE, Size::Fixed(width)];
    builder.output(&rows, "memory", T::NUMBER, &sizes(attention.memory_size()));
    if let Some(key) = attention.parts().key {
        let keys = linear(builder, "key", key, &rows);
        builder.output(&keys, "keys", T::NUMBER, &sizes(key.output_size()));
    }
    if attention.parts().location.is_some() {
        let time = builder.node("Shape", &[&memory], vec![int("start", 0), int("end", 1)]);
        let weights = zeros::<T>(builder, &[&batch, &time]);
        builder.output(&weights, "weights", T::NUMBER, &[Size::Free("batch"), SOURCE]);
    }
}

/// Writes zeros [batch, `width`].
fn zero_rows<T: Float + Element>(builder: &mut Builder, batch: &str, width: usize) -> String {
    let width = builder.ints(&[width as i64]);
    zeros::<T>(builder, &[batch, &width])
}

/// Writes the initial states of the decoder's layers, [batch, hidden], from the `memory` [time, batch, features] and
/// the last states of each layer of the encoder. Returns nothing if they are zeros.
fn initial<T: Float + Element>(
    builder: &mut Builder,
    model: &Erased<'_, T>,
    memory: &str,
    finals: &[Vec<String>],
) -> Option<Vec<String>> {
    if let (Bridge::Same, Some(_)) = (model.bridge.0, &model.encoder) {
        return Some(finals.iter().flatten().map(|state| beside(builder, state)).collect());
    }
    let bridge = model.bridge.1?;
    let summary = match &model.encoder {
        Some(_) => {
            let of_layer = |states: &Vec<String>| {
                let states = joined(builder, states, 2);
                beside(builder, &states)
            };
            let layers: Vec<String> = finals.iter().map(of_layer).collect();
            joined(builder, &layers, 1)
        }
        None => mean::<T>(builder, memory, "lengths"),
    };
    let states = linear(builder, "bridge", bridge, &summary);
    Some(model.decoder.divided(builder, "bridge", &states))
}

/// Writes `parts` joined along an axis.
fn joined(builder: &mut Builder, parts: &[String], axis: i64) -> String {
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    match names[..] {
        [one] => one.to_owned(),
        _ => builder.node("Concat", &names, vec![int("axis", axis)]),
    }
}

/// Writes the graph of a step of the decoder.
fn decoder<T: Float + Element>(builder: &mut Builder, model: &Erased<'_, T>) {
    let batch = Size::Free("batch");
    builder.input("tokens", INT64, &[batch]);
    if let Some(attention) = model.attention {
        attention::inputs(builder, attention);
    }
    for (name, width) in model.other_states() {
        builder.input(name, T::NUMBER, &[batch, Size::Fixed(width)]);
    }
    let embedding = T::value(model.embedding.weight().to_owned().into_dyn());
    let embedding = builder.constant("embedding", embedding);
    let mut parts = vec![builder.node("Gather", &[&embedding, "tokens"], Vec::new())];
    parts.extend(model.input_feeding.then(|| "readout".to_owned()));
    let mut context = None;
    if let Some(attention) = model.attention.filter(|_| model.before) {
        let query = query_before(model);
        let before = attention::context(builder, attention, &query);
        parts.push(before.clone());
        context = Some(before);
    }
    let x = joined(builder, &parts, 1);
    let time = builder.ints(&[0]);
    let x = builder.node("Unsqueeze", &[&x, &time], Vec::new());
    let stack = &model.decoder;
    let mut begin = |builder: &mut Builder, l: usize| stack.state_inputs(builder, l);
    let mut end = |builder: &mut Builder, l: usize, states: &[String]| {
        stack.state_outputs(builder, l, states, None);
    };
    let h = stack.write(builder, (&x, None), &mut begin, &mut end).h;
    let h = builder.node("Squeeze", &[&h, &time], Vec::new());
    if let Some(attention) = model.attention.filter(|_| !model.before) {
        context = Some(attention::context(builder, attention, &h));
    }
    let readout = match (model.combine, context) {
        (Some(combine), Some(context)) => {
            let both = joined(builder, &[context, h.clone()], 1);
            let sums = linear(builder, "combine", combine, &both);
            builder.node("Tanh", &[&sums], Vec::new())
        }
        _ => h.clone(),
    };
    for (name, width) in model.other_states() {
        let value = if name == "output" { &h } else { &readout };
        builder.output(value, &format!("next_{name}"), T::NUMBER, &[batch, Size::Fixed(width)]);
    }
    scores(builder, model, &embedding, &readout);
}

/// Returns the value that attention before the recurrent layers reads: their output at the step before.
fn query_before<T: Float>(model: &Erased<'_, T>) -> String {
    let last = model.decoder.layers.len() - 1;
    match model.decoder.adds_input(last) {
        true => "output".to_owned(),
        false => format!("h_l{last}"),
    }
}

/// Writes the outputs of the last layer.
fn scores<T: Float + Element>(
    builder: &mut Builder,
    model: &Erased<'_, T>,
    embedding: &str,
    readout: &str,
) {
    let tokens = model.embedding.num_embeddings();
    let logits = match (model.head, model.tied_bias) {
        (Some(head), _) => linear(builder, "head", head, readout),
        (None, bias) => {
            let weight = builder.node("Transpose", &[embedding], Vec::new());
            let logits = builder.node("MatMul", &[readout, &weight], Vec::new());
            match bias {
                None => logits,
                Some(bias) => {
                    let bias = T::value(bias.clone().into_dyn());
                    let bias = builder.constant("head.bias", bias);
                    builder.node("Add", &[&logits, &bias], Vec::new())
                }
            }
        }
    };
    let allowed = (0..tokens).map(|token| !model.suppressed.contains(&token));
    let allowed = builder.constant("allowed", Array1::from_iter(allowed));
    let p = builder.node("LogSoftmax", &[&logits], vec![int("axis", 1)]);
    let least = least::<T>(builder);
    let p = builder.node("Where", &[&allowed, &p, &least], Vec::new());
    for (name, value) in [("logits", logits), ("log_probabilities", p)] {
        let sizes = [Size::Free("batch"), Size::Fixed(tokens)];
        builder.output(&value, name, T::NUMBER, &sizes);
    }
}
