//! The forward and backward pass of attention, one query of each sequence after another.

use std::sync::Arc;

use ndarray::{Array1, Array2, Array3, ArrayView2, Axis, Slice};

use crate::arrays::Arrays;
use crate::error::{Error, Result};
use crate::float::Float;
use crate::layer::attention::location::Location;
use crate::layer::{Attention, AttentionMemory, Linear, MemoryGradient};
use crate::tensor::attention::{
    add_additive_gradients, add_weighted_sum, additive_scores, row_dots, softmax_gradient,
};
use crate::tensor::reduce::softmax;
use crate::tensor::{Level, RowRefs, Rows, RowsMut, add_outer_products};

/// A memory and the queries that attended to it so far. A row of queries attends to one sequence of the
/// memory. Queries are those that the scores use: projected, or times their factor.
#[derive(Clone, Debug)]
pub(super) struct Walk<T> {
    memory: Arc<AttentionMemory<T>>,
    /// The sequence of each row.
    sequences: Vec<usize>,
    /// The weights of the last query of each row, [rows, memory time].
    weights: Array2<T>,
    /// Whether the steps are stored for a backward pass.
    train: bool,
    steps: Vec<Step<T>>,
}

/// One query of each row.
#[derive(Clone, Debug)]
pub(super) struct Step<T> {
    q: Array2<T>,
    /// [rows, memory time], zero beyond the end of a memory and in rows without a query.
    pub(super) weights: Array2<T>,
    /// Whether each row has a query.
    live: Vec<bool>,
}

impl<T: Float> Walk<T> {
    pub(super) fn new(memory: AttentionMemory<T>, train: bool) -> Self {
        let weights = Array2::zeros((memory.batch(), memory.time()));
        let sequences = (0..memory.batch()).collect();
        Self { memory: Arc::new(memory), sequences, weights, train, steps: Vec::new() }
    }

    /// Returns a walk of the given rows, from here on.
    pub(super) fn part(&self, rows: &[usize]) -> Self {
        let sequences = rows.iter().map(|&row| self.sequences[row]).collect();
        let (memory, weights) = (self.memory.clone(), self.weights.select(Axis(0), rows));
        Self { memory, sequences, weights, train: self.train, steps: Vec::new() }
    }

    pub(super) fn steps(&self) -> &[Step<T>] {
        &self.steps
    }

    pub(super) fn is_training(&self) -> bool {
        self.train
    }

    pub(super) fn weights(&self) -> ArrayView2<'_, T> {
        self.weights.view()
    }

    pub(super) fn rows(&self) -> usize {
        self.sequences.len()
    }

    /// Continues with the given rows.
    pub(super) fn select(&mut self, rows: &[usize]) {
        self.sequences = rows.iter().map(|&row| self.sequences[row]).collect();
        self.weights = self.weights.select(Axis(0), rows);
    }

    /// Returns the contexts [rows, memory] of the queries `q`. Rows that are not `live` have no query and
    /// the context zero.
    pub(super) fn attend(
        &mut self,
        attention: &Attention<T>,
        q: Array2<T>,
        live: Vec<bool>,
    ) -> Result<Array2<T>> {
        let level = Level::new();
        let mut weights = Array2::zeros(self.weights.raw_dim());
        let mut contexts = Array2::zeros((self.rows(), attention.memory_size()));
        for (row, &b) in self.sequences.iter().enumerate().filter(|(row, _)| live[*row]) {
            let length = self.memory.lengths()[b];
            let scores = &mut slice_mut(&mut weights, row)[..length];
            let q = slice(&q, row);
            match (&attention.score, &attention.location) {
                (None, _) => row_dots(level, q, self.memory.keys_of(b), scores),
                (Some(v), None) => {
                    additive_scores(level, q, self.memory.keys_of(b), weight_of(v), scores);
                }
                (Some(v), Some(location)) => {
                    let before = &slice(&self.weights, row)[..length];
                    let keys = located(location, before, self.memory.keys_of(b))?;
                    additive_scores(level, q, Rows::of(&keys), weight_of(v), scores);
                }
            }
            softmax(level, scores);
            add_weighted_sum(
                level,
                scores,
                self.memory.values_of(b),
                slice_mut(&mut contexts, row),
            );
        }
        if self.train {
            self.steps.push(Step { q, weights: weights.clone(), live });
        }
        self.weights = weights;
        Ok(contexts)
    }
}

/// The backward pass of a [`Walk`], from its last query to its first. Gradients are summed over the steps of each
/// row alone, and over the rows at the end, so that their sums do not depend on a division into blocks of rows.
pub(super) struct WalkBack<T> {
    memory: Arc<AttentionMemory<T>>,
    /// The sequence of the memory that the first row attends to. The others follow in order.
    first: usize,
    steps: Vec<Step<T>>,
    /// From the last step to the last that was walked.
    walked: Vec<Walked<T>>,
    /// [rows, memory time, memory].
    d_values: Array3<T>,
    /// [rows, memory time, size], unless the keys are the values.
    d_keys: Option<Array3<T>>,
    /// The gradient of v from each row, [rows, size].
    d_score: Option<Array2<T>>,
    /// The gradient of the location from each row.
    d_location: Vec<Location<T>>,
    /// The gradient of the weights of the last query that is left, through the scores of the next.
    d_weights: Array2<T>,
}

