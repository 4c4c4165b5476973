//! [`KerasStream`]: a chain that reads its sequences step by step.

use ndarray::{Array2, ArrayView1, ArrayView2};

use super::layer::{KerasLayer, KerasOutput};
use super::recurrent::KerasRecurrent;
use crate::arrays::views;
use crate::cell::Cell;
use crate::error::{Error, Result, check_shape};
use crate::layer::Embedding;
use crate::sequence::Stream;

/// A model of Keras that is run step by step, created by [`KerasModel::stream`](super::KerasModel::stream).
///
/// The output after each step is what [`predict`](super::KerasModel::predict) returns for the steps so far, or its last
/// step, with the same bits.
pub struct KerasStream<'m> {
    batch: usize,
    input: Input<'m>,
    /// The `Masking` layers, each with its value.
    masks: Vec<(&'m str, f32)>,
    /// The other layers with their names.
    layers: Vec<(&'m str, Step<'m>)>,
}

#[derive(Clone, Copy)]
enum Input<'m> {
    /// Features, of a width that no layer tells.
    Any,
    Features(usize),
    /// Tokens; true if token 0 is padding.
    Tokens(&'m str, &'m Embedding<f32>, bool),
}

enum Step<'m> {
    Recurrent(Stream<'m, f32>),
    Rows(&'m KerasLayer),
}

impl<'m> KerasStream<'m> {
    pub(super) fn new(
        layers: impl Iterator<Item = (&'m str, &'m KerasLayer)>,
        batch: usize,
    ) -> Result<Self> {
        let mut stream = Self { batch, input: Input::Any, masks: Vec::new(), layers: Vec::new() };
        let mut width = None;
        for (name, layer) in layers {
            let first = width.is_none();
            let (input, output) = sizes(layer);
            if let (Some(width), Some(input)) = (width, input) {
                check_shape(format!("{name}: input"), "features", &[input], &[width])?;
            }
            width = output.or(width);
            match layer {
                KerasLayer::Embedding { embedding, mask_zero } if first => {
                    stream.input = Input::Tokens(name, embedding, *mask_zero);
                    continue;
                }
                KerasLayer::Masking(value) if first => {
                    stream.masks.push((name, *value));
                    continue;
                }
                KerasLayer::Embedding { .. } | KerasLayer::Masking(_) => {
                    let expected = "the input of the model, for a stream";
                    let got = "the output of a layer";
                    return Err(Error::argument(format!("{name}: input"), expected, got));
                }
                _ => {}
            }
            if let (true, Some(input)) = (first, input) {
                stream.input = Input::Features(input);
            }
            let step = Step::new(layer, batch);
            let step = step.map_err(|error| error.prefixed(&format!("{name}: ")))?;
            stream.layers.push((name, step));
        }
        Ok(stream)
    }

    /// Computes one step, from `x_t` [batch, features] to the output [batch, outputs].
    ///
    /// # Errors
    /// If the model reads tokens, the shape of `x_t` does not fit, or a `Masking` layer would hide the step of
    /// a sequence. The state is then unchanged.
    pub fn step(&mut self, x_t: ArrayView2<'_, f32>) -> Result<Array2<f32>> {
        let features = match self.input {
            Input::Any => x_t.ncols(),
            Input::Features(features) => features,
            Input::Tokens(name, ..) => {
                let expected = "tokens, by step_tokens";
                return Err(Error::argument(format!("{name}: x_t"), expected, "features"));
            }
        };
        check_shape("x_t", "batch, features", &[self.batch, features], x_t.shape())?;
        for (name, value) in &self.masks {
            let masked = |row: ArrayView1<'_, f32>| row.iter().all(|x| x == value);
            if let Some(b) = x_t.rows().into_iter().position(masked) {
                let (expected, got) =
                    ("a step without a mask", format!("{value} in all of row {b}"));
                return Err(Error::argument(format!("{name}: x_t"), expected, got));
            }
        }
        self.advance(x_t.to_owned())
    }

    /// Computes one step of a model with an `Embedding`, from a token of each sequence to the output [batch, outputs].
    ///
    /// # Errors
    /// If the model reads features, there is not one token for each sequence, or one is not less than the number of
    /// vectors, or is the padding 0 of `mask_zero`. The state is then unchanged.
    pub fn step_tokens(&mut self, tokens: &[usize]) -> Result<Array2<f32>> {
        let Input::Tokens(name, embedding, mask_zero) = self.input else {
            return Err(Error::argument("tokens", "features, by step", "tokens"));
        };
        if tokens.len() != self.batch {
            let expected = format!("{} tokens, one for each sequence", self.batch);
            return Err(Error::argument("tokens", expected, tokens.len()));
        }
        let (least, most) = (usize::from(mask_zero), embedding.num_embeddings());
        if let Some(token) = tokens.iter().find(|&token| !(least..most).contains(token)) {
            let expected = format!("at least {least} and less than {most}");
            return Err(Error::argument(format!("{name}: tokens"), expected, token));
        }
        self.advance(embedding.weight().select(ndarray::Axis(0), tokens))
    }

    /// Returns a second stream that continues from the same state.
    pub fn fork(&self) -> Self {
        let step = |step: &Step<'m>| match step {
            Step::Recurrent(stream) => Step::Recurrent(stream.fork()),
            Step::Rows(layer) => Step::Rows(layer),
        };
        let layers = self.layers.iter().map(|(name, of_layer)| (*name, step(of_layer))).collect();
        Self { batch: self.batch, input: self.input, masks: self.masks.clone(), layers }
    }

    /// Computes one step of all layers. The widths of the layers were compared.
    fn advance(&mut self, mut x: Array2<f32>) -> Result<Array2<f32>> {
        for (name, step) in &mut self.layers {
            x = match step {
                Step::Recurrent(stream) => stream.step(x.view())?.to_owned(),
                Step::Rows(layer) => match layer.apply(KerasOutput::Rows(x)) {
                    Ok(KerasOutput::Rows(x)) => x,
                    Ok(KerasOutput::Steps(_)) => {
                        let argument = format!("layer {name}");
                        return Err(Error::argument(argument, "a layer of rows", "one of steps"));
                    }
                    Err(error) => return Err(error.prefixed(&format!("{name}: "))),
                },
            };
        }
        Ok(x)
    }
}

