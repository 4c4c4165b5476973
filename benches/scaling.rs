//! How the time of an LSTM grows with its sizes, for inference and training, on 1 and 2 threads:
//! tables, checks, and plots.
//!
//!     cargo bench --bench scaling [-- --quick]
//!
//! Writes `benches/plots/{hidden,batch,time}.svg`, except with `--quick`. Asked: an odd size costs
//! at most 15 % more per unit of work than the multiple of 8 beside it, and the time is linear in T.
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
/// A size at a multiple of 8, and the odd ones beside it.
const NEIGHBOURS: [(usize, &[usize]); 2] = [(128, &[127, 129]), (256, &[255, 257])];
/// The time from which on the cost of a step must not grow.
const LONG: usize = 100;

/// One size that varies while the others stay.
struct Sweep {
    name: &'static str,
    symbol: &'static str,
    /// Time, batch, input and hidden size.
    shape: [usize; 4],
    /// Which of these varies.
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

/// Multiply-adds of a call of inference.
fn work_of([time, batch, input, hidden]: [usize; 4]) -> f64 {
    (time * batch * 4 * hidden * (input + hidden)) as f64
}

/// The best seconds of the calls that fit into `budget`, three at least, after one to warm up.
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

/// Each value's seconds a call.
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

/// Microseconds a step, every line a column.
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

/// Odd sizes beside the multiple of 8, by the time per multiply-add.
fn check_odd(sweep: &Sweep, lines: &[Line]) {
    let mut rows = Vec::new();
    for line in lines {
        let cost = |size| line.at(size).map(|seconds| seconds / work_of(sweep.shape(size)));
        for (even, odd) in NEIGHBOURS {
            for &size in odd {
                let Some(ratio) = cost(size).zip(cost(even)).map(|(a, b)| a / b) else { continue };
                let name = format!("{}, H {size} beside {even}", line.name);
                rows.push(vec![name, format!("{ratio:.3}"), verdict(ratio, ODD)]);
            }
        }
    }
    print_table(&["per unit of work", "ratio", "asked ≤ 1.15"], &rows);
}

/// The dearest of the long sequences' steps beside the step at `LONG`.
fn check_linear(lines: &[Line]) {
    let mut rows = Vec::new();
    for line in lines {
        let cost = |(time, seconds): (usize, f64)| seconds / time as f64;
        let long = line.points.iter().filter(|&&(time, _)| time > LONG).map(|&point| cost(point));
        let Some(base) = line.at(LONG).map(|seconds| cost((LONG, seconds))) else { continue };
        let ratio = long.fold(0.0, f64::max) / base;
        let name = format!("{}, the dearest T > {LONG}", line.name);
        rows.push(vec![name, format!("{ratio:.3}"), verdict(ratio, LINEAR)]);
    }
    print_table(&["a step beside one at T 100", "ratio", "asked ≤ 1.15"], &rows);
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
