//! [`Seq2SeqWorkspace`]: decoding of many sources with weights that are packed once, greedy, sampled and by beam
//! search.
#![expect(clippy::indexing_slicing, reason = "rows are those of the search")]

use std::sync::Arc;

use ndarray::{Array2, ArrayView1};
use rand::Rng;

use crate::cell::Cell;
use crate::decode::{BeamSearch, Decoder, Hypothesis, Sampling};
use crate::error::{Error, Result, check_shape};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::model::Seq2Seq;
use crate::model::seq2seq::decoder::{PackedDecoder, Steps};
use crate::model::seq2seq::encoder::PackedEncoder;
use crate::sequences::Sequences;
use crate::tensor::{Precision, threads};

/// The packed weights of a [`Seq2Seq`], for the decoding of one source after another; created by
/// [`Seq2Seq::workspace_with`].
///
/// It borrows the model, so the packed weights cannot become stale. Several threads may use it at once.
pub struct Seq2SeqWorkspace<'m, C: Cell> {
    model: &'m Seq2Seq<C>,
    packed: Packed<'m, C>,
    head: Arc<PackedLinear<'m, C::Elem>>,
}

/// The layers below the head, with weights that are packed for inference.
pub(super) struct Packed<'m, C: Cell> {
    model: &'m Seq2Seq<C>,
    encoder: PackedEncoder<'m, C>,
    bridge: Option<PackedLinear<'m, C::Elem>>,
    decoder: PackedDecoder<'m, C>,
}

/// The decoder of a [`Seq2Seq`], step by step, created by [`Seq2Seq::decoder`] and [`Seq2SeqWorkspace::decoder`].
/// Its outputs equal those of training with the same tokens, bit for bit, unless its precision is reduced.
pub struct Seq2SeqDecoder<'m, C: Cell> {
    model: &'m Seq2Seq<C>,
    steps: Steps<'m, C>,
    head: Arc<PackedLinear<'m, C::Elem>>,
}

impl<C: Cell> std::fmt::Debug for Seq2SeqWorkspace<'_, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let precision = self.packed.decoder.precision;
        f.debug_struct("Seq2SeqWorkspace").field("precision", &precision).finish_non_exhaustive()
    }
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
    /// Packs the weights in the given precision: those of encoder, bridge, decoder, attention, embeddings and
    /// head. A workspace of full precision has the outputs of the model.
    ///
    /// Threads share the products of a step as in a [stream](crate::Recurrent::stream) of one sequence. A beam search
    /// divides its sources among them.
    ///
    /// ```
    /// use recurrent::prelude::*;
    /// use recurrent::{decode::BeamSearch, layer::AttentionScore, tensor::Precision};
    ///
    /// let builder = Seq2Seq::<GruCell<f32>>::builder(5, 6, 0, 1).embedding_dim(8).hidden_size(16);
    /// let builder = builder.attention(AttentionScore::General);
    /// let model = builder.build(&mut ChaCha8Rng::seed_from_u64(1))?;
    /// let mut rounded = model.clone();
    /// Precision::Bf16.round(&mut rounded)?;
    ///
    /// let workspace = model.workspace_with(Precision::Bf16)?;
    /// let search = BeamSearch::new(3)?.max_length(5)?;
    /// for source in [vec![2, 3, 4], vec![4, 1]] {
    ///     let source = Sequences::one_hot_from_list(&[source], 5)?;
    ///     assert_eq!(workspace.beam(&source, &search)?, rounded.beam(&source, &search)?);
    /// }
    /// # Ok::<(), recurrent::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the model is one of `f64` or has a weight that is not finite, unless the precision is full.
    pub fn workspace_with(&self, precision: Precision) -> Result<Seq2SeqWorkspace<'_, C>> {
        self.workspace_for(1, precision)
    }

    /// Returns the same for sources of `batch` sequences or any other number.
    pub(super) fn workspace_for(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<Seq2SeqWorkspace<'_, C>> {
        let packed = self.packed(batch, precision)?;
        Ok(Seq2SeqWorkspace { model: self, packed, head: Arc::new(self.packed_head(precision)) })
    }

    /// Returns the layers below the head for inference. Threads share their products as for `batch` sequences.
    pub(super) fn packed(&self, batch: usize, precision: Precision) -> Result<Packed<'_, C>> {
        precision.check(self)?;
        Ok(Packed {
            model: self,
            encoder: self.encoder.packed(precision),
            bridge: self.bridge.packed(precision),
            decoder: self.decoder.packed(batch, precision)?,
        })
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> Packed<'m, C> {
    /// Begins the decoding of `source`. Returns the memory's time too.
    pub(super) fn begin(&self, source: &Sequences<T>) -> Result<(Steps<'m, C>, usize)> {
        let Seq2Seq { bridge, decoder, .. } = self.model;
        let encoded = self.encoder.forward(source)?;
        let initial = bridge.forward(self.bridge.as_ref(), &encoded, &decoder.recurrent)?;
        let memory = encoded.memory.as_ref();
        Ok((self.decoder.begin(&initial, memory)?, memory.time()))
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> Seq2SeqWorkspace<'m, C> {
    /// Returns the decoder of `source`, as [`Seq2Seq::decoder`] does.
    ///
    /// # Errors
    /// If `source` does not fit the model.
    pub fn decoder(&self, source: &Sequences<T>) -> Result<Seq2SeqDecoder<'m, C>> {
        let (steps, _) = self.packed.begin(source)?;
        Ok(Seq2SeqDecoder { model: self.model, steps, head: self.head.clone() })
    }

    /// Decodes each source by `sampling`, as [`Seq2Seq::generate`] does.
    ///
    /// # Errors
    /// As [`Seq2Seq::generate`].
    pub fn generate(
        &self,
        source: &Sequences<T>,
        max_len: usize,
        sampling: &Sampling,
        rng: &mut dyn Rng,
    ) -> Result<Vec<Vec<usize>>> {
        let model = self.model;
        sampling.check(model.config.output_size)?;
        let mut decoder = self.decoder(source)?;
        let first = vec![model.start(); source.batch()];
        let tokens = (Some(model.end()), &*model.suppressed());
        sampling.generate(&mut decoder, first, tokens, max_len, rng)
    }

    /// Searches for the likeliest targets of each source, as [`Seq2Seq::beam`] does.
    ///
    /// # Errors
    /// As [`Seq2Seq::beam`].
    pub fn beam(
        &self,
        source: &Sequences<T>,
        search: &BeamSearch<'_>,
    ) -> Result<Vec<Vec<Hypothesis>>> {
        let model = self.model;
        let search = search.for_model(Some(model.end()), &model.suppressed())?;
        let (mut decoder, first) = (self.decoder(source)?, vec![model.start(); source.batch()]);
        let shape = (source.batch(), search.width, search.max_length);
        let blocks = model.decoder.blocks(shape, model.head_work());
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

    /// Translates `texts` by the vocabularies of the model, as [`Seq2Seq::translate`] does.
    ///
    /// # Errors
    /// As [`Seq2Seq::translate`].
    pub fn translate<S: AsRef<str>>(
        &self,
        texts: &[S],
        search: &BeamSearch<'_>,
    ) -> Result<Vec<String>> {
        let Some(words) = self.model.target_vocabulary() else {
            let expected = "one of the targets, given to the model's builder";
            return Err(Error::argument("target_vocabulary", expected, "none"));
        };
        let found = self.beam(&self.model.encode_texts(texts)?, search)?;
        found.iter().map(|best| words.decode(&best[0].tokens)).collect()
    }
}
