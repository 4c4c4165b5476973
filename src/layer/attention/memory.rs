//! [`AttentionMemory`]: the rows that attention reads, with their keys.

use ndarray::{Array3, ArrayView2, Axis};

use crate::error::{Error, Result, check_shape, shaped};
use crate::float::Float;
use crate::layer::linear::PackedLinear;
use crate::layer::{Attention, Linear};
use crate::sequences::Sequences;
use crate::tensor::Rows;

/// The rows to attend to, of each sequence of a batch, with keys that are computed once for all queries.
/// [`Attention::memory`] creates it.
#[derive(Clone, Debug)]
pub struct AttentionMemory<T> {
    /// The values, [batch, time, memory], zero in the padding.
    pub(super) values: Array3<T>,
    /// The rows from which the keys are computed, if they are not the values.
    key_rows: Option<Array3<T>>,
    /// The keys, if they are computed.
    keys: Option<Array3<T>>,
    pub(super) lengths: Vec<usize>,
}

/// The gradient with respect to a memory.
#[derive(Clone, Debug)]
pub struct MemoryGradient<T> {
    /// The gradient of the rows given as keys to [`Attention::memory_of`]; none for [`Attention::memory`].
    pub keys: Option<Sequences<T>>,
    /// The gradient of the values. If there are no rows for the keys, it includes the gradient through them.
    pub values: Sequences<T>,
}

impl<T: Float> Attention<T> {
    /// Returns `memory` [time, batch, memory] with its keys. Each sequence may have its own length.
    ///
    /// # Errors
    /// If the width does not fit, or a memory has no row.
    pub fn memory(&self, memory: &Sequences<T>) -> Result<AttentionMemory<T>> {
        self.memory_by(self.key_layer().map(Linear::packed).as_ref(), memory)
    }

    /// Returns the same, with keys from the packed `key` layer.
    pub(super) fn memory_by(
        &self,
        key: Option<&PackedLinear<'_, T>>,
        memory: &Sequences<T>,
    ) -> Result<AttentionMemory<T>> {
        self.check_memory("memory", memory)?;
        AttentionMemory::new(key, batch_first(memory), None, memory.lengths().to_vec())
    }

    /// Returns a memory with the keys of the rows `keys` and the values `values`, both
    /// [time, batch, memory] and of the same lengths.
    ///
    /// # Errors
    /// If a shape or length does not fit, or a memory has no row.
    pub fn memory_of(
        &self,
        keys: &Sequences<T>,
        values: &Sequences<T>,
    ) -> Result<AttentionMemory<T>> {
        self.check_memory("keys", keys)?;
        let sizes = [keys.time(), keys.batch(), self.memory_size()];
        values.check("values", ("time, batch, memory", sizes), keys.lengths())?;
        let (rows, lengths) = (batch_first(keys), keys.lengths().to_vec());
        let key = self.key_layer().map(Linear::packed);
        AttentionMemory::new(key.as_ref(), batch_first(values), Some(rows), lengths)
    }

    fn check_memory(&self, argument: &'static str, memory: &Sequences<T>) -> Result<()> {
        let sizes = [memory.time(), memory.batch(), self.memory_size()];
        check_shape(argument, "time, batch, memory", &sizes, memory.values().shape())?;
        match memory.lengths().iter().position(|&length| length == 0) {
            None => Ok(()),
            Some(b) => {
                let argument = format!("{argument}.lengths[{b}]");
                Err(Error::argument(argument, "at least 1: the sequence is attended to", 0))
            }
        }
    }
}

/// Returns the values [batch, time, features] with zeros in the padding.
fn batch_first<T: Float>(sequences: &Sequences<T>) -> Array3<T> {
    let mut values = sequences.to_batch_first();
    for (mut rows, &length) in values.outer_iter_mut().zip(sequences.lengths()) {
        rows.outer_iter_mut().skip(length).for_each(|mut row| row.fill(T::zero()));
    }
    values
}

/// Returns all rows of `values` [batch, time, features].
#[expect(clippy::expect_used, reason = "a memory is made in standard layout")]
fn flat<T: Float>(values: &Array3<T>) -> ArrayView2<'_, T> {
    let (batch, time, width) = values.dim();
    let rows = values.view().into_shape_with_order((batch * time, width));
    rows.expect("an array in standard layout")
}

