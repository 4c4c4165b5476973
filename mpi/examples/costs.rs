//! Measures the cost of distributed training, as lines of JSON. `costs.py` runs it and makes tables.
//!
//! ```text
//! mpirun -n 2 target/release/examples/costs exchange
//! mpirun -n 2 target/release/examples/costs step TIME BATCH INPUT HIDDEN [STEPS]
//! ```
//!
//! `exchange` measures sums of several sizes by three methods, and the exchange of 17 bytes. `step` measures
//! steps of a training of an LSTM classifier in f32: BATCH is that of all ranks.

use std::error::Error;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mpi::collective::SystemOperation;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, CommunicatorCollectives as _, Root as _};
use recurrent::model::SequenceClassifier;
use recurrent::prelude::*;
use recurrent::rand::RngExt;
use recurrent::train::{Communicator, Event};
use recurrent::{Arrays, Result};
use recurrent_mpi::MpiCommunicator;

const CLASSES: usize = 10;

fn main() -> ExitCode {
    recurrent_mpi::run(measure)
}

fn measure(communicator: &MpiCommunicator) -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("exchange") => exchanges(communicator)?,
        Some("step") => {
            let numbers = arguments[1..].iter().map(|number| number.parse());
            match *numbers.collect::<Result<Vec<usize>, _>>()? {
                [time, batch, input, hidden] => {
                    steps(communicator, [time, batch, input, hidden], 16)?
                }
                [time, batch, input, hidden, steps_of] => {
                    steps(communicator, [time, batch, input, hidden], steps_of)?;
                }
                _ => return Err("step needs TIME BATCH INPUT HIDDEN [STEPS]".into()),
            }
        }
        _ => return Err("the first argument is exchange or step".into()),
    }
    Ok(())
}

/// Returns the least time of `work` in seconds, of all ranks together.
fn least(
    communicator: &MpiCommunicator,
    rounds: usize,
    mut work: impl FnMut() -> Result<()>,
) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..rounds {
        communicator.barrier()?;
        let begun = Instant::now();
        work()?;
        let own = begun.elapsed().as_secs_f64().to_le_bytes();
        let all = communicator.all_gather(&own)?;
        let seconds = all.iter().filter_map(|bytes| bytes.first_chunk());
        least = least.min(seconds.map(|&bytes| f64::from_le_bytes(bytes)).fold(0.0, f64::max));
    }
    Ok(least)
}

fn exchanges(communicator: &MpiCommunicator) -> Result<()> {
    let (ranks, is_first) = (communicator.size(), communicator.rank() == 0);
    let message = [1; 17];
    let seconds = least(communicator, 2000, || communicator.all_gather(&message).map(drop))?;
    if is_first {
        println!(r#"{{"kind": "message", "ranks": {ranks}, "seconds": {seconds:e}}}"#);
    }
    let world = SimpleCommunicator::world();
    for values in [1_usize, 1 << 8, 1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22] {
        let rounds = (1 << 25) / values.max(1 << 14);
        let mut own = vec![1.0_f32; values];
        let chunks = least(communicator, rounds, || communicator.sum_f32(&mut own))?;
        let mut gathered = vec![0.0_f32; values * ranks];
        let root = least(communicator, rounds, || {
            let root = world.process_at_rank(0);
            if is_first {
                root.gather_into_root(&own[..], &mut gathered[..]);
                for part in gathered[values..].chunks_exact(values) {
                    own.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
                }
            } else {
                root.gather_into(&own[..]);
            }
            root.broadcast_into(&mut own[..]);
            own.fill(1.0);
            Ok(())
        })?;
        let mut sum = vec![0.0_f32; values];
        let reduce = least(communicator, rounds, || {
            world.all_reduce_into(&own[..], &mut sum[..], SystemOperation::sum());
            Ok(())
        })?;
        if is_first {
            println!(
                r#"{{"kind": "sum", "ranks": {ranks}, "values": {values}, "chunks": {chunks:e}, "root": {root:e}, "all_reduce": {reduce:e}}}"#
            );
        }
    }
    Ok(())
}

/// A communicator that measures the time of its calls.
struct Timed<'a> {
    inner: &'a MpiCommunicator,
    /// The times of sums and of other exchanges.
    spent: Mutex<[Duration; 2]>,
}

impl Timed<'_> {
    fn add<R>(&self, of: usize, call: impl FnOnce() -> Result<R>) -> Result<R> {
        let begun = Instant::now();
        let result = call();
        self.spent.lock().unwrap()[of] += begun.elapsed();
        result
    }
}

impl Communicator for Timed<'_> {
    fn rank(&self) -> usize {
        self.inner.rank()
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.add(1, || self.inner.all_gather(bytes))
    }

    fn sum_f32(&self, values: &mut [f32]) -> Result<()> {
        self.add(0, || self.inner.sum_f32(values))
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        self.inner.broadcast(root, bytes)
    }
}

fn steps(communicator: &MpiCommunicator, sizes: [usize; 4], steps: usize) -> Result<()> {
    let [time, batch, input, hidden] = sizes;
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut value = || rng.random_range(-1.0..1.0);
    let x = (0..batch).map(|_| Array2::from_shape_simple_fn((time, input), &mut value)).collect();
    let data = Dataset::new(x, (0..batch).map(|i| i % CLASSES).collect::<Vec<usize>>())?;
    let mut model = SequenceClassifier::<LstmCell<f32>>::builder(input, CLASSES)
        .hidden_size(hidden)
        .build(&mut ChaCha8Rng::seed_from_u64(1))?;
    let timed = Timed { inner: communicator, spent: Mutex::default() };
    // Each epoch is one step. The time of a step is that between two calls of the callback.
    let mut marks = Vec::new();
    let trainer = Trainer::new(Adam::new(1e-3)?).epochs(steps + 1).batch_size(batch);
    let trainer = trainer.distributed(&timed).callback(|event| {
        if let Event::Step { .. } = event {
            marks.push((Instant::now(), *timed.spent.lock().unwrap()));
        }
        ControlFlow::Continue(())
    });
    let values = model.count();
    trainer.fit(&mut model, &data, None)?;
    let seconds = |pair: &[(Instant, [Duration; 2])]| (pair[1].0 - pair[0].0).as_secs_f64();
    let best = marks.windows(2).min_by(|a, b| seconds(a).total_cmp(&seconds(b)));
    let Some(best) = best else { return Ok(()) };
    let [sum, messages] = [0, 1].map(|of| (best[1].1[of] - best[0].1[of]).as_secs_f64());
    // The times of the least step of each rank. The least wait for the others in a sum is nearest to its cost.
    let own = [seconds(best), sum, messages].map(f64::to_le_bytes).concat();
    let all = communicator.all_gather(&own)?;
    if communicator.rank() == 0 {
        let of = |place: usize| {
            let number =
                |bytes: &Vec<u8>| f64::from_le_bytes(*bytes[8 * place..].first_chunk().unwrap());
            all.iter().map(number).fold(f64::INFINITY, f64::min)
        };
        let (ranks, threads) = (communicator.size(), rayon::current_num_threads());
        println!(
            r#"{{"kind": "step", "ranks": {ranks}, "threads": {threads}, "sizes": {sizes:?}, "values": {values}, "seconds": {:e}, "sum": {:e}, "messages": {:e}}}"#,
            of(0),
            of(1),
            of(2)
        );
    }
    Ok(())
}
