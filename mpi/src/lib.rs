//! Distributed training of [`recurrent`] on processes that communicate by MPI.
//!
//! [`run`] starts MPI and calls a function at each rank with an [`MpiCommunicator`], for
//! [`Trainer::distributed`](recurrent::train::Trainer::distributed):
//!
//! ```
//! use std::process::ExitCode;
//! use recurrent::prelude::*;
//! use recurrent::train::{Communicator, agree};
//! use recurrent_mpi::MpiCommunicator;
//!
//! fn main() -> ExitCode {
//!     recurrent_mpi::run(train)
//! }
//!
//! fn train(communicator: &MpiCommunicator) -> Result<()> {
//!     let x = (0..32).map(|i| Array2::from_elem((3 + i % 4, 1), (i % 2) as f32)).collect();
//!     let data = agree(communicator, Dataset::new(x, (0..32).map(|i| i % 2).collect::<Vec<usize>>()))?;
//!     let mut rng = ChaCha8Rng::seed_from_u64(1);
//!     let mut model = SequenceClassifier::<GruCell<f32>>::builder(1, 2).hidden_size(8).build(&mut rng)?;
//!     let trainer = Trainer::new(Adam::new(0.02)?).epochs(3).batch_size(16).distributed(communicator);
//!     let history = trainer.fit(&mut model, &data, None)?;
//!     if communicator.rank() == 0 {
//!         println!("loss {:.4}", history.epochs[2].loss);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! ```text
//! mpirun -n 4 target/release/program
//! ```
//!
//! Without `mpirun` the program is the only rank.
//!
//! An error of MPI itself, such as a lost connection, ends all ranks, as MPI does by default.

use std::error::Error as StdError;
use std::fmt::{self, Debug, Display, Formatter};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use mpi::Threading;
use mpi::datatype::PartitionMut;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Equivalence, Root as _};
use recurrent::train::Communicator;
use recurrent::{Error, Float, Result};

/// The bytes of a message whose length needs no message of its own.
const SHORT: usize = 64;

/// The number of values of which each rank sums all, because a message takes longer than the sum.
const FEW: usize = 1024;

/// The largest number of values in one call of MPI, which counts in 32 bits.
const MOST: usize = 1 << 27;

/// All ranks of an MPI job, `MPI_COMM_WORLD`.
///
/// Sums are in the order of the ranks, with the same bits at every rank:
///
/// | values | method |
/// |---|---|
/// | up to 1,024 | every rank receives the values of all ranks, and adds them |
/// | more | each rank receives its n-th of the values of all ranks (`MPI_Alltoall`), adds them, and sends the sum to all (`MPI_Allgather`) |
///
/// The second sends 2(n − 1)/n times the values from each rank, as a ring does. `MPI_Allreduce` is not used:
/// its order depends on the implementation and on the size.
///
/// MPI ends with the communicator. If a thread panics with it, all ranks end.
pub struct MpiCommunicator {
    rank: usize,
    size: usize,
    /// Memory that is kept between sums. MPI is called by one thread at a time, the holder of the lock.
    buffers: Mutex<Buffers>,
    /// MPI, which ends when this is dropped.
    _universe: Universe,
}

impl Debug for MpiCommunicator {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { rank, size, .. } = self;
        f.debug_struct("MpiCommunicator").field("rank", rank).field("size", size).finish()
    }
}

#[derive(Default)]
struct Buffers {
    f32: Buffer<f32>,
    f64: Buffer<f64>,
}

#[derive(Default)]
struct Buffer<T> {
    /// The values of this rank, and then the sums.
    all: Vec<T>,
    /// The part of this rank of the values of each rank, and its sum.
    parts: Vec<T>,
    sum: Vec<T>,
}

impl MpiCommunicator {
    /// Starts MPI.
    ///
    /// # Errors
    /// [`Error::Communication`] if the process has started it before, or MPI cannot be called by the threads of
    /// a program in turn.
    pub fn init() -> Result<Self> {
        let (universe, provided) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| failed("MPI was started before in this process"))?;
        if provided < Threading::Serialized {
            return Err(failed("this MPI supports no calls of several threads"));
        }
        let world = world();
        Ok(Self {
            rank: world.rank() as usize,
            size: world.size() as usize,
            buffers: Mutex::default(),
            _universe: universe,
        })
    }

    /// Ends all ranks. The status of `mpirun` is `status`.
    pub fn abort(&self, status: i32) -> ! {
        world().abort(status)
    }

    /// Waits until no other thread calls MPI.
    fn lock(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends all ranks if the thread panics: they would wait for this one.
impl Drop for MpiCommunicator {
    fn drop(&mut self) {
        if thread::panicking() {
            self.abort(101);
        }
    }
}

/// Starts MPI, and calls `work` with this rank. If it fails at any rank, that rank writes the error to the
/// standard error, and all ranks end with status 1.
///
/// So a rank that fails leaves no other waiting, even without [`agree`](recurrent::train::agree), which
/// gives the others an error to report or to handle.
pub fn run<E: Display>(work: impl FnOnce(&MpiCommunicator) -> Result<(), E>) -> ExitCode {
    let communicator = match MpiCommunicator::init() {
        Ok(communicator) => communicator,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    match work(&communicator) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rank {}: {error}", communicator.rank);
            communicator.abort(1)
        }
    }
}