/// One query of each row, with the gradients that were computed from it.
struct Walked<T> {
    step: Step<T>,
    /// [rows, memory].
    d_contexts: Array2<T>,
    /// [rows, memory time].
    d_scores: Array2<T>,
}

impl<T: Float> WalkBack<T> {
    pub(super) fn new(attention: &Attention<T>, walk: Walk<T>) -> Self {
        let Walk { memory, sequences, weights, steps, .. } = walk;
        let rows = sequences.len();
        let zeros = |like: &Array3<T>| Array3::zeros((rows, like.dim().1, like.dim().2));
        let d_score = |v: &Linear<T>| Array2::zeros((rows, v.input_size()));
        let location = attention.location.as_ref().map(Arrays::zeros_like);
        Self {
            walked: Vec::with_capacity(steps.len()),
            steps,
            first: sequences.first().copied().unwrap_or(0),
            d_values: zeros(&memory.values),
            d_keys: (!memory.is_plain()).then(|| zeros(memory.keys())),
            d_score: attention.score.as_ref().map(d_score),
            d_location: location.into_iter().flat_map(|d| vec![d; rows]).collect(),
            d_weights: Array2::zeros(weights.raw_dim()),
            memory,
        }
    }

    /// Returns the number of steps that are left.
    pub(super) fn left(&self) -> usize {
        self.steps.len()
    }

    /// Returns the gradient of the queries of the last step, of which one must be left, from that of its
    /// contexts, and of its weights if they were used elsewhere too.
    pub(super) fn step(
        &mut self,
        attention: &Attention<T>,
        d_contexts: ArrayView2<'_, T>,
        d_weights: Option<ArrayView2<'_, T>>,
    ) -> Result<Array2<T>> {
        let Some(step) = self.steps.pop() else {
            return Err(Error::argument("step", "one that is left", "none"));
        };
        let (Step { q, weights, live }, level) = (&step, Level::new());
        let d_contexts = d_contexts.as_standard_layout().into_owned();
        let mut d_q = Array2::zeros(q.raw_dim());
        let mut d_scores = std::mem::replace(&mut self.d_weights, Array2::zeros(weights.raw_dim()));
        if let Some(d_weights) = d_weights {
            d_scores += &d_weights;
        }
        let mut through_values = vec![T::zero(); weights.ncols()];
        for row in (0..live.len()).filter(|&row| live[row]) {
            let b = self.first + row;
            let length = self.memory.lengths()[b];
            let (weights, d_context) = (&slice(weights, row)[..length], slice(&d_contexts, row));
            let d_scores = &mut slice_mut(&mut d_scores, row)[..length];
            row_dots(level, d_context, self.memory.values_of(b), &mut through_values[..length]);
            d_scores.iter_mut().zip(&through_values).for_each(|(d, &through)| *d += through);
            softmax_gradient(level, weights, d_scores);
            let of_query = (slice(q, row), slice_mut(&mut d_q, row));
            self.through_scores(attention, row, of_query, d_scores)?;
        }
        self.walked.push(Walked { step, d_contexts, d_scores });
        if self.steps.is_empty() {
            self.add_products(attention);
        }
        Ok(d_q)
    }

    /// Adds the gradients of the memory that are sums of products over the steps: one row of queries after
    /// another, so that its memory stays in the cache.
    fn add_products(&mut self, attention: &Attention<T>) {
        let Self { memory, first, walked, d_values, d_keys, .. } = self;
        let (level, walked) = (Level::new(), &*walked);
        let steps = |row: usize| walked.iter().filter(move |walked| walked.step.live[row]);
        for row in 0..d_values.dim().0 {
            let length = memory.lengths()[*first + row];
            let add = |scores: Vec<_>, rows: Vec<_>, to: &mut Array3<T>| {
                let mut to = to.index_axis_mut(Axis(0), row);
                let rows = RowRefs::new(rows, to.ncols());
                let to = to.slice_axis_mut(Axis(0), Slice::from(..length));
                add_outer_products(level, &RowRefs::new(scores, length), &mut [(&rows, to)]);
            };
            let weights = steps(row).map(|walked| &slice(&walked.step.weights, row)[..length]);
            let contexts = steps(row).map(|walked| slice(&walked.d_contexts, row));
            add(weights.collect(), contexts.collect(), d_values);
            if attention.score.is_none() {
                let scores = steps(row).map(|walked| &slice(&walked.d_scores, row)[..length]);
                let queries = steps(row).map(|walked| slice(&walked.step.q, row));
                add(scores.collect(), queries.collect(), d_keys.as_mut().unwrap_or(d_values));
            }
        }
        self.walked.clear();
    }

