//! Decoding of [`Seq2Seq`] in one call, with weights that are packed for it; alignments.

use ndarray::{Array3, Axis};
use rand::Rng;

use crate::cell::Cell;
use crate::decode::{BeamSearch, Hypothesis, Sampling};
use crate::error::{Error, Result};
use crate::float::Float;
use crate::model::seq2seq::live_at;
use crate::model::seq2seq::workspace::{Seq2SeqDecoder, Seq2SeqWorkspace};
use crate::model::{Seq2Seq, check_batch, suppressed_tokens};
use crate::sequences::Sequences;
use crate::tensor::Precision;

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    /// Returns the weights packed for `source`.
    fn workspace_of(&self, source: &Sequences<T>) -> Result<Seq2SeqWorkspace<'_, C>> {
        self.workspace_for(source.batch(), Precision::Full)
    }

    /// Returns the decoder of `source`, for a decoding of your own. Its first tokens are
    /// [`start`](Self::start), one for each sequence.
    ///
    /// # Errors
    /// If `source` does not fit the model.
    pub fn decoder(&self, source: &Sequences<T>) -> Result<Seq2SeqDecoder<'_, C>> {
        self.workspace_of(source)?.decoder(source)
    }

    /// Returns the token that a target begins with.
    pub fn start(&self) -> usize {
        self.config.own.start
    }

    /// Returns the token that ends a target.
    pub fn end(&self) -> usize {
        self.config.own.end
    }

    /// Decodes each source by `sampling`, to at most `max_len` tokens. With [`Sampling::greedy`], each token
    /// is the likeliest. The results do not contain the end token.
    ///
    /// # Errors
    /// If `source` does not fit, or `sampling` keeps more tokens than there are. If a logit is NaN or ∞, or no
    /// token is left to choose, the error names the step and the sequence.
    pub fn generate(
        &self,
        source: &Sequences<T>,
        max_len: usize,
        sampling: &Sampling,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Vec<usize>>> {
        self.workspace_of(source)?.generate(source, max_len, sampling, rng)
    }

    /// Searches for the likeliest targets of each source. Returns the best of each, from the highest score to
    /// the lowest. The end token is that of the model.
    ///
    /// # Errors
    /// If `source` does not fit, `search` has another end token, and as [`BeamSearch::search`].
    pub fn beam(
        &self,
        source: &Sequences<T>,
        search: &BeamSearch<'_>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        self.workspace_of(source)?.beam(source, search)
    }

    /// Translates `texts` by the vocabularies of the model: the best target of each by `search`.
    ///
    /// # Errors
    /// If the model lacks a vocabulary, and as [`encode_texts`](Self::encode_texts) and [`beam`](Self::beam).
    pub fn translate<S: AsRef<str>>(
        &self,
        texts: &[S],
        search: &BeamSearch<'_>,
    ) -> Result<Vec<String>> {
        self.workspace_for(texts.len(), Precision::Full)?.translate(texts, search)
    }

    /// Returns the weights of the attention [batch, target time + 1, source time] to each source, at each
    /// step of its target and of the end token, under teacher forcing. They are zero in the padding.
    ///
    /// # Errors
    /// If the model has no attention, or an argument does not fit.
    pub fn align(&self, source: &Sequences<T>, targets: &[Vec<usize>]) -> Result<Array3<T>> {
        check_batch("targets", source, targets.len())?;
        let (inputs, _, lengths) = self.pairs(targets)?;
        let packed = self.packed(source.batch(), Precision::Full)?;
        let (mut steps, memory_time) = packed.begin(source)?;
        if steps.weights().is_none() {
            return Err(Error::argument(
                "attention",
                "a score, given to the model's builder",
                "none",
            ));
        }
        let mut weights = Array3::zeros((targets.len(), inputs.nrows(), memory_time));
        for (t, tokens) in inputs.outer_iter().enumerate() {
            self.feed(&mut steps, tokens, &live_at(t, &lengths))?;
            if let Some(of_step) = steps.weights() {
                weights.index_axis_mut(Axis(1), t).assign(&of_step);
            }
        }
        Ok(weights)
    }

    /// Returns the tokens that are never decoded.
    pub(super) fn suppressed(&self) -> Vec<usize> {
        let own = &self.config.own;
        let markers = (Some(own.start), Some(own.end));
        suppressed_tokens(self.target_vocabulary(), markers, &own.suppress_tokens)
    }
}
