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
use common::report::Report;
use common::training::fit;
use corpus::Language;
use reader::{Reader, flow, gate, reader};

mod corpus;
mod plots;
mod reader;
#[path = "../common"]
mod common {
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
vanishing_gradient: \"last week I travelled to Moscow, the buildings were lovely ... a friend called
and asked where I was. I am in ____\". The answer is up to 80 words before the blank. An RNN, a GRU
and two LSTMs learn the same sentences and are tested with up to 500 words between. Plots show the
gradient at each word, the accuracy against the gap, the LSTM's gates, and its cell with fixed gates.
--load FILE --input FILE reads a sentence of known words from a text file and prints the city that
each network predicts.";

/// The largest number of words after the city's name.
const LONGEST: usize = 80;
/// The gaps of the test. Those beyond `LONGEST` are longer than in any sentence of the training.
const GAPS: [usize; 7] = [10, 20, 40, LONGEST, 160, 320, 500];
/// The accuracy of guessing.
const CHANCE: f64 = 1.0 / corpus::CITIES as f64;
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

/// Returns the language of the sentences.
fn language(options: &Options) -> &'static Language {
    if options.flag { &corpus::KOREAN } else { &corpus::ENGLISH }
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
    let sentences = language(options).draw(64, LONGEST..=LONGEST, &mut rng)?;
    let before = flow(reader, &sentences, &mut rng)?.swap_remove(0).norms;
    match trained {
        Some(trained) => reader.clone_from(trained),
        None => {
            let trainer = Trainer::new(Adam::new(3e-3)?)
                .epochs(options.epochs_or(8, 12))
                .batch_size(BATCH)
                .clip_norm(1.0)
                .seed(options.seed);
            let (count, language) = (BATCH * STEPS_PER_EPOCH, language(options));
            let lesson = corpus::Endless { language, count, longest: LONGEST };
            let korean = if options.flag { "_korean" } else { "" };
            let file = format!("vanishing_gradient{korean}_{}", name.replace([' ', ','], "_"));
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
        let sentences = language(options).draw(TEST_SENTENCES, gap..=gap, &mut rng)?;
        reader.score_batch(&sentences, &mut score)?;
        accuracies.push(score.accuracy());
    }
    Ok(Some(Figures { name, accuracies, flows: [before, after.norms] }))
}

fn lstm(
    language: &Language,
    forget_bias: f64,
    seed: u64,
) -> Result<Reader<LstmCell<f32>>, Failure> {
    reader(language, LstmOptions { forget_bias: Some(forget_bias) }, seed)
}

/// Returns the city that `reader` predicts for the sentence `text`.
fn answer<C: Cell<Elem = f32>>(
    reader: &Reader<C>,
    language: &'static Language,
    text: &str,
) -> Result<&'static str, Failure> {
    let (x, _) = language.told(text)?;
    Ok(language.cities[reader.predict(&x)?[0]])
}

fn main() -> Result<(), Failure> {
    let flag = ["korean", "sentences in Korean"];
    let Some(options) = Options::parse_with_flag("vanishing_gradient", ABOUT, flag)? else {
        return Ok(());
    };
    let (seed, language) = (options.seed, language(&options));
    let rnn = reader::<RnnCell<f32>>(language, Default::default(), seed)?;
    let gru = reader::<GruCell<f32>>(language, Default::default(), seed)?;
    let mut readers = ((rnn, gru), (lstm(language, 0.0, seed)?, lstm(language, 1.0, seed)?));
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
        let text = &std::fs::read_to_string(input)?;
        println!("RNN: {}", answer(rnn, language, text)?);
        println!("GRU: {}", answer(gru, language, text)?);
        println!("LSTM, forget bias 0: {}", answer(plain, language, text)?);
        println!("LSTM, forget bias 1: {}", answer(open, language, text)?);
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
    println!("{:<22}{}", "", GAPS.map(|gap| format!("{gap:>8}")).concat());
    for Figures { name, accuracies, .. } in &figures {
        let cells: String = accuracies.iter().map(|accuracy| format!("{accuracy:>8.3}")).collect();
        println!("{name:<22}{cells}");
    }

    let korean = if options.flag { "_korean" } else { "" };
    let file = |name: &str| options.out.join(format!("vanishing_gradient{korean}_{name}.svg"));
    plots::flow(&file("flow"), &figures)?;
    plots::accuracy(&file("accuracy"), &figures, &GAPS)?;
    plots::cell_states(&file("cell"))?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let sentence = language.lecture(&mut rng)?;
    let [forget, input] = ["f", "i"].map(|name| gate(&readers.1.1, name, &sentence, &mut rng));
    plots::gates(&file("gates"), &language.words_of(&sentence), &forget?, &input?)?;

    let mut report = Report::new("vanishing_gradient", true);
    for (metric, figures) in ["rnn", "gru", "lstm forget bias 0", "lstm"].iter().zip(&figures) {
        let trained = GAPS.iter().position(|&gap| gap == LONGEST).unwrap_or(0);
        report.add(metric, figures.accuracies[trained]);
        report.baseline(metric, CHANCE, "guessing");
    }
    report.print();
    report.require(&options, "lstm", 2.0 * CHANCE, false)
}
