//! Every public call with arguments that are allowed and that are not: each gives a value or an error, in bounded
//! memory, and a call that fails changes nothing.
//!
//! The public functions are those of docs/public_api.txt. Each that takes an argument has a row here, or a reason
//! why it has none. A third of the calls of a row have allowed arguments alone, so that some give a value.
//!
//! The variable `BAD_CALLS` of the environment is the number of calls of each row, divided by their cost.

mod audio;
mod data;
mod decode;
mod engine;
mod files;
mod found;
mod given;
mod layers;
mod losses;
mod metrics;
mod models;
mod numbers;
mod optimizers;
mod training;
mod without;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use recurrent::Result;

use crate::common::memory;
use crate::run::{PANIC, option, record_panics};
use given::Given;

/// The number of calls of each row in a short run.
const CALLS: u64 = 150;

/// The most memory that a call may take.
const MEMORY: usize = 1 << 24;

/// A public function and a call of it.
struct Row {
    name: &'static str,
    call: fn(&mut Given) -> Result<()>,
}

/// Lists calls of the functions of a type or module.
macro_rules! calls {
    ($($of:literal, $given:ident: $($name:ident = $call:expr;)+)+) => {
        pub(super) const ROWS: &[super::Row] = &[$($(
            super::Row {
                name: concat!("recurrent::", $of, stringify!($name)),
                call: |$given: &mut super::given::Given| {
                    let _ = $call;
                    Ok(())
                },
            },
        )+)+];
    };
}
use calls;

/// The answers to the calls of some rows.
#[derive(Default)]
struct Counts {
    calls: usize,
    values: usize,
    errors: usize,
    memory: usize,
    failures: Vec<String>,
    last_error: String,
}

fn check(name: &str, rows: &[Row], cost: u64) {
    record_panics();
    let (mut counts, calls) = (Counts::default(), option("BAD_CALLS").unwrap_or(CALLS));
    for row in rows {
        let before = (counts.values, counts.failures.len());
        for index in 0..calls / cost {
            count(row, index, &mut counts);
        }
        if before == (counts.values, counts.failures.len()) {
            let last = &counts.last_error;
            counts.failures.push(format!("{}: no call gave a value: {last}", row.name));
        }
    }
    println!(
        "{name}: {} functions, {} calls, {} values, {} errors, {} failures, at most {} KiB",
        rows.len(),
        counts.calls,
        counts.values,
        counts.errors,
        counts.failures.len(),
        counts.memory >> 10
    );
    counts.failures.dedup();
    assert!(counts.failures.is_empty(), "{name}:\n{}", counts.failures.join("\n"));
}

fn count(row: &Row, index: u64, counts: &mut Counts) {
    PANIC.set(None);
    let call = || memory::most(|| (row.call)(&mut Given::new(index)));
    let answer = panic::catch_unwind(AssertUnwindSafe(call));
    counts.calls += 1;
    let failure = match answer {
        Ok((result, most)) => {
            *if result.is_ok() { &mut counts.values } else { &mut counts.errors } += 1;
            counts.memory = counts.memory.max(most);
            counts.last_error = result.err().map_or_else(String::new, |error| error.to_string());
            (most > MEMORY).then(|| format!("{} MiB", most >> 20))
        }
        Err(_) => Some(PANIC.take().unwrap_or_else(|| "a panic in another thread".to_owned())),
    };
    if let Some(failure) = failure {
        counts.failures.push(format!("{}: {failure}", row.name));
    }
}

/// Makes a test of each group of rows, with the cost of a call.
macro_rules! groups {
    ($($group:ident $cost:literal)+) => {
        $(#[test]
        fn $group() {
            check(stringify!($group), $group::ROWS, $cost);
        })+

        fn all() -> impl Iterator<Item = &'static Row> {
            [$($group::ROWS),+].into_iter().flatten()
        }
    };
}

groups! {
    audio 1 data 1 decode 1 engine 1 files 10 layers 1 losses 1 metrics 1 models 1 numbers 1 optimizers 1
    training 5
}

/// Returns the public functions of docs/public_api.txt that take an argument.
fn functions() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/public_api.txt");
    let listing = fs::read_to_string(path).unwrap();
    let functions = listing.lines().filter_map(|line| line.strip_prefix("fn "));
    functions.filter(|line| takes_an_argument(line)).map(|line| name(line).to_owned()).collect()
}

fn name(line: &str) -> &str {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap()
}

fn takes_an_argument(line: &str) -> bool {
    // The brackets of the generics close before those of the arguments open.
    let (mut depth, mut before) = (0, ' ');
    let start = line.char_indices().find(|&(_, c)| {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        before = c;
        c == '(' && depth == 0
    });
    let arguments = &line[start.unwrap().0..];
    !["()", "(self)", "(&self)", "(&mut self)"].iter().any(|none| arguments.starts_with(none))
}

#[test]
fn every_public_function_that_takes_an_argument_has_a_row_or_a_reason() {
    let functions = functions();
    assert!(functions.len() > 700, "only {} functions were found", functions.len());
    let rows: BTreeSet<String> = all().map(|row| row.name.to_owned()).collect();
    let without: BTreeSet<String> =
        without::FUNCTIONS.iter().map(|(name, _)| format!("recurrent::{name}")).collect();
    let known: BTreeSet<String> = rows.union(&without).cloned().collect();
    let missing: Vec<_> = functions.difference(&known).collect();
    assert!(missing.is_empty(), "{} functions without a row:\n{missing:#?}", missing.len());
    let unknown: Vec<_> = known.difference(&functions).collect();
    assert!(unknown.is_empty(), "rows without a function: {unknown:#?}");
    let both: Vec<_> = rows.intersection(&without).collect();
    assert!(both.is_empty(), "a row and a reason: {both:#?}");
}
