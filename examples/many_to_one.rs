//! Many to one: who is speaking?
//!
//! A bidirectional LSTM reads an utterance, twelve numbers a frame and as many frames as there
//! are, and names one of nine speakers from the mean of its outputs.

use std::ops::Range;

use ndarray::{Array2, Array3, Axis};
use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use recurrent::layer::Linear;
use recurrent::loss::CrossEntropy;
use recurrent::optim::{Adam, clip_global_norm};
use recurrent::{Arrays, Lstm, Sequences, arrays, io};

use common::options::{Failure, Options};
use common::progress::Progress;
use common::table::{Scale, Table};

mod common {
    pub mod options;
    pub mod progress;
    pub mod table;
}

const ABOUT: &str = "\
many_to_one: who is speaking? Nine speakers say two vowels; a bidirectional LSTM of 64 reads the
twelve cepstrum coefficients of each frame, 7 to 29 frames, and names the speaker (JapaneseVowels).";

/// Logistic regression on mean, spread, first and last value of each coefficient, on the same test
/// file: see examples/data/japanese_vowels/SOURCE.txt.
const BASELINE: f64 = 0.9838;
const SPEAKERS: usize = 9;
const BATCH: usize = 30;

#[derive(Clone)]
struct Model<T: recurrent::Float> {
    lstm: Lstm<T>,
    head: Linear<T>,
}
arrays!(Model { lstm, head });

impl Model<f32> {
    fn new(rng: &mut dyn Rng) -> Result<Self, Failure> {
        let lstm = Lstm::builder(12, 64).bidirectional(true).build(rng)?;
        let head = Linear::new(lstm.output_size(), SPEAKERS, rng)?;
        Ok(Self { lstm, head })
    }

    /// The scores of the speakers [batch, speakers].
    fn scores(&self, x: &Sequences<f32>) -> Result<Array2<f32>, Failure> {
        let (output, _) = self.lstm.forward(x, None)?;
        Ok(self.head.forward(mean(&output).view())?)
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
        let values = table.values.slice_axis(Axis(1), (2..).into()).to_owned();
        let scale = match scale {
            Some(scale) => scale.clone(),
            None => Scale::of(&values),
        };
        let values = scale.apply(&values);
        let (mut frames, mut speakers, mut start) = (Vec::new(), Vec::new(), 0);
        for end in 1..=number.len() {
            if end == number.len() || number[end] != number[start] {
                frames.push(values.slice_axis(Axis(0), (start..end).into()).to_owned());
                speakers.push(speaker[start] as usize - 1);
                start = end;
            }
        }
        Ok((Self { frames, speakers }, scale))
    }
}

/// Mean over time.
fn mean(x: &Sequences<f32>) -> Array2<f32> {
    let mut sum = x.values().sum_axis(Axis(0));
    for (mut row, &length) in sum.rows_mut().into_iter().zip(x.lengths()) {
        row /= length as f32;
    }
    sum
}
fn mean_back(x: &Sequences<f32>, d: &Array2<f32>) -> Array3<f32> {
    Array3::from_shape_fn(x.values().dim(), |(t, b, f)| if t < x.lengths()[b] { d[[b, f]] / x.lengths()[b] as f32 } else { 0.0 })
}

