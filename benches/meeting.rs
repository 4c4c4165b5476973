//! The cost of the meetings of two threads that share the products of a step: the time of a step on two threads
//! beyond half of that on one.
//!
//!     cargo bench -p recurrent-benches --bench meeting
//!
//! One sequence, first in a walk over a whole sequence, then step by step in a stream. An LSTM has one product
//! in a step, and a GRU two in a stream. The time beyond half has half of the equations of a step too, which one
//! thread computes.
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;

use std::time::Instant;

use ndarray::Array3;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell};
use recurrent::{Recurrent, Result, Sequences};
use table::print_table;

const HIDDEN: [usize; 3] = [256, 384, 512];
const ROUNDS: usize = 30;
/// The steps of a round: of a walk, or of a stream.
const STEPS: usize = 200;

/// Returns the least mean time of a step in µs over rounds, each a call of `f`.
fn least(f: &mut (dyn FnMut() -> Result<()> + Send)) -> Result<f64> {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        f()?;
        least = least.min(1e6 * start.elapsed().as_secs_f64() / STEPS as f64);
    }
    Ok(least)
}

fn row(name: String, [one, two]: [f64; 2]) -> Vec<String> {
    let values = [one, two, two - one / 2.0].map(|time| format!("{time:.2}"));
    [vec![name], values.to_vec()].concat()
}

fn rows<C: Cell<Elem = f32>>(rows: &mut Vec<Vec<String>>) -> Result<()> {
    for hidden in HIDDEN {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let network = Recurrent::<C>::builder(hidden, hidden).build(rng)?;
        let x = Sequences::full(Array3::from_elem((STEPS, 1, hidden), 0.1))?;
        let mut times = [0.0; 2];
        for (time, threads) in times.iter_mut().zip(1..) {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("a pool of one or two threads");
            *time = pool.install(|| {
                let mut workspace = network.workspace();
                least(&mut || workspace.forward(&x, None).map(|_| ()))
            })?;
        }
        rows.push(row(format!("{} {hidden}, walk", C::NAME), times));
        let mut stream = network.stream(1)?;
        for (time, threads) in times.iter_mut().zip(1..) {
            stream.set_threads(threads)?;
            let mut steps =
                || x.values().outer_iter().try_for_each(|x_t| stream.step(x_t).map(|_| ()));
            *time = least(&mut steps)?;
        }
        rows.push(row(format!("{} {hidden}, stream", C::NAME), times));
    }
    Ok(())
}

fn main() -> Result<()> {
    let mut all = Vec::new();
    rows::<LstmCell<f32>>(&mut all)?;
    rows::<GruCell<f32>>(&mut all)?;
    print_table(
        &["input and hidden size", "1 thread, µs", "2 threads, µs", "beyond half, µs"],
        &all,
    );
    Ok(())
}
