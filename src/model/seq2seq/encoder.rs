//! The encoder of [`Seq2Seq`](super::Seq2Seq), and the bridge from its states to those of the decoder.
#![expect(clippy::indexing_slicing, reason = "a stack has a layer, and a layer a direction")]

use std::borrow::Cow;
use std::sync::Arc;

use ndarray::Array2;
use rand::Rng;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::layer::{Embedding, Linear, Pooling, TimePooling};
use crate::model::config::Config;
use crate::model::network::scaled;
use crate::model::seq2seq::options::{Bridge, Seq2SeqConfig};
use crate::model::states::{beside, divide, filled, side_by_side};
use crate::sequence::{Recurrent, State, Tape, Workspace};
use crate::sequences::Sequences;
use crate::tensor::Precision;

/// The layers from a source to the memory.
#[derive(Clone, Debug)]
pub(super) struct Encoder<C: Cell> {
    pub(super) embedding: Option<Embedding<C::Elem>>,
    pub(super) recurrent: Option<Recurrent<C>>,
    /// The scaler of the source; none also where it is scaled already.
    pub(super) scaler: Option<Arc<Scaler>>,
}
crate::arrays!([T: Float, C: Cell<Elem = T>] Encoder<C>: T { embedding, recurrent });

/// An encoder with weights that are packed for inference.
pub(super) struct PackedEncoder<'m, C: Cell> {
    encoder: &'m Encoder<C>,
    precision: Precision,
    recurrent: Option<Workspace<'m, C::Elem>>,
}

/// An encoded source.
pub(super) struct Encoded<'x, T: Float> {
    source: &'x Sequences<T>,
    /// [time, batch, memory].
    pub(super) memory: Cow<'x, Sequences<T>>,
    final_states: Option<State<T>>,
    tape: Option<Tape<T>>,
}

impl<T: Float, C: Cell<Elem = T>> Encoder<C> {
    pub(super) fn new(config: &Config<C, Seq2SeqConfig>, rng: &mut dyn Rng) -> Result<Self> {
        let embedding =
            config.embedding_dim.map(|width| Embedding::new(config.input_size, width, rng));
        let mut layers = config.recurrent.clone();
        layers.input_size = config.embedding_dim.unwrap_or(config.input_size);
        let recurrent = match config.own.encoder {
            true => Some(layers.build(rng)?),
            false if layers.bidirectional => {
                let expected = "false: a decoder reads its own tokens, and there is no encoder";
                return Err(Error::argument("bidirectional", expected, true));
            }
            false if layers.learned_initial_state => {
                let expected = "false: the bridge determines the decoder's initial states";
                return Err(Error::argument("learned_initial_state", expected, true));
            }
            false => None,
        };
        let scaler = config.scaler.clone().map(Arc::new);
        Ok(Self { embedding: embedding.transpose()?, recurrent, scaler })
    }

    /// Returns the width of the memory.
    pub(super) fn memory_size(&self, config: &Config<C, Seq2SeqConfig>) -> usize {
        let input = config.embedding_dim.unwrap_or(config.input_size);
        self.recurrent.as_ref().map_or(input, Recurrent::output_size)
    }

    /// Returns the embedded or scaled `source`.
    fn prepare<'x>(
        &self,
        source: &'x Sequences<T>,
        precision: Precision,
    ) -> Result<Cow<'x, Sequences<T>>> {
        match (&self.embedding, &self.scaler) {
            (Some(embedding), _) => embedding.forward_with(source, precision).map(Cow::Owned),
            (None, scaler) => scaled("source", source, scaler.as_deref()),
        }
    }

    /// Encodes `source` for training.
    pub(super) fn forward_train<'x>(
        &self,
        source: &'x Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<Encoded<'x, T>> {
        let input = self.prepare(source, Precision::Full)?;
        let Some(recurrent) = &self.recurrent else {
            return Ok(Encoded { source, memory: input, final_states: None, tape: None });
        };
        let (memory, states, tape) = recurrent.forward_train(input.as_ref(), None, rng)?;
        let (memory, final_states) = (Cow::Owned(memory), Some(states));
        Ok(Encoded { source, memory, final_states, tape: Some(tape) })
    }

    /// Packs the weights in the given precision, which [`Precision::check`] allows.
    pub(super) fn packed(&self, precision: Precision) -> PackedEncoder<'_, C> {
        let recurrent = self.recurrent.as_ref().map(|layers| layers.workspace_of(precision));
        PackedEncoder { encoder: self, precision, recurrent }
    }

    /// Adds the gradients of the layers to `grad`, from those of the memory and of the final states.
    fn backward(
        &self,
        encoded: Encoded<'_, T>,
        d_memory: Sequences<T>,
        d_final: Option<&State<T>>,
        grad: &mut Self,
    ) -> Result<()> {
        let d_x = match (&self.recurrent, encoded.tape, &mut grad.recurrent) {
            (Some(recurrent), Some(tape), Some(grad)) => {
                recurrent.backward(tape, &d_memory, d_final, grad)?.0
            }
            _ => d_memory,
        };
        if let (Some(embedding), Some(grad)) = (&self.embedding, &mut grad.embedding) {
            embedding.add_gradient(encoded.source, &d_x, grad)?;
        }
        Ok(())
    }
}

