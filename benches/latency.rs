//! The distribution of the time of a streaming step, over a million steps of one sequence on a pinned
//! core.
//!
//!     cargo bench --bench latency [-- --steps N]
//!
//! Requirement: the 99.9th percentile is at most twice the median.
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;

use std::hint::black_box;
use std::time::Instant;

use ndarray::{Array3, Axis};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell};
use recurrent::{Recurrent, Result};
use table::print_table;

const STEPS: usize = 1_000_000;
/// The number of steps before the first measured one.
const WARM_UP: usize = 20_000;
/// The number of input rows, which the steps use in turn.
const ROWS: usize = 16;
const ASKED: f64 = 2.0;

/// Returns the nanoseconds of each step, sorted.
fn steps<C: Cell<Elem = f32>>(hidden: usize, count: usize) -> Result<Vec<u64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let network = Recurrent::<C>::builder(hidden, hidden).build(&mut rng)?;
    let x = Array3::from_shape_simple_fn((ROWS, 1, hidden), || rng.random_range(-1.0..1.0));
    let mut stream = network.stream(1)?;
    // Filled before the measurement, so that no page fault is part of it.
    let mut times = vec![u64::MAX; count];
    for t in 0..WARM_UP {
        black_box(stream.step(x.index_axis(Axis(0), t % ROWS))?);
    }
    for (t, time) in times.iter_mut().enumerate() {
        let row = x.index_axis(Axis(0), t % ROWS);
        let start = Instant::now();
        black_box(stream.step(row)?);
        *time = start.elapsed().as_nanos() as u64;
    }
    times.sort_unstable();
    Ok(times)
}

/// Returns the nanoseconds between two consecutive readings of the clock, sorted. Every step's time
/// includes as much.
fn clock(count: usize) -> Vec<u64> {
    let mut times = vec![u64::MAX; count];
    for time in &mut times {
        *time = Instant::now().elapsed().as_nanos() as u64;
    }
    times.sort_unstable();
    times
}

/// Returns a row of the table: median, percentiles and maximum in microseconds, and the verdict.
fn row(name: &str, times: &[u64]) -> Vec<String> {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] as f64 * 1e-3;
    let values = [0.5, 0.99, 0.999, 1.0].map(at);
    let ratio = values[2] / values[0];
    let verdict = if ratio <= ASKED { "met" } else { "not met" };
    let mut cells = vec![name.to_owned()];
    cells.extend(values.map(|value| format!("{value:.3}")));
    cells.extend([format!("{ratio:.2}"), verdict.to_owned()]);
    cells
}

/// Pins this thread to the last available core, as the first one serves most interrupts.
fn pin() {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    match core {
        Some(core) if core_affinity::set_for_current(core) => println!("on core {}\n", core.id),
        _ => println!("not pinned to a core: the system does not allow it\n"),
    }
}

fn steps_argument() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--steps");
    at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(STEPS).max(1)
}

fn main() -> Result<()> {
    let count = steps_argument();
    println!("{count} streaming steps of one sequence, f32, one layer, I = H, in µs");
    pin();
    let mut rows = Vec::new();
    for hidden in [32, 128, 256] {
        rows.push(row(&format!("LSTM, H {hidden}"), &steps::<LstmCell<f32>>(hidden, count)?));
    }
    rows.push(row("GRU, H 128", &steps::<GruCell<f32>>(128, count)?));
    let mut empty = row("clock only", &clock(count));
    empty[6] = String::new();
    rows.push(empty);
    print_table(
        &["step", "median", "p99", "p99.9", "max", "p99.9 / median", "required ≤ 2"],
        &rows,
    );
    Ok(())
}
