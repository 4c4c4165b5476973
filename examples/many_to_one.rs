//! Many to one: who is speaking?
//!
//! A bidirectional LSTM reads an utterance, twelve numbers a frame and as many frames as there
//! are, and names one of nine speakers from the mean of its outputs.

use ndarray::{Array2, s};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use recurrent::layer::{Dropout, Linear, pooling};
use recurrent::loss::CrossEntropy;
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::{Arrays, Float, Lstm, Sequences, arrays, io};

use common::options::{Failure, Options};
use common::progress::Progress;
use common::scale::Scale;
use common::table::Table;

mod common {
    pub(crate) mod options;
    pub(crate) mod progress;
    pub(crate) mod scale;
    pub(crate) mod table;
}

const ABOUT: &str = "\
many_to_one: who is speaking? Nine speakers say two vowels; a bidirectional LSTM of 64 reads the
twelve cepstrum coefficients of each frame, 7 to 29 frames, and names the speaker (JapaneseVowels).
Three networks are trained from three seeds; they are scored one by one and voting together.";

/// Logistic regression on mean, spread, first and last value of each coefficient, on the same test
/// file: see examples/data/japanese_vowels/SOURCE.txt.
const BASELINE: f64 = 0.9838;
const SPEAKERS: usize = 9;
const BATCH: usize = 30;

// Chosen on three thirds of the training file, each held out in turn.
const LEARNING_RATE: f64 = 5e-3;
const DROPOUT: f64 = 0.5;
/// Deviation of the noise that training adds to the standardised coefficients.
const NOISE: f32 = 0.5;
/// At most this share of an utterance's frames is cut off while training.
const CROP: f64 = 0.3;

#[derive(Clone)]
struct Model<T: Float> {
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Model { lstm, head });

/// Three networks that differ in their seed.
#[derive(Clone)]
struct Voters<T: Float> {
    first: Model<T>,
    second: Model<T>,
    third: Model<T>,
}
arrays!(Voters { first, second, third });

impl Model<f32> {
    fn new(rng: &mut dyn Rng) -> Result<Self, Failure> {
        let lstm = Lstm::builder(12, 64).bidirectional(true).build(rng)?;
        let head = Linear::new(lstm.output_size(), SPEAKERS, rng)?;
        Ok(Self { lstm, head })
    }

    /// The log-probability of each speaker, [batch, speakers].
    fn scores(&self, x: &Sequences<f32>) -> Result<Array2<f32>, Failure> {
        let (output, _) = self.lstm.forward(x, None)?;
        let mut scores = self.head.forward(pooling::mean_over_time(&output)?.view())?;
        for mut row in scores.rows_mut() {
            let sum: f32 = row.iter().map(|score| score.exp()).sum();
            row -= sum.ln();
        }
        Ok(scores)
    }

    /// One step on the utterances `x` of `speakers`; returns the loss.
    fn learn(
        &mut self,
        x: &Sequences<f32>,
        speakers: &[usize],
        adam: &mut Adam<Self>,
        rng: &mut dyn Rng,
    ) -> Result<f32, Failure> {
        let (output, _, tape) = self.lstm.forward_train(x, None, rng)?;
        let mean = pooling::mean_over_time(&output)?;
        let (mean, mask) = Dropout::new(DROPOUT)?.forward_train(&mean, rng);
        let logits = self.head.forward(mean.view())?;
        let (loss, d_logits) = CrossEntropy::default().rows(logits.view(), speakers)?;

        let mut grad = self.zeros_like();
        let d_mean = self.head.backward(mean.view(), d_logits.view(), &mut grad.head)? * mask;
        let d_output = pooling::mean_over_time_backward(x.lengths(), x.time(), d_mean.view())?;
        self.lstm.backward(tape, &d_output, None, &mut grad.lstm)?;
        clip_global_norm(&mut grad, 1.0)?;
        adam.step(self, &grad)?;
        Ok(loss)
    }
}

/// Utterances [frame, coefficient] with their speakers.
struct Utterances {
    frames: Vec<Array2<f32>>,
    speakers: Vec<usize>,
}