impl<T: Float> AttentionMemory<T> {
    fn new(
        layer: Option<&PackedLinear<'_, T>>,
        values: Array3<T>,
        key_rows: Option<Array3<T>>,
        lengths: Vec<usize>,
    ) -> Result<Self> {
        let (batch, time, _) = values.dim();
        let compute = |layer: &PackedLinear<'_, T>| {
            let keys = layer.forward_rows(flat(key_rows.as_ref().unwrap_or(&values)))?;
            let shape = (batch, time, keys.ncols());
            shaped("keys", keys.into_shape_with_order(shape))
        };
        let keys = layer.map(compute).transpose()?;
        Ok(Self { keys, values, key_rows, lengths })
    }

    /// Returns the greatest length.
    pub fn time(&self) -> usize {
        self.values.dim().1
    }

    /// Returns the number of sequences.
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// Returns the number of rows of each sequence.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Returns the keys [batch, time, size].
    pub(super) fn keys(&self) -> &Array3<T> {
        self.keys.as_ref().or(self.key_rows.as_ref()).unwrap_or(&self.values)
    }

    /// Returns the keys of sequence `b`.
    pub(super) fn keys_of(&self, b: usize) -> Rows<'_, T> {
        rows_of(self.keys(), b, self.lengths[b])
    }

    /// Returns the values of sequence `b`.
    pub(super) fn values_of(&self, b: usize) -> Rows<'_, T> {
        rows_of(&self.values, b, self.lengths[b])
    }

    /// Returns whether the keys are the values.
    pub(super) fn is_plain(&self) -> bool {
        self.keys.is_none() && self.key_rows.is_none()
    }

    /// Returns the gradient with respect to the memory, from those of some sequences after another: that of
    /// their values and, unless they are the same, of their keys. Adds the gradients of `layer`, which computes
    /// the keys, to `grad`.
    pub(super) fn gradient(
        &self,
        (layer, mut grad): (Option<&Linear<T>>, Option<&mut Linear<T>>),
        parts: Vec<(Array3<T>, Option<Array3<T>>)>,
    ) -> Result<MemoryGradient<T>> {
        let (batch, time, width) = self.values.dim();
        let zeros = || Array3::zeros((time, batch, width));
        let (mut values, mut keys) = (zeros(), self.key_rows.as_ref().map(|_| zeros()));
        let mut first = 0;
        for (mut d_values, mut d_keys) in parts {
            let (count, shape) = (d_values.dim().0, d_values.raw_dim());
            let here = first..first + count;
            if let (Some(layer), Some(grad), Some(d)) = (layer, grad.as_deref_mut(), &mut d_keys) {
                let rows = flat(self.key_rows.as_ref().unwrap_or(&self.values));
                let rows =
                    rows.slice_axis_move(Axis(0), (here.start * time..here.end * time).into());
                let d_rows = layer.backward_rows(rows, flat(d), grad)?;
                *d = shaped("gradient of the keys", d_rows.into_shape_with_order(shape))?;
            }
            let write = |to: &mut Array3<T>, d: Array3<T>| {
                let mut to = to.slice_axis_mut(Axis(1), here.clone().into());
                to.assign(&d.permuted_axes([1, 0, 2]));
            };
            match (d_keys, &mut keys) {
                (Some(d_keys), Some(keys)) => write(keys, d_keys),
                (Some(d_keys), None) => d_values += &d_keys,
                (None, _) => {}
            }
            write(&mut values, d_values);
            first += count;
        }
        let sequences = |values| Sequences::new(values, self.lengths.clone());
        Ok(MemoryGradient { keys: keys.map(sequences).transpose()?, values: sequences(values)? })
    }
}

/// Returns the first `length` rows of sequence `b` of `values` [batch, time, width].
#[expect(clippy::expect_used, reason = "a memory is made in standard layout")]
fn rows_of<T: Float>(values: &Array3<T>, b: usize, length: usize) -> Rows<'_, T> {
    let rows = values.index_axis(Axis(0), b).to_slice().expect("an array in standard layout");
    Rows::new(rows, values.dim().2).range(0..length)
}
