//! A language model of characters: how well it predicts a play, and what it writes.
//!
//! An LSTM reads the characters of a text and predicts each from those before it. The measure is the mean
//! number of bits that a character costs: −log2 p. The test reads the whole test text as a stream, whose
//! state goes on from character to character.

use std::collections::HashMap;
use std::time::Instant;

use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use recurrent::cell::LstmCell;
use recurrent::data::{Source, Texts, Unit, Vocabulary};
use recurrent::decode::Sampling;
use recurrent::model::SequenceGenerator;
use recurrent::optim::AdamW;
use recurrent::optim::schedule::Cosine;
use recurrent::train::{Model, Trainer};

use common::corpus::find;
use common::options::{Failure, Options};
use common::pictures::{Curve, curves};
use common::report::Report;
use common::training::{fit, loaded_or, reduced};

mod common {
    pub(crate) mod corpus;
    pub(crate) mod options;
    pub(crate) mod pictures;
    pub(crate) mod report;
    pub(crate) mod training;
}

const ABOUT: &str = "\
char_lm: a language model of characters. An LSTM with 384 units learns a million characters of plays, and
writes samples at three temperatures.
--load FILE --input TEXT prints the bits per character of a text file, and continues it.";
const PUBLISHED: &str = "\
Published as \"tiny Shakespeare\" (Karpathy, char-rnn), the plays of Shakespeare as plain text, of which
train.txt has the first 90 %.";

/// The number of characters of a training sequence.
const PIECE: usize = 128;
const TEMPERATURES: [f64; 3] = [0.5, 0.8, 1.0];

type Characters = SequenceGenerator<LstmCell<f32>>;

/// Returns a text of sentences from a small grammar.
fn generated(sentences: usize, seed: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |words: &[&'static str]| words.choose(&mut rng).copied().unwrap_or_default();
    let sentence = |_| {
        let subject = pick(&["the king", "a fool", "my lord", "the queen", "no man"]);
        let verb = pick(&["loves", "fears", "knows", "has seen", "will not have"]);
        let object = pick(&["the night", "a crown", "the truth", "his own name", "a better day"]);
        format!("{subject} {verb} {object}.\n")
    };
    (0..sentences).map(sentence).collect()
}

/// Pieces of a text; in training they begin at other characters in each epoch.
struct Pieces {
    tokens: Vec<usize>,
    vocabulary: usize,
}

type Batch = <Characters as Model>::Batch;

impl Pieces {
    fn cut(&self, starts: impl Iterator<Item = usize>) -> recurrent::Result<Batch> {
        let pieces = starts.map(|start| {
            let end = (start + PIECE + 1).min(self.tokens.len());
            self.tokens[end.saturating_sub(PIECE + 1)..end].to_vec()
        });
        let pieces = Texts::new(pieces.collect(), self.vocabulary)?;
        pieces.batch(&(0..pieces.len()).collect::<Vec<_>>())
    }
}

impl Source<Batch> for Pieces {
    fn len(&self) -> usize {
        self.tokens.len() / PIECE
    }

    fn batch(&self, samples: &[usize]) -> recurrent::Result<Batch> {
        self.cut(samples.iter().map(|&sample| PIECE * sample))
    }

    fn draw(&self, samples: &[usize], rng: &mut dyn Rng) -> recurrent::Result<Batch> {
        let offset = rng.random_range(0..PIECE);
        self.cut(samples.iter().map(|&sample| PIECE * sample + offset))
    }
}

/// Returns the mean bits of a character under 5-grams, each interpolated with those one character shorter
/// (Witten and Bell, 1991).
fn five_grams(train: &[usize], test: &[usize], vocabulary: usize) -> f64 {
    let mut counts: HashMap<&[usize], HashMap<usize, f64>> = HashMap::new();
    for order in 0..5 {
        for window in train.windows(order + 1) {
            let next = counts.entry(&window[..order]).or_default().entry(window[order]);
            *next.or_default() += 1.0;
        }
    }
    let mut bits = 0.0;
    for t in 0..test.len() {
        let mut p = 1.0 / vocabulary as f64;
        for order in 0..=t.min(4) {
            let Some(next) = counts.get(&test[t - order..t]) else { break };
            let (kinds, total) = (next.len() as f64, next.values().sum::<f64>());
            p = (next.get(&test[t]).copied().unwrap_or(0.0) + kinds * p) / (total + kinds);
        }
        bits -= p.log2();
    }
    bits / test.len() as f64
}

/// Trains a model. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    letters: &Vocabulary,
    tokens: &[usize],
    seed: u64,
) -> Result<Option<Characters>, Failure> {
    let mut model = Characters::builder(letters.len())
        .embedding_dim(64)
        .hidden_size(384)
        .dropout(0.25)
        .vocabulary(letters.clone())
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let epochs = options.epochs_or(1, 7);
    // A quick run reads a tenth of a long text.
    let read = if options.quick { tokens.len().min(100_000) } else { tokens.len() };
    let (lesson, check) = tokens[..read].split_at(read * 49 / 50);
    let pieces = |tokens: &[usize]| Pieces { tokens: tokens.to_vec(), vocabulary: letters.len() };
    let trainer = Trainer::new(AdamW::new(3e-3, 0.01)?)
        .epochs(epochs)
        .schedule(Cosine::new(epochs)?)
        .batch_size(16)
        .clip_norm(1.0)
        .seed(seed);
    let (name, start) = (format!("char_lm_{seed}"), Instant::now());
    let done = fit(options, &name, trainer, &mut model, &pieces(lesson), Some(&pieces(check)))?;
    let speed = (epochs * lesson.len()) as f64 / start.elapsed().as_secs_f64();
    println!("training: {speed:.0} characters a second");
    Ok(done.then_some(model))
}