impl<'m> Step<'m> {
    fn new(layer: &'m KerasLayer, batch: usize) -> Result<Self> {
        match layer {
            KerasLayer::Rnn(recurrent) => Self::recurrent(recurrent, batch),
            KerasLayer::Lstm(recurrent) => Self::recurrent(recurrent, batch),
            KerasLayer::Gru(recurrent) => Self::recurrent(recurrent, batch),
            layer => Ok(Self::Rows(layer)),
        }
    }

    fn recurrent<C: Cell<Elem = f32>>(
        recurrent: &'m KerasRecurrent<C>,
        batch: usize,
    ) -> Result<Self> {
        if recurrent.go_backwards {
            let expected = "false: a stream has no direction backward in time";
            return Err(Error::argument("go_backwards", expected, true));
        }
        recurrent.network.stream(batch).map(Self::Recurrent)
    }
}

/// Returns the widths of the input and the output of a layer, as far as it has weights that tell them.
fn sizes(layer: &KerasLayer) -> (Option<usize>, Option<usize>) {
    fn of<C: Cell<Elem = f32>>(recurrent: &KerasRecurrent<C>) -> (Option<usize>, Option<usize>) {
        (Some(recurrent.network.input_size()), Some(recurrent.network.output_size()))
    }
    match layer {
        KerasLayer::Embedding { embedding, .. } => (None, Some(embedding.weight().ncols())),
        KerasLayer::Rnn(recurrent) => of(recurrent),
        KerasLayer::Lstm(recurrent) => of(recurrent),
        KerasLayer::Gru(recurrent) => of(recurrent),
        KerasLayer::Dense(linear, _) => (Some(linear.input_size()), Some(linear.output_size())),
        KerasLayer::LayerNorm(norm) => {
            let features = views(norm).first().map(|(_, weight)| weight.len());
            (features, features)
        }
        KerasLayer::Masking(_)
        | KerasLayer::Activation(_)
        | KerasLayer::Merge(_)
        | KerasLayer::Identity => (None, None),
    }
}
