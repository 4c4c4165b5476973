//! Decoding of [`Seq2Seq`]: greedy, sampled and by beam search.
#![expect(clippy::indexing_slicing, reason = "rows are those of the search")]

use std::sync::Arc;

use ndarray::{Array2, Array3, ArrayView1, Axis};
use rand::Rng;

use crate::cell::Cell;
use crate::decode::{BeamSearch, Decoder, Hypothesis, Sampling};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::model::seq2seq::decoder::Steps;
use crate::model::seq2seq::live_at;
use crate::model::{Seq2Seq, check_batch, suppressed_tokens};
use crate::sequences::Sequences;
use crate::tensor::threads;

/// The decoder of a [`Seq2Seq`], step by step, created by [`Seq2Seq::decoder`]. Its outputs equal those of
/// training with the same tokens, bit for bit.
pub struct Seq2SeqDecoder<'m, C: Cell> {
    model: &'m Seq2Seq<C>,
    steps: Steps<'m, C>,
    head: Arc<PackedLinear<'m, C::Elem>>,
}

impl<C: Cell> std::fmt::Debug for Seq2SeqDecoder<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rows = self.steps.readout().nrows();
        f.debug_struct("Seq2SeqDecoder").field("rows", &rows).finish_non_exhaustive()
    }
}

impl<T: Float, C: Cell<Elem = T>> Decoder for Seq2SeqDecoder<'_, C> {
    type Elem = T;

    fn step(&mut self, tokens: &[usize]) -> Result<Array2<T>> {
        let rows = self.steps.readout().nrows();
        check_shape("tokens", "rows", &[rows], &[tokens.len()])?;
        let live = vec![true; rows];
        let readout = self.model.feed(&mut self.steps, ArrayView1::from(tokens), &live)?;
        self.head.forward_rows(readout)
    }

    fn select(&mut self, rows: &[usize]) -> Result<()> {
        self.steps.select(rows)
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> Seq2SeqDecoder<'m, C> {
    /// Divides a decoder that has not begun into those of the rows of each block.
    fn divided(self, blocks: &[Vec<usize>]) -> Result<Vec<Self>> {
        let Self { model, steps, head } = self;
        let steps = steps.divided(blocks)?.into_iter();
        Ok(steps.map(|steps| Self { model, steps, head: head.clone() }).collect())
    }
}

impl<T: Float, C: Cell<Elem = T>> Seq2Seq<C> {
    /// Returns the decoder of `source`, for a decoding of your own. Its first tokens are
    /// [`start`](Self::start), one for each sequence.
    ///
    /// # Errors
    /// If `source` does not fit the model.
    pub fn decoder(&self, source: &Sequences<T>) -> Result<Seq2SeqDecoder<'_, C>> {
        Ok(Seq2SeqDecoder {
            model: self,
            steps: self.inference(source)?.0,
            head: Arc::new(self.packed_head()),
        })
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
        sampling.check(self.config.output_size)?;
        let mut decoder = self.decoder(source)?;
        let first = vec![self.start(); source.batch()];
        sampling.generate(&mut decoder, first, (Some(self.end()), &self.suppressed()), max_len, rng)
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
        let search = search.for_model(Some(self.end()), &self.suppressed())?;
        let (mut decoder, first) = (self.decoder(source)?, vec![self.start(); source.batch()]);
        let shape = (source.batch(), search.width, search.max_length);
        let blocks = self.decoder.blocks(shape, self.head_work());
        if blocks.len() > 1 {
            // The search of a sequence does not depend on the others, so each thread has its own.
            let parts = decoder.divided(&blocks)?.into_iter().zip(&blocks).collect();
            let found = threads::map(parts, |(mut part, rows): (_, &Vec<usize>)| {
                search.search_part(&mut part, &first[..rows.len()], rows[0])
            });
            if let Ok(found) = found.into_iter().collect::<Result<Vec<_>>>() {
                return Ok(found.into_iter().flatten().collect());
            }
            // A search of all together finds the error that comes first.
            decoder = self.decoder(source)?;
        }
        search.search(&mut decoder, &first)
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
        let Some(words) = self.target_vocabulary() else {
            let expected = "one of the targets, given to the model's builder";
            return Err(Error::argument("target_vocabulary", expected, "none"));
        };
        let found = self.beam(&self.encode_texts(texts)?, search)?;
        found.iter().map(|best| words.decode(&best[0].tokens)).collect()
    }

    /// Returns the weights of the attention [batch, target time + 1, source time] to each source, at each
    /// step of its target and of the end token, under teacher forcing. They are zero in the padding.
    ///
    /// # Errors
    /// If the model has no attention, or an argument does not fit.
    pub fn align(&self, source: &Sequences<T>, targets: &[Vec<usize>]) -> Result<Array3<T>> {
        check_batch("targets", source, targets.len())?;
        let (inputs, _, lengths) = self.pairs(targets)?;
        let (mut steps, memory_time) = self.inference(source)?;
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