impl<T: Float, C: Cell<Elem = T>> PackedEncoder<'_, C> {
    /// Encodes `source`.
    pub(super) fn forward<'x>(&self, source: &'x Sequences<T>) -> Result<Encoded<'x, T>> {
        let input = self.encoder.prepare(source, self.precision)?;
        let Some(recurrent) = &self.recurrent else {
            return Ok(Encoded { source, memory: input, final_states: None, tape: None });
        };
        let (memory, states) = recurrent.results(input.as_ref(), None)?;
        let (memory, final_states) = (Cow::Owned(memory), Some(states));
        Ok(Encoded { source, memory, final_states, tape: None })
    }
}

/// The layer from the encoder's final states to the decoder's initial states.
#[derive(Clone, Debug)]
pub(super) struct BridgeLayer<T> {
    kind: Bridge,
    bridge: Option<Linear<T>>,
}
crate::arrays!(BridgeLayer { bridge });

impl<T: Float> BridgeLayer<T> {
    pub(super) fn new<C: Cell<Elem = T>>(
        kind: Bridge,
        encoder: &Encoder<C>,
        memory: usize,
        decoder: &Recurrent<C>,
        rng: &mut dyn Rng,
    ) -> Result<Self> {
        let initial = decoder.zero_state(1)?;
        let finals = encoder.recurrent.as_ref().map(|layers| layers.zero_state(1)).transpose()?;
        let bridge = match (kind, &finals) {
            (Bridge::Zeros, _) => None,
            (Bridge::Same, Some(finals)) => {
                joined(finals, &initial)?;
                None
            }
            (Bridge::Linear | Bridge::Same, _) => {
                let width = finals.as_ref().map_or(memory, |finals| side_by_side(finals).ncols());
                Some(Linear::new(width, side_by_side(&initial).ncols(), rng)?)
            }
        };
        Ok(Self { kind, bridge })
    }

    /// Returns the source of the initial states, and the linear layer, if there is one.
    #[cfg(feature = "onnx")]
    pub(super) fn parts(&self) -> (Bridge, Option<&Linear<T>>) {
        (self.kind, self.bridge.as_ref())
    }

