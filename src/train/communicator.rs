//! [`Communicator`]: the exchange of values between the ranks of a distributed training; [`agree`];
//! [`ThreadCommunicator`].

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::float::Float;

/// The exchange of values between the ranks of a distributed training.
///
/// A rank is one of several processes, or threads, that run the same program. Ranks are numbered from 0.
/// Every method but [`rank`](Self::rank) and [`size`](Self::size) is collective: each rank must call the same
/// methods in the same order, and a call returns when all ranks have made it.
///
/// [`rank`](Self::rank), [`size`](Self::size) and [`all_gather`](Self::all_gather) are enough. The other
/// methods have defaults that use it, which an implementation may replace by faster ones.
///
/// ```
/// use std::thread;
/// use recurrent::train::{Communicator, ThreadCommunicator};
///
/// let ranks = ThreadCommunicator::group(3)?;
/// thread::scope(|scope| {
///     for communicator in ranks {
///         scope.spawn(move || {
///             let mut values = [communicator.rank() as f64, 1.0];
///             communicator.sum_f64(&mut values).unwrap();
///             assert_eq!(values, [3.0, 3.0]); // at every rank
///         });
///     }
/// });
/// # Ok::<(), recurrent::Error>(())
/// ```
///
/// # Errors
/// Every collective method fails with [`Error::Communication`] if a rank cannot be reached.
pub trait Communicator: Sync {
    /// Returns the number of this rank, from 0.
    fn rank(&self) -> usize;

    /// Returns the number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Returns the `bytes` of every rank, in the order of the ranks. Their lengths may differ.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// Replaces `values` by their sum over the ranks. All ranks give the same number of values.
    ///
    /// The sum is ((v₀ + v₁) + v₂) + …, in the order of the ranks. So it has the same bits at every rank,
    /// however the values travel.
    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        sum(values, &self.all_gather(&bytes_of(values))?)
    }

    /// Does the same as [`sum_f32`](Self::sum_f32), for `f64`.
    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        sum(values, &self.all_gather(&bytes_of(values))?)
    }

    /// Replaces `bytes` by those of rank `root`.
    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        let own = if self.rank() == root { &bytes[..] } else { &[] };
        let mut all = self.all_gather(own)?;
        let found = all.get_mut(root).map(mem::take);
        *bytes = found.ok_or_else(|| failed(&format!("there is no rank {root}")))?;
        Ok(())
    }

    /// Waits until every rank has called it.
    fn barrier(&self) -> Result<()> {
        self.all_gather(&[]).map(drop)
    }
}

/// Returns the value of `own` if it is no error at any rank. Otherwise every rank fails: with its own error,
/// or with [`Error::Rank`], which names the first rank that failed.
///
/// It is a collective call of all ranks. Without it, a rank that ends with an error leaves the others waiting
/// for it. [`Trainer::fit`](crate::train::Trainer::fit) makes it for everything that it does itself. Call it for
/// what a program does before, such as reading files:
///
/// ```no_run
/// use recurrent::data::Table;
/// use recurrent::train::{Communicator, agree};
///
/// fn read(communicator: &dyn Communicator) -> recurrent::Result<Table> {
///     agree(communicator, Table::read("train.csv"))
/// }
/// ```
///
/// # Errors
/// Those described, and [`Error::Communication`].
pub fn agree<R>(communicator: &dyn Communicator, own: Result<R>) -> Result<R> {
    let (own, _) = exchange(communicator, own.map(|own| (own, Vec::new())))?;
    Ok(own)
}

/// Returns the value of this rank, and the numbers of every rank in the order of the ranks. If a rank has an
/// error, all fail, as in [`agree`].
pub(super) fn exchange<R>(
    communicator: &dyn Communicator,
    own: Result<(R, Vec<f64>)>,
) -> Result<(R, Vec<Vec<f64>>)> {
    let message = match &own {
        Ok((_, numbers)) => [&[0][..], &bytes_of(numbers)].concat(),
        Err(error) => [&[1][..], error.to_string().as_bytes()].concat(),
    };
    let messages = gather(communicator, &message)?;
    let (own, _) = own?;
    let read = |(rank, message): (usize, &Vec<u8>)| match message.split_first() {
        Some((0, bytes)) => Ok(bytes.chunks_exact(size_of::<f64>()).map(f64::read_le).collect()),
        Some((_, text)) => {
            let problem = String::from_utf8_lossy(text).into_owned();
            Err(Error::Rank { rank, problem })
        }
        None => Err(failed(&format!("no message from rank {rank}"))),
    };
    Ok((own, messages.iter().enumerate().map(read).collect::<Result<_>>()?))
}

