//! Training on long sequences with every step stored and with recomputed steps: the time of forward
//! and backward together, and the size of the tape between them. One thread.
#![allow(missing_docs)]

use std::time::Instant;

use ndarray::Array3;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::{Arrays, Lstm, Recompute, Result, Sequences};

const TIME: usize = 1000;
const SIZES: [(usize, usize, usize); 2] = [(1, 64, 128), (32, 64, 128)];
const CHECKPOINTS: [Recompute; 4] =
    [Recompute::Store, Recompute::Every(10), Recompute::Sqrt, Recompute::Every(100)];
const REPETITIONS: usize = 9;

fn main() -> Result<()> {
    if rayon::ThreadPoolBuilder::new().num_threads(1).build_global().is_err() {
        println!("the global thread pool already exists");
    }
    for (batch, input, hidden) in SIZES {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let lstm = Lstm::<f32>::builder(input, hidden).num_layers(2).build(&mut rng)?;
        let mut values = |width| {
            let shape = (TIME, batch, width);
            Array3::from_shape_simple_fn(shape, || rng.random_range(-1.0..1.0))
        };
        let (x, d_output) = (Sequences::full(values(input))?, Sequences::full(values(hidden))?);
        println!("2-layer LSTM, T {TIME}, B {batch}, I {input}, H {hidden}\n");
        println!("| recompute | best time | × stored | tape | of stored |\n|---|---|---|---|---|");
        let mut stored = None;
        for checkpoint in CHECKPOINTS {
            let (mut best, mut bytes) = (f64::INFINITY, 0);
            for _ in 0..REPETITIONS {
                let mut grad = lstm.zeros_like();
                let start = Instant::now();
                let (_, _, tape) = lstm.forward_train_with(&x, None, &mut rng, checkpoint)?;
                bytes = tape.bytes();
                lstm.backward(tape, &d_output, None, &mut grad)?;
                best = best.min(start.elapsed().as_secs_f64());
            }
            let (first_best, first_bytes) = *stored.get_or_insert((best, bytes));
            println!(
                "| {checkpoint:?} | {:.2} ms | {:.2} | {:.2} MB | {:.0} % |",
                best * 1e3,
                best / first_best,
                bytes as f64 * 1e-6,
                100.0 * bytes as f64 / first_bytes as f64
            );
        }
        println!();
    }
    Ok(())
}
