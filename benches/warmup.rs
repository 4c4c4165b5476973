//! The time of the first call in a fresh process beside that of the tenth.
//!
//!     cargo bench --bench warmup
//!
//! The program starts itself as a child process for each sample. Requirement: the first call takes at
//! most twice as long as the tenth.
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;
#[path = "support/work.rs"]
mod work;

use std::error::Error;
use std::process::Command;

use recurrent::cell::{GruCell, LstmCell};
use table::print_table;
use work::Work;

/// Cells, each with the sizes time, batch, input and hidden.
const CASES: [(&str, [usize; 4]); 5] = [
    ("LSTM", [100, 1, 64, 128]),
    ("LSTM", [100, 32, 128, 256]),
    ("LSTM", [28, 128, 28, 128]),
    ("LSTM", [50, 64, 256, 512]),
    ("GRU", [100, 32, 128, 256]),
];
const CALLS: usize = 10;
const PROCESSES: usize = 9;
const ASKED: f64 = 2.0;
/// The argument that marks a child process. The index of the case and whether it trains follow.
const CHILD: &str = "--child";

/// Runs a case in a child process and prints the seconds of its first and its last call.
fn child(case: usize, train: bool) -> Result<(), Box<dyn Error>> {
    let (cell, shape) = CASES[case];
    let call: Box<dyn Fn() -> recurrent::Result<f64>> = if cell == "LSTM" {
        let work = Work::<LstmCell<f32>>::new(shape)?;
        Box::new(move || work.call(train))
    } else {
        let work = Work::<GruCell<f32>>::new(shape)?;
        Box::new(move || work.call(train))
    };
    let first = call()?;
    for _ in 2..CALLS {
        call()?;
    }
    println!("{first} {}", call()?);
    Ok(())
}

/// Returns the seconds of the first and the last call in a fresh process.
fn spawn(case: usize, train: bool) -> Result<(f64, f64), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args([CHILD, &case.to_string(), &train.to_string()]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let (first, last) = text.trim().split_once(' ').ok_or("the child printed no times")?;
    Ok((first.parse()?, last.parse()?))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == CHILD) {
        return child(arguments[at + 1].parse()?, arguments[at + 2].parse()?);
    }
    println!("first and tenth call in ms, f32, medians over {PROCESSES} fresh processes\n");
    let mut rows = Vec::new();
    for (case, (cell, [time, batch, input, hidden])) in CASES.iter().enumerate() {
        for (train, mode) in [(false, "inference"), (true, "training")] {
            let samples =
                (0..PROCESSES).map(|_| spawn(case, train)).collect::<Result<Vec<_>, _>>()?;
            let first = median(samples.iter().map(|&(first, _)| first).collect());
            let last = median(samples.iter().map(|&(_, last)| last).collect());
            let ratio = median(samples.iter().map(|(first, last)| first / last).collect());
            rows.push(vec![
                format!("{cell} {mode}, T {time}, B {batch}, I {input}, H {hidden}"),
                format!("{:.3}", first * 1e3),
                format!("{:.3}", last * 1e3),
                format!("{ratio:.2}"),
                if ratio <= ASKED { "met" } else { "not met" }.to_owned(),
            ]);
        }
    }
    print_table(&["work", "first", "tenth", "first / tenth", "required ≤ 2"], &rows);
    Ok(())
}