    /// Adds the gradients through the scores of the query `q` of a row.
    fn through_scores(
        &mut self,
        attention: &Attention<T>,
        row: usize,
        (q, d_q): (&[T], &mut [T]),
        d_scores: &[T],
    ) -> Result<()> {
        let (level, length) = (Level::new(), d_scores.len());
        let keys = self.memory.keys_of(self.first + row);
        let Some((v, d_v)) = attention.score.as_ref().zip(self.d_score.as_mut()) else {
            add_weighted_sum(level, d_scores, keys, d_q);
            return Ok(());
        };
        let d_keys = rows_mut(self.d_keys.as_mut().unwrap_or(&mut self.d_values), row, length);
        let (v, d_v) = (weight_of(v), slice_mut(d_v, row));
        let grad = self.d_location.get_mut(row);
        let Some((location, grad)) = attention.location.as_ref().zip(grad) else {
            add_additive_gradients(level, q, keys, v, d_scores, d_v, d_q, d_keys);
            return Ok(());
        };
        let before = match self.steps.last() {
            Some(step) => slice(&step.weights, row)[..length].to_vec(),
            None => vec![T::zero(); length],
        };
        let keys = located(location, &before, keys)?;
        let mut d_sums = Array2::zeros(keys.raw_dim());
        let to = RowsMut::of(&mut d_sums);
        add_additive_gradients(level, q, Rows::of(&keys), v, d_scores, d_v, d_q, to);
        let mut d_keys = d_keys;
        for (s, d_sum) in d_sums.outer_iter().enumerate() {
            d_keys.row_mut(s).iter_mut().zip(d_sum).for_each(|(to, &d)| *to += d);
        }
        let d_before = location.backward(Array1::from(before).view(), &d_sums, grad)?;
        self.d_weights.row_mut(row).iter_mut().zip(d_before).for_each(|(to, d)| *to += d);
        Ok(())
    }

    /// Returns the gradient of the memory, whose sequences the rows of all `blocks` attended to in order. Adds
    /// those of the parameters, without the projection of the queries, to `grad`.
    pub(super) fn finish(
        blocks: Vec<Self>,
        attention: &Attention<T>,
        grad: &mut Attention<T>,
    ) -> Result<MemoryGradient<T>> {
        for block in &blocks {
            if let (Some(d), Some(score)) = (&block.d_score, &mut grad.score) {
                let rows = d.outer_iter().map(|d| d.insert_axis(Axis(0)));
                rows.for_each(|d| score.add_weight_gradient(&d));
            }
            if let Some(location) = &mut grad.location {
                block.d_location.iter().try_for_each(|d| location.add_arrays("grad", d))?;
            }
        }
        let memory = blocks[0].memory.clone();
        let parts = blocks.into_iter().map(|block| (block.d_values, block.d_keys)).collect();
        memory.gradient((attention.key_layer(), grad.key.as_mut()), parts)
    }
}

/// Returns the keys with the part that depends on the weights `before`.
fn located<T: Float>(location: &Location<T>, before: &[T], keys: Rows<'_, T>) -> Result<Array2<T>> {
    let mut sums = location.forward(Array1::from(before.to_vec()).view())?;
    for (mut sum, key) in sums.outer_iter_mut().zip(keys.iter()) {
        sum.iter_mut().zip(key).for_each(|(sum, &key)| *sum += key);
    }
    Ok(sums)
}

/// Returns v, the weight of a layer with one output.
fn weight_of<T: Float>(v: &Linear<T>) -> &[T] {
    v.weight_slice()
}

#[expect(clippy::expect_used, reason = "the rows of a step are made in standard layout")]
fn slice<T: Float>(rows: &Array2<T>, row: usize) -> &[T] {
    let width = rows.ncols();
    &rows.as_slice().expect("rows in standard layout")[row * width..][..width]
}

#[expect(clippy::expect_used, reason = "the rows of a step are made in standard layout")]
fn slice_mut<T: Float>(rows: &mut Array2<T>, row: usize) -> &mut [T] {
    let width = rows.ncols();
    &mut rows.as_slice_mut().expect("rows in standard layout")[row * width..][..width]
}

/// Returns the first `length` rows of index `b` of `values` [rows, time, width].
#[expect(clippy::expect_used, reason = "`WalkBack::new` makes the array in standard layout")]
fn rows_mut<T: Float>(values: &mut Array3<T>, b: usize, length: usize) -> RowsMut<'_, T> {
    let (_, time, width) = values.dim();
    let values = values.as_slice_mut().expect("an array in standard layout");
    RowsMut::new(&mut values[b * time * width..][..length * width], width)
}
