//! Many to one: speaker recognition.
//!
//! A bidirectional LSTM reads an utterance of any number of frames, with twelve numbers each. The mean
//! of its outputs is classified as one of nine speakers.

use ndarray::Array2;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use recurrent::cell::LstmCell;
use recurrent::data::{Dataset, Scaler, Source, Table};
use recurrent::layer::Pooling;
use recurrent::model::SequenceClassifier;
use recurrent::optim::Adam;
use recurrent::train::{Model, Trainer};
use recurrent::{Sequences, decode};

use common::options::{Failure, Options};
use common::training::{fit, reduced};
use common::vowels::{COEFFICIENTS, SPEAKERS, utterances};

mod common {
    pub(crate) mod data;
    pub(crate) mod options;
    pub(crate) mod training;
    pub(crate) mod vowels;
}

const ABOUT: &str = "\
many_to_one: speaker recognition. Nine speakers say two vowels (the data set JapaneseVowels). A
bidirectional LSTM with 64 units reads 7 to 29 frames of twelve cepstrum coefficients and predicts the
speaker. Three networks are trained from three seeds, and tested one by one and as an ensemble.
--save writes the first one. --load FILE --input CSV predicts the speaker of each utterance in a file
with the columns utterance, c1, …, c12 and a row for each frame.";

/// The test accuracy of logistic regression on the mean, spread, first and last value of each
/// coefficient; see examples/data/japanese_vowels/SOURCE.txt.
const BASELINE: f64 = 0.9838;

// Chosen by cross-validation with three parts of the training file.
const LEARNING_RATE: f64 = 5e-3;
const DROPOUT: f64 = 0.5;
/// The standard deviation of the noise that training adds to the standardised coefficients.
const NOISE: f32 = 0.5;
/// The largest share of the frames of an utterance that training cuts off.
const CROP: f64 = 0.3;

type Speaker = SequenceClassifier<LstmCell<f32>>;

/// Data augmentation: utterances that are cropped and made noisy, differently in each epoch.
struct Varied<'a> {
    data: &'a Dataset<f32, usize>,
    scaler: &'a Scaler,
}

impl Source<(Sequences<f32>, Vec<usize>)> for Varied<'_> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn batch(&self, samples: &[usize]) -> recurrent::Result<(Sequences<f32>, Vec<usize>)> {
        self.data.batch(samples)
    }

    fn draw(
        &self,
        samples: &[usize],
        rng: &mut dyn Rng,
    ) -> recurrent::Result<(Sequences<f32>, Vec<usize>)> {
        let mut vary = |&i: &usize| {
            let frames = &self.data.values()[i];
            let total = frames.nrows();
            let length = (total as f64 * (1.0 - CROP * rng.random::<f64>())).ceil() as usize;
            let start = rng.random_range(0..=total - length);
            let mut part = frames.slice(ndarray::s![start..start + length, ..]).to_owned();
            part = self.scaler.transform(&part)?;
            part.mapv_inplace(|value| {
                let noise: f32 = StandardNormal.sample(rng);
                value + NOISE * noise
            });
            self.scaler.inverse_transform(&part)
        };
        let frames =
            samples.iter().map(&mut vary).collect::<recurrent::Result<Vec<Array2<f32>>>>()?;
        let speakers = samples.iter().map(|&i| self.data.targets()[i]).collect();
        Ok((Sequences::from_list(&frames)?, speakers))
    }
}

/// Trains a network from `seed`. Returns `None` if Ctrl-C ended the training.
fn train(
    options: &Options,
    train: &Dataset<f32, usize>,
    seed: u64,
) -> Result<Option<Speaker>, Failure> {
    let scaler = Scaler::standard(&train.views())?;
    let mut model = Speaker::builder(COEFFICIENTS.len(), SPEAKERS)
        .bidirectional(true)
        .pooling(Pooling::Mean)
        .dropout(DROPOUT)
        .scaler(scaler.clone())
        .labels(&["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|k| format!("speaker {k}")))
        .build(&mut ChaCha8Rng::seed_from_u64(seed))?;
    let trainer = Trainer::new(Adam::new(LEARNING_RATE)?)
        .epochs(options.epochs_or(15, 100))
        .batch_size(30)
        .clip_norm(1.0)
        .seed(seed);
    let name = format!("many_to_one_{seed}");
    let source = Varied { data: train, scaler: &scaler };
    Ok(fit(options, &name, trainer, &mut model, &source, None)?.then_some(model))
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("many_to_one", ABOUT)? else { return Ok(()) };
    let mut voters = Vec::new();
    if let Some(file) = &options.load {
        let model = Speaker::load(file)?;
        if let Some(input) = &options.input {
            let table = Table::read(input)?;
            let frames = table.sequences("utterance", &COEFFICIENTS)?;
            let p = model.probabilities(&Sequences::from_list(&frames)?)?;
            for (rows, p) in table.groups("utterance")?.iter().zip(p.rows()) {
                let best = decode::argmax(p).unwrap_or(0);
                let name = table.text("utterance", rows.start)?;
                println!("utterance {name}: {} ({:.3})", model.labels()[best], p[best]);
            }
            return Ok(());
        }
        voters.push(model);
    } else {
        let data = utterances("japanese_vowels/train.csv")?;
        for k in 0..3 {
            match train(&options, &data, options.seed.wrapping_add(k))? {
                Some(model) => voters.push(model),
                None => return Ok(()),
            }
        }
    }
    if let Some(file) = &options.save {
        voters[0].save(file)?;
    }

    let test = utterances("japanese_vowels/test.csv")?;
    let (x, speakers) = test.all()?;
    let (mut each, mut sum) = (Vec::new(), Array2::zeros((speakers.len(), SPEAKERS)));
    for model in &voters {
        let score = model.evaluate(&test, speakers.len())?;
        println!("test: {score}");
        each.push(score.accuracy());
        for (weights, model) in reduced(model)? {
            println!("with {weights} weights: {}", model.evaluate(&test, speakers.len())?);
        }
        sum += &model.probabilities(&x)?.mapv(f32::ln);
    }
    let votes = sum.rows().into_iter().zip(&speakers);
    let right = votes.filter(|(row, speaker)| decode::argmax(*row) == Some(**speaker)).count();
    let (mean, together) =
        (each.iter().sum::<f64>() / each.len() as f64, right as f64 / speakers.len() as f64);
    println!("baseline, logistic regression on summary statistics: {BASELINE:.4}");
    println!("result many_to_one accuracy={mean:.4} voting={together:.4} baseline={BASELINE:.4}");
    Ok(())
}
