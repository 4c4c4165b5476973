//! The decoder of [`Seq2Seq`](super::Seq2Seq) without its head, one step after another:
//!
//! ```text
//! x_t = [embedding(y_{t−1}), h̃_{t−1} with input feeding, context_t if attention comes before]
//! h_t = recurrent(x_t)
//! context_t = attention(query, memory)     query: h_t, or h_{t−1} if attention comes before
//! h̃_t = tanh(W_c [context_t, h_t])         h_t without attention
//! ```
//!
//! Nothing of a sequence depends on another, so several threads walk through all steps at once, each with a block
//! of the batch. The gradients of the weights are summed at the end over the rows of all blocks, in the order of
//! the whole batch. So no bit depends on the number of threads.
#![expect(
    clippy::indexing_slicing,
    reason = "there is a block, and a readout before the first step"
)]

use ndarray::{Array2, Array3, ArrayView2, ArrayView3, ArrayViewMut3, Axis};
use rand::Rng;

use crate::arrays::Arrays;
use crate::cell::Cell;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::linear_steps::LinearSteps;
use crate::layer::{
    Attention, AttentionBackwardStream, AttentionStream, Embedding, Linear, PackedAttention,
};
use crate::model::states::{beside, joined};
use crate::sequence::{BackwardStream, Recurrent, State, Stream, TrainingStream};
use crate::sequences::Sequences;
use crate::tensor::activation::tanh_slice;
use crate::tensor::{Level, Precision, threads};

/// The fewest rows of a block, as in the recurrent layers.
const MIN_BLOCK_ROWS: usize = 4;

/// The layers of a decoder.
#[derive(Clone, Debug)]
pub(super) struct DecoderLayers<C: Cell> {
    /// The embedding of the target tokens, unless it is that of the source.
    pub(super) embedding: Option<Embedding<C::Elem>>,
    pub(super) recurrent: Recurrent<C>,
    pub(super) attention: Option<Attention<C::Elem>>,
    /// W_c, if there is attention.
    pub(super) combine: Option<Linear<C::Elem>>,
    pub(super) before: bool,
    pub(super) input_feeding: bool,
    /// Whether the last recurrent layer adds its input to its state.
    pub(super) residual: bool,
}
crate::arrays!([T: Float, C: Cell<Elem = T>] DecoderLayers<C>: T {
    embedding, recurrent, attention, combine
});

/// The layers of a decoder with weights that are packed for inference.
pub(super) struct PackedDecoder<'m, C: Cell> {
    layers: &'m DecoderLayers<C>,
    pub(super) precision: Precision,
    recurrent: Stream<'m, C::Elem>,
    attention: Option<PackedAttention<'m, C::Elem>>,
    combine: Option<LinearSteps<'m, C::Elem>>,
}

/// The steps of a decoder, in inference or training, for all rows or a block of them.
pub(super) struct Steps<'m, C: Cell> {
    layers: &'m DecoderLayers<C>,
    /// That of the weights.
    pub(super) precision: Precision,
    recurrent: Layers<'m, C>,
    attention: Option<AttentionStream<'m, C::Elem>>,
    combine: Option<LinearSteps<'m, C::Elem>>,
    /// h̃ [rows, hidden]: zeros, then in inference that of the last step, in training those of all steps.
    readouts: Vec<Array2<C::Elem>>,
}

enum Layers<'m, C: Cell> {
    Inference(Stream<'m, C::Elem>),
    Training(TrainingStream<'m, C>),
}

impl<T: Float, C: Cell<Elem = T>> Layers<'_, C> {
    fn step(&mut self, x: ArrayView2<'_, T>) -> Result<Array2<T>> {
        match self {
            Self::Inference(stream) => stream.step(x),
            Self::Training(stream) => stream.step(x),
        }
        .map(|h| h.to_owned())
    }

    fn output(&self) -> ArrayView2<'_, T> {
        match self {
            Self::Inference(stream) => stream.output(),
            Self::Training(stream) => stream.output(),
        }
    }
}

/// The gradients of the inputs of a decoder.
pub(super) struct DecoderGradient<T> {
    /// Of the embedded tokens, [time, batch, embedding].
    pub(super) embedded: Array3<T>,
    pub(super) initial: State<T>,
    pub(super) memory: Option<Sequences<T>>,
}

impl<T: Float, C: Cell<Elem = T>> DecoderLayers<C> {
    /// Returns the width of h̃.
    pub(super) fn output_size(&self) -> usize {
        self.combine.as_ref().map_or(self.recurrent.output_size(), Linear::output_size)
    }