/// Returns the bytes of every rank. Fails if the communicator returns those of fewer or more.
pub(super) fn gather(communicator: &dyn Communicator, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let (all, size) = (communicator.all_gather(bytes)?, communicator.size());
    if all.len() == size {
        return Ok(all);
    }
    Err(failed(&format!("expected the bytes of {size} ranks, got those of {}", all.len())))
}

/// Returns the error of an exchange that failed.
pub(super) fn failed(problem: &str) -> Error {
    Error::Communication { source: problem.into() }
}

fn bytes_of<T: Float>(values: &[T]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of_val(values));
    values.iter().for_each(|value| value.write_le(&mut bytes));
    bytes
}

/// Replaces `values` by the sum of those of `ranks`, in their order.
fn sum<T: Float>(values: &mut [T], ranks: &[Vec<u8>]) -> Result<()> {
    let expected = size_of_val(values);
    let mut others = ranks.iter().enumerate();
    if let Some((rank, bytes)) = others.find(|(_, bytes)| bytes.len() != expected) {
        let (got, size) = (bytes.len() / size_of::<T>(), values.len());
        return Err(failed(&format!("a sum of {size} values, but of {got} at rank {rank}")));
    }
    for (rank, bytes) in ranks.iter().enumerate() {
        for (sum, bytes) in values.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
            let value = T::read_le(bytes);
            *sum = if rank == 0 { value } else { *sum + value };
        }
    }
    Ok(())
}

/// The only rank of a training that is not distributed.
pub(super) struct Alone;

impl Communicator for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }
}

/// One of several ranks that are threads of one process.
///
/// A rank leaves when it is dropped. The exchanges of the others then fail, so a rank that ends with an error
/// or a panic leaves nobody waiting.
///
/// ```
/// use std::thread;
/// use recurrent::train::{Communicator, ThreadCommunicator};
///
/// let ranks = ThreadCommunicator::group(2)?;
/// thread::scope(|scope| {
///     for communicator in ranks {
///         scope.spawn(move || {
///             let own = [communicator.rank() as u8];
///             assert_eq!(communicator.all_gather(&own).unwrap(), [[0], [1]]);
///         });
///     }
/// });
/// # Ok::<(), recurrent::Error>(())
/// ```
#[derive(Debug)]
pub struct ThreadCommunicator {
    rank: usize,
    meeting: Arc<Meeting>,
}

/// The place at which the ranks exchange bytes.
#[derive(Debug)]
struct Meeting {
    size: usize,
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    /// The bytes of each rank that has come to this exchange.
    given: Vec<Option<Vec<u8>>>,
    /// The bytes of all ranks, once all have come, and the number of ranks that have not taken them yet.
    complete: Arc<Vec<Vec<u8>>>,
    waiting: usize,
    /// The first rank that has left.
    left: Option<usize>,
}

impl ThreadCommunicator {
    /// Returns the communicators of `size` ranks, in order, each for a thread of its own.
    ///
    /// # Errors
    /// If `size` is zero.
    pub fn group(size: usize) -> Result<Vec<Self>> {
        crate::error::check_count("size", size)?;
        let table = Table { given: vec![None; size], ..Table::default() };
        let meeting = Meeting { size, table: Mutex::new(table), changed: Condvar::new() };
        let meeting = Arc::new(meeting);
        Ok((0..size).map(|rank| Self { rank, meeting: Arc::clone(&meeting) }).collect())
    }

    /// Waits until `ready` is true of the table. Fails if it is not and a rank has left.
    fn wait(&self, ready: impl Fn(&Table) -> bool) -> Result<MutexGuard<'_, Table>> {
        let Meeting { table, changed, .. } = &*self.meeting;
        let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
        while !ready(&table) {
            if let Some(rank) = table.left {
                return Err(failed(&format!("rank {rank} has left")));
            }
            table = changed.wait(table).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(table)
    }
}

impl Communicator for ThreadCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.meeting.size
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        // The exchange before this one ends when every rank has taken its bytes.
        let mut table = self.wait(|table| table.waiting == 0)?;
        let own = table.given.get_mut(self.rank);
        own.into_iter().for_each(|own| *own = Some(bytes.to_vec()));
        if table.given.iter().all(Option::is_some) {
            let all = table.given.iter_mut().filter_map(Option::take).collect();
            (table.complete, table.waiting) = (Arc::new(all), self.meeting.size);
            self.meeting.changed.notify_all();
        }
        drop(table);
        let mut table = self.wait(|table| table.waiting > 0)?;
        let all = Arc::clone(&table.complete);
        table.waiting -= 1;
        if table.waiting == 0 {
            table.complete = Arc::default();
            self.meeting.changed.notify_all();
        }
        drop(table);
        Ok(all.to_vec())
    }
}

impl Drop for ThreadCommunicator {
    fn drop(&mut self) {
        let mut table = self.meeting.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.left = table.left.or(Some(self.rank));
        self.meeting.changed.notify_all();
    }
}
