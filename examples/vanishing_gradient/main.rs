//! The vanishing gradient of a vanilla RNN, beside a GRU and LSTMs.
//!
//! "Last week I travelled to Moscow, the buildings were lovely … a friend called and asked where I
//! was. I am in ____": the answer is many words before the blank. An RNN, a GRU and two LSTMs, with
//! initial forget-gate bias 0 and 1, learn the same sentences. The example measures the gradient at
//! every word before and after training and the accuracy at several gaps, and plots the gates of a
//! trained LSTM.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use recurrent::cell::{Cell, GruCell, LstmCell, LstmOptions, RnnCell};
use recurrent::io;
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};

use common::options::{Failure, Options};
use common::training::fit;
use reader::{Reader, flow, gate, reader};

mod corpus;
mod plots;
mod reader;
#[path = "../common"]
mod common {
    pub(crate) mod options;
    pub(crate) mod training;
}

const ABOUT: &str = "\
vanishing_gradient: \"last week I travelled to Moscow, the buildings were lovely ... a friend called
and asked where I was. I am in ____\". The answer is up to 80 words before the blank. An RNN, a GRU
and two LSTMs learn the same sentences. Plots show the gradient at each word and the LSTM's gates.
--load FILE --input FILE reads a sentence of known words from a text file and prints the city that
each network predicts.";

/// The largest number of words after the city's name.
const LONGEST: usize = 80;
const GAPS: [usize; 4] = [10, 20, 40, LONGEST];
/// The accuracy of guessing.
const CHANCE: f64 = 1.0 / corpus::CITIES.len() as f64;
const BATCH: usize = 32;
const STEPS_PER_EPOCH: usize = 100;
const TEST_SENTENCES: usize = 400;

/// The measurements of a network.
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    /// The accuracy at each of `GAPS`.
    pub(crate) accuracies: Vec<f64>,
    /// ‖∂L/∂h_t‖ at each word of sentences with the longest gap, before and after training.
    pub(crate) flows: [Vec<f64>; 2],
}

/// Trains `reader`, or replaces it by `trained`, and measures it. Returns `None` if Ctrl-C ended the
/// training.
fn study<C: Cell<Elem = f32>>(
    name: &'static str,
    reader: &mut Reader<C>,
    trained: Option<&Reader<C>>,
    options: &Options,
) -> Result<Option<Figures>, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed.wrapping_add(1000));
    let sentences = corpus::draw(64, LONGEST..=LONGEST, &mut rng)?;
    let before = flow(reader, &sentences, &mut rng)?.swap_remove(0).norms;
    match trained {
        Some(trained) => reader.clone_from(trained),
        None => {
            let trainer = Trainer::new(Adam::new(3e-3)?)
                .epochs(options.epochs_or(8, 12))
                .batch_size(BATCH)
                .clip_norm(1.0)
                .seed(options.seed);
            let lesson = corpus::Endless { count: BATCH * STEPS_PER_EPOCH, longest: LONGEST };
            let file = format!("vanishing_gradient_{}", name.replace([' ', ','], "_"));
            if !fit(options, &file, trainer, reader, &lesson, None)? {
                return Ok(None);
            }
        }
    }
    let after = flow(reader, &sentences, &mut rng)?.swap_remove(0);
    println!("{name}, trained: {after}\n");
    let mut accuracies = Vec::new();
    for gap in GAPS {
        let mut score = Default::default();
        reader.score_batch(&corpus::draw(TEST_SENTENCES, gap..=gap, &mut rng)?, &mut score)?;
        accuracies.push(score.accuracy());
    }
    Ok(Some(Figures { name, accuracies, flows: [before, after.norms] }))
}

fn lstm(forget_bias: f64, seed: u64) -> Result<Reader<LstmCell<f32>>, Failure> {
    reader(LstmOptions { forget_bias: Some(forget_bias) }, seed)
}

/// Returns the city that `reader` predicts for the sentence `text`.
fn answer<C: Cell<Elem = f32>>(reader: &Reader<C>, text: &str) -> Result<&'static str, Failure> {
    let (x, _) = corpus::told(text)?;
    Ok(corpus::CITIES[reader.predict(&x)?[0]])
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("vanishing_gradient", ABOUT)? else { return Ok(()) };
    let seed = options.seed;
    let rnn = reader::<RnnCell<f32>>(Default::default(), seed)?;
    let gru = reader::<GruCell<f32>>(Default::default(), seed)?;
    let mut readers = ((rnn, gru), (lstm(0.0, seed)?, lstm(1.0, seed)?));
    let loaded = match &options.load {
        Some(file) => {
            let mut loaded = readers.clone();
            io::load(file, &mut loaded)?;
            Some(loaded)
        }
        None => None,
    };
    let loaded = loaded.as_ref();
    if let (Some(input), Some(((rnn, gru), (plain, open)))) = (&options.input, loaded) {
        let text = std::fs::read_to_string(input)?;
        println!("RNN: {}, GRU: {}", answer(rnn, &text)?, answer(gru, &text)?);
        println!("LSTM, forget bias 0: {}, 1: {}", answer(plain, &text)?, answer(open, &text)?);
        return Ok(());
    }
    let ((rnn, gru), (plain, open)) = &mut readers;
    let figures = [
        study("RNN", rnn, loaded.map(|l| &l.0.0), &options)?,
        study("GRU", gru, loaded.map(|l| &l.0.1), &options)?,
        study("LSTM, forget bias 0", plain, loaded.map(|l| &l.1.0), &options)?,
        study("LSTM, forget bias 1", open, loaded.map(|l| &l.1.1), &options)?,
    ];
    let figures: Vec<Figures> = figures.into_iter().flatten().collect();
    if figures.len() < 4 {
        return Ok(());
    }
    if let Some(file) = &options.save {
        io::save(file, &readers)?;
    }

    println!("accuracy by the number of words after the city's name (chance {CHANCE}):");
    println!("{:<22}{:>8}{:>8}{:>8}{:>8}", "", GAPS[0], GAPS[1], GAPS[2], GAPS[3]);
    for Figures { name, accuracies, .. } in &figures {
        let cells: String = accuracies.iter().map(|accuracy| format!("{accuracy:>8.3}")).collect();
        println!("{name:<22}{cells}");
    }

    std::fs::create_dir_all(&options.out)?;
    let flow = options.out.join("gradient_flow.svg");
    plots::flow(&flow, &figures)?;
    let gates = options.out.join("lstm_gates.svg");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sentence = corpus::lecture(&mut rng)?;
    let [forget, input] = ["f", "i"].map(|name| gate(&readers.1.1, name, &sentence, &mut rng));
    plots::gates(&gates, &corpus::words_of(&sentence), &forget?, &input?)?;
    println!("plots: {}, {}", flow.display(), gates.display());

    let at_longest = |k: usize| figures[k].accuracies[GAPS.len() - 1];
    println!(
        "result vanishing_gradient lstm={:.4} rnn={:.4} gru={:.4} lstm_forget_bias_0={:.4} \
         baseline={CHANCE:.4}",
        at_longest(3),
        at_longest(0),
        at_longest(1),
        at_longest(2)
    );
    Ok(())
}