    /// Packs the weights in the given precision, which [`Precision::check`] allows, for steps of `batch` rows or
    /// any other number.
    pub(super) fn packed(
        &self,
        batch: usize,
        precision: Precision,
    ) -> Result<PackedDecoder<'_, C>> {
        let attention = self.attention.as_ref().map(|attention| attention.packed_with(precision));
        let combine = self.combine.as_ref();
        Ok(PackedDecoder {
            layers: self,
            precision,
            recurrent: self.recurrent.stream_of(batch.max(1), precision)?,
            attention: attention.transpose()?,
            combine: combine.map(|combine| LinearSteps::with(combine, precision)),
        })
    }

    /// Begins a forward pass of training.
    pub(super) fn training<'m>(
        &'m self,
        initial: &State<T>,
        memory: &Sequences<T>,
        rng: &mut dyn Rng,
    ) -> Result<Steps<'m, C>> {
        let stream = self.recurrent.training_stream(initial.batch(), Some(initial), rng)?;
        let training =
            |attention: &'m Attention<T>| attention.training_stream(attention.memory(memory)?);
        Ok(Steps {
            layers: self,
            precision: Precision::Full,
            recurrent: Layers::Training(stream),
            attention: self.attention.as_ref().map(training).transpose()?,
            combine: self.combine.as_ref().map(LinearSteps::new),
            readouts: self.no_readouts(initial.batch()),
        })
    }

    /// Returns h̃ before the first step, zeros.
    fn no_readouts(&self, rows: usize) -> Vec<Array2<T>> {
        vec![Array2::zeros((rows, self.output_size()))]
    }

    /// Returns the sequences of each block of a walk of `batch` sequences, of `width` rows each, through `steps`
    /// steps. A row has `other` multiply-adds in addition to those of these layers.
    pub(super) fn blocks(
        &self,
        (batch, width, steps): (usize, usize, usize),
        other: usize,
    ) -> Vec<Vec<usize>> {
        let attention = self.attention.as_ref().map_or(0, Arrays::count);
        let combine = self.combine.as_ref().map_or(0, Arrays::count);
        let of_row = self.recurrent.count() + attention + combine + other;
        let work = [batch, width, steps].into_iter().fold(of_row, usize::saturating_mul);
        let parts = threads::parts(batch, MIN_BLOCK_ROWS.div_ceil(width), work);
        (0..parts).map(|i| (batch * i / parts..batch * (i + 1) / parts).collect()).collect()
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> PackedDecoder<'m, C> {
    /// Begins the decoding of sequences whose `initial` states and `memory` are given.
    pub(super) fn begin(&self, initial: &State<T>, memory: &Sequences<T>) -> Result<Steps<'m, C>> {
        let Self { layers, precision, .. } = *self;
        let (rows, mut stream) = (initial.batch(), self.recurrent.fork());
        stream.select(&vec![0; rows])?;
        stream.restore(initial)?;
        let attention = self.attention.as_ref().map(|attention| attention.stream(memory));
        Ok(Steps {
            layers,
            precision,
            recurrent: Layers::Inference(stream),
            attention: attention.transpose()?,
            combine: self.combine.as_ref().map(LinearSteps::another),
            readouts: layers.no_readouts(rows),
        })
    }
}

impl<'m, T: Float, C: Cell<Elem = T>> Steps<'m, C> {
    /// Divides steps that have not begun into those of the rows of each block.
    pub(super) fn divided(self, blocks: &[Vec<usize>]) -> Result<Vec<Self>> {
        if blocks.len() <= 1 {
            return Ok(vec![self]);
        }
        let recurrent: Vec<_> = match self.recurrent {
            Layers::Training(stream) => {
                stream.divided(blocks)?.into_iter().map(Layers::Training).collect()
            }
            Layers::Inference(stream) => {
                let part = |rows: &Vec<usize>| {
                    let mut part = stream.fork();
                    part.select(rows).map(|()| Layers::Inference(part))
                };
                blocks.iter().map(part).collect::<Result<_>>()?
            }
        };
        let mut attention = self.attention.map(|attention| attention.divided(blocks).into_iter());
        let mut combine = self.combine.map(|combine| combine.divided(blocks.len()).into_iter());
        let parts = recurrent.into_iter().zip(blocks).map(|(recurrent, rows)| Self {
            layers: self.layers,
            precision: self.precision,
            recurrent,
            attention: attention.as_mut().and_then(Iterator::next),
            combine: combine.as_mut().and_then(Iterator::next),
            readouts: vec![self.readouts[0].select(Axis(0), rows)],
        });
        Ok(parts.collect())
    }

