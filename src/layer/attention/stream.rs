//! [`AttentionStream`] and [`AttentionBackwardStream`]: attention one query after another.

use std::borrow::Cow;

use ndarray::{Array2, ArrayView2};

use crate::arrays::check_same_structure;
use crate::error::{Error, Result, check_indices, check_shape, check_size};
use crate::float::Float;
use crate::layer::attention::walk::{Walk, WalkBack};
use crate::layer::linear_steps::LinearSteps;
use crate::layer::{Attention, AttentionMemory, Linear, MemoryGradient};

/// Attention of one query of each sequence after another, in which a query may depend on the contexts before,
/// as in a decoder. The weights of the projection of queries are packed once.
///
/// [`Attention::stream`] creates one for inference, [`Attention::training_stream`] one that stores its steps
/// for [`backward`](Self::backward). Contexts and gradients equal those of whole sequences of queries
/// ([`Attention::attend`] and the [`Layer`](crate::layer::Layer)), bit for bit.
///
/// ```
/// use ndarray::{Array2, Array3};
/// use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
/// use recurrent::layer::{Attention, AttentionScore};
/// use recurrent::{Arrays, Sequences};
///
/// let mut rng = ChaCha8Rng::seed_from_u64(1);
/// let attention = Attention::<f32>::new(AttentionScore::General, 4, 6, &mut rng)?;
/// let memory = Sequences::full(Array3::ones((5, 2, 6)))?; // [time, batch, memory]
///
/// let mut stream = attention.training_stream(attention.memory(&memory)?)?;
/// let context = stream.step(Array2::ones((2, 4)).view())?; // [batch, memory]
/// assert_eq!(stream.weights().dim(), (2, 5)); // [batch, memory time]
///
/// let mut backward = stream.backward()?;
/// let d_query = backward.step(context.view(), None)?;
/// let mut grad = attention.zeros_like();
/// let d_memory = backward.finish(&mut grad)?.values;
/// # assert_eq!((d_query.dim(), d_memory.values().dim()), ((2, 4), (5, 2, 6)));
/// # Ok::<(), recurrent::Error>(())
/// ```
pub struct AttentionStream<'m, T: Float> {
    pub(super) attention: Cow<'m, Attention<T>>,
    pub(super) query: Option<LinearSteps<'m, T>>,
    pub(super) walk: Walk<T>,
}

/// The backward pass of an [`AttentionStream`], from its last step to its first. After [`step`](Self::step)
/// for each of them, [`finish`](Self::finish) sums the gradients of the parameters.
pub struct AttentionBackwardStream<'m, T: Float> {
    attention: Cow<'m, Attention<T>>,
    query: Option<LinearSteps<'m, T>>,
    walk: WalkBack<T>,
    rows: usize,
    memory_time: usize,
}

impl<T: Float> std::fmt::Debug for AttentionStream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttentionStream").field("rows", &self.walk.rows()).finish_non_exhaustive()
    }
}

impl<T: Float> std::fmt::Debug for AttentionBackwardStream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("AttentionBackwardStream");
        shown.field("left", &self.walk.left()).finish_non_exhaustive()
    }
}

impl<T: Float> Attention<T> {
    /// Returns a stream of queries to `memory`, for inference.
    ///
    /// # Errors
    /// If `memory` is that of attention with other sizes.
    pub fn stream(&self, memory: AttentionMemory<T>) -> Result<AttentionStream<'_, T>> {
        self.new_stream(memory, false)
    }

    /// Returns a stream of queries to `memory` that stores its steps for a backward pass.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn training_stream(&self, memory: AttentionMemory<T>) -> Result<AttentionStream<'_, T>> {
        self.new_stream(memory, true)
    }

    fn new_stream(
        &self,
        memory: AttentionMemory<T>,
        train: bool,
    ) -> Result<AttentionStream<'_, T>> {
        let key = self.query.as_ref().map_or(self.query_size(), Linear::output_size);
        let widths = [memory.values.dim().2, memory.keys().dim().2];
        check_shape("memory", "values, keys", &[self.memory_size(), key], &widths)?;
        let query = self.query.as_ref().map(LinearSteps::new);
        Ok(AttentionStream {
            attention: Cow::Borrowed(self),
            query,
            walk: Walk::new(memory, train),
        })
    }
}

impl<'m, T: Float> AttentionStream<'m, T> {
    /// Returns the contexts [batch, memory] of the `queries` [batch, query].
    ///
    /// # Errors
    /// If the shape of `queries` does not fit. The stream is then unchanged.
    pub fn step(&mut self, queries: ArrayView2<'_, T>) -> Result<Array2<T>> {
        self.step_live(queries, vec![true; self.walk.rows()])
    }