impl Utterances {
    fn read(file: &str, scale: Option<&Scale>) -> Result<(Self, Scale), Failure> {
        let table = Table::read(file, &["t"])?;
        let (number, speaker) = (table.column("utterance")?, table.column("speaker")?);
        let values = table.values.slice(s![.., 2..]).to_owned();
        let scale = match scale {
            Some(scale) => scale.clone(),
            None => Scale::of(&values),
        };
        let values = scale.apply(&values);
        let (mut frames, mut speakers, mut start) = (Vec::new(), Vec::new(), 0);
        for end in 1..=number.len() {
            if end == number.len() || number[end] != number[start] {
                frames.push(values.slice(s![start..end, ..]).to_owned());
                speakers.push(speaker[start] as usize - 1);
                start = end;
            }
        }
        Ok((Self { frames, speakers }, scale))
    }
}

/// A part of an utterance, a little changed, so that no two epochs are alike.
fn vary(frames: &Array2<f32>, rng: &mut dyn Rng) -> Array2<f32> {
    let total = frames.nrows();
    let length = (total as f64 * (1.0 - CROP * rng.random::<f64>())).ceil() as usize;
    let start = rng.random_range(0..=total - length);
    frames.slice(s![start..start + length, ..]).mapv(|value| {
        let noise: f32 = StandardNormal.sample(rng);
        value + NOISE * noise
    })
}

fn train(
    data: &Utterances,
    epochs: usize,
    seed: u64,
    progress: &mut Progress,
) -> Result<Model<f32>, Failure> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut model = Model::new(&mut rng)?;
    let mut adam = Adam::new(LEARNING_RATE)?;
    let mut order: Vec<usize> = (0..data.frames.len()).collect();
    for _ in 0..epochs {
        order.shuffle(&mut rng);
        let mut sum = 0.0;
        for batch in order.chunks(BATCH) {
            let frames: Vec<_> = batch.iter().map(|&i| vary(&data.frames[i], &mut rng)).collect();
            let speakers: Vec<_> = batch.iter().map(|&i| data.speakers[i]).collect();
            let x = Sequences::from_list(&frames)?;
            sum += model.learn(&x, &speakers, &mut adam, &mut rng)? * batch.len() as f32;
        }
        progress.step(format!("seed {seed}, loss {:.4}", sum / order.len() as f32));
    }
    Ok(model)
}

/// The share of rows whose highest score is the speaker's.
fn accuracy(scores: &Array2<f32>, speakers: &[usize]) -> f64 {
    let best = |row: ndarray::ArrayView1<'_, f32>| {
        (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
    };
    let right = scores.rows().into_iter().zip(speakers).filter(|(row, s)| best(*row) == Some(**s));
    right.count() as f64 / speakers.len() as f64
}

fn main() -> Result<(), Failure> {
    let Some(options) = Options::parse("many_to_one", ABOUT)? else { return Ok(()) };
    let (data, scale) = Utterances::read("japanese_vowels/train.csv", None)?;
    let (test, _) = Utterances::read("japanese_vowels/test.csv", Some(&scale))?;
    println!("{} utterances to train, {} to test", data.speakers.len(), test.speakers.len());

    let epochs = options.epochs_or(15, 100);
    let voters = if let Some(file) = &options.load {
        let model = Model::new(&mut ChaCha8Rng::seed_from_u64(options.seed))?;
        let mut voters = Voters { first: model.clone(), second: model.clone(), third: model };
        io::load(file, &mut voters)?;
        voters
    } else {
        let mut progress = Progress::new("epoch", 3 * epochs)?;
        let mut train = |k| train(&data, epochs, options.seed.wrapping_add(k), &mut progress);
        Voters { first: train(0)?, second: train(1)?, third: train(2)? }
    };
    if let Some(file) = &options.save {
        io::save(file, &voters)?;
    }

    let x = Sequences::from_list(&test.frames)?;
    let (mut each, mut sum) = (Vec::new(), Array2::zeros((test.speakers.len(), SPEAKERS)));
    for model in [&voters.first, &voters.second, &voters.third] {
        let scores = model.scores(&x)?;
        each.push(accuracy(&scores, &test.speakers));
        sum += &scores;
    }
    let (mean, together) = (each.iter().sum::<f64>() / 3.0, accuracy(&sum, &test.speakers));
    println!("accuracy of each network on the test split: {each:.4?}; voting: {together:.4}");
    println!("baseline, logistic regression on summary figures: {BASELINE:.4}");
    println!("result many_to_one accuracy={mean:.4} voting={together:.4} baseline={BASELINE:.4}");
    Ok(())
}