    /// Returns h̃ [rows, hidden] from the `embedded` tokens [rows, embedding] of the step. Rows that are not
    /// `live` are not read later.
    #[expect(clippy::expect_used, reason = "new rows are in standard layout")]
    pub(super) fn step(
        &mut self,
        embedded: ArrayView2<'_, T>,
        live: &[bool],
    ) -> Result<ArrayView2<'_, T>> {
        let mut context = None;
        if let Some(attention) = self.attention.as_mut().filter(|_| self.layers.before) {
            context = Some(attention.step_live(self.recurrent.output(), live.to_vec())?);
        }
        let fed = self.layers.input_feeding.then(|| self.readout());
        let parts = [Some(embedded), fed, context.as_ref().map(|c| c.view())];
        let parts: Vec<ArrayView2<'_, T>> = parts.into_iter().flatten().collect();
        let x = beside(&parts);
        let h = self.recurrent.step(x.view())?;
        if let Some(attention) = self.attention.as_mut().filter(|_| !self.layers.before) {
            context = Some(attention.step_live(h.view(), live.to_vec())?);
        }
        let train = matches!(self.recurrent, Layers::Training(_));
        let readout = match self.combine.as_mut().zip(context) {
            None => h,
            Some((combine, context)) => {
                let both = beside(&[context.view(), h.view()]);
                let mut sums =
                    if train { combine.step_train(both)? } else { combine.step(both.view())? };
                tanh_slice(Level::new(), sums.as_slice_mut().expect("rows in standard layout"));
                sums
            }
        };
        if !train {
            self.readouts.clear();
        }
        self.readouts.push(readout);
        Ok(self.readout())
    }

    /// Returns h̃ of the last step.
    #[expect(clippy::expect_used, reason = "`new` puts zeros there, and `step` keeps one")]
    pub(super) fn readout(&self) -> ArrayView2<'_, T> {
        self.readouts.last().expect("zeros at first").view()
    }

    /// Returns the weights of the attention of the last step, [rows, memory time].
    pub(super) fn weights(&self) -> Option<ArrayView2<'_, T>> {
        self.attention.as_ref().map(AttentionStream::weights)
    }

    /// Continues with the given rows.
    pub(super) fn select(&mut self, rows: &[usize]) -> Result<()> {
        let Layers::Inference(stream) = &mut self.recurrent else {
            return Err(Error::argument("stream", "one of inference", "one of training"));
        };
        stream.select(rows)?;
        if let Some(attention) = &mut self.attention {
            attention.select(rows)?;
        }
        self.readouts = vec![self.readout().select(Axis(0), rows)];
        Ok(())
    }

    /// Runs the backward pass of all blocks of a batch, from the gradient of all h̃, [time, batch, hidden], zero
    /// where a row was not live. Adds the gradients of the layers, without the embedding, to `grad`.
    pub(super) fn backward(
        blocks: Vec<Self>,
        d_readouts: &Array3<T>,
        grad: &mut DecoderLayers<C>,
    ) -> Result<DecoderGradient<T>> {
        let layers = blocks[0].layers;
        let (time, batch, _) = d_readouts.dim();
        let mut embedded = Array3::zeros((time, batch, layers.embedding_width()));
        let rows: Vec<usize> = blocks.iter().map(|block| block.readout().nrows()).collect();
        let (mut d, mut to, mut parts) = (d_readouts.view(), embedded.view_mut(), Vec::new());
        for (block, &rows) in blocks.into_iter().zip(&rows) {
            let (d_here, d_after) = d.split_at(Axis(1), rows);
            let (to_here, to_after) = to.split_at(Axis(1), rows);
            parts.push((block, d_here, to_here));
            (d, to) = (d_after, to_after);
        }
        let walked = threads::map(parts, |(block, d, to)| block.walk_back(d, to));
        let (initial, memory) = Backward::finish(walked.into_iter().collect::<Result<_>>()?, grad)?;
        Ok(DecoderGradient { embedded, initial, memory })
    }

    /// Walks back from the last step to the first, and writes the gradient of the embedded tokens to `embedded`.
    fn walk_back(
        self,
        d_readouts: ArrayView3<'_, T>,
        mut embedded: ArrayViewMut3<'_, T>,
    ) -> Result<Backward<'m, C>> {
        let Layers::Training(stream) = self.recurrent else {
            return Err(Error::argument("stream", "one of training", "one of inference"));
        };
        let (_, rows, width) = d_readouts.dim();
        let mut back = Backward {
            layers: self.layers,
            recurrent: stream.backward(None)?,
            attention: self.attention.map(AttentionStream::backward).transpose()?,
            combine: self.combine,
            d_output: Array2::zeros((rows, self.layers.recurrent.output_size())),
        };
        let embedding = embedded.len_of(Axis(2));
        let mut d_fed = Array2::zeros((rows, width));
        // The first of the readouts was before all steps.
        for (t, readout) in self.readouts[1..].iter().enumerate().rev() {
            let d = &d_readouts.index_axis(Axis(0), t) + &d_fed;
            let d_x = back.step(d, readout)?;
            let (d_embedded, rest) = d_x.view().split_at(Axis(1), embedding);
            embedded.index_axis_mut(Axis(0), t).assign(&d_embedded);
            if self.layers.input_feeding {
                d_fed.assign(&rest.split_at(Axis(1), width).0);
            }
        }
        Ok(back)
    }
}