    /// Returns the linear layer, if there is one, with a weight of the given precision, which
    /// [`Precision::check`] allows.
    pub(super) fn packed(&self, precision: Precision) -> Option<PackedLinear<'_, T>> {
        self.bridge.as_ref().map(|linear| linear.packed_with(precision))
    }

    /// Returns the initial states of `decoder`. `linear` is the linear layer.
    pub(super) fn forward<C: Cell<Elem = T>>(
        &self,
        linear: Option<&PackedLinear<'_, T>>,
        encoded: &Encoded<'_, T>,
        decoder: &Recurrent<C>,
    ) -> Result<State<T>> {
        let zeros = decoder.zero_state(encoded.memory.batch())?;
        match (self.kind, linear, &encoded.final_states) {
            (Bridge::Same, _, Some(finals)) => joined(finals, &zeros),
            (_, Some(linear), _) => {
                Ok(filled(zeros, &linear.forward_rows(summary(encoded)?.view())?))
            }
            _ => Ok(zeros),
        }
    }

    /// Runs the backward pass of bridge and encoder, from the gradients of the decoder's initial states and
    /// of its memory.
    pub(super) fn backward_through<C: Cell<Elem = T>>(
        &self,
        encoder: &Encoder<C>,
        encoded: Encoded<'_, T>,
        (d_initial, d_memory): (State<T>, Option<Sequences<T>>),
        (grad, encoder_grad): (&mut Self, &mut Encoder<C>),
    ) -> Result<()> {
        let mut d_memory = match d_memory {
            Some(d_memory) => d_memory,
            None => encoded.memory.with_values(ndarray::Array3::zeros(encoded.memory.dim()))?,
        };
        let zeros = |states: &State<T>| states.zeros(states.batch());
        let mut d_final = encoded.final_states.as_ref().map(zeros);
        match (self.kind, &self.bridge, &mut grad.bridge, &mut d_final) {
            (Bridge::Same, _, _, Some(d_final)) => separate(&d_initial, d_final),
            (_, Some(linear), Some(grad), d_final) => {
                let d = side_by_side(&d_initial);
                let d = linear.backward_rows(summary(&encoded)?.view(), d.view(), grad)?;
                match d_final {
                    Some(d_final) => *d_final = filled(zeros(d_final), &d),
                    None => *d_memory.values_mut() += mean_gradient(&encoded, d)?.values(),
                }
            }
            _ => {}
        }
        encoder.backward(encoded, d_memory, d_final.as_ref(), encoder_grad)
    }
}

/// Returns the input of the bridge's linear layer, [batch, width]: the final states, or the mean row.
fn summary<T: Float>(encoded: &Encoded<'_, T>) -> Result<Array2<T>> {
    match &encoded.final_states {
        Some(finals) => Ok(side_by_side(finals)),
        None => mean_pooling(encoded)?.pool(&encoded.memory),
    }
}

/// Returns the gradient of the memory from that of its mean row.
fn mean_gradient<T: Float>(encoded: &Encoded<'_, T>, d: Array2<T>) -> Result<Sequences<T>> {
    let pooling = mean_pooling(encoded)?;
    pooling.gradient_at(&encoded.memory, &d, &mut pooling.clone())
}

fn mean_pooling<T: Float>(encoded: &Encoded<'_, T>) -> Result<TimePooling<T>> {
    // Mean pooling has no parameters, so nothing is drawn.
    let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(0);
    TimePooling::new(Pooling::Mean, encoded.memory.features(), 1, &mut rng)
}

/// Returns the number of directions of each layer.
fn directions_of<T: Float>(state: &State<T>) -> usize {
    1 + usize::from(state.part(state.state_names()[0], 0, true).is_ok())
}

/// Returns the final states of an encoder as states like `initial`, those of two directions joined.
fn joined<T: Float>(finals: &State<T>, initial: &State<T>) -> Result<State<T>> {
    let directions = directions_of(finals);
    let mut states = initial.zeros(finals.batch());
    let widths = |state: &State<T>, directions: usize| -> Vec<Vec<usize>> {
        let layers = state.parts().chunks(directions);
        let width = |layer: &[Vec<Array2<T>>], s: usize| layer.iter().map(|p| p[s].ncols()).sum();
        layers.map(|layer| (0..layer[0].len()).map(|s| width(layer, s)).collect()).collect()
    };
    let (expected, got) = (widths(initial, 1), widths(finals, directions));
    if expected != got {
        let expected = format!("final states as wide as the decoder's layers, {expected:?}");
        return Err(Error::argument("bridge", expected, format!("{got:?}")));
    }
    for (to, layer) in states.parts_mut().iter_mut().zip(finals.parts().chunks(directions)) {
        for (s, to) in to.iter_mut().enumerate() {
            let parts: Vec<_> = layer.iter().map(|part| part[s].view()).collect();
            to.assign(&beside(&parts));
        }
    }
    Ok(states)
}

/// Sets `finals` to the gradients of [`joined`] states.
fn separate<T: Float>(d: &State<T>, finals: &mut State<T>) {
    let directions = directions_of(finals);
    for (from, layer) in d.parts().iter().zip(finals.parts_mut().chunks_mut(directions)) {
        for (s, from) in from.iter().enumerate() {
            divide(from.view(), layer.iter_mut().map(|part| part[s].view_mut()));
        }
    }
}
