//! [`Parts`]: what a model computes, for files of other programs.

use ndarray::Array2;

use crate::cell::Cell;
use crate::data::Scaler;
use crate::float::Float;
use crate::layer::{Embedding, Linear, NonCrossing, TimePooling};
use crate::model::pooled::Pooled;
use crate::model::{
    Forecaster, Scored, SequenceClassifier, SequenceGenerator, SequenceRegressor, SequenceTagger,
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
    /// Whether the outputs are the logits of classes.
    pub(crate) classes: bool,
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
            classes: true,
        }
    }};
}

/// Adds the parts of a pooled model.
fn pooled<'m, C: Cell>(parts: Parts<'m, C>, body: &'m Pooled<C>, classes: bool) -> Parts<'m, C> {
    Parts { pooling: Some(&body.pooling), order: body.order, classes, ..parts }
}

impl<T, C, L> SequenceClassifier<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Vec<usize>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        pooled(parts!(self), &self.body, true)
    }
}

impl<T, C, L> SequenceRegressor<C, L>
where
    T: Float,
    C: Cell<Elem = T>,
    L: Scored<Array2<T>, Target = Array2<T>>,
{
    pub(crate) fn parts(&self) -> Parts<'_, C> {
        pooled(parts!(self), &self.body, false)
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
        let parts = pooled(parts!(self), &self.body, false);
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