    /// Returns the same for the rows that are `live`. Other rows have the context zero.
    pub(crate) fn step_live(
        &mut self,
        queries: ArrayView2<'_, T>,
        live: Vec<bool>,
    ) -> Result<Array2<T>> {
        let expected = [self.walk.rows(), self.attention.query_size()];
        check_shape("queries", "batch, query", &expected, queries.shape())?;
        let q = match &mut self.query {
            Some(query) if self.walk.is_training() => {
                let mut queries = queries.as_standard_layout().into_owned();
                // NaN of a row without a query would reach the gradient of the weight.
                let mut rows = queries.outer_iter_mut().zip(&live);
                rows.by_ref().filter(|x| !x.1).for_each(|(mut row, _)| row.fill(T::zero()));
                query.step_train(queries)?
            }
            Some(query) => query.step(queries)?,
            None => queries.as_standard_layout().into_owned(),
        };
        self.walk.attend(&self.attention, self.attention.scaled(q), live)
    }

    /// Returns the weights of the last step, [batch, memory time]. They are zero before the first, and beyond
    /// the end of each memory.
    pub fn weights(&self) -> ArrayView2<'_, T> {
        self.walk.weights()
    }

    /// Continues with the sequences `rows`, in this order, each with the memory that it has. A sequence may
    /// occur more than once, as in a beam search.
    ///
    /// # Errors
    /// If there is no row, one is not less than the number of sequences, or the stream is one of training.
    pub fn select(&mut self, rows: &[usize]) -> Result<()> {
        if self.walk.is_training() {
            return Err(Error::argument("stream", "one of inference", "one of training"));
        }
        check_size("rows", &[rows.len()])?;
        check_indices("rows", rows, self.walk.rows(), "batch")?;
        self.walk.select(rows);
        Ok(())
    }

    /// Divides a stream without steps into streams of consecutive sequences each, for several threads. Results do
    /// not depend on the division.
    pub(crate) fn divided(self, blocks: &[Vec<usize>]) -> Vec<Self> {
        let Self { attention, query, walk } = self;
        let mut queries = query.map(|query| query.divided(blocks.len()).into_iter());
        let mut query = || queries.as_mut().and_then(Iterator::next);
        let part = |rows: &Vec<usize>| Self {
            attention: attention.clone(),
            query: query(),
            walk: walk.part(rows),
        };
        blocks.iter().map(part).collect()
    }

    /// Begins the backward pass.
    ///
    /// # Errors
    /// If the stream is one of inference.
    pub fn backward(self) -> Result<AttentionBackwardStream<'m, T>> {
        if !self.walk.is_training() {
            return Err(Error::argument("stream", "one of training", "one of inference"));
        }
        let Self { attention, query, walk } = self;
        let (rows, memory_time) = walk.weights().dim();
        let walk = WalkBack::new(&attention, walk);
        Ok(AttentionBackwardStream { attention, query, walk, rows, memory_time })
    }
}

impl<T: Float> AttentionBackwardStream<'_, T> {
    /// Returns the gradient of the queries [batch, query] of the last step that is left, from that of its
    /// contexts, `d_contexts` [batch, memory]. `d_weights` [batch, memory time] is the gradient of its weights, if the
    /// loss reads them too.
    ///
    /// # Errors
    /// If no step is left, or a shape does not fit. The stream is then unchanged.
    pub fn step(
        &mut self,
        d_contexts: ArrayView2<'_, T>,
        d_weights: Option<ArrayView2<'_, T>>,
    ) -> Result<Array2<T>> {
        if self.walk.left() == 0 {
            return Err(Error::argument("step", "a step that is left", "none"));
        }
        let expected = [self.rows, self.attention.memory_size()];
        check_shape("d_contexts", "batch, memory", &expected, d_contexts.shape())?;
        if let Some(d_weights) = d_weights {
            let expected = [self.rows, self.memory_time];
            check_shape("d_weights", "batch, memory time", &expected, d_weights.shape())?;
        }
        let d_q = self.walk.step(&self.attention, d_contexts, d_weights)?;
        let d_q = self.attention.scaled(d_q);
        Ok(match &mut self.query {
            Some(query) => query.step_back(d_q)?,
            None => d_q,
        })
    }

    /// Adds the gradients of the parameters over all steps to `grad`, and returns that of the memory.
    ///
    /// # Errors
    /// If steps are left, or `grad` does not fit. `grad` is then unchanged.
    pub fn finish(self, grad: &mut Attention<T>) -> Result<MemoryGradient<T>> {
        Self::finish_all(vec![self], grad)
    }

    /// Finishes all streams that [`AttentionStream::divided`] has made, in their order.
    pub(crate) fn finish_all(
        blocks: Vec<Self>,
        grad: &mut Attention<T>,
    ) -> Result<MemoryGradient<T>> {
        let attention = blocks[0].attention.clone();
        check_same_structure("grad", &*attention, grad)?;
        if let Some(left) = blocks.iter().map(|block| block.walk.left()).find(|&left| left > 0) {
            return Err(Error::argument("steps left", "none", left));
        }
        let parts = blocks.into_iter().map(|block| (block.query, block.walk));
        let (queries, walks): (Vec<_>, Vec<_>) = parts.unzip();
        if let Some(grad) = &mut grad.query {
            let queries: Vec<_> = queries.into_iter().flatten().collect();
            LinearSteps::finish(&queries, grad)?;
        }
        WalkBack::finish(walks, &attention, grad)
    }
}
