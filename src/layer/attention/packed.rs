//! [`PackedAttention`]: attention to many memories, with weights that are packed once.

use std::borrow::Cow;

use crate::error::Result;
use crate::float::Float;
use crate::layer::attention::walk::Walk;
use crate::layer::linear::PackedLinear;
use crate::layer::linear_steps::LinearSteps;
use crate::layer::{Attention, AttentionStream};
use crate::sequences::Sequences;
use crate::tensor::Precision;

/// The packed layers of keys and queries of an [`Attention`], for inference.
pub(crate) struct PackedAttention<'m, T: Float> {
    /// The attention itself, or one of rounded weights without these two layers.
    attention: Cow<'m, Attention<T>>,
    query: Option<LinearSteps<'m, T>>,
    key: Option<PackedLinear<'m, T>>,
}

impl<T: Float> Attention<T> {
    /// Returns the attention with weights of the given precision, which [`Precision::check`] allows.
    pub(crate) fn packed_with(&self, precision: Precision) -> Result<PackedAttention<'_, T>> {
        Ok(PackedAttention {
            attention: self.rounded(precision)?,
            query: self.query.as_ref().map(|query| LinearSteps::with(query, precision)),
            key: self.key.as_ref().map(|key| key.packed_with(precision)),
        })
    }

    /// Returns the attention with rounded weights of the score, which are few. Those of keys and queries are not
    /// copied.
    fn rounded(&self, precision: Precision) -> Result<Cow<'_, Self>> {
        if precision == Precision::Full {
            return Ok(Cow::Borrowed(self));
        }
        let (score, location) = (self.score.clone(), self.location.clone());
        let mut rounded = Self { query: None, key: None, score, location, ..*self };
        precision.round(&mut rounded)?;
        Ok(Cow::Owned(rounded))
    }
}

impl<'m, T: Float> PackedAttention<'m, T> {
    /// Returns a stream of queries to `memory` [time, batch, memory].
    ///
    /// # Errors
    /// As [`Attention::memory`].
    pub(crate) fn stream(&self, memory: &Sequences<T>) -> Result<AttentionStream<'m, T>> {
        let memory = self.attention.memory_by(self.key.as_ref(), memory)?;
        Ok(AttentionStream {
            attention: self.attention.clone(),
            query: self.query.as_ref().map(LinearSteps::another),
            walk: Walk::new(memory, false),
        })
    }
}