/// Returns the bits of each character but the first, read as one stream.
fn bits(model: &Characters, tokens: &[usize]) -> Result<Vec<f64>, Failure> {
    let mut stream = model.stream(None, 1)?;
    let bits = tokens.windows(2).map(|pair| {
        let p = stream.step_tokens(&pair[..1])?[[0, pair[1]]];
        Ok(-f64::from(p).log2())
    });
    bits.collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Draws the mean bits of the characters by their place in the text, over windows of 2,000.
fn draw(file: &std::path::Path, bits: &[f64], baseline: f64) -> Result<(), Failure> {
    let windows = bits.chunks(2000).enumerate();
    let points = windows.map(|(i, window)| (2.0 * i as f64, mean(window))).collect::<Vec<_>>();
    let last = points.last().map_or(1.0, |point| point.0);
    let drawn = [
        Curve { name: "LSTM", points },
        Curve { name: "5-grams, mean", points: vec![(0.0, baseline), (last, baseline)] },
    ];
    curves(file, "Bits of the test text", ("thousands of characters", "bits a character"), &drawn)
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse_with_data("char_lm", ABOUT)? else { return Ok(()) };
    let loaded = options.load.as_ref().map(Characters::load).transpose()?;
    let sample = |model: &Characters, prompt: &str, temperature: f64| {
        let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
        model.generate_text(prompt, 200, &Sampling::temperature(temperature)?, &mut rng)
    };
    if let (Some(model), Some(input), Some(letters)) =
        (&loaded, &options.input, loaded.as_ref().and_then(|model| model.vocabulary()))
    {
        let text = std::fs::read_to_string(input)?;
        println!("{:.3} bits a character", mean(&bits(model, &letters.encode(&text)?)?));
        println!("{text}{}", sample(model, &text, TEMPERATURES[1])?);
        return Ok(());
    }
    let (real, lesson, test) = match find(&options, "text", ["train.txt", "test.txt"], PUBLISHED) {
        Some(files) => {
            let [lesson, test] = files.map(std::fs::read_to_string);
            (true, lesson?, test?)
        }
        None => (false, generated(1500, 1), generated(100, 2)),
    };
    let letters = Vocabulary::builder(Unit::Character).fit([&lesson])?;
    let (lesson, test) = (letters.encode(&lesson)?, letters.encode(&test)?);
    let baseline = five_grams(&lesson, &test, letters.len());
    let mut report = Report::new("char_lm", !real);
    for seed in options.seed..options.seed + options.seeds {
        let model = loaded_or(loaded.as_ref(), || train(&options, &letters, &lesson, seed))?;
        let Some(model) = model else { return Ok(()) };
        let start = Instant::now();
        let bits = bits(&model, &test)?;
        let micros = start.elapsed().as_secs_f64() * 1e6 / bits.len() as f64;
        println!("test, character by character: {micros:.1} µs each");
        report.add("bits per character", mean(&bits));
        report.baseline("bits per character", baseline, "5-grams, Witten-Bell");

        if seed == options.seed {
            // The stream gives the loss of the whole sequence.
            let text = Texts::<f32>::new(vec![test[..PIECE].to_vec()], letters.len())?;
            let whole = -model.log_likelihoods(&text.batch(&[0])?)?[0] / std::f64::consts::LN_2;
            let stepped: f64 = bits[..PIECE - 1].iter().sum();
            println!("the first {PIECE}: {stepped:.4} bits as a stream, {whole:.4} at once");
            for (weights, model) in reduced(&model)? {
                let bits = mean(&self::bits(&model, &test)?);
                println!("with {weights} weights: {bits:.4} bits a character");
            }
            draw(&options.out.join("char_lm_bits.svg"), &bits, baseline)?;
            if let Some(file) = &options.save {
                model.save(file)?;
            }
            let prompt = letters.decode(&test[..20])?;
            for temperature in TEMPERATURES {
                let text = sample(&model, &prompt, temperature)?;
                println!("\ntemperature {temperature}:\n{prompt}{text}");
            }
        }
    }
    report.print();
    // A quick run on real data sees a tenth of them once: 4.83 bits are those of 1-grams.
    report.require(&options, "bits per character", 4.0, true)
}
