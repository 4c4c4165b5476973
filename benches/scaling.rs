//! The time of an LSTM against each of its sizes, for inference and training, on 1 and 2 threads, as
//! tables, checks and plots.
//!
//!     cargo bench --bench scaling [-- --quick]
//!
//! Writes `benches/plots/{hidden,batch,time}.svg`, except with `--quick`. Requirements: an odd size
//! takes at most 15 % more time per multiply-add than the neighbouring multiple of 8, and the time is
//! linear in T.
#![allow(missing_docs)]

#[path = "support/plot.rs"]
mod plot;
#[path = "support/table.rs"]
mod table;
#[path = "support/work.rs"]
mod work;

use std::error::Error;
use std::time::{Duration, Instant};

use plot::{Line, draw};
use recurrent::cell::LstmCell;
use table::print_table;
use work::Work;

const ODD: f64 = 1.15;
const LINEAR: f64 = 1.15;
/// Multiples of 8, each with the neighbouring odd sizes.
const NEIGHBOURS: [(usize, &[usize]); 2] = [(128, &[127, 129]), (256, &[255, 257])];
/// The sequence length from which on the time per step must not grow.
const LONG: usize = 100;

/// A range of values of one size, with the other sizes fixed.
struct Sweep {
    name: &'static str,
    symbol: &'static str,
    /// The sizes time, batch, input and hidden.
    shape: [usize; 4],
    /// The index of the size that varies.
    axis: usize,
    values: &'static [usize],
}

const SWEEPS: [Sweep; 3] = [
    Sweep {
        name: "hidden",
        symbol: "H",
        shape: [20, 32, 64, 0],
        axis: 3,
        values: &[16, 32, 64, 127, 128, 129, 255, 256, 257, 512, 1024],
    },
    Sweep {
        name: "batch",
        symbol: "B",
        shape: [20, 0, 64, 128],
        axis: 1,
        values: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
    },
    Sweep {
        name: "time",
        symbol: "T",
        shape: [0, 8, 64, 64],
        axis: 0,
        values: &[10, 30, 100, 300, 1_000, 3_000, 10_000],
    },
];

impl Sweep {
    fn shape(&self, value: usize) -> [usize; 4] {
        let mut shape = self.shape;
        shape[self.axis] = value;
        shape
    }

    fn title(&self) -> String {
        let sizes = ["T", "B", "I", "H"].iter().zip(self.shape);
        let fixed = sizes.filter(|(symbol, _)| **symbol != self.symbol);
        let fixed: Vec<_> = fixed.map(|(symbol, size)| format!("{symbol} {size}")).collect();
        format!("LSTM, f32, {}: time of a step against {}", fixed.join(", "), self.symbol)
    }
}

/// Returns the number of multiply-adds of an inference call.
fn work_of([time, batch, input, hidden]: [usize; 4]) -> f64 {
    (time * batch * 4 * hidden * (input + hidden)) as f64
}

/// Returns the least seconds of the calls that fit into `budget`, at least three, after a warm-up call.
fn best(shape: [usize; 4], train: bool, budget: Duration) -> recurrent::Result<f64> {
    let work = Work::<LstmCell<f32>>::new(shape)?;
    let (mut best, mut calls) = (f64::INFINITY, 0);
    work.call(train)?;
    let start = Instant::now();
    while calls < 3 || start.elapsed() < budget {
        best = best.min(work.call(train)?);
        calls += 1;
    }
    Ok(best)
}

/// Measures the seconds of a call at each value of the sweep.
fn measure(
    sweep: &Sweep,
    train: bool,
    threads: usize,
    budget: Duration,
) -> Result<Line, Box<dyn Error>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let seconds = |&value: &usize| {
        let seconds = pool.install(|| best(sweep.shape(value), train, budget))?;
        Ok((value, seconds))
    };
    let points = sweep.values.iter().map(seconds).collect::<recurrent::Result<_>>()?;
    Ok(Line { name: mode(train, threads), points })
}

fn mode(train: bool, threads: usize) -> String {
    let threads = if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") };
    format!("{}, {threads}", if train { "training" } else { "inference" })
}

fn verdict(ratio: f64, most: f64) -> String {
    if ratio <= most { "met" } else { "not met" }.to_owned()
}

/// Prints the microseconds per step, with a column for each line.
fn print(sweep: &Sweep, lines: &[Line]) {
    let mut head = vec![sweep.symbol];
    head.extend(lines.iter().map(|line| line.name.as_str()));
    let row = |(at, &value): (usize, &usize)| {
        let steps = sweep.shape(value)[0] as f64;
        let cells = lines.iter().map(|line| format!("{:.2}", line.points[at].1 / steps * 1e6));
        std::iter::once(value.to_string()).chain(cells).collect()
    };
    println!("{}, in µs\n", sweep.title());
    print_table(&head, &sweep.values.iter().enumerate().map(row).collect::<Vec<_>>());
}

/// Prints the time per multiply-add of odd sizes relative to the neighbouring multiple of 8.
fn check_odd(sweep: &Sweep, lines: &[Line]) {
    let mut rows = Vec::new();
    for line in lines {
        let cost = |size| line.at(size).map(|seconds| seconds / work_of(sweep.shape(size)));
        for (even, odd) in NEIGHBOURS {
            for &size in odd {
                let Some(ratio) = cost(size).zip(cost(even)).map(|(a, b)| a / b) else { continue };
                let name = format!("{}, H {size} over {even}", line.name);
                rows.push(vec![name, format!("{ratio:.3}"), verdict(ratio, ODD)]);
            }
        }
    }
    print_table(&["time per multiply-add", "ratio", "required ≤ 1.15"], &rows);
}

/// Prints the largest time per step of sequences longer than `LONG` relative to that at `LONG`.
fn check_linear(lines: &[Line]) {
    let mut rows = Vec::new();
    for line in lines {
        let cost = |(time, seconds): (usize, f64)| seconds / time as f64;
        let long = line.points.iter().filter(|&&(time, _)| time > LONG).map(|&point| cost(point));
        let Some(base) = line.at(LONG).map(|seconds| cost((LONG, seconds))) else { continue };
        let ratio = long.fold(0.0, f64::max) / base;
        let name = format!("{}, largest for T > {LONG}", line.name);
        rows.push(vec![name, format!("{ratio:.3}"), verdict(ratio, LINEAR)]);
    }
    print_table(&["time per step over T 100", "ratio", "required ≤ 1.15"], &rows);
}

fn main() -> Result<(), Box<dyn Error>> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let budget = Duration::from_millis(if quick { 1 } else { 250 });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for sweep in SWEEPS {
        let mut lines = Vec::new();
        for threads in [1, 2].into_iter().filter(|&threads| threads <= cores) {
            for train in [false, true] {
                lines.push(measure(&sweep, train, threads, budget)?);
            }
        }
        print(&sweep, &lines);
        match sweep.name {
            "hidden" => check_odd(&sweep, &lines),
            "time" => check_linear(&lines),
            _ => {}
        }
        if !quick {
            let steps = |line: &Line| line.map(|value, s| s / sweep.shape(value)[0] as f64 * 1e6);
            let lines: Vec<_> = lines.iter().map(steps).collect();
            let file = format!("{}/plots/{}.svg", env!("CARGO_MANIFEST_DIR"), sweep.name);
            draw(file.as_ref(), &sweep.title(), sweep.symbol, &lines)?;
            println!("benches/plots/{}.svg\n", sweep.name);
        }
    }
    Ok(())
}