impl<T: Float, C: Cell<Elem = T>> DecoderLayers<C> {
    /// Returns the width of an embedded token.
    fn embedding_width(&self) -> usize {
        let fed = if self.input_feeding { self.output_size() } else { 0 };
        let context = self.attention.as_ref().filter(|_| self.before);
        self.recurrent.input_size() - fed - context.map_or(0, Attention::memory_size)
    }
}

/// The backward pass of a block, from the last step to the first.
struct Backward<'m, C: Cell> {
    layers: &'m DecoderLayers<C>,
    recurrent: BackwardStream<'m, C>,
    attention: Option<AttentionBackwardStream<'m, C::Elem>>,
    combine: Option<LinearSteps<'m, C::Elem>>,
    /// The gradient of h of the last step that is left, through the query of the next.
    d_output: Array2<C::Elem>,
}

impl<T: Float, C: Cell<Elem = T>> Backward<'_, C> {
    /// Returns d_x of the last step that is left from `d`, the gradient of its `readout`.
    fn step(&mut self, mut d: Array2<T>, readout: &Array2<T>) -> Result<Array2<T>> {
        let (before, d_output) = (self.layers.before, &mut self.d_output);
        let mut d_context = None;
        if let Some(combine) = &mut self.combine {
            d.zip_mut_with(readout, |d, &y| *d *= T::one() - y * y);
            let d_both = combine.step_back(d)?;
            let context = d_both.ncols() - d_output.ncols();
            let (of_context, of_h) = d_both.view().split_at(Axis(1), context);
            d_context = Some(of_context.to_owned());
            d = of_h.to_owned();
        }
        d += &*d_output;
        d_output.fill(T::zero());
        if let (Some(attention), Some(d_context), false) = (&mut self.attention, &d_context, before)
        {
            d += &attention.step(d_context.view(), None)?;
        }
        let Some(d_x) = self.recurrent.step(d.view())? else {
            return Err(Error::argument("x", "embedded tokens", "tokens"));
        };
        if let (Some(attention), Some(d_context), true) = (&mut self.attention, &d_context, before)
        {
            let fed = d_x.ncols() - d_context.ncols();
            let d_context = d_context + &d_x.view().split_at(Axis(1), fed).1;
            d_output.assign(&attention.step(d_context.view(), None)?);
        }
        Ok(d_x)
    }

    /// Returns the gradients of the initial states and the memory of all `blocks`, and adds those of the layers to
    /// `grad`.
    fn finish(
        blocks: Vec<Self>,
        grad: &mut DecoderLayers<C>,
    ) -> Result<(State<T>, Option<Sequences<T>>)> {
        let layers = blocks[0].layers;
        let (mut recurrent, mut attention, mut combine) = (Vec::new(), Vec::new(), Vec::new());
        let mut d_outputs = Vec::new();
        for block in blocks {
            recurrent.push(block.recurrent);
            attention.extend(block.attention);
            combine.extend(block.combine);
            d_outputs.push(block.d_output);
        }
        let mut initial = BackwardStream::finish_all(recurrent, &mut grad.recurrent)?;
        if !layers.residual {
            for (initial, d_output) in initial.iter_mut().zip(&d_outputs) {
                let last = initial.parts_mut().last_mut().and_then(|states| states.first_mut());
                last.into_iter().for_each(|h| *h += d_output);
            }
        }
        if let Some(grad) = &mut grad.combine {
            LinearSteps::finish(&combine, grad)?;
        }
        let memory = match &mut grad.attention {
            Some(grad) if !attention.is_empty() => {
                Some(AttentionBackwardStream::finish_all(attention, grad)?.values)
            }
            _ => None,
        };
        Ok((joined(initial), memory))
    }
}
