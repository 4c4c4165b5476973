//! [`Ranks`]: the agreement of the ranks of a distributed training; [`Division`]: the samples that each of them
//! computes.

use std::ops::ControlFlow;

use crate::arrays::{Arrays, Views, ViewsMut, views, views_mut};
use crate::data::Source;
use crate::error::{Error, Result};
use crate::float::{Float, PerFloat, Table, per_float};
use crate::train::communicator::{Alone, agree, exchange, failed, gather};
use crate::train::model::{chunks, score_of};
use crate::train::run::Settings;
use crate::train::{Communicator, Model, Score};

/// The ranks of a training.
#[derive(Clone, Copy)]
pub(super) struct Ranks<'a>(pub(super) &'a dyn Communicator);

/// The only rank of a training that is not distributed.
pub(super) const ALONE: Ranks<'static> = Ranks(&Alone);

/// A collective sum over the ranks.
struct Sum;
impl PerFloat for Sum {
    type Of<T: Float> = fn(&dyn Communicator, &mut [T]) -> Result<()>;
}
static SUM: Table<Sum> = Table {
    f32: |communicator, values| communicator.sum_f32(values),
    f64: |communicator, values| communicator.sum_f64(values),
};

impl Ranks<'_> {
    pub(super) fn rank(self) -> usize {
        self.0.rank()
    }

    pub(super) fn size(self) -> usize {
        self.0.size()
    }

    /// Fails unless the communicator has this rank.
    pub(super) fn check(self) -> Result<()> {
        let (rank, size) = (self.rank(), self.size());
        if rank < size {
            return Ok(());
        }
        Err(Error::argument("communicator.rank", format!("less than {size} (ranks)"), rank))
    }

    /// Returns the value of `own`, or fails if a rank has an error.
    pub(super) fn agree<R>(self, own: Result<R>) -> Result<R> {
        if self.size() == 1 { own } else { agree(self.0, own) }
    }

    /// Returns the numbers of every rank, or fails if a rank has an error.
    pub(super) fn exchange(self, own: Result<Vec<f64>>) -> Result<Vec<Vec<f64>>> {
        match self.size() {
            1 => Ok(vec![own?]),
            _ => Ok(exchange(self.0, own.map(|numbers| ((), numbers)))?.1),
        }
    }

    /// Returns whether the training goes on at every rank.
    pub(super) fn flow(self, own: ControlFlow<()>) -> Result<ControlFlow<()>> {
        let all = self.exchange(Ok(vec![f64::from(u8::from(own.is_break()))]))?;
        let stops = all.iter().flatten().any(|&stops| stops != 0.0);
        Ok(if stops { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Returns the result of `f` at rank 0. The others return the default, or fail if rank 0 does.
    pub(super) fn at_root<R: Default>(self, f: impl FnOnce() -> Result<R>) -> Result<R> {
        self.agree(if self.rank() == 0 { f() } else { Ok(R::default()) })
    }

    /// Returns the bytes that `f` returns at rank 0.
    pub(super) fn root_bytes(self, f: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let mut bytes = self.at_root(f)?;
        if self.size() > 1 {
            self.0.broadcast(0, &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Replaces `values` by their sum over the ranks.
    pub(super) fn sum<T: Float>(self, values: &mut [T]) -> Result<()> {
        if self.size() == 1 { Ok(()) } else { T::pick(&SUM)(self.0, values) }
    }

    /// Replaces the values of `arrays` by those of rank 0.
    pub(super) fn broadcast<T: Float, A: Arrays<Elem = T>>(self, arrays: &mut A) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let bytes = self.root_bytes(|| Ok(bytes_of(views(arrays))))?;
        let expected = arrays.count() * size_of::<T>();
        if bytes.len() != expected {
            return Err(failed(&format!("expected {expected} bytes, got {}", bytes.len())));
        }
        set_bytes(views_mut(arrays), &bytes);
        Ok(())
    }

    /// Fails, naming the first of the `settings` that is not that of rank 0, unless all are the same.
    pub(super) fn check_same(self, settings: &Settings) -> Result<()> {
        if self.size() == 1 {
            return Ok(());
        }
        let own = serde_json::to_vec(settings).map_err(|error| failed(&error.to_string()))?;
        let all = gather(self.0, &own)?;
        let read = |bytes: &Vec<u8>| serde_json::from_slice::<Settings>(bytes);
        let all: Result<Vec<Settings>, _> = all.iter().map(read).collect();
        let all = all.map_err(|error| failed(&error.to_string()))?;
        let first = all.first().into_iter().flatten();
        for (rank, settings) in all.iter().enumerate() {
            let mut pairs = first.clone().zip(settings);
            if let Some(((name, first), (_, other))) = pairs.find(|(first, other)| first != other) {
                let expected = format!("{first} as at rank 0");
                return Err(Error::argument(
                    name.clone(),
                    expected,
                    format!("{other} at rank {rank}"),
                ));
            }
        }
        Ok(())
    }

    /// Returns how the samples of `source`, which errors call `name`, are divided among the ranks, if each
    /// step has the gradients of `accumulate` batches. A process alone computes all: what it does not hold, its
    /// source refuses.
    pub(super) fn division<B>(
        self,
        name: &'static str,
        source: &dyn Source<B>,
        accumulate: usize,
    ) -> Result<Division> {
        if self.size() == 1 {
            return Ok(Division::Batches);
        }
        let held = (0..source.len()).filter(|&sample| source.holds(sample)).count();
        let all = self.exchange(Ok(vec![held as f64]))?.concat();
        let len = source.len() as f64;
        match all.iter().all(|&held| held == len) {
            true if accumulate >= self.size() => Ok(Division::Batches),
            true => Ok(Division::Samples),
            false if all.iter().sum::<f64>() == len => Ok(Division::Held),
            false => {
                let expected = format!("{len} at every rank, or in all");
                Err(Error::argument(format!("{name}: samples"), expected, format!("{all:?}")))
            }
        }
    }

    /// Returns the length of every sample of `source`. Fails unless all ranks find the same.
    pub(super) fn lengths<B>(
        self,
        source: &dyn Source<B>,
        division: Division,
    ) -> Result<Vec<usize>> {
        let all = 0..source.len();
        if division != Division::Held {
            let lengths: Vec<usize> = all.map(|sample| source.length(sample)).collect();
            // A number that differs if a length does, most likely.
            let digest = lengths.iter().fold(0_u64, |digest, &length| {
                digest.wrapping_mul(0x0100_0000_01b3).wrapping_add(length as u64)
            });
            self.check_same(&vec![("train: lengths".to_owned(), format!("{digest:x}"))])?;
            return Ok(lengths);
        }
        let length = |sample| if source.holds(sample) { source.length(sample) as f64 } else { 0.0 };
        let mut lengths: Vec<f64> = all.map(length).collect();
        self.sum(&mut lengths)?;
        Ok(lengths.into_iter().map(|length| length as usize).collect())
    }

    /// Returns the parts of the batches of `group` that this rank computes, one for each round.
    pub(super) fn parts<B>(
        self,
        division: Division,
        source: &dyn Source<B>,
        group: &[Vec<usize>],
    ) -> Vec<Part> {
        let (rank, size) = (self.rank(), self.size());
        let part = |batch: usize, first: usize, samples: Vec<usize>| Part { batch, first, samples };
        match division {
            Division::Batches => {
                let rounds = group.chunks(size).enumerate();
                let own = |(round, batches): (usize, &[Vec<usize>])| {
                    let samples = batches.get(rank).cloned().unwrap_or_default();
                    part(round * size + rank, 0, samples)
                };
                rounds.map(own).collect()
            }
            Division::Samples => {
                let own =
                    |batch: &Vec<usize>| batch.iter().skip(rank).step_by(size).copied().collect();
                group.iter().enumerate().map(|(i, batch)| part(i, rank, own(batch))).collect()
            }
            Division::Held => {
                let own = |(i, batch): (usize, &Vec<usize>)| {
                    let first = batch.iter().position(|&sample| source.holds(sample));
                    let held = batch.iter().copied().filter(|&sample| source.holds(sample));
                    part(i, first.unwrap_or(0), held.collect())
                };
                group.iter().enumerate().map(own).collect()
            }
        }
    }

    /// Returns the score of `model` over all samples of `source`, `batch_size` at a time.
    pub(super) fn evaluate<M: Model>(
        self,
        model: &M,
        (source, division): (&dyn Source<M::Batch>, Division),
        batch_size: usize,
    ) -> Result<M::Score> {
        let can_exchange = M::Score::default().to_numbers().is_some();
        if self.size() == 1 || (!can_exchange && division != Division::Held) {
            return self.agree(model.evaluate(source, batch_size));
        }
        let numbers = |score: M::Score| score.to_numbers().ok_or_else(no_numbers);
        let own = chunks(source.len(), batch_size)
            .and_then(|all| score_of(model, source, &self.own_chunks(source, all, division)));
        let mut whole = M::Score::default();
        for part in self.exchange(own.and_then(numbers))? {
            whole.merge(M::Score::from_numbers(&part).ok_or_else(no_numbers)?);
        }
        Ok(whole)
    }

    /// Returns the samples of `all` batches of an evaluation that are those of this rank.
    fn own_chunks<B>(
        self,
        source: &dyn Source<B>,
        mut all: Vec<Vec<usize>>,
        division: Division,
    ) -> Vec<Vec<usize>> {
        if division == Division::Held {
            all.iter_mut().for_each(|batch| batch.retain(|&sample| source.holds(sample)));
            all.retain(|batch| !batch.is_empty());
            return all;
        }
        let (count, size) = (all.len(), self.size());
        let cut = |rank| count * rank / size;
        all.truncate(cut(self.rank() + 1));
        all.split_off(cut(self.rank()))
    }
}

/// How the samples of a source are divided among the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Division {
    /// A round has a batch for each rank.
    Batches,
    /// A round is a batch, of which each rank has every n-th sample.
    Samples,
    /// A round is a batch, of which each rank has the samples that it [holds](Source::holds).
    Held,
}

/// The part of a batch that a rank computes.
pub(super) struct Part {
    /// The number of the batch in its step.
    pub(super) batch: usize,
    /// The place of the first of the samples in the batch.
    pub(super) first: usize,
    /// The samples, which may be none.
    pub(super) samples: Vec<usize>,
}

/// Returns the error of a score that ranks cannot exchange, although each holds other samples.
pub(super) fn no_numbers() -> Error {
    let expected = "a score that implements Score::to_numbers and from_numbers";
    Error::argument("valid", expected, "another")
}

per_float! {
    fn bytes_of<'a, T>(arrays: Views<'a, T>) -> Vec<u8> = bytes_of_each;
    fn set_bytes<'a, T>(arrays: ViewsMut<'a, T>, bytes: &[u8]) = set_each;
}

fn bytes_of_each<T: Float>(arrays: Views<'_, T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let values = arrays.iter().flat_map(|(_, array)| array.iter());
    values.for_each(|value| value.write_le(&mut bytes));
    bytes
}

fn set_each<T: Float>(arrays: ViewsMut<'_, T>, bytes: &[u8]) {
    let mut values = bytes.chunks_exact(size_of::<T>()).map(T::read_le);
    for (_, mut array) in arrays {
        array.iter_mut().zip(&mut values).for_each(|(to, from)| *to = from);
    }
}
