//! [`Parts`]: what a model computes, for files of other programs.

use ndarray::Array2;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::float::Float;
use crate::layer::stack_frames::Frames;
use crate::layer::{Embedding, Linear, NonCrossing, TimePooling};
use crate::model::pooled::Pooled;
use crate::model::{
    Forecaster, Scored, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
    SequenceTranscriber,
};
use crate::sequence::Recurrent;
use crate::sequences::Sequences;

/// The parts of a model, in the order in which they are computed.
pub(crate) struct Parts<'m, C: Cell> {
    /// Whether the model reads tokens.
    pub(crate) tokens: bool,
    pub(crate) embedding: Option<&'m Embedding<C::Elem>>,
    /// Whether it reads the characters of tokens.
    pub(crate) characters: bool,
    pub(crate) scaler: Option<&'m Scaler>,
    /// The layer that makes the initial states from a vector.
    pub(crate) condition: Option<&'m Linear<C::Elem>>,
    pub(crate) recurrent: &'m Recurrent<C>,
    /// The pooling over time; none if there is an output for each step.
    pub(crate) pooling: Option<&'m TimePooling<C::Elem>>,
    pub(crate) head: &'m Linear<C::Elem>,
    /// Whether the outputs of the head are those of a CRF.
    pub(crate) crf: bool,
    /// The layer that orders quantiles.
    pub(crate) order: Option<NonCrossing<C::Elem>>,
    /// The scaler of the outputs.
    pub(crate) of_outputs: Option<&'m Scaler>,
    /// How the frames of the input are joined.
    pub(crate) frames: Option<Frames>,
    pub(crate) kind: Kind,
}

/// The kind of the outputs of a model.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Numbers.
    Values,
    /// The logits of a class.
    Classes,
    /// The logits of labels and blank, for an alignment.
    Alignments,
}

/// Returns the parts that every model has.
macro_rules! parts {
    ($model:expr) => {{
        let characters = $model.character_vocabulary().is_some();
        Parts {
            tokens: $model.embedding().is_some() || $model.vocabulary().is_some(),
            embedding: $model.embedding(),
            characters,
            scaler: $model.scaler(),
            condition: None,
            recurrent: $model.recurrent(),
            pooling: None,
            head: $model.head(),
            crf: false,
            order: None,
            of_outputs: None,
            frames: None,
            kind: Kind::Classes,
        }
    }};
}

/// Adds the parts of a pooled model.
fn pooled<'m, C: Cell>(parts: Parts<'m, C>, body: &'m Pooled<C>, kind: Kind) -> Parts<'m, C> {
    Parts { pooling: Some(&body.pooling), order: body.order, kind, ..parts }
}

impl<T, C, L> SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        pooled(parts!(self), &self.body, Kind::Classes)
    }
}

impl<T, C, L> SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        pooled(parts!(self), &self.body, Kind::Values)
    }
}

impl<T, C, L> Forecaster<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        let of_outputs = self.scalers.as_deref().map(|[_, of_outputs]| of_outputs);
        let parts = pooled(parts!(self), &self.body, Kind::Values);
        Parts { of_outputs, ..parts }
    }
}

impl<T, C, L> SequenceTagger<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Sequences<T>, Target = Array2<usize>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        Parts { crf: self.crf().is_some(), ..parts!(self) }
    }
}

impl<T: Float, C: Cell<Elem = T>> SequenceGenerator<C> {
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        let condition = self.condition.condition.as_ref();
        Parts { condition, tokens: true, ..parts!(self) }
    }
}

impl<T: Float, C: Cell<Elem = T>> SequenceTranscriber<C> {
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        Parts { frames: self.network.frames, kind: Kind::Alignments, ..parts!(self) }
    }
}
