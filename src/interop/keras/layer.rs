//! The layers of a chain, and their application.
#![expect(clippy::indexing_slicing, reason = "the places are those of the steps")]

use ndarray::{Array, Array2, Array3, Axis, Dimension};

use super::config::LayerConfig;
use super::merge::Merge;
use super::recurrent::{KerasCell, KerasRecurrent, one_direction, two_directions};
use super::weights::LayerWeights;
use crate::arrays::{Arrays, Visit, VisitMut};
use crate::cell::{GruCell, LstmCell, RnnCell};
use crate::error::{Error, Result};
use crate::layer::{Activation, Embedding, Layer, LayerNorm, Linear};
use crate::sequences::Sequences;
use crate::tensor::Level;
use crate::tensor::reduce::softmax;

/// The output of a layer.
#[derive(Clone, Debug)]
pub enum KerasOutput {
    /// A row for each step, [time, batch, features].
    Steps(Sequences<f32>),
    /// A row for each sequence, [batch, features].
    Rows(Array2<f32>),
}

/// The activation of a `Dense` or `Activation` layer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum KerasActivation {
    /// The value itself.
    Linear,
    /// An elementwise function.
    Elementwise(Activation<f32>),
    /// eˣ / Σ eˣ over the features.
    Softmax,
}

/// A layer that Keras has saved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum KerasLayer {
    /// `Embedding`.
    Embedding {
        /// The vectors.
        embedding: Embedding<f32>,
        /// Whether token 0 is padding.
        mask_zero: bool,
    },
    /// `Masking`: steps whose features all have this value are padding.
    Masking(f32),
    /// `SimpleRNN`.
    Rnn(KerasRecurrent<RnnCell<f32>>),
    /// `LSTM`.
    Lstm(KerasRecurrent<LstmCell<f32>>),
    /// `GRU`.
    Gru(KerasRecurrent<GruCell<f32>>),
    /// `Dense`.
    Dense(Linear<f32>, KerasActivation),
    /// `LayerNormalization`.
    LayerNorm(LayerNorm<f32>),
    /// `Activation`.
    Activation(KerasActivation),
    /// `Add`, `Multiply`, `Average` or `Concatenate`, of several layers.
    Merge(Merge),
    /// `InputLayer`, or noise of training.
    Identity,
}

/// The class of a layer that applies another to each step.
pub(super) const TIME_DISTRIBUTED: &str = "TimeDistributed";
/// The group of the inner layer below that of the outer one.
pub(super) const INNER: &str = "layer";

/// Reads a layer.
pub(super) fn build(config: &LayerConfig, weights: &mut LayerWeights<'_>) -> Result<KerasLayer> {
    Ok(match config.class.as_str() {
        "InputLayer" | "Dropout" | "SpatialDropout1D" | "GaussianNoise" => KerasLayer::Identity,
        "Embedding" => {
            config.expect_unset("quantization_config")?;
            let sizes = [config.size("input_dim")?, config.size("output_dim")?];
            let embedding = Embedding::from_weight(weights.matrix(0, sizes)?)?;
            KerasLayer::Embedding { embedding, mask_zero: config.flag("mask_zero", false) }
        }
        "Masking" => KerasLayer::Masking(config.number("mask_value")? as f32),
        "Dense" => {
            config.expect_unset("quantization_config")?;
            let units = config.size("units")?;
            let weight = weights.matrix(0, [0, units])?.reversed_axes();
            let weight = weight.as_standard_layout().into_owned();
            let biased = config.flag("use_bias", true);
            let bias = biased.then(|| weights.vector(1, units)).transpose()?;
            KerasLayer::Dense(Linear::from_weight(weight, bias)?, activation(config)?)
        }
        "Activation" => KerasLayer::Activation(activation(config)?),
        "Add" | "Multiply" | "Average" | "Concatenate" => {
            KerasLayer::Merge(Merge::of_layer(config)?)
        }
        "LayerNormalization" => KerasLayer::LayerNorm(layer_norm(config, weights)?),
        TIME_DISTRIBUTED => {
            let inner = config.inner("layer")?;
            if !["Dense", "LayerNormalization", "Activation", "Dropout"]
                .contains(&inner.class.as_str())
            {
                return Err(config.refuse(format!("the layer {} is not supported", inner.class)));
            }
            build(&inner, &mut weights.part(INNER))?
        }
        RnnCell::<f32>::CLASS => KerasLayer::Rnn(one_direction(config, weights)?),
        LstmCell::<f32>::CLASS => KerasLayer::Lstm(one_direction(config, weights)?),
        GruCell::<f32>::CLASS => KerasLayer::Gru(one_direction(config, weights)?),
        "Bidirectional" => {
            let (forward, backward) = (config.inner("layer")?, config.inner("backward_layer")?);
            let both = [&forward, &backward];
            if forward.class != backward.class {
                return Err(config.refuse("expected two layers of one class"));
            }
            match forward.class.as_str() {
                RnnCell::<f32>::CLASS => KerasLayer::Rnn(two_directions(config, both, weights)?),
                LstmCell::<f32>::CLASS => KerasLayer::Lstm(two_directions(config, both, weights)?),
                GruCell::<f32>::CLASS => KerasLayer::Gru(two_directions(config, both, weights)?),
                class => return Err(config.refuse(format!("the layer {class} is not supported"))),
            }
        }
        _ => return Err(config.refuse("the layer is not supported")),
    })
}