fn train(model: &mut Model<f32>, data: &Utterances, epochs: usize, rng: &mut ChaCha8Rng, noise: f32, drop: f32, crop: f64, lr: f64) -> Result<(), Failure> {
    let mut adam = Adam::new(lr);
    let mut order: Vec<usize> = (0..data.frames.len()).collect();
    let batches = order.len().div_ceil(BATCH);
    let mut step = 0;
    for _ in 0..epochs {
        order.shuffle(rng);
        for batch in order.chunks(BATCH) {
            let part = batch.iter().map(|&i| {
                let x = &data.frames[i];
                let n = x.nrows();
                let len = (n as f64 * (1.0 - crop * rng.random::<f64>())).ceil() as usize;
                let start = rng.random_range(0..=n - len);
                x.slice_axis(Axis(0), (start..start + len).into()).mapv(|v| { let z: f32 = StandardNormal.sample(rng); v + noise * z })
            }).collect::<Vec<_>>();
            let x = Sequences::from_list(&part)?;
            let targets: Vec<usize> = batch.iter().map(|&i| data.speakers[i]).collect();
            let mut grad = model.zeros_like();
            let (output, _, tape) = model.lstm.forward_train(&x, None, rng)?;
            let pooled = mean(&output);
            let mask = pooled.mapv(|_| if rng.random::<f32>() < drop { 0.0 } else { 1.0 / (1.0 - drop) });
            let dropped = &pooled * &mask;
            let logits = model.head.forward(dropped.view())?;
            let (_, d) = CrossEntropy::new().rows(logits.view(), &targets)?;
            let d = model.head.backward(dropped.view(), d.view(), &mut grad.head)? * &mask;
            model.lstm.backward(tape, &mean_back(&output, &d), None, &mut grad.lstm)?;
            clip_global_norm(&mut grad, 1.0)?;
            let at = step as f64 / (epochs * batches) as f64;
            adam.set_learning_rate(lr * 0.5 * (1.0 + (std::f64::consts::PI * at).cos()));
            step += 1;
            adam.step(model, &grad)?;
        }
    }
    Ok(())
}
fn soft(m: &Model<f32>, d: &Utterances) -> Result<Array2<f32>, Failure> {
    let mut s = m.scores(&Sequences::from_list(&d.frames)?)?;
    for mut r in s.rows_mut() { let m = r.fold(f32::MIN, |a, &b| a.max(b)); r.mapv_inplace(|v| (v - m).exp()); let t = r.sum(); r /= t; }
    Ok(s)
}
fn acc(p: &Array2<f32>, d: &Utterances) -> (f64, f64) {
    let mut hit = 0; let mut nll = 0.0;
    for (r, &k) in p.rows().into_iter().zip(&d.speakers) {
        let best = (0..9).max_by(|&a, &b| r[a].total_cmp(&r[b])).unwrap();
        hit += usize::from(best == k); nll -= r[k].max(1e-9).ln() as f64;
    }
    (hit as f64 / d.speakers.len() as f64, nll / d.speakers.len() as f64)
}

fn main() -> Result<(), Failure> {
    let a: Vec<f64> = std::env::args().skip(1).map(|v| v.parse().unwrap()).collect();
    let (train_set, scale) = Utterances::read("japanese_vowels/train.csv", None)?;
    let (test, _) = Utterances::read("japanese_vowels/test.csv", Some(&scale))?;
    let epochs = a[0] as usize;
    let t0 = std::time::Instant::now();
    // 3-fold within train: blocks of each speaker's 30 in recording order
    let mut val = vec![];
    for fold in 0..3 {
        let split = |keep: bool| { let mut u = Utterances { frames: vec![], speakers: vec![] };
            for i in 0..270 { if ((i % 30) / 10 == fold) != keep { u.frames.push(train_set.frames[i].clone()); u.speakers.push(train_set.speakers[i]); } } u };
        let (tr, va) = (split(true), split(false));
        let mut rng = ChaCha8Rng::seed_from_u64(100 + fold as u64);
        let mut m = Model::new(&mut rng)?;
        train(&mut m, &tr, epochs, &mut rng, a[1] as f32, a[2] as f32, a[3], a[4])?;
        val.push(acc(&soft(&m, &va)?, &va));
    }
    println!("{a:?} val acc {:.4} nll {:.4}  {:.1}s", val.iter().map(|v| v.0).sum::<f64>() / 3.0, val.iter().map(|v| v.1).sum::<f64>() / 3.0, t0.elapsed().as_secs_f64());
    if a.len() > 5 {
        let mut sum = Array2::zeros((test.speakers.len(), 9)); let mut each = vec![];
        for seed in 1..=3 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut m = Model::new(&mut rng)?;
            train(&mut m, &train_set, epochs, &mut rng, a[1] as f32, a[2] as f32, a[3], a[4])?;
            let p = soft(&m, &test)?; each.push(acc(&p, &test).0); sum += &p;
        }
        println!("test {each:?} ensemble {:.4} {:.1}s", acc(&sum, &test).0, t0.elapsed().as_secs_f64());
    }
    Ok(())
}
