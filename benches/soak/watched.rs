//! A stream that is stepped and a network that is trained, without an end, and the memory of this process.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ndarray::{Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::optim::Adam;
use recurrent::{Arrays, Lstm, Sequences};

/// The steps of a block, and its sequences and features.
const BLOCK: (usize, usize, usize) = (50, 3, 16);
/// The rest between two blocks, so that the trainings have the machine.
const REST: Duration = Duration::from_millis(20);

/// A thread that steps a stream until it is stopped.
pub(crate) struct Watched {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<recurrent::Result<Result<u64, String>>>,
}

impl Watched {
    pub(crate) fn start(seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        Self { thread: std::thread::spawn(move || steps(seed, &stopped)), stop }
    }

    /// Stops the stream and returns the number of its steps.
    pub(crate) fn stop(self) -> Result<u64, Box<dyn Error>> {
        self.stop.store(true, Ordering::Relaxed);
        let steps = self.thread.join().map_err(|_| "the stream panicked")?;
        Ok(steps??)
    }
}

/// Steps a stream in blocks. It forks, restores and selects at each, and another network learns the output.
fn steps(seed: u64, stop: &AtomicBool) -> recurrent::Result<Result<u64, String>> {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let network = Lstm::<f32>::builder(BLOCK.2, 64).num_layers(2).build(rng)?;
    let (mut stream, mut count) = (network.stream(BLOCK.1)?, 0);
    let mut learner = Lstm::<f32>::builder(BLOCK.2, 64).build(rng)?;
    let (mut adam, mut grad) = (Adam::new(1e-4)?, learner.zeros_like());
    while !stop.load(Ordering::Relaxed) {
        let x = Array3::from_shape_simple_fn(BLOCK, || rng.random_range(-2.0..2.0));
        let before = stream.snapshot();
        let x = Sequences::full(x)?;
        let (expected, _) = network.forward(&x, Some(&before))?;
        let (y, _, tape) = learner.forward_train(&x, None, rng)?;
        let d_y = y.with_values(y.values() - expected.values())?;
        grad.fill(0.0);
        learner.backward(tape, &d_y, None, &mut grad)?;
        adam.step(&mut learner, &grad)?;
        let x = x.values();
        let mut other = stream.fork();
        other.select(&[2, 0, 1, 1])?;
        other.restore(&other.snapshot())?;
        for (x_t, expected) in x.outer_iter().zip(expected.values().outer_iter()) {
            if stream.step(x_t)? != expected {
                return Ok(Err(format!("the stream differs from the pass after {count} steps")));
            }
            let last = other.step(x_t.select(Axis(0), &[2, 0, 1, 1]).view())?;
            if last.row(1) != expected.row(0) {
                return Ok(Err(format!("the fork differs from the pass after {count} steps")));
            }
            count += 1;
        }
        std::thread::sleep(REST);
    }
    Ok(Ok(count))
}

/// Returns the resident memory of this process.
pub(crate) fn resident_kilobytes() -> Result<usize, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let text = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no VmRSS")?;
    Ok(text.trim().parse()?)
}