fn activation(config: &LayerConfig) -> Result<KerasActivation> {
    config.expect("activation", &["linear", "relu", "sigmoid", "tanh", "softmax"])?;
    Ok(match config.text("activation") {
        Some("relu") => KerasActivation::Elementwise(Activation::relu()),
        Some("sigmoid") => KerasActivation::Elementwise(Activation::sigmoid()),
        Some("tanh") => KerasActivation::Elementwise(Activation::tanh()),
        Some("softmax") => KerasActivation::Softmax,
        _ => KerasActivation::Linear,
    })
}

fn layer_norm(config: &LayerConfig, weights: &mut LayerWeights<'_>) -> Result<LayerNorm<f32>> {
    config.expect_unset("rms_scaling")?;
    let (scale, center) = (config.flag("scale", true), config.flag("center", true));
    if !config.is_axis("axis", -1) || !scale {
        return Err(config.refuse("expected scale, and the last axis alone"));
    }
    let gamma = weights.vector(0, 0)?;
    let mut norm = LayerNorm::new(gamma.len())?.epsilon(config.number("epsilon")?)?;
    if center {
        norm.set("bias", weights.vector(1, gamma.len())?)?;
    }
    norm.set("weight", gamma)?;
    Ok(norm)
}

/// The arrays have the names of those of the layer: `weight_ih_l0`, `weight`, `bias` and so on.
impl Arrays for KerasLayer {
    type Elem = f32;

    fn for_each<'a>(&'a self, f: &mut Visit<'_, 'a, f32>) {
        match self {
            Self::Embedding { embedding, .. } => embedding.for_each(f),
            Self::Rnn(recurrent) => recurrent.network.for_each(f),
            Self::Lstm(recurrent) => recurrent.network.for_each(f),
            Self::Gru(recurrent) => recurrent.network.for_each(f),
            Self::Dense(linear, _) => linear.for_each(f),
            Self::LayerNorm(norm) => norm.for_each(f),
            Self::Masking(_) | Self::Activation(_) | Self::Merge(_) | Self::Identity => {}
        }
    }

    fn for_each_mut<'a>(&'a mut self, f: &mut VisitMut<'_, 'a, f32>) {
        match self {
            Self::Embedding { embedding, .. } => embedding.for_each_mut(f),
            Self::Rnn(recurrent) => recurrent.network.for_each_mut(f),
            Self::Lstm(recurrent) => recurrent.network.for_each_mut(f),
            Self::Gru(recurrent) => recurrent.network.for_each_mut(f),
            Self::Dense(linear, _) => linear.for_each_mut(f),
            Self::LayerNorm(norm) => norm.for_each_mut(f),
            Self::Masking(_) | Self::Activation(_) | Self::Merge(_) | Self::Identity => {}
        }
    }
}

impl KerasLayer {
    /// Returns the output for `inputs`: one, except of a `Merge`.
    pub(super) fn apply_to(&self, mut inputs: Vec<KerasOutput>) -> Result<KerasOutput> {
        match (self, inputs.pop()) {
            (Self::Merge(merge), Some(last)) => {
                inputs.push(last);
                merge.apply(inputs)
            }
            (layer, Some(x)) if inputs.is_empty() => layer.apply(x),
            _ => Err(Error::argument("inputs", "one", "several")),
        }
    }

