//! [`Parts`]: what a [`Seq2Seq`] computes, for files of other programs.

use ndarray::Array1;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::float::Float;
use crate::layer::{Attention, Embedding, Linear};
use crate::model::{Bridge, Seq2Seq};
use crate::sequence::Recurrent;

/// The parts of an encoder-decoder.
pub(crate) struct Parts<'m, C: Cell> {
    /// Whether the source is tokens.
    pub(crate) tokens: bool,
    /// The number of features or tokens of the source.
    pub(crate) source_size: usize,
    pub(crate) embedding: Option<&'m Embedding<C::Elem>>,
    pub(crate) scaler: Option<&'m Scaler>,
    pub(crate) encoder: Option<&'m Recurrent<C>>,
    pub(crate) bridge: (Bridge, Option<&'m Linear<C::Elem>>),
    pub(crate) target_embedding: &'m Embedding<C::Elem>,
    pub(crate) decoder: &'m Recurrent<C>,
    pub(crate) attention: Option<&'m Attention<C::Elem>>,
    /// The layer of context and output.
    pub(crate) combine: Option<&'m Linear<C::Elem>>,
    /// Whether attention comes before the recurrent layers.
    pub(crate) before: bool,
    pub(crate) input_feeding: bool,
    /// The last layer, unless its weight is that of the target embedding.
    pub(crate) head: Option<&'m Linear<C::Elem>>,
    /// The bias of the last layer, if its weight is that of the target embedding.
    pub(crate) tied_bias: Option<&'m Array1<C::Elem>>,
    /// The tokens that are never decoded.
    pub(crate) suppressed: Vec<usize>,
}

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        let Self { encoder, decoder, .. } = self;
        Parts {
            tokens: encoder.embedding.is_some() || self.vocabulary().is_some(),
            source_size: self.config.input_size,
            embedding: encoder.embedding.as_ref(),
            scaler: encoder.scaler.as_deref(),
            encoder: encoder.recurrent.as_ref(),
            bridge: self.bridge.parts(),
            target_embedding: self.target_embedding(),
            decoder: &decoder.recurrent,
            attention: decoder.attention.as_ref(),
            combine: decoder.combine.as_ref(),
            before: decoder.before,
            input_feeding: decoder.input_feeding,
            head: self.head.linear.as_ref(),
            tied_bias: self.head.tied_bias.as_ref(),
            suppressed: self.suppressed(),
        }
    }
}