fn world() -> SimpleCommunicator {
    SimpleCommunicator::world()
}

fn failed(problem: &str) -> Error {
    let source: Box<dyn StdError + Send + Sync> = problem.into();
    Error::Communication { source }
}

/// Returns the number of ranks or bytes as MPI counts them.
fn count(number: usize) -> Result<i32> {
    i32::try_from(number).map_err(|_| failed(&format!("{number} bytes in one exchange")))
}

impl Communicator for MpiCommunicator {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (_lock, world) = (self.lock(), world());
        // The first message has the length, and the bytes if they are few.
        let mut own = [0; 8 + SHORT];
        own[..8].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        if bytes.len() <= SHORT {
            own[8..8 + bytes.len()].copy_from_slice(bytes);
        }
        let mut heads = vec![0; own.len() * self.size];
        world.all_gather_into(&own, &mut heads[..]);
        let heads = || heads.chunks_exact(own.len());
        let length = |head: &[u8]| {
            head.first_chunk().map_or(0, |&length| u64::from_le_bytes(length)) as usize
        };
        let lengths: Vec<usize> = heads().map(length).collect();
        if lengths.iter().all(|&length| length <= SHORT) {
            let short = heads().zip(&lengths).map(|(head, length)| head[8..8 + length].to_vec());
            return Ok(short.collect());
        }
        let counts = lengths.iter().map(|&length| count(length)).collect::<Result<Vec<i32>>>()?;
        count(lengths.iter().sum())?;
        let starts = counts.iter().scan(0, |end, count| {
            *end += count;
            Some(*end - count)
        });
        let starts: Vec<i32> = starts.collect();
        let mut all = vec![0; lengths.iter().sum()];
        world
            .all_gather_varcount_into(bytes, &mut PartitionMut::new(&mut all, counts, &starts[..]));
        let mut rest = &all[..];
        let take = |&length: &usize| {
            let (taken, after) = rest.split_at(length);
            rest = after;
            taken.to_vec()
        };
        Ok(lengths.iter().map(take).collect())
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        self.sum(values, &mut self.lock().f32)
    }

    fn sum_f64(&self, values: &mut [f64]) -> Result<()> {
        self.sum(values, &mut self.lock().f64)
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        if root >= self.size {
            return Err(failed(&format!("there is no rank {root}")));
        }
        let (_lock, world) = (self.lock(), world());
        let root = world.process_at_rank(count(root)?);
        let mut length = bytes.len() as u64;
        root.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        bytes.chunks_mut(MOST).for_each(|piece| root.broadcast_into(piece));
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        let _lock = self.lock();
        world().barrier();
        Ok(())
    }
}

impl MpiCommunicator {
    /// Replaces `values` by their sum in the order of the ranks.
    fn sum<T: Float + Equivalence>(&self, values: &mut [T], buffer: &mut Buffer<T>) -> Result<()> {
        let world = world();
        if values.len() <= FEW {
            buffer.parts.resize(values.len() * self.size, T::zero());
            world.all_gather_into(&*values, &mut buffer.parts[..]);
            add_parts(values, &buffer.parts);
            return Ok(());
        }
        for values in values.chunks_mut(MOST) {
            let part = values.len().div_ceil(self.size);
            buffer.all.resize(part * self.size, T::zero());
            buffer.parts.resize(part * self.size, T::zero());
            buffer.sum.resize(part, T::zero());
            buffer.all[..values.len()].copy_from_slice(values);
            world.all_to_all_into(&buffer.all[..], &mut buffer.parts[..]);
            add_parts(&mut buffer.sum, &buffer.parts);
            world.all_gather_into(&buffer.sum[..], &mut buffer.all[..]);
            values.copy_from_slice(&buffer.all[..values.len()]);
        }
        Ok(())
    }
}

/// Sets `sum` to the sum of `parts`, those of each rank after each other.
fn add_parts<T: Float>(sum: &mut [T], parts: &[T]) {
    if sum.is_empty() {
        return;
    }
    for (rank, part) in parts.chunks_exact(sum.len()).enumerate() {
        match rank {
            0 => sum.copy_from_slice(part),
            _ => sum.iter_mut().zip(part).for_each(|(sum, &value)| *sum += value),
        }
    }
}

/// The programs of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