    /// Returns the output for `x`.
    pub(super) fn apply(&self, x: KerasOutput) -> Result<KerasOutput> {
        Ok(match (self, x) {
            (Self::Identity, x) => x,
            (Self::Merge(merge), x) => merge.apply(vec![x])?,
            (Self::Dense(linear, activation), KerasOutput::Steps(x)) => {
                KerasOutput::Steps(activation.steps(linear.forward(&x)?)?)
            }
            (Self::Dense(linear, activation), KerasOutput::Rows(x)) => {
                KerasOutput::Rows(activation.rows(linear.forward(&x)?)?)
            }
            (Self::LayerNorm(norm), KerasOutput::Steps(x)) => KerasOutput::Steps(norm.forward(&x)?),
            (Self::LayerNorm(norm), KerasOutput::Rows(x)) => KerasOutput::Rows(norm.forward(&x)?),
            (Self::Activation(activation), KerasOutput::Steps(x)) => {
                KerasOutput::Steps(activation.steps(x)?)
            }
            (Self::Activation(activation), KerasOutput::Rows(x)) => {
                KerasOutput::Rows(activation.rows(x)?)
            }
            (Self::Embedding { embedding, mask_zero }, KerasOutput::Steps(x)) => {
                let lengths = |x: &Sequences<f32>| match x.tokens() {
                    Some(tokens) => unmasked(x, |t, b| tokens[[t, b]] == 0),
                    None => Ok(x.lengths().to_vec()),
                };
                let lengths = if *mask_zero { lengths(&x)? } else { x.lengths().to_vec() };
                shortened(embedding.forward(&x)?, lengths)?
            }
            (Self::Masking(value), KerasOutput::Steps(x)) => {
                let values = x.values().view();
                let masked = |t, b| {
                    let step = values.index_axis(Axis(0), t);
                    step.index_axis(Axis(0), b).iter().all(|x| x == value)
                };
                let lengths = unmasked(&x, masked)?;
                shortened(x, lengths)?
            }
            (Self::Rnn(recurrent), KerasOutput::Steps(x)) => recurrent.apply(&x)?,
            (Self::Lstm(recurrent), KerasOutput::Steps(x)) => recurrent.apply(&x)?,
            (Self::Gru(recurrent), KerasOutput::Steps(x)) => recurrent.apply(&x)?,
            (_, KerasOutput::Rows(_)) => {
                return Err(Error::argument("input", "sequences", "a row for each sequence"));
            }
        })
    }
}

impl KerasActivation {
    fn rows(self, x: Array2<f32>) -> Result<Array2<f32>> {
        match self {
            Self::Linear => Ok(x),
            Self::Elementwise(activation) => activation.forward(&x),
            Self::Softmax => Ok(softmax_rows(x)),
        }
    }

    fn steps(self, x: Sequences<f32>) -> Result<Sequences<f32>> {
        match self {
            Self::Linear => Ok(x),
            Self::Elementwise(activation) => activation.forward(&x),
            Self::Softmax => x.with_values(softmax_rows(x.values().clone())),
        }
    }
}

#[expect(clippy::expect_used, reason = "layers return arrays in standard layout")]
fn softmax_rows<D: Dimension>(mut x: Array<f32, D>) -> Array<f32, D> {
    x.rows_mut().into_iter().for_each(|mut row| {
        softmax(Level::new(), row.as_slice_mut().expect("rows in standard layout"));
    });
    x
}

/// Returns the length of each sequence without its masked steps, which must be its last ones.
fn unmasked(x: &Sequences<f32>, masked: impl Fn(usize, usize) -> bool) -> Result<Vec<usize>> {
    let length = |(b, &length): (usize, &usize)| {
        let kept = (0..length).rev().find(|&t| !masked(t, b)).map_or(0, |t| t + 1);
        match (0..kept).find(|&t| masked(t, b)) {
            Some(t) => {
                let expected = "no masked step before the last of a sequence";
                Err(Error::argument(format!("sequence {b}"), expected, format!("step {t}")))
            }
            None => Ok(kept),
        }
    };
    x.lengths().iter().enumerate().map(length).collect()
}

fn shortened(x: Sequences<f32>, lengths: Vec<usize>) -> Result<KerasOutput> {
    let values: Array3<f32> = x.into_values();
    Ok(KerasOutput::Steps(Sequences::new(values, lengths)?))
}
