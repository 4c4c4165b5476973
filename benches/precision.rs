//! Weights of 32, 16 and 8 bits: the time of a streaming step of one sequence on one thread, and the accuracy
//! of a classifier of JapaneseVowels over five seeds.
//!
//!     cargo bench -p recurrent-benches --bench precision
#![allow(missing_docs)]

#[path = "support/table.rs"]
mod table;

use std::error::Error;
use std::time::Instant;

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::Recurrent;
use recurrent::cell::{Cell, GruCell, LstmCell};
use recurrent::data::{Dataset, Scaler, Table};
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::tensor::Precision;
use recurrent::train::{Model, Trainer};
use table::print_table;

const PRECISIONS: [Precision; 3] = [Precision::Full, Precision::Bf16, Precision::Int8];
const HIDDEN: [usize; 4] = [128, 256, 512, 1024];
const ROUNDS: usize = 5;
/// The multiply-adds of a round.
const WORK: usize = 200_000_000;
const SEEDS: u64 = 5;
const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/data/japanese_vowels");
const COLUMNS: [&str; 12] =
    ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12"];

/// Adds rows with the least time of a step in each precision, in turns.
fn steps<C: Cell<Elem = f32>>(rows: &mut Vec<Vec<String>>) -> Result<(), Box<dyn Error>> {
    for hidden in HIDDEN {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let network = Recurrent::<C>::builder(hidden, hidden).build(rng)?;
        let x = Array2::from_elem((1, hidden), 0.1);
        let streams = PRECISIONS.map(|precision| network.stream_with(1, precision));
        let (mut least, mut row) = ([f64::INFINITY; 3], vec![format!("{} {hidden}", C::NAME)]);
        let mut streams = streams.into_iter().collect::<recurrent::Result<Vec<_>>>()?;
        let count = (WORK / (2 * C::GATES.len() * hidden * hidden)).clamp(20, 2000);
        for _ in 0..ROUNDS {
            for (stream, least) in streams.iter_mut().zip(&mut least) {
                for _ in 0..count {
                    let start = Instant::now();
                    stream.step(x.view())?;
                    *least = least.min(start.elapsed().as_secs_f64());
                }
            }
        }
        row.extend(least.map(|time| format!("{:.2} µs ({:.2})", 1e6 * time, least[0] / time)));
        rows.push(row);
    }
    Ok(())
}

fn utterances(file: &str) -> Result<Dataset<f32, usize>, Box<dyn Error>> {
    let table = Table::read(format!("{DATA}/{file}"))?;
    let (classes, _) = table.labels("utterance", "speaker")?;
    Ok(Dataset::new(table.sequences("utterance", &COLUMNS)?, classes)?)
}

fn accuracy() -> Result<(), Box<dyn Error>> {
    let (train, test) = (utterances("train.csv")?, utterances("test.csv")?);
    let mut rows = Vec::new();
    for seed in 1..=SEEDS {
        let builder = SequenceClassifier::<LstmCell<f32>>::builder(COLUMNS.len(), 9);
        let builder = builder.hidden_size(64).scaler(Scaler::standard(&train.views())?);
        let mut model = builder.build(&mut ChaCha8Rng::seed_from_u64(seed))?;
        Trainer::new(Adam::new(5e-3)?).epochs(30).seed(seed).fit(&mut model, &train, None)?;
        let mut row = vec![seed.to_string()];
        for precision in PRECISIONS {
            let mut rounded = model.clone();
            precision.round(&mut rounded)?;
            row.push(rounded.evaluate(&test, 64)?.to_string());
        }
        rows.push(row);
    }
    print_table(&["seed", "f32", "bf16", "int8"], &rows);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global()?;
    let mut rows = Vec::new();
    steps::<LstmCell<f32>>(&mut rows)?;
    steps::<GruCell<f32>>(&mut rows)?;
    print_table(&["input and hidden size", "f32", "bf16 (times as fast)", "int8"], &rows);
    accuracy()
}
